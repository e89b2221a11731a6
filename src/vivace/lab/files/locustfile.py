"""What Locust runs for `vivace bench --engine locust`: the shots of one load, and what came of them.

This file travels to machines that have Locust and nothing else, so it imports nothing of vivace; its JOB is written
into it. Each worker adds its answers to slices of time; Locust brings these to its master with what it reports anyway,
and the master writes the sum when all is over.
"""

from __future__ import annotations

import gc
import json
import os
import random
import struct
import time
from base64 import b64decode
from typing import Any

from gevent import sleep  # type: ignore[import-untyped]
from locust import FastHttpUser, events, task
from locust.runners import MasterRunner, WorkerRunner

JOB = json.loads(r"""@JOB@""")
SHOTS = [{**shot, "body": b64decode(shot["body"]), "headers": dict(shot["headers"])} for shot in JOB["shots"]]
WEIGHTS = [shot["weight"] for shot in SHOTS]
FLOAT, WORD = struct.Struct(">f"), struct.Struct(">H")
DICE = random.Random(f"{JOB['seed']} {os.getpid()}")


def bucket(seconds: float) -> int:
    """As vivace.observe.histogram has them: the upper half of a float of 32 bits, counted from 2^-20 s."""
    word: int = WORD.unpack_from(FLOAT.pack(max(0.0, seconds)))[0]
    return max(0, min(word - 107 * 128, 32 * 128 - 1))


class Record:
    """Slices as vivace.lab.result has them, plus how the process itself did."""

    def __init__(self) -> None:
        self.slices: dict[int, dict[str, Any]] = {}
        self.began = time.monotonic()
        self.used = use()
        self.late: dict[int, int] = {}
        self.sent = 0

    def slice(self, at: float) -> dict[str, Any]:
        number = min(int((at - self.began) / JOB["slice_s"]), JOB["slices"])
        one = self.slices.get(number)
        if one is None:
            one = self.slices[number] = {
                "answers": 0,
                "received": 0,
                "total_s": 0.0,
                "slowest_s": 0.0,
                **{key: {} for key in ("latency", "service", "names", "statuses", "errors")},
            }
        return one

    def answer(self, shot: dict[str, Any], due: float, sent: float, ended: float, response: Any) -> None:
        one, latency = self.slice(ended), ended - due
        one["answers"] += 1
        one["received"] += len(response.content or b"")
        one["total_s"] += latency
        one["slowest_s"] = max(one["slowest_s"], latency)
        count(one["latency"], bucket(latency))
        count(one["statuses"], f"{response.status_code // 100}xx")
        if JOB["rate"]:
            count(one["service"], bucket(ended - sent))
        if shot["name"]:
            count(one["names"].setdefault(shot["name"], {}), bucket(latency))

    def error(self, kind: str) -> None:
        count(self.slice(time.monotonic())["errors"], kind)


def count(histogram: dict[Any, int], key: int | str) -> None:
    histogram[key] = histogram.get(key, 0) + 1


def kind_of(error: BaseException) -> str:
    """What vivace.lab.result calls a request without an answer."""
    text = f"{type(error).__name__} {error}".lower()
    names = ("timed out", "timeout"), ("refused", "connect"), ("reset", "reset"), ("ssl", "tls"), ("closed", "closed")
    return next((kind for word, kind in names if word in text), "timeout" if "timeout" in text else "bad response")


