"""What the application gives to start_response: nothing ambiguous goes out (PEP 3333, RFC 9112)."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from apps import TEXT, app_of, assert_clean_500, lengthy
from wire import Client, fetch, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]


def test_start_response_again_with_exc_info_replaces_the_head(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("X-Old", "old")])
        try:
            raise ValueError("secret")
        except ValueError:
            start_response("503 Replaced", [*TEXT, ("X-New", "new")], sys.exc_info())
        return [b"sorry"]

    with serve(app) as server:
        response = fetch(server)
    assert (response.status, response.reason, response.body) == (503, "Replaced", b"sorry")
    assert (response.field("X-Old"), response.field("X-New")) == (None, "new")


def test_the_head_waits_for_the_first_block_that_is_not_empty(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", TEXT)(b"")
        yield b""
        try:
            raise ValueError("late")
        except ValueError:
            start_response("500 Late", TEXT, sys.exc_info())
        yield b"sorry"

    with serve(app) as server:
        response = fetch(server)
    assert (response.status, response.reason, response.body) == (500, "Late", b"sorry")


def test_start_response_with_exc_info_after_the_head_raises_it(serve: Serve) -> None:
    raised = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", lengthy(100))
        yield b"begun"
        error = ValueError("after the head")
        try:
            raise error
        except ValueError:
            try:
                start_response("500 Oops", TEXT, sys.exc_info())
            except ValueError as again:
                raised.append(again is error)
                raise
        yield b"never"

    with serve(app) as server:
        response = fetch(server)
    assert raised == [True]
    assert (response.status, response.body, response.whole) == (200, b"begun", False)


def test_start_response_twice_without_exc_info(serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", TEXT)
        if environ["PATH_INFO"] != "/next":
            start_response("200 OK", [("X-Old", "secret")])
        return [b"next"]

    with serve_bare(app) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


EVIL_VALUES = [
    "a\r\nX-Evil: secret",
    "a\nX-Evil: secret",
    "a\rX-Evil: secret",
    "a\0secret",
    "\r\n secret",
    "secret\x7f",
]
EVIL_NAMES = ["X\r\nEvil", "X\nEvil", "X Evil", "X-Evil:", "X\0Evil", "", "Évil", "X-Evil\r\n\r\nsecret"]


@pytest.mark.parametrize(
    "header", [("X-Good", value) for value in EVIL_VALUES] + [(name, "secret") for name in EVIL_NAMES], ids=ascii
)
def test_cr_lf_nul_in_a_header(serve_bare: Serve, header: tuple[str, str]) -> None:
    with serve_bare(app_of([b"secret"], headers=[*TEXT, header])) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


@pytest.mark.parametrize(
    "header",
    [
        ("X-Snow", "\u2603 secret"),
        ("X-\u2603", "secret"),
        ("X-Bytes", b"secret"),
        (b"X-Bytes", "secret"),
        ("X-Number", 5),
        ("X-None", None),
        ["X-List", "secret"],
        ("X-One",),
        "X-Text: secret",
        ("Content-Length", "-1"),
        ("Content-Length", "+5"),
        ("Content-Length", "5, 5"),
        ("Content-Length", "five"),
        ("Content-Length", "\xb2"),
    ],
    ids=ascii,
)
def test_header_that_is_none(serve_bare: Serve, header: Any) -> None:
    with serve_bare(app_of([b"12345"], headers=[*TEXT, header])) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


def test_headers_that_are_no_list(serve_bare: Serve) -> None:
    for headers in (dict(TEXT), tuple(TEXT), None, iter(TEXT)):
        with serve_bare(app_of([b"secret"], headers=headers)) as server, Client(server) as client:
            client.send(request())
            assert_clean_500(client)


def test_two_content_lengths_from_the_application(serve_bare: Serve) -> None:
    with serve_bare(app_of([b"secret"], headers=lengthy(6) + lengthy(5))) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "CONNECTION",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailers",
        "Transfer-Encoding",
        "Upgrade",
    ],
)
def test_hop_by_hop_header_from_the_application(serve_bare: Serve, name: str) -> None:
    with serve_bare(app_of([b"secret"], headers=[*TEXT, (name, "chunked")])) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


@pytest.mark.parametrize(
    "status",
    ["", "OK", "200", "2000 OK", "20 OK", "abc OK", "99 Low", "100 Continue", "101 Upgrade", "000 None", " 200 OK",
     "-20 OK", "2\xb20 OK", "200 \u2603", "200 OK\r\nX-Evil: secret", "200 OK\n", "200 OK\0", 200, b"200 OK", None],
    ids=ascii,
)  # fmt: skip
def test_invalid_status(serve_bare: Serve, status: Any) -> None:
    with serve_bare(app_of([b"secret"], status=status)) as server, Client(server) as client:
        client.send(request())
        assert_clean_500(client)


def test_latin_1_and_white_space_pass_in_headers(serve: Serve) -> None:
    headers = [*TEXT, ("X-Latin", "caf\xe9"), ("X-Empty", ""), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    with serve(app_of([b"x"], status="200 Tr\xe8s bien", headers=headers)) as server:
        response = fetch(server)
    assert (response.reason, response.field("X-Latin"), response.field("X-Empty")) == ("Tr\xe8s bien", "caf\xe9", "")
    assert response.values("Set-Cookie") == ["a=1", "b=2"]


def test_own_date_and_server_pass_once(serve: Serve) -> None:
    headers = [*TEXT, ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("server", "mine")]
    with serve(app_of([b"x"], headers=headers)) as server:
        response = fetch(server)
    assert (response.field("Date"), response.field("Server")) == ("Sun, 06 Nov 1994 08:49:37 GMT", "mine")


def test_date_and_server_are_sent(serve: Serve) -> None:
    with serve(app_of([b"x"])) as server:
        response = fetch(server)
    assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", response.field("Date") or "")
    assert response.field("Server") == "vivace"
