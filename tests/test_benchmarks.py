"""benchmarks/: statistics, verdicts, pages, picture, the JSON, what is parsed; the open-loop client on a server."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    cache_tests,
    clients,
    kinds,
    loads,
    open_loop,
    picture,
    processes,
    report,
    servers,
    stats,
    store,
    syscalls,
    verdicts,
    wrk,
)
from benchmarks.__main__ import arguments, command
from benchmarks.trials import __main__ as trials
from benchmarks.trials import expiring, loading, remembering, trial
from benchmarks.trials import page as trial_page

from vivace.lab.access_logs import Log
from vivace.lab.replay import replay

HELLO = loads.named(["hello"])[0]


def figures(cpu_us, rate=1000.0, **others):
    return {"rate": rate, "cpu_us": cpu_us, "server_core": 0.98, "loader_core": 0.5, "errors": 0, **others}


def record(rounds, date="2026-01-02", skipped=None, **others):
    return {
        "date": date,
        "command": "python -m benchmarks --rounds 3 --seconds 2",
        "seconds": 2,
        "loops_per_ms": 9000,
        "machine": {"processor": "a processor", "cores": 2, "virtual": "yes", "memory_gib": 8, "kernel": "Linux 6.1"},
        "versions": {"CPython": "3.11.7", "bjoern": "3.2.2"},
        "skipped": skipped or {},
        "rounds": rounds,
        **others,
    }


ROUNDS = [
    {"vivace": figures(8.0), "control": figures(8.1), "bjoern": figures(10.0), "nginx": figures(8.0)},
    {"vivace": figures(16.0), "control": figures(16.0), "bjoern": figures(20.0), "nginx": figures(16.0)},
    {"vivace": figures(9.0), "control": figures(9.2), "bjoern": figures(11.25), "nginx": figures(9.0)},
]


# --- statistics -----------------------------------------------------------------------------------------------


def test_ratio_is_paired_by_round_so_drift_of_the_machine_drops_out():
    found = stats.paired_ratio([8.0, 16.0, 9.0], [10.0, 20.0, 11.25])
    assert found is not None
    assert found.median == pytest.approx(0.8)
    assert found.low == pytest.approx(0.8)
    assert found.high == pytest.approx(0.8)
    assert found.pairs == 3


def test_rounds_without_both_figures_are_left_out():
    found = stats.paired_ratio([2.0, None, 4.0, 5.0, 0.0], [1.0, 3.0, None, 2.5, 1.0])
    assert found is not None
    assert (found.median, found.pairs) == (pytest.approx(2.0), 2)
    assert found.low is None
    assert stats.paired_ratio([None], [1.0]) is None


def test_interval_holds_the_median_and_is_the_same_every_time():
    values = [0.9, 1.0, 1.1, 1.2, 0.95, 1.05, 1.0]
    low, high = stats.interval(values)
    assert low is not None
    assert high is not None
    assert 0.9 <= low <= 1.0 <= high <= 1.2
    assert stats.interval(values) == (low, high)


def test_inverse_of_a_ratio_is_the_ratio_the_other_way_round():
    left, right = [1.0, 2.0, 3.0, 4.0], [2.0, 3.0, 5.0, 4.5]
    forward, backward = stats.paired_ratio(left, right), stats.paired_ratio(right, left)
    assert forward is not None
    assert backward is not None
    assert forward.inverse().median == pytest.approx(backward.median)


def test_median_skips_what_is_missing():
    assert stats.median([3.0, None, 1.0, 2.0]) == 2.0
    assert stats.median([None]) is None


# --- verdicts -------------------------------------------------------------------------------------------------


def words(load, rounds):
    return [(verdict.met, verdict.words) for verdict in verdicts.verdicts(load, rounds)]


def test_a_target_against_a_peer_is_met_missed_or_not_judged():
    (bjoern, fastwsgi, nginx) = words(HELLO, ROUNDS)
    assert bjoern[0] is True
    assert "0.80 of bjoern's [0.80, 0.80], at most 1: met" in bjoern[1]
    assert fastwsgi == (None, "CPU per request against fastwsgi: it was not measured")
    assert nginx[0] is True
    slow = [{**one, "vivace": figures(30.0)} for one in ROUNDS]
    assert words(HELLO, slow)[0][0] is False
    assert "MISSED" in words(HELLO, slow)[0][1]
    assert report.overall(verdicts.verdicts(HELLO, slow)) == "MISSED"


def test_an_interval_over_the_bound_is_said():
    rounds = [{"vivace": figures(a), "bjoern": figures(10.0)} for a in (9.0, 9.5, 10.5, 11.0, 9.9)]
    assert "met, within the noise of the rounds" in words(HELLO, rounds)[0][1]


def test_a_rate_limited_by_the_loader_is_judged_by_cpu():
    load = loads.named(["post_json"])[0]
    full = {"loader_core": 0.99, "server_core": 0.6}
    rounds = [{"vivace": figures(8.0, rate=900.0, **full), "granian": figures(16.0, rate=1000.0)}] * 3
    met, text = words(load, rounds)[0]
    assert met is True
    assert "CPU per request 0.50 of Granian's" in text
    assert "the rate is the loader's" in text
    assert verdicts.loader_bound(rounds, "vivace")
    assert not verdicts.loader_bound(rounds, "granian")


def test_a_bound_on_vivaces_own_figure():
    load = loads.named(["start"])[0]
    rounds = [{"vivace": {"start_ms": 80.4, "rss_mib": 15.99}}]
    assert [verdict.met for verdict in verdicts.verdicts(load, rounds)] == [False, True]


def test_best_peer_leaves_vivace_and_its_control_out():
    load = loads.named(["mixed_cpu"])[0]
    one = {"quick_p50_ms": 1.0, "quick_p99_ms": 5.0}
    rounds = [{"vivace": {"work_ms": 900.0, **one}, "uwsgi": {"work_ms": 950.0}, "bjoern": {"work_ms": 700.0}}]
    assert "0.95 of uWSGI http11's" in words(load, rounds)[2][1]


@pytest.mark.parametrize("load", loads.LOADS, ids=lambda load: load.name)
def test_every_target_names_a_figure_and_a_server_that_exist(load):
    names = {server.name for server in servers.SERVERS} | {loads.BEST_PEER, None}
    assert load.kind in kinds.KINDS
    assert load.targets
    assert {target.than for target in load.targets} <= names
    keys = {target.metric for target in load.targets} | {*load.columns, *load.compared, load.chart or "rate"}
    assert keys <= set(report.METRICS)
    assert (servers.HERE / "apps" / f"{load.app}.py").exists()


# --- page and picture -----------------------------------------------------------------------------------------


def test_the_page_shows_targets_tables_skips_and_failures():
    rounds = [{**ROUNDS[0], "granian": {"failed": "it stopped at once: a | b"}}, *ROUNDS[1:]]
    page = report.page({"hello": record(rounds, skipped={"uwsgi": "uwsgi is not installed"})}, "b.json", "b.svg")
    assert "| **vivace** | 1,000 | 9.0 |" in page
    assert "vivace again (control)" in page
    assert "0.80 [0.80, 0.80]" in page
    assert "failed: it stopped at once: a / b" in page
    assert "uWSGI http11: not run, uwsgi is not installed" in page
    assert "a processor, virtual, 2 cores, 8 GiB, Linux 6.1" in page
    assert page.count("not measured") >= len(loads.LOADS) - 1


def test_a_missed_target_is_said_plainly():
    slow = [{**one, "vivace": figures(30.0)} for one in ROUNDS]
    page = report.page({"hello": record(slow)}, "b.json", "b.svg")
    assert "**MISSED**" in page
    assert "0 met, 1 missed" in page


def test_a_record_of_another_day_says_so():
    records = {name: record(ROUNDS) for name in ("hello", "fresh")} | {"flask": record(ROUNDS, date="2026-03-04")}
    page = report.page(records, "b.json", "b.svg")
    assert page.count("measured on 2026-03-04") == 1


def test_other_work_on_the_machine_is_said():
    busy = [{"vivace": figures(8.0, foreign=0.4)}]
    assert "Other work took 0.40" in report.page({"hello": record(busy)}, "b.json", "b.svg")
    assert "Other work" not in report.page({"hello": record(ROUNDS)}, "b.json", "b.svg")


def test_an_empty_store_gives_a_page_and_a_picture():
    assert "Nothing has been measured yet" in report.page({}, "b.json", "b.svg")
    ElementTree.fromstring(picture.picture({}))


def test_the_picture_is_a_drawing_without_outside_resources():
    text = picture.picture({"hello": record(ROUNDS), "fresh": record(ROUNDS)})
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}rect[@class='bar ours']")) == 2
    assert not root.findall(f".//{space}image")
    assert "prefers-color-scheme: dark" in text
    assert text.count("http") == 1
    assert "control" not in text


def test_bars_stand_best_first():
    assert [name for name, _, _ in picture.bars(HELLO, ROUNDS)] == ["vivace", "nginx", "bjoern"]


# --- store ----------------------------------------------------------------------------------------------------


def test_a_partial_run_replaces_its_loads_only(tmp_path):
    path = tmp_path / "b.json"
    store.write(path, {"hello": record(ROUNDS), "fresh": record(ROUNDS)})
    store.write(path, store.merged(store.read(path), {"fresh": record(ROUNDS[:1])}))
    found = store.read(path)
    assert found["hello"] == record(ROUNDS)
    assert len(found["fresh"]["rounds"]) == 1


def test_the_json_has_one_line_per_server_and_round():
    lines = store.text({"hello": record(ROUNDS)}).splitlines()
    assert sum('"bjoern": {' in line for line in lines) == len(ROUNDS)
    assert json.loads("\n".join(lines))["loads"]["hello"] == record(ROUNDS)


def test_numbers_are_rounded_to_five_digits():
    assert store.rounded({"a": [123456.789, 0.00012345678, 3]}) == {"a": [123460.0, 0.00012346, 3]}


# --- parsing --------------------------------------------------------------------------------------------------


def test_the_numbers_of_wrk():
    found = wrk.parse("Running 1s test\nNUMBERS 5000 1000000 2 3 250.0 900.0 1000.0 300.0\n", 0.5)
    assert (found.rate, found.refused, found.errors, found.p50_ms, found.p99_ms) == (5000, 2, 3, 0.25, 0.9)
    assert wrk.parse("NUMBERS 0 1000000 0 8 0.0 0.0 0.0 0.0", 0.0).p99_ms is None
    with pytest.raises(processes.Unfit, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused", 0.0)


def test_the_summary_of_strace():
    text = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 51.61    0.001234           2       500           recvfrom
 30.00    0.000700           1       510        10 epoll_wait
------ ----------- ----------- --------- --------- ------------------
100.00    0.001934           1      1010        10 total
"""
    assert syscalls.parse(text) == {"recvfrom": 500, "epoll_wait": 510}