class Caller(FastHttpUser):
    """One connection. In open loop it has a timetable of its own, and its share of the rate."""

    host = JOB["url"]
    connection_timeout = network_timeout = JOB["timeout_s"]
    insecure = not JOB["verify"]
    max_redirects = 0

    def on_start(self) -> None:
        self.due = time.monotonic() + self.gap(first=True)

    def wait(self) -> None:
        pass

    def gap(self, first: bool = False) -> float:
        if not JOB["rate"]:
            return 0.0
        mean = JOB["connections"] / JOB["rate"]
        if JOB["arrivals"] == "even":
            return DICE.uniform(0.0, mean) if first else mean
        return DICE.expovariate(1.0 / mean)

    @task
    def call(self) -> None:
        """One request, at its time."""
        record = RECORDS[-1]
        shot: dict[str, Any] = DICE.choices(SHOTS, WEIGHTS)[0]
        now = time.monotonic()
        if JOB["rate"]:
            if self.due > now:
                sleep(self.due - now)
                count(record.late, bucket(time.monotonic() - self.due))
            due, self.due = self.due, self.due + self.gap()
        record.sent += 1
        sent = time.monotonic()
        headers = {"Accept-Encoding": "identity", **shot["headers"]}
        with self.client.request(
            *(shot["method"], shot["target"]),
            name=shot["name"] or None,
            data=shot["body"] or None,
            headers=headers,
            allow_redirects=False,
            catch_response=True,
        ) as response:
            if response.status_code:
                record.answer(shot, due if JOB["rate"] else sent, sent, time.monotonic(), response)
                if response.status_code < 500:
                    response.success()
            else:
                record.error(kind_of(response.error))
        if len(self.client.cookiejar):
            self.client.cookiejar.clear()  # what is sent is what the file says
        if shot["think_s"] and not JOB["rate"]:
            sleep(shot["think_s"])


def use() -> list[float]:
    """Seconds on a processor, and ready for one (proc_pid_schedstat(5))."""
    try:
        with open("/proc/self/schedstat") as file:
            return [int(word) / 1e9 for word in file.read().split()[:2]]
    except OSError:
        return [time.process_time(), 0.0]


RECORDS = [Record()]
"""The last one is that of the load that runs."""
TOTAL: dict[str, Any] = {"began_s": 0.0, "slices": {}, "loaders": {}}
ENDED: set[str] = set()
"""The workers that have told all."""
LAST_REPORTS_S = 10.0
"""Beside the requests on their way."""


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Any, **_: Any) -> None:
    RECORDS.append(Record())
    TOTAL["began_s"] = RECORDS[-1].began
    gc.freeze()


def reported() -> dict[str, Any]:
    """What is new."""
    record = RECORDS[-1]
    elapsed = max(1e-6, time.monotonic() - record.began)
    ran, waited = ((now - before) / elapsed for now, before in zip(use(), record.used, strict=True))
    slices, record.slices = record.slices, {}
    loader = {"cpu_share": ran, "waited_share": waited, "late": record.late, "sent": record.sent}
    return {"slices": slices, "loader": loader}


def add(worker: str, said: dict[str, Any]) -> None:
    """Into the whole."""
    TOTAL["loaders"][worker] = said["loader"]
    for number, one in said["slices"].items():
        TOTAL["slices"].setdefault(int(number), []).append(one)


@events.report_to_master.add_listener  # type: ignore[untyped-decorator]
def tell(client_id: str, data: dict[str, Any], **_: Any) -> None:
    if len(RECORDS) > 1:
        data["vivace"] = reported()


@events.worker_report.add_listener  # type: ignore[untyped-decorator]
def hear(client_id: str, data: dict[str, Any], **_: Any) -> None:
    if "vivace" in data:
        add(client_id, data["vivace"])


# Locust gives its workers half a second for their last reports, which a busy machine takes longer for: so the master
# asks for them itself, and waits.


@events.init.add_listener  # type: ignore[untyped-decorator]
def arrange(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, MasterRunner):
        environment.runner.register_message("vivace_ended", ended)
    elif isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message("vivace_end", end)


def end(environment: Any, msg: Any, **_: Any) -> None:
    """On a worker: the requests that are on their way are answered, and the rest is told."""
    environment.runner.stop()
    environment.runner.send_message("vivace_ended", reported())


def ended(environment: Any, msg: Any, **_: Any) -> None:
    add(msg.node_id, msg.data)
    ENDED.add(msg.node_id)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def collect(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if not isinstance(runner, MasterRunner):
        return
    runner.send_message("vivace_end")
    give_up = time.monotonic() + JOB["timeout_s"] + LAST_REPORTS_S
    while time.monotonic() < give_up and {one.id for one in runner.clients.all if one.state != "missing"} - ENDED:
        sleep(0.02)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def write(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner) or "VIVACE_RESULT" not in os.environ:
        return
    if not isinstance(environment.runner, MasterRunner) and len(RECORDS) > 1:
        add("local", reported())
    with open(os.environ["VIVACE_RESULT"], "w") as file:
        json.dump(TOTAL, file)
