"""explain/rules and examining.py: from evidence that was made up to findings, their order, and what is ruled out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from examined import APP, evidence, lines, route
from vivace.explain.case import Case
from vivace.explain.evidence import from_json
from vivace.explain.examining import examine
from vivace.explain.finding import MINOR, NOTE, SERIOUS
from vivace.explain.remedies import REMEDIES
from vivace.explain.spots import WAITING
from vivace.explain.table import KINDS

SITE = "/venv/lib/python3.12/site-packages/"
VIEW = ("view", APP, 12)
ROUTE = "GET /"


def stack(*frames: tuple[str, str, int]) -> list[tuple[str, str, int]]:
    return [("wsgi_app", SITE + "flask/app.py", 1), VIEW, *frames]


def first(found: Any) -> Any:
    return examine(found).findings[0]


def ids(found: Any, *severities: str) -> list[str]:
    return [one.id for one in examine(found).findings if not severities or one.severity in severities]


def test_every_remedy_and_finding_is_in_the_table() -> None:
    assert {remedy.id for remedy in REMEDIES.values()} <= set(KINDS)


def test_nothing_found_says_what_was_ruled_out() -> None:
    quick = evidence(routes={ROUTE: route(500.0, 0.001)}, cpu=0.5, samples=[(ROUTE, "running", stack(), 0.2)])
    report = examine(quick)
    assert report.findings == []
    assert {"lock", "gil", "gc", "cpu", "queries", "threads"} <= {one for one, _ in report.ruled_out}
    assert {one for one, _ in report.unseen} == {
        *("leak", "tiny writes", "uncompressed", "conditional", "slow readers", "no length", "cacheable"),
        *("debug", "reload", "development", "connections"),
    }
    assert all(why == "it was not asked for" for _, why in report.unseen)


def test_too_few_requests_say_nothing() -> None:
    report = examine(evidence(routes={ROUTE: route(1.0, 0.08)}))
    assert not report.findings
    assert not report.ruled_out
    assert "10 requests were answered" in report.unseen[0][1]


def test_evidence_crosses_as_json() -> None:
    there = evidence(samples=[(ROUTE, "running", stack(), 9.0)])
    assert examine(from_json(json.loads(json.dumps(there.to_json())))) == examine(there)
    with pytest.raises(ValueError, match="not the evidence"):
        from_json({"version": 0})


# Code.


def test_code_that_computes_for_long() -> None:
    slow = evidence(
        routes={ROUTE: route(30.0, 0.26, queued=0.8)},
        samples=[
            (ROUTE, "running", stack(), 8.0),
            (ROUTE, "running", stack(("dumps", "/usr/lib/python3.11/x.py", 1)), 1.0),
        ],
        sources=lines(l12={"text": "if x not in seen:", "loop": 11}, l11={"text": "for x in xs:"}),
    )
    found = first(slow)
    assert (found.id, found.severity, found.route, found.where.at) == ("cpu", SERIOUS, ROUTE, f"{APP}:12")
    assert any("in the loop at /srv/app.py:11" in line for line in found.evidence)
    assert found.gain.likely > 5


@pytest.mark.parametrize(
    ("below", "text", "found"),
    [
        (("_find_and_load", "<frozen importlib._bootstrap>", 1), "", "import"),
        (("tokeniter", SITE + "jinja2/lexer.py", 1), "", "template"),
        (("_parse", "/usr/lib/python3.11/re/_parser.py", 1), "", "regex"),
        (("emit", "/usr/lib/python3.11/logging/__init__.py", 1), "", "logging"),
        (("extract", "/usr/lib/python3.11/traceback.py", 1), "", "exceptions"),
        (("_iterencode", "/usr/lib/python3.11/json/encoder.py", 1), "", "serialisation"),
        (("deepcopy", "/usr/lib/python3.11/copy.py", 1), "", "copying"),
    ],
)
def test_what_is_known_to_be_avoidable(below: tuple[str, str, int], text: str, found: str) -> None:
    ill = evidence(routes={ROUTE: route(400.0, 0.02)}, samples=[(ROUTE, "running", stack(below), 7.0)])
    assert (first(ill).id, first(ill).severity) == (found, SERIOUS)


def test_json_is_quick_already_where_its_part_in_c_does_it() -> None:
    json = "/usr/lib/python3.11/json/encoder.py"
    dumps, python = ("iterencode", json, 1), ("_make_iterencode.<locals>._iterencode", json, 2)
    routes = {ROUTE: route(400.0, 0.02)}
    quick = evidence(routes=routes, samples=[(ROUTE, "running", stack(dumps), 7.0)])
    assert (first(quick).id, first(quick).severity) == ("serialisation", MINOR)
    both = [(ROUTE, "running", stack(dumps), 2.0), (ROUTE, "running", stack(dumps, python), 5.0)]
    slow = evidence(routes=routes, samples=both)
    assert ids(slow, SERIOUS) == ["serialisation"]
    assert first(slow).gain.likely == pytest.approx(first(quick).gain.likely, rel=0.01)


def test_queries_in_a_loop_and_a_slow_one() -> None:
    execute = ("execute", SITE + "django/db/backends/utils.py", 1)
    samples = [(ROUTE, "running", stack(execute), 5.0), (ROUTE, "io", stack(execute), 3.0)]
    looped = evidence(samples=samples, sources=lines(l12={"loop": 11}), causes={"running": 0.6, "io": 0.4})
    assert (first(looped).id, first(looped).severity) == ("queries", SERIOUS)
    assert "3.00 ms waiting" in first(looped).evidence[0]
    alone = evidence(samples=samples, causes={"running": 0.6, "io": 0.4})
    assert first(alone).id == "database"


def test_waits_in_series_and_not_each_of_them() -> None:
    client = ("readinto", "/usr/lib/python3.11/socket.py", 1)
    samples = [
        (ROUTE, "io", [("view", APP, 12), client], 15.0),
        (ROUTE, "io", [("view", APP, 13), client], 15.0),
        (ROUTE, "io", [("view", APP, 14), client], 10.0),
    ]
    ill = evidence(
        routes={ROUTE: route(100.0, 0.04, blocked=0.95)}, cpu=0.1, samples=samples, causes={"io": 1.0}, in_request=4.0
    )
    assert ids(ill, SERIOUS) == ["series"]
    assert "upstream" not in ids(ill)
    assert first(ill).gain.likely == pytest.approx(40 / 15, rel=0.2)


def test_sleep_is_serious_and_one_wait_is_not() -> None:
    causes = {"sleep": 1.0}
    ill = evidence(
        routes={ROUTE: route(100.0, 0.04, blocked=0.95)},
        cpu=0.1,
        samples=[(ROUTE, "sleep", stack(), 38.0)],
        sources=lines(l12={"text": "time.sleep(0.038)"}),
        causes=causes,
        in_request=4.0,
    )
    assert (first(ill).id, first(ill).severity) == ("sleep", SERIOUS)
    client = ("readinto", "/usr/lib/python3.11/socket.py", 1)
    there = evidence(
        routes={ROUTE: route(100.0, 0.04, blocked=0.95)},
        cpu=0.1,
        samples=[(ROUTE, "io", stack(client), 38.0)],
        causes={"io": 1.0},
        in_request=4.0,
    )
    assert (first(there).id, first(there).severity) == ("upstream", MINOR)


# Threads in each other's way.


def test_a_lock_and_who_holds_it() -> None:
    samples = [
        (ROUTE, "lock", [("view", APP, 12)], 70.0),
        (ROUTE, "sleep", [("view", APP, 13)], 9.5),
        (ROUTE, "running", [("view", APP, 14)], 0.5),
    ]
    told = lines(l12={"with": 12}, l13={"with": 12, "text": "time.sleep(0.01)"}, l14={"with": 0})
    ill = evidence(
        routes={ROUTE: route(100.0, 0.08, blocked=0.98)},
        cpu=0.05,
        samples=samples,
        sources=told,
        causes={"lock": 0.875, "sleep": 0.12, "running": 0.005},
        in_request=8.0,
    )
    assert ids(ill, SERIOUS) == ["lock"]  # the sleep is what the lock waits for
    found = first(ill)
    assert (found.where.at, found.also) == (f"{APP}:12", [f"{APP}:13"])
    assert "held at srv/app.py:13  time.sleep(0.01)" in found.evidence
    assert found.gain.likely == pytest.approx(8, rel=0.25)


def test_locks_are_seen_without_a_profile() -> None:
    ill = evidence(cpu=0.05, causes={"lock": 0.8, "sleep": 0.2}, in_request=8.0)
    assert (first(ill).id, first(ill).where) == ("lock", None)


def test_too_few_threads() -> None:
    ill = evidence(
        routes={ROUTE: route(50.0, 0.32, queued=0.87, blocked=0.12)},
        cpu=0.05,
        causes={"io": 0.98, "running": 0.02},
        in_request=2.0,
        threads=2,
        clients=16,
    )
    found = first(ill)
    assert (found.id, found.severity, found.options[0]) == ("threads", SERIOUS, "--threads")
    assert 16 <= int(found.options[1]) <= 24
    assert found.gain.likely == pytest.approx(8, rel=0.2)


def test_too_few_workers_matter_where_clients_come_by_themselves() -> None:
    busy = {"routes": {ROUTE: route(45.0, 0.2, queued=0.9)}, "cpu": 0.95}
    theirs = [one for one in examine(evidence(**busy, clients=0)).findings if one.id == "workers"]
    ours = [one for one in examine(evidence(**busy)).findings if one.id == "workers"]
    assert (theirs[0].severity, ours[0].severity) == (SERIOUS, MINOR)
    assert theirs[0].options == ("--workers", "2")
    assert "workers" not in ids(evidence(**busy, idle_cores=0.0, clients=0))


def test_bursts_and_a_full_accept_queue() -> None:
    calm = {"routes": {ROUTE: route(45.0, 0.1, queued=0.8)}, "cpu": 0.2, "in_request": 0.5, "clients": 0}
    assert "bursts" in ids(evidence(**calm))
    assert "accept queue" in ids(evidence(**calm, machine={"drops": 3}), SERIOUS)


def test_failures() -> None:
    failing = route(100.0, 0.01)
    failing["status"] = {"2xx": 800, "5xx": 200}
    found = first(evidence(routes={ROUTE: failing}, errors=[{"route": ROUTE, "text": "Traceback\nKeyError: 'x'"}]))
    assert (found.id, found.evidence) == ("failures", ["200 of 1000.0 answers", "the last one: KeyError: 'x'"])


# Memory.


def memory(verdict: str, **more: Any) -> dict[str, Any]:
    told = {
        "verdict": verdict,
        "reason": "why",
        "bytes_per_request": 1064.0,
        "requests": 5000,
        "routes": {},
        "trace": None,
    }
    return told | more


def test_a_leak_with_its_line_and_what_keeps_it() -> None:
    trace = {
        "seconds": 5.0,
        "kept_bytes": 4_000_000,
        "lines": [
            {
                "file": APP,
                "line": 12,
                "function": "view",
                "text": "SEEN.append(x)",
                "bytes_per_request": 1025.0,
                "growing": True,
            }
        ],
        "types": [{"type": "app.Order", "per_request": 1.0}],
        "kept_by": [{"text": "app.SEEN", "type": "list", "length": 24000, "grew": 4000}],
        "note": "",
    }
    rows = {ROUTE: {"bytes_per_request": 1064.0}}
    found = first(evidence(memory=memory("leak", trace=trace, routes=rows)))
    assert (found.id, found.severity, found.where.at, found.route) == ("leak", SERIOUS, f"{APP}:12", ROUTE)
    assert "kept by app.SEEN, a list of 24,000 entries that grew by 4,000" in found.evidence


def test_growth_that_may_still_end_is_less() -> None:
    trace = {"seconds": 5.0, "kept_bytes": 9, "lines": [], "types": [], "kept_by": [], "note": ""}
    assert first(evidence(cpu=0.3, memory=memory("growing", trace=trace))).severity == MINOR
    assert first(evidence(cpu=0.3, memory=memory("growing", trace=trace, requests=400))).severity == NOTE
    row = {"text": "app.SEEN", "type": "dict", "length": 9, "grew": 9, "per_request": 1.0, "bound": None}
    assert first(evidence(cpu=0.3, memory=memory("growing", trace={**trace, "kept_by": [row]}))).severity == SERIOUS


def test_what_orders_findings_is_their_own_weight() -> None:
    samples = [(ROUTE, "running", stack(), 8.0)]
    ill = evidence(routes={ROUTE: route(30.0, 0.26)}, samples=samples, memory=memory("leak"))
    assert ids(ill, SERIOUS) == ["cpu", "leak"]


def test_a_cache_that_fills_is_no_leak() -> None:
    report = examine(evidence(memory=memory("filling")))
    assert ("leak", "why") in report.ruled_out


def test_collections() -> None:
    ill = evidence(
        routes={ROUTE: route(100.0, 0.01)},
        collecting=0.3,
        machine={"collections": [9, 0, 3], "collecting_s": [0.1, 0, 2.9]},
    )
    found = first(ill)
    assert (found.id, found.severity) == ("gc", SERIOUS)
    assert "generation 2: 3 collections, 967 ms each" in found.evidence
    assert found.gain.likely == pytest.approx(1 / (1 - 0.3 * 0.85 / 0.9), rel=0.1)


# Facts.


def facts(**rows: Any) -> dict[str, Any]:
    one: dict[str, Any] = {
        "requests": 1000,
        "app_s": 9.0,
        "bytes": 20_000_000,
        "repeats": {
            "looked": 1000,
            "share": 1.0,
            "targets": 10,
            "same": 990,
            "changed": 0,
            "shared": {},
            "private": {},
            "cookies": 0,
            "authorization": 0,
            "set_cookie": 0,
            "refused": {"no-store": 0},
        },
        "compress": {"count": 0, "bytes": 0, "saved_bytes": 0, "saved_share": 0.0, "looked": 0, "types": []},
        "writes": {"count": 0, "blocks": 0, "bytes": 0},
        "framing": {"length": 1000, "chunked": 0, "until_close": 0},
        "conditional": dict.fromkeys(
            (
                "asked",
                "unchanged",
                "matched",
                "matched_bytes",
                "same",
                "same_bytes",
                "no_validator",
                "no_validator_bytes",
            ),
            0,
        ),
        "sending": {"seconds": 0.0, "held_s": 0.0, "slow": 0, "slow_bytes": 0, "longest_s": 0.0},
        "bodies": {"count": 0, "chunked": 0},
    }
    for part, more in rows.items():
        one[part] = {**one[part], **more}
    return {"seconds": 10.0, "requests": 1000, "logging": {"records": 0, "lines": []}, "routes": {ROUTE: one}}


@pytest.mark.parametrize(
    ("targets", "more", "severity"),
    [(10, {}, SERIOUS), (1, {}, NOTE), (10, {"cookies": 1000}, MINOR), (10, {"refused": {"no-store": 1000}}, MINOR)],
)
def test_work_that_a_cache_would_save(targets: int, more: dict[str, Any], severity: str) -> None:
    hits = {"1": [500, 0, 4.0], "10": [990, 0, 8.0], "60": [990, 400, 8.0]}
    told = facts(repeats={"targets": targets, "shared": hits, "private": hits, **more})
    found = next(one for one in examine(evidence(facts=told)).findings if one.id == "cacheable")
    assert (found.severity, found.options[:3]) == (
        severity,
        ("--cache", "--cache-rule", "/ 10s" + " cookies" * ("cookies" in more)),
    )
    assert found.gain.likely > 10


@pytest.mark.parametrize(("line", "waits_s"), [(12, 0.0), (13, 5.0)])
def test_who_has_no_core_does_not_wait_for_anything_else(line: int, waits_s: float) -> None:
    samples = [("GET /", "running", [("view", APP, 12)], 2.0), ("GET /", "other", [("view", APP, line)], 5.0)]
    assert Case(evidence(samples=samples)).sampled_s(*WAITING) == waits_s


def test_who_waits_for_results_of_other_threads_waits_for_no_lock() -> None:
    result = ("Future.result", "/usr/lib/python3.11/concurrent/futures/_base.py", 451)
    samples = [("GET /", "lock", [("view", APP, 12), result], 8.0), ("GET /", "running", [("view", APP, 13)], 1.0)]
    assert "lock" not in ids(evidence(samples=samples, causes={"lock": 0.8, "running": 0.2}, cpu=0.2), SERIOUS)
    samples[0] = ("GET /", "lock", [("view", APP, 12)], 8.0)
    assert "lock" in ids(evidence(samples=samples, causes={"lock": 0.8, "running": 0.2}, cpu=0.2), SERIOUS)


def test_what_is_kept_as_long_as_it_says_is_no_illness() -> None:
    hits = {"1": [0, 0, 0.0], "10": [900, 0, 8.0]}
    told = facts(repeats={"targets": 10, "shared": hits, "private": hits, "fresh": 1000})
    without = next(one for one in examine(evidence(facts=told)).findings if one.id == "cacheable")
    on = {"development": [], "logging": {}, "application": {}, "vivace": {"settings": {"cache": True}}}
    kept = next(one for one in examine(evidence(facts=told, settings=on)).findings if one.id == "cacheable")
    assert (without.severity, kept.severity) == (SERIOUS, MINOR)


def test_what_is_wrong_on_the_wire() -> None:
    text = {"count": 1000, "bytes": 20_000_000, "saved_bytes": 18_000_000, "saved_share": 0.9, "types": ["text/html"]}
    assert "uncompressed" in ids(evidence(facts=facts(compress=text)), SERIOUS)
    assert "tiny writes" in ids(
        evidence(facts=facts(writes={"count": 1000, "blocks": 300_000, "bytes": 10**6})), SERIOUS
    )
    asked = {"asked": 900, "same": 900, "same_bytes": 18_000_000}
    assert "conditional" in ids(evidence(facts=facts(conditional=asked)), SERIOUS)
    slow = {"slow": 900, "slow_bytes": 10**9, "held_s": 300.0, "longest_s": 2.0}
    assert "slow readers" in ids(evidence(facts=facts(sending=slow)), SERIOUS)
    chunked = facts(framing={"chunked": 1000})
    assert "no length" in ids(evidence(facts=chunked))
    chunked["routes"][ROUTE]["bytes"] = 100_000_000
    assert "no length" not in ids(evidence(facts=chunked)), "100 KB each are not small"


def test_connections_that_are_not_kept() -> None:
    told = facts()
    told["connections"] = {"closed": {"application": 1000, "client": 0}}
    assert "keep-alive" in ids(evidence(accept_rate=100.0, facts=told), SERIOUS)
    assert "keep-alive" in ids(evidence(accept_rate=100.0), MINOR)


def test_many_log_records() -> None:
    told = facts()
    told["logging"] = {"records": 60_000, "lines": [[APP, 30, "app", "DEBUG", 60_000, ROUTE]]}
    found = next(
        one for one in examine(evidence(routes={ROUTE: route(300.0, 0.02)}, facts=told)).findings if one.id == "logging"
    )
    assert (found.where.at, found.severity) == (f"{APP}:30", SERIOUS)


def test_debug_mode_and_what_was_left_over() -> None:
    told = {
        "development": [
            {"id": "debug", "what": "Flask's debug mode is on", "where": "app.debug", "change": "leave it off"},
            {"id": "reload", "what": "templates are looked at again", "where": "x", "change": "leave it off"},
            {"id": "toolbar", "what": "a toolbar is in front", "where": "MIDDLEWARE", "change": "take it out"},
        ],
        "application": {"file": APP, "chain": []},
        "database": {"default": {"engine": "django.db.backends.postgresql", "conn_max_age": 0}},
    }
    found = examine(evidence(settings=told, cpu=0.3)).findings
    assert [(one.id, one.severity) for one in found] == [
        ("debug", SERIOUS),
        ("development", SERIOUS),
        ("reload", MINOR),
        ("connections", MINOR),
    ]
