"""connection.facts and route_facts: a window on a real server finds what was planted, and nothing is left of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vivace import background
from vivace.connection import facts as facts_module
from vivace.explain.facts import merge_facts
from vivace.observe import own
from vivace.observe.desk import ask
from vivace.wsgi.files import FileWrapper
from wire import TIMEOUT_S, Client, request, until

Environ = dict[str, Any]
HTML = [("Content-Type", "text/html; charset=utf-8")]
PAGE = b"<p>Everything here is said more than once. </p>" * 40


def question(**more: Any) -> dict[str, Any]:
    """One answer of the server of this process."""
    page = own.current()
    assert page is not None
    (answer,) = ask(page, {"ask": "facts", **more}, TIMEOUT_S).values()
    assert answer is not None
    return answer


@contextmanager
def window(app: Any, **settings: Any) -> Iterator[tuple[Any, Callable[[], dict[str, Any]]]]:
    """A server with an open window, and what closes it and tells."""
    with background(app, **settings) as server:
        page = own.current()
        assert page is not None
        until(lambda: ask(page, {"ask": "facts", "for_s": 0}, 1.0))
        assert "until_s" in question(for_s=300)

        def told() -> dict[str, Any]:
            merged = merge_facts({1: question()})
            assert merged is not None
            return merged

        yield server, told


def get(client: Client, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> Any:
    head = "".join(f"{field}\r\n" for field in fields)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    client.send(f"{method} {path} HTTP/1.1\r\nHost: shop\r\n{length}{head}\r\n".encode() + body)
    return client.read_response(method)


def plain(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", list(HTML))
    return [PAGE]


@pytest.mark.parametrize("compress", [False, True])
def test_what_comes_again_is_found(compress: bool) -> None:
    """Compression pads what it makes with random bytes: the application's own are compared."""

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [*HTML, ("Set-Cookie", "a=b")] if environ["PATH_INFO"] == "/own" else list(HTML))
        path = environ["PATH_INFO"]
        mine = environ.get("HTTP_COOKIE", "") if path == "/own" else ""
        return [PAGE, mine.encode(), str(time.perf_counter()).encode() if path == "/clock" else b""]

    with window(app, compress=compress) as (server, told), Client(server) as client:
        for number in range(6):
            for path in ("/same", "/own", "/clock"):
                get(client, path, "Accept-Encoding: gzip", f"Cookie: id={number % 2}")
        get(client, "/same", method="POST", body=b"x")
        facts = told()
    assert facts["requests"] == 19
    assert facts["connections"] == {
        "count": 1,
        "requests": 19,
        "closed": {"client": 0, "http10": 0, "unframed": 0},
    }
    same, mine, fresh = (facts["routes"][f"GET /{name}"]["repeats"] for name in ("same", "own", "clock"))
    assert (same["looked"], same["targets"], same["same"], same["changed"]) == (6, 1, 5, 0)
    assert same["shared"]["all"][:2] == [5, 0]
    assert 0 < same["shared"]["all"][2] < facts["routes"]["GET /same"]["app_s"]
    assert (mine["same"], mine["changed"], mine["same_private"]) == (0, 5, 4)
    assert mine["shared"]["all"][:2] == [5, 3], "three times the other one's would have been sent"
    assert mine["private"]["all"][:2] == [4, 0]
    assert (mine["cookies"], mine["set_cookie"]) == (6, 6)
    assert (fresh["same"], fresh["changed"]) == (0, 5)
    assert facts["routes"]["POST /same"]["repeats"]["looked"] == 0
    assert facts["routes"]["POST /same"]["bodies"] == {"count": 1, "chunked": 0, "bytes": 1}
    route = facts["routes"]["GET /same"]
    assert route["compressed"] == (6 if compress else 0)
    assert route["compress"]["count"] == (0 if compress else 6)
    if not compress:
        assert route["compress"]["bytes"] == 6 * len(PAGE)
        assert route["compress"]["saved_bytes"] > 0.8 * 6 * len(PAGE)
        assert route["compress"]["types"] == ["text/html"]
        assert route["types"] == {"text/html": [6, 6 * len(PAGE)]}


def test_text_for_clients_that_take_no_gzip_is_counted_apart() -> None:
    with window(plain) as (server, told), Client(server) as client:
        get(client, "/")
        get(client, "/", "Accept-Encoding: gzip;q=0")
        facts = told()["routes"]["GET /"]["compress"]
    assert (facts["count"], facts["deaf"], facts["deaf_bytes"]) == (0, 2, 2 * len(PAGE))
    assert facts["saved_share"] > 0.8


def test_drops_lengths_and_connections() -> None:
    class Drops:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"drop"] * 50)

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        return Drops() if environ["PATH_INFO"] == "/drops" else [PAGE]

    with window(app) as (server, told):
        for text in ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
            with Client(server) as client:
                assert client.send(text.encode()).read_response().body == PAGE
        with Client(server) as client:
            client.send(b"GET /drops HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\n\r\n").read_response()
        with Client(server) as client:
            assert get(client, "/drops").body == b"drop" * 50
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
            client.read_response()
        facts = told()
    assert facts["connections"]["closed"] == {"client": 1, "http10": 1, "unframed": 1}
    assert facts["connections"]["count"] == 4
    drops = facts["routes"]["GET /drops"]
    assert drops["writes"] == {"count": 2, "blocks": 100, "bytes": 400}
    assert drops["framing"] == {"length": 0, "chunked": 1, "until_close": 1}
    assert drops["repeats"]["same"] == 1
    assert facts["routes"]["POST /"]["bodies"] == {"count": 1, "chunked": 1, "bytes": 1}