def test_arguments_choose_rows_and_the_command_has_no_paths():
    options = arguments(["--loads", "hello,flask", "--servers", "vivace,nginx", "--out", "/somewhere/b.md"])
    assert [load.name for load in options.chosen_loads] == ["hello", "flask"]
    assert [server.name for server in options.chosen_servers] == ["vivace", "nginx"]
    assert command(options) == (
        "python -m benchmarks --loads hello,flask --servers vivace,nginx --rounds 9 --seconds 2"
    )
    with pytest.raises(SystemExit):
        arguments(["--loads", "helo"])


def test_every_server_has_a_command_and_a_reason(tmp_path):
    for server in servers.SERVERS:
        for kind in (servers.QUICK, servers.MIXED, servers.IDLE):
            argv = servers.argv(server, "hello", kind, 8000, tmp_path, "file")
            assert not [word for word in argv if "{" in word]
        assert server.why
        assert "/tmp" not in servers.shown_settings(server)


# --- open-loop load and trials ----------------------------------------------------------------------------------


def test_open_loop_percentiles_and_parts():
    found = open_loop.Outcome([open_loop.Sample(at, at, at + 0.1 * at, 200 if at < 8 else 503) for at in range(10)])
    assert open_loop.percentile([sample.took_s for sample in found.samples], 0.5) == pytest.approx(0.5)
    assert open_loop.percentile([], 0.5) == 0.0
    assert len(found.of(200)) == 8
    assert [sample.meant_s for sample in found.within(2, 4)] == [2, 3]


