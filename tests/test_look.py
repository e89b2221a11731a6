"""connection.look: bodies that are looked at on their way are what they were, and closed once."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.validate import validator

import pytest

from apps import TEXT, Body, app_of
from sinks import DATE, Sink
from vivace.connection.facts import Facts
from vivace.connection.look import DIGEST_BYTES_MAX, digest_of
from vivace.http1.flags import HEAD
from vivace.http1.response import ResponseHeads
from vivace.schedule.route import Route
from vivace.wsgi.exchange import Exchange


class Conn(Sink):
    """With what a look reads of a connection."""

    host, port = "192.0.2.1", "1234"
    incoming = None
    waited_s = 0.0
    route = Route("GET /", 1.0)


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "shop",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def run(app: Any, facts: Facts | None = None, flags: int = 0) -> tuple[bytes, dict[str, Any]]:
    """What is sent of `app`'s response, and what is told of its route."""
    errors: list[BaseException] = []
    conn = Conn()
    exchange = Exchange(conn, flags, ResponseHeads(""), DATE, lambda environ, error: errors.append(error), 1.0)
    environ = {**ENVIRON, "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()}
    facts = facts or Facts(60.0, lambda: None)
    answer, _ = exchange.run(facts.wrap(app), environ)
    assert errors == []
    return conn.data + answer, facts.told()["routes"]["GET /"]


def test_each_block_is_handed_on_before_the_next_is_asked_for() -> None:
    order: list[str] = []

    class Noting(Conn):
        def put(self, data: bytes, *more: Any) -> None:
            order.append("sent")
            super().put(data, *more)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", list(TEXT))
        for _ in range(3):
            order.append("made")
            yield b"block"

    exchange = Exchange(Noting(), 0, ResponseHeads(""), DATE, lambda environ, error: None, 1.0)
    exchange.run(Facts(60.0, lambda: None).wrap(app), dict(ENVIRON))
    assert order == ["made", "sent"] * 3 + ["sent"]  # the last chunk


@pytest.mark.parametrize("checked", [False, True])
def test_a_body_is_closed_once_and_said_as_it_is(checked: bool) -> None:
    body = Body([b"one ", b"", b"two"])
    app = app_of(body)
    sent, told = run(validator(app) if checked else app)
    assert sent.endswith(b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")
    assert body.closes == 1
    assert (told["bytes"], told["framing"]["chunked"]) == (7, 1)


def test_one_block_keeps_its_length() -> None:
    class Single(Body):
        def __len__(self) -> int:
            return 1

    sent, told = run(app_of(Single([b"whole"])))
    assert b"content-length: 5\r\n" in sent.lower()
    assert (told["bytes"], told["framing"]["length"]) == (5, 1)


def test_head_has_no_bytes() -> None:
    _, told = run(app_of([b"whole"]), flags=HEAD)
    _, drops = run(app_of(Body([b"a", b"b"])), flags=HEAD)
    assert (told["bytes"], drops["bytes"]) == (0, 0)


def test_what_is_written_is_counted_and_not_compared() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", list(TEXT))
        write(b"first ")
        return [b"second"]

    facts = Facts(60.0, lambda: None)
    run(app, facts)
    sent, told = run(app, facts)
    assert b"first " in sent
    assert told["bytes"] == 2 * len(b"first second")
    assert told["repeats"]["looked"] == 0


def test_long_bodies_are_compared_by_their_ends_and_their_length() -> None:
    body = bytes(DIGEST_BYTES_MAX * 2)
    assert digest_of([body]) == digest_of([bytes(body)])
    for other in (b"x" + body[1:], body[:-1] + b"x", body + b"\0"):
        assert digest_of([body]) != digest_of([other])
