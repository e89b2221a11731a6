"""What a cache did is counted, each request once, and shown: the page, `vivace top`, Server-Timing, ids, the log.

The sums that are compared are of requests that the test has sent.
"""

from __future__ import annotations

import json
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from vivace import background
from vivace.cli.top_keys import View
from vivace.cli.top_view import screen
from vivace.observe.layout import CACHE_COUNTS, CACHE_RESULTS
from vivace.observe.page import page_of
from vivace.observe.snapshot import between, from_json, take
from wire import Client, Response, request, until

if TYPE_CHECKING:
    from pathlib import Path


class Site:
    """/fresh is kept, /private never; /soon is stale after a second, /asked is asked about each time."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        assert self.gate.wait(10)
        path = environ["PATH_INFO"]
        if self.fails:
            raise RuntimeError("planted")
        said = {
            "/private": "private",
            "/soon": "max-age=1, stale-while-revalidate=60",
            "/asked": "max-age=0, stale-if-error=60",
        }.get(path, "max-age=60")
        same = path == "/asked" and environ.get("HTTP_IF_NONE_MATCH") == '"1"'
        start_response("304 Not Modified" if same else "200 OK", [("Cache-Control", said), ("ETag", '"1"')])
        return [] if same else [path.encode()]


@pytest.fixture
def site() -> Site:
    return Site()


def counts(server: background) -> dict[str, int]:
    return dict(zip(CACHE_COUNTS, server.server.loop.cache.filling.totals(), strict=True))


def ask(client: Client, path: str, *lines: str, method: str = "GET") -> Response:
    return client.send(request(path, *lines, method=method)).read_response(method=method)


# Counting.


def test_each_request_is_counted_once(site: Site, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("a {}")
    with background(site, cache=True, static=[f"/static={tmp_path}"], threads=4) as server, Client(server) as client:
        sent = 0
        for path, line, method, times in (
            ("/soon", "", "GET", 1),
            ("/fresh", "", "GET", 40),  # most are known by their bytes
            ("/fresh", "", "HEAD", 3),
            ("/fresh", 'If-None-Match: "1"', "GET", 6),
            ("/fresh", "Cache-Control: no-store", "GET", 2),
            ("/private", "", "GET", 5),
            ("/asked", "", "GET", 3),
            ("/never", "Cache-Control: only-if-cached", "GET", 2),
            ("/fresh", "Content-Length: 0", "POST", 2),
            ("/static/style.css", "", "GET", 30),
        ):
            for _ in range(times):
                ask(client, path, *([line] if line else ()), method=method)
            sent += times if path != "/static/style.css" else 0
        until(lambda: ask(client, "/soon") and counts(server)["stale"], what="it is never stale")
        until(lambda: counts(server)["refreshed"] == 1 and counts(server)["stored"] == 4)
        found = counts(server)
        sent += found["stale"] + found["hits"] - (39 + 3 + 6)  # those until /soon was stale
        assert sum(found[name] for name in CACHE_RESULTS) == sent
        assert found["known"] > 20
        assert found["not_modified"] == 6
        assert found["stale"] >= 1
        assert found["bypassed"] == 2 + 2
        assert found["unavailable"] == 2
        assert found["missed"] == 1 + 1 + 5 + 3
        assert found["revalidated"] == 2
        assert found["unstored"] == 5
        assert found["invalidated"] == 2


def test_files_are_none_of_its_business(site: Site, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("a {}")
    with background(site, cache=True, static=[f"/static={tmp_path}"]) as server, Client(server) as client:
        for _ in range(20):
            assert ask(client, "/static/style.css").status == 200
        assert server.server.loop.answers.served[0] > 10
        assert not any(counts(server).values())


def test_what_replaces_the_old_one_is_not_found_right(site: Site) -> None:
    with background(site, cache=True) as server, Client(server) as client:
        for _ in range(2):
            ask(client, "/fresh", "Cache-Control: no-cache")
        assert (counts(server)["stored"], counts(server)["revalidated"]) == (2, 0)


def test_who_waits_is_counted_when_it_is_answered(site: Site) -> None:
    site.gate.clear()
    with background(site, cache=True, threads=4) as server:
        clients = [Client(server) for _ in range(5)]
        for client in clients:
            client.send(request("/fresh"))
        until(lambda: counts(server)["collapsed"] == 4)
        site.gate.set()
        assert {client.read_response().body for client in clients} == {b"/fresh"}
        until(lambda: counts(server)["hits"] >= 4)  # each is counted when it is out
        found = counts(server)
        assert (found["missed"], found["hits"], found["collapsed"], site.calls) == (1, 4, 4, 1)
        for client in clients:
            client.socket.close()


def test_who_has_waited_too_long_is_counted_too(site: Site) -> None:
    site.gate.clear()
    settings = {"cache": True, "threads": 4, "cache_wait_s": 0.2}
    with background(site, **settings) as server, Client(server) as one, Client(server) as two:
        one.send(request("/fresh"))
        until(lambda: site.calls == 1)
        two.send(request("/fresh"))
        until(lambda: site.calls == 2)
        site.gate.set()
        assert one.read_response().body == two.read_response().body == b"/fresh"
        assert counts(server)["missed"] == 2


# The page, and who reads it.


def text_of(snapshot: dict[str, Any], figures: dict[str, Any]) -> str:
    return "\n".join(text for _, text in screen(View(), snapshot, figures, 100, 24))


def test_it_is_in_the_figures_and_on_the_screen(site: Site) -> None:
    with background(site, cache=True, cache_memory_bytes=16 << 20) as server, Client(server) as client:
        page = page_of(os.getpid())
        assert page is not None
        older = take(page)
        for _ in range(9):
            ask(client, "/fresh")
        ask(client, "/fresh", "Content-Length: 0", method="POST")
        ask(client, "/other")
        until(lambda: take(page)["totals"]["cache"]["missed"] == older["totals"]["cache"]["missed"] + 2)
        newer = from_json(json.dumps(take(page)))
        page.close()
    figures = between(older, newer)
    cache = figures["cache"]
    assert cache["hit_rate"] == pytest.approx(0.8)
    assert cache["rate"] * figures["seconds"] == pytest.approx(10)
    assert cache["rates"]["bypassed"] * figures["seconds"] == pytest.approx(1)
    assert (cache["entries"], cache["bytes_max"]) == (1, 16 << 20)
    assert 0 < cache["bytes"] < 1 << 20
    assert re.search(r"^cache 80% of [0-9.]+/s  .*  1 kept in [0-9.]+ kB of 16\.0 MB$", text_of(newer, figures), re.M)


def test_where_there_is_none_nothing_is_said_of_it(site: Site) -> None:
    with background(site):
        page = page_of(os.getpid())
        assert page is not None
        snapshot = take(page)
        page.close()
    figures = between(None, snapshot)
    assert figures["cache"] is None
    assert "cache" not in text_of(snapshot, figures)


# Server-Timing, ids, the access log.

TIMED = {"cache": True, "server_timing": "on", "request_id": "on"}


def timing(response: Response) -> str:
    """Server-Timing without its numbers."""
    (value,) = response.values("Server-Timing")
    return re.sub(r"[0-9]+\.[0-9]{3}", "N", value)


KEPT = 'queue;dur=N, cache;desc="{}";dur=N'
MADE = 'queue;dur=N, app-cpu;dur=N, app-wait;dur=N, cache;desc="{}"'


def test_timings_say_what_the_cache_did(site: Site) -> None:
    with background(site, threads=4, **TIMED) as server, Client(server) as client:
        assert timing(ask(client, "/fresh")) == MADE.format("miss")
        for _ in range(3):
            assert timing(ask(client, "/fresh")) == KEPT.format("hit")
        assert timing(ask(client, "/fresh", 'If-None-Match: "1"')) == KEPT.format("hit")
        assert timing(ask(client, "/fresh", method="HEAD")) == KEPT.format("hit")
        assert timing(ask(client, "/fresh", "Cache-Control: no-store")) == MADE.format("bypass")
        assert timing(ask(client, "/fresh", "Content-Length: 0", method="POST")) == MADE.format("bypass")
        assert timing(ask(client, "/none", "Cache-Control: only-if-cached")) == KEPT.format("unavailable")
        assert timing(ask(client, "/asked")) == MADE.format("miss")
        assert timing(ask(client, "/asked")) == MADE.format("revalidated")
        site.fails = True
        assert timing(ask(client, "/asked")) == MADE.format("stale")


def test_timings_are_for_those_who_know_the_word(site: Site) -> None:
    settings = {"cache": True, "server_timing": "demand", "server_timing_token": "word"}
    with background(site, **settings) as server, Client(server) as client:
        for wait in range(3):
            assert ask(client, "/fresh").values("Server-Timing") == []
            assert ask(client, "/fresh", "X-Server-Timing: wrong").values("Server-Timing") == []
            found = ask(client, "/fresh", "X-Server-Timing: word")
            assert timing(found) == KEPT.format("hit"), wait
        assert site.calls == 1


@pytest.mark.parametrize("timed", ["on", "off"])
def test_every_answer_has_an_id_of_its_own(site: Site, tmp_path: Path, timed: str) -> None:
    (tmp_path / "style.css").write_text("a {}")
    settings = {**TIMED, "server_timing": timed, "static": [f"/static={tmp_path}"]}
    with background(site, threads=4, **settings) as server, Client(server) as client:
        ids = []
        for path, status, *lines in (
            *[("/fresh", 200)] * 4,
            *[("/fresh", 304, 'If-None-Match: "1"')] * 3,
            ("/fresh", 206, "Range: bytes=0-1"),
            ("/none", 504, "Cache-Control: only-if-cached"),
            *[("/static/style.css", 200)] * 4,
            *[("/static/style.css", 304, "If-Modified-Since: Fri, 31 Dec 2100 23:59:59 GMT")] * 2,
            ("/static/none.css", 404),
        ):
            response = ask(client, str(path), *map(str, lines))
            assert response.status == status
            ids += response.values("X-Request-ID")
        assert len(set(ids)) == len(ids) == 16


def test_the_access_log_says_it(site: Site, tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("a {}")
    log = tmp_path / "access.log"
    form = "%(r)s|%(s)s|%{cache}"
    settings = {"access_log": True, "access_log_file": str(log), "access_log_format": form}
    with (
        background(site, cache=True, threads=4, static=[f"/static={tmp_path}"], **settings) as server,
        Client(server) as client,
    ):
        for path, *lines in (
            *[("/fresh",)] * 4,
            ("/fresh", 'If-None-Match: "1"'),
            ("/fresh", "Cache-Control: no-store"),
            ("/none", "Cache-Control: only-if-cached"),
            *[("/asked",)] * 2,
            *[("/static/style.css",)] * 4,
        ):
            ask(client, path, *lines)
    found = [line.partition(" ")[2].replace(" HTTP/1.1", "") for line in log.read_text().splitlines()]
    assert found == [
        "/fresh|200|miss",
        *["/fresh|200|hit"] * 3,
        "/fresh|304|hit",
        "/fresh|200|bypass",
        "/none|504|unavailable",
        "/asked|200|miss",
        "/asked|200|revalidated",
        *["/static/style.css|200|-"] * 4,
    ]