def test_open_loop_counts_every_request_and_how_late_it_was(vivace_server):
    """Refusals with Retry-After, answers, and connections that close are told apart; none is left out."""

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/busy":
            start_response("503 Service Unavailable", [("Retry-After", "1"), ("Content-Length", "4")])
            return [b"busy"]
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    server = vivace_server(app, threads=2)
    address = ("127.0.0.1", server.port)
    wires = [clients.Request(path=path).wire(address) for path in ("/", "/busy")]
    found = open_loop.OpenLoop(address, wires, rate=400, seconds=0.3).run()
    assert len(found.of(200)) + len(found.of(503)) == len(found.samples) > 50
    assert all(sample.retry_after == (sample.status == 503) for sample in found.samples)
    assert all(sample.meant_s <= sample.sent_s <= sample.done_s for sample in found.samples)
    assert found.connections <= len(found.samples)


def trial_record(**others):
    result = trial.Result("overload", "A title", "How it goes.")
    result.target("it holds", "it did | so", True)
    result.target("it holds as well", "it did not", False)
    result.row("figure", "42")
    return {**asdict(result), **{key: record([])[key] for key in ("date", "command", "machine", "versions")}, **others}


def test_the_page_of_trials_has_a_verdict_for_each_target():
    text = trial_page.page({"overload": trial_record()})
    assert "| A title | it holds | it did / so | met |" in text
    assert "|  | it holds as well | it did not | **MISSED** |" in text
    assert "- figure: 42" in text
    assert "2026-01-02, `python -m benchmarks --rounds 3 --seconds 2`: a processor, virtual, 2 cores, 8 GiB" in text
    assert "Other work" not in text


