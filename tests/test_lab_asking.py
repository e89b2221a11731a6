"""What a file said becomes one request, and no more than that."""

from __future__ import annotations

import pytest

from vivace.lab.asking import (
    NAMES_MAX,
    OTHER,
    Names,
    checked_field,
    checked_fields,
    checked_method,
    checked_target,
    is_credential,
    name_of,
    recorded_fields,
    shown,
)
from vivace.lab.plan import Place, Shot
from vivace.lab.prepared import request_bytes


@pytest.mark.parametrize("target", ["/", "/a?b=c", "/%20", '/[]|{}"', "/?a\\b"])
def test_a_target_may_hold_what_browsers_send(target: str) -> None:
    assert checked_target("GET", target) == target


@pytest.mark.parametrize(
    "target", ["", "a", "/a b", "/a\r\nX: y", "/\n", "/a#b", "/\x7f", "/é", "*", "http://a/", "/" * 70_000]
)
def test_what_no_request_line_can_hold_is_no_target(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        checked_target("GET", target)


def test_the_asterisk_goes_with_options() -> None:
    assert checked_target("OPTIONS", "*") == "*"


@pytest.mark.parametrize("method", ["", "GET ", "G\r\nT", "GÉT", "CONNECT", "A" * 40, "GET\n"])
def test_what_is_no_method(method: str) -> None:
    with pytest.raises(ValueError, match=r"CONNECT|no method"):
        checked_method(method)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("A", "b\r\nC: d"),
        ("A", "b\n"),
        ("A", "\0"),
        ("A\r\nB", "c"),
        ("A:", "b"),
        ("", "b"),
        ("A B", "c"),
        ("A", "\ud800"),
    ],
)
def test_a_field_cannot_become_two(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="field"):
        checked_field(name, value)


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection"])
def test_framing_is_not_the_user_s_to_write(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        checked_fields([(name, "1")])


def test_host_is_an_authority() -> None:
    assert checked_fields([("Host", "example.org:80")]) == [("Host", "example.org:80")]
    with pytest.raises(ValueError, match="Host"):
        checked_fields([("Host", "a/b")])
    with pytest.raises(ValueError, match="257 fields"):
        checked_fields([("A", "b")] * 257)


def test_of_recorded_fields_framing_and_credentials_are_dropped() -> None:
    recorded = [(":authority", "a"), ("Host", "b"), ("Content-Length", "3"), ("Cookie", "s=1"), ("X-CSRF-Token", "t")]
    recorded += [("Accept", "*/*"), ("Authorization", "Basic YQ=="), ("Connection", "close"), ("TE", "trailers")]
    dropped: set[str] = set()
    assert recorded_fields(recorded, False, dropped) == [("Accept", "*/*")]
    assert dropped == {"cookie", "x-csrf-token", "authorization"}
    dropped.clear()
    kept = [name for name, _ in recorded_fields(recorded, True, dropped)]
    assert kept == ["Cookie", "X-CSRF-Token", "Accept", "Authorization"]
    assert dropped == set()
    assert not is_credential("Accept-Language")


def test_on_the_wire_it_is_one_request() -> None:
    headers = checked_fields([("Accept", " a\tb ")])
    wire = request_bytes(Shot("POST", "/a", headers, b"xy"), Place("h", 1))
    assert wire == b"POST /a HTTP/1.1\r\nHost: h:1\r\nAccept: a\tb\r\nContent-Length: 2\r\n\r\nxy"


def test_names_have_no_values_in_them_and_are_bounded() -> None:
    assert name_of("GET", "/items/17/edit?x=1") == "GET /items/{}/edit"
    assert name_of("GET", "/a%20b/" + "c" * 33) == "GET /{}/{}"
    assert name_of("GET", "/" * 20) == "GET " + "/" * 8 + "..."
    names = Names()
    found = {names.of("GET", f"/{'a' * (number % 26)}/{chr(97 + number // 26)}") for number in range(NAMES_MAX + 50)}
    assert len(found) == NAMES_MAX + 1
    assert OTHER in found
    assert names.of("GET", "//a") == "GET //a"


def test_foreign_text_in_a_message_is_one_short_line() -> None:
    assert shown("a\nb\x1b[31m") == r"'a\nb\x1b[31m'"
    assert len(shown("é" * 1000)) < 400