def test_conditions_that_are_not_looked_at() -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/good" and environ.get("HTTP_IF_NONE_MATCH") == '"1"':
            start_response("304 Not Modified", [("ETag", '"1"')])
            return []
        start_response("200 OK", list(HTML) if path == "/none" else [*HTML, ("ETag", '"1"')])
        return [PAGE]

    with window(app) as (server, told), Client(server) as client:
        for path in ("/good", "/deaf", "/none"):
            get(client, path)
            get(client, path, 'If-None-Match: "1"')
        get(client, "/none")
        routes = told()["routes"]
    found = {name: routes[f"GET /{name}"]["conditional"] for name in ("good", "deaf", "none")}
    zero = dict.fromkeys(found["good"], 0)
    size = len(PAGE)
    assert found["good"] == {**zero, "asked": 1, "unchanged": 1}
    assert found["deaf"] == {**zero, "asked": 1, "matched": 1, "matched_bytes": size}
    assert found["none"] == {
        **zero,
        "asked": 1,
        "same": 1,
        "same_bytes": size,
        "no_validator": 2,
        "no_validator_bytes": 2 * size,
    }
    assert routes["GET /good"]["repeats"]["same"] == 1, "what has not changed comes again"


def test_slow_readers_files_failures_and_what_responses_say(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * 5000)
    large = b"x" * (8 << 20)

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"]
        if name == "/fails":
            raise RuntimeError("planted")
        if name == "/file":
            start_response("200 OK", [*HTML, ("Content-Length", "5000")])
            return FileWrapper(open(path, "rb"))
        headers = [*HTML, ("Cache-Control", "private, max-age=5"), ("Vary", "Cookie, *")]
        start_response("200 OK", headers if name == "/says" else list(HTML))
        return [large] if name == "/large" else [b"ok"]

    with window(app) as (server, told), Client(server) as client:
        assert get(client, "/file").body == b"f" * 5000
        get(client, "/says")
        with Client(server, receive_bytes=1 << 18) as slow:
            slow.send(request("/large")).wait()
            time.sleep(0.15)
            assert slow.read_response().body == large
        assert get(client, "/fails").status == 500
        until(lambda: told()["routes"]["GET /large"]["sending"]["slow"])
        routes = told()["routes"]
    sending = routes["GET /large"]["sending"]
    assert sending["slow_bytes"] == len(large)
    assert sending["longest_s"] >= 0.1
    assert routes["GET /file"]["bytes"] == 5000
    assert routes["GET /file"]["repeats"]["looked"] == 0
    assert routes["GET /fails"]["statuses"] == {"500": 1}
    assert routes["GET /fails"]["repeats"]["refused"]["status"] == 1
    said = routes["GET /says"]["repeats"]
    assert said["refused"] == {"no-store": 0, "private": 1, "no-cache": 0, "vary *": 1, "status": 0}
    assert (said["fresh"], said["vary"]) == (1, {"cookie": 1})


def test_log_records_belong_to_routes() -> None:
    logger = logging.getLogger("tests.facts")
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        for _ in range(3):
            logger.info("chatty")
        return plain(environ, start_response)

    with window(app) as (server, told), Client(server) as client:
        get(client, "/")
        get(client, "/")
        facts = told()
    assert facts["logging"]["records"] == 6
    assert facts["routes"]["GET /"]["records"] == 6
    ((file, _, name, level, count, route),) = facts["logging"]["lines"]
    assert (file, name, level, count, route) == (__file__, "tests.facts", "INFO", 6, "GET /")


def test_a_window_ends_by_itself_and_leaves_nothing() -> None:
    factory = logging.getLogRecordFactory()
    with window(plain) as (server, _), Client(server) as client:
        loop = server.server.loop
        assert question(for_s=0.05)["until_s"] > 0, "it takes the place of the other one"
        get(client, "/")
        assert loop.facts is not None
        until(lambda: loop.facts is None)
        assert loop.slow_app is loop.app
        assert loop.tally.on_row is None
        assert logging.getLogRecordFactory() is factory
        until(lambda: loop.fast)
        get(client, "/")
        told = question()
        assert told["requests"] == 1
        assert not told["open"]
        assert 0.05 <= told["seconds"] < TIMEOUT_S


def test_a_window_is_over_with_enough_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "REQUESTS_MAX", 3)
    with window(plain) as (server, told), Client(server) as client:
        for _ in range(5):
            get(client, "/")
        assert told()["requests"] == 3
        until(lambda: server.server.loop.facts is None)
        assert told()["seconds"] < 5


def test_without_a_window_there_is_nothing_to_tell() -> None:
    with background(plain):
        page = own.current()
        assert page is not None
        until(lambda: ask(page, {"ask": "facts"}, 1.0))
        assert "for_s" in question()["error"]


def test_with_a_cache_the_application_is_looked_at() -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        keeps = [("Cache-Control", "max-age=60")] if environ["PATH_INFO"] == "/kept" else []
        start_response("200 OK", [*HTML, *keeps])
        return [PAGE]

    with window(app, cache=True) as (server, told), Client(server) as client:
        for _ in range(3):
            assert get(client, "/kept").body == PAGE
            assert get(client, "/not").body == PAGE
        routes = told()["routes"]
    assert routes["GET /kept"]["requests"] == 1
    assert routes["GET /not"]["repeats"]["same"] == 2