def test_the_page_of_trials_says_when_the_machine_was_not_alone():
    assert "Other work took 0.70 of the two cores meanwhile" in trial_page.page({"overload": trial_record(foreign=0.7)})


def test_the_pages_of_the_trial_of_hits():
    """Four of five are known ones, the first of them far more often than the last; the others come once."""
    pages = expiring.drawn(20_000)
    known = [page for page in pages if page < expiring.KNOWN]
    others = [page for page in pages if page >= expiring.KNOWN]
    assert len(known) / len(pages) == pytest.approx(expiring.HIT_SHARE, abs=0.01)
    assert len(set(others)) == len(others)
    assert known.count(0) > 20 * known.count(expiring.KNOWN - 1) > 0


def test_rounds_of_a_trial_begin_with_another_one_each():
    asked = []

    def measure(name):
        asked.append(name)
        return remembering.Figure(len(asked), 1.0)

    found = remembering.in_turn(("a", "b"), 3, measure)
    assert asked == ["a", "b", "b", "a", "a", "b"]
    assert [figure.cpu_us for figure in found["a"]] == [1, 4, 5]
    assert remembering.over(found, "a", "b", 0).pairs == 3


def test_the_command_of_the_trials():
    options = trials.arguments(["overload", "--quick"])
    assert (options.names, options.seconds) == (["overload"], trials.QUICK_SECONDS)
    assert trials.command(options) == "python -m benchmarks.trials overload --seconds 8 --quick"
    assert trials.arguments([]).names == list(trials.TRIALS)
    with pytest.raises(SystemExit):
        trials.arguments(["nonsense"])


WRK2 = """  Latency Distribution (HdrHistogram - Recorded Latency)
 50.000%    1.20ms
 75.000%   10.00ms
 90.000%  543.74ms
 99.000%  958.46us
 99.900%    1.00s
  Detailed Percentile spectrum:
"""


WRK = """  Latency Distribution
     50%    5.84ms
     75%    8.10ms
     90%   11.08ms
     99%    1.02s
  100 requests in 1.00s, 12.00KB read
"""


def test_the_percentiles_of_wrk_and_wrk2():
    for text, known in ((WRK2, [0.0012, 0.54374, 958.46e-6]), (WRK, [0.00584, 0.01108, 1.02])):
        found = wrk.percentiles(text)
        assert [found[share] for share in loading.PERCENTILES] == pytest.approx(known)


def test_a_day_that_was_made_up_is_a_log_that_can_be_replayed(tmp_path):
    text, hours = loading.day(5000)
    assert sum(hours) == 5000
    assert max(hours) > 3 * min(hours) > 0
    path = tmp_path / "day.log"
    path.write_text(text)
    shots, due, notes = replay(Log(str(path)), speed=3600.0)
    assert len(due) == 5000
    assert len(shots) <= loading.PATHS
    assert not notes
    assert [sum(int(at_s) == hour for at_s, _ in due) for hour in range(24)] == pytest.approx(hours, abs=3)


def test_the_page_of_the_cache_tests_counts_and_says_why():
    def run(name, *marks):
        kinds_of = ("required", "required", "optimal", "check")
        names = ("one", "stale-close-no-cache", "three", "four")
        tests = [
            {"id": one, "kind": kind, "mark": mark, "message": "Response 2 is late"}
            for one, kind, mark in zip(names, kinds_of, marks, strict=True)
        ]
        return {"name": name, "version": "1.2-3", "groups": [{"id": "g", "name": "Group", "tests": tests}]}

    yes, no, untried = "\u2705", "\u26d4\ufe0f", cache_tests.DEPENDS
    other = run("ATS", yes, yes, yes, "N") | {"file": "trafficserver"}
    text = cache_tests.page([run("vivace", yes, untried, no, "Y")], [other], "abc, 2026-01-01")
    assert "| **vivace** | 1/2 | 1 | 0/1 | 1/1 |" in text
    assert "| ATS 1.2 | 2/2 | 0 | 1/1 | 0/1 |" in text
    assert "| Group | 1/2 | 0/1 | 1/1 | 2/2 + 1/1 |" in text
    assert f"| `stale-close-no-cache` | required | {cache_tests.WHY['stale-close-no-cache']} |" in text
    assert "| `three` | optimal | not known yet: Response 2 is late |" in text
    assert "at abc, 2026-01-01" in text
