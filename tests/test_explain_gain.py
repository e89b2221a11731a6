"""explain/gain.py: the model is held to what is known of queues, and to the simulation of vivace's own scheduler."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from benchmarks.simulated_machine import RUN, SLEEP, Machine
from benchmarks.simulated_server import MS, Server, Stream

from vivace.explain.finding import BYTES, RATE, Gain
from vivace.explain.gain import (
    Flow,
    cached,
    fitted,
    gain_of,
    saving,
    servers_for,
    threads_for,
    told,
    waiting_s,
    without,
)


def test_one_client_waits_for_nobody() -> None:
    assert Flow(1, cpu_s=0.01, wait_s=0.03).rate == pytest.approx(25)
    assert Flow(1, cpu_s=0.01, wait_s=0.03).response_s == pytest.approx(0.04)


def test_exact_mean_values_of_a_known_network() -> None:
    # Two clients, a station of 1 s and a delay of 1 s: p(0, 1, 2 at the station) is as 1/2 : 1 : 1, so it works 4/5.
    assert Flow(2, cpu_s=1.0, wait_s=1.0, cores=9).rates[0] == pytest.approx(0.8)


def test_bounds() -> None:
    flow = Flow(50, cpu_s=0.001, wait_s=0.019)
    exponential, bound = flow.rates
    assert exponential < bound == 1000
    assert replace(flow, clients=5).rates[1] == pytest.approx(250)
    assert replace(flow, threads=4).rates[1] == pytest.approx(200)
    assert replace(flow, cores=0.5).rates[1] == pytest.approx(500)


def test_a_model_is_fitted_to_what_was_measured() -> None:
    flow = Flow(8, cpu_s=0.01, wait_s=0.0)
    assert fitted(flow, 50.0).stretch == pytest.approx(2, rel=0.01)
    assert fitted(flow, 120.0) == flow
    gain = saving(fitted(flow, 50.0), (0.5, 0.5, 0.5), cpu_s=0.01)
    assert gain.likely == pytest.approx(2, rel=0.01)


def test_between_whole_numbers_of_clients_it_goes_up() -> None:
    rates = [Flow(count / 4, cpu_s=0.01, wait_s=0.02).rate for count in range(1, 24)]
    assert rates == sorted(rates)


def test_a_lock_is_a_station_of_its_own() -> None:
    locked = Flow(8, cpu_s=0.001, wait_s=0.0, lock_s=0.01)
    assert locked.rate == pytest.approx(100, rel=0.02)
    free = replace(locked, lock_s=0.0, wait_s=0.01)
    assert gain_of(locked, free).likely == pytest.approx(7, rel=0.1)


def test_a_gain_has_its_range() -> None:
    flow = Flow(8, cpu_s=0.01, wait_s=0.0)
    gain = saving(flow, (0.4, 0.5, 0.6), cpu_s=0.01)
    assert (gain.low, gain.likely, gain.high) == (
        pytest.approx(1 / 0.6),
        pytest.approx(2),
        pytest.approx(2.5),
    )
    assert gain.weight == pytest.approx(0.5)
    assert without(flow, cpu_s=1.0).cpu_s > 0


def test_what_is_left_has_the_caches_for_itself() -> None:
    flow = Flow(8, cpu_s=0.01, wait_s=0.0)
    assert without(flow, cpu_s=0.005, warmer=0.4).cpu_s == pytest.approx(0.005 * 0.8)
    gain = saving(flow, (0.5, 0.5, 0.5), cpu_s=0.01, warmer=0.4)
    assert (gain.low, gain.likely, gain.high) == (pytest.approx(2), pytest.approx(2.5), pytest.approx(2.5))


def test_a_cache_leaves_what_misses() -> None:
    gain = cached(Flow(8, cpu_s=0.01, wait_s=0.0), 1.0, (0.8, 0.9, 0.95), 1e-5)
    assert gain.likely == pytest.approx(1 / (0.1 + 0.0009), rel=0.01)
    half = cached(Flow(8, cpu_s=0.01, wait_s=0.0), 0.5, (0.9, 0.9, 0.9), 1e-5)
    assert half.likely == pytest.approx(1 / 0.55, rel=0.01)
    dear = cached(Flow(8, cpu_s=0.01, wait_s=0.0), 0.5, (0.9, 0.9, 0.9), 1e-5, 0.8)
    assert dear.likely == pytest.approx(1 / 0.28, rel=0.01)


def test_queues_of_who_comes_whatever_happens() -> None:
    assert waiting_s(1, 50, 0.01) == pytest.approx(0.01)  # M/M/1: rho / (1 - rho) of the service
    assert waiting_s(1, 50, 0.01, 0.0) == pytest.approx(0.005)  # M/D/1: half of it
    assert waiting_s(2, 100, 0.01) == pytest.approx(0.01 / 3)  # M/M/2 at a load of 1
    assert waiting_s(1, 100, 0.01) == float("inf")
    assert servers_for(100, 0.01, 0.005) == 2
    assert servers_for(1000, 0.1, 0.001, most=64) == 64
    assert (threads_for(0.001, 0.004), threads_for(0.01, 0.0)) == (5, 1)


def test_a_gain_in_words() -> None:
    assert told(Gain(RATE, 1.2, 2.04, 12.0)) == "2.0 times the requests/s (1.20 to 12)"
    assert told(Gain(BYTES, 0.1, 0.2, 0.3)) == "80% less bytes sent (70% to 90%)"


# The same change in the discrete-event simulation, which drives vivace's real scheduler.


def simulated(cpu_ms: float, wait_ms: float, clients: int, threads: int = 64) -> float:
    """Requests a second."""
    machine = Machine(2, 0.2 * MS)
    server = Server(machine, cores=2, threads=threads + 1)  # there, the one that leads is one of them
    ops = [(RUN, cpu_ms * MS / 2), (SLEEP, wait_ms * MS), (RUN, cpu_ms * MS / 2)] if wait_ms else [(RUN, cpu_ms * MS)]
    stream = Stream("one", lambda rng: ("/", ops), clients, think_s=0.0)
    stream.start(machine, server, Random(1), 0.5)
    machine.run(1.5)
    return len(stream.took_s) / 1.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((4.0, 0.0, 8), (1.0, 0.0, 8)),  # CPU that is no longer used
        ((1.0, 20.0, 6), (1.0, 8.0, 6)),  # waits that are no longer made
        ((1.0, 20.0, 32, 4), (1.0, 20.0, 32, 16)),  # more threads
        ((1.0, 40.0, 6), (1.0, 10.0, 6)),
    ],
)
def test_gains_are_those_of_the_scheduler_in_simulation(before: tuple[float, ...], after: tuple[float, ...]) -> None:
    flows = [
        Flow(clients, cpu_ms * MS, wait_ms * MS, threads=int(rest[0]) if rest else 64)
        for cpu_ms, wait_ms, clients, *rest in (before, after)
    ]
    measured = simulated(*after) / simulated(*before)  # type: ignore[arg-type]
    gain = gain_of(*flows)
    assert gain.likely == pytest.approx(measured, rel=0.25)
    assert gain.low * 0.9 <= measured <= gain.high * 1.1
