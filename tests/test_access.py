"""Who may see the admin address: tokens, cookies, and the names that a browser comes by."""

from __future__ import annotations

import pytest

from vivace.admin.access import LOGIN_S, Access

TOKEN = "a-token-that-nobody-guesses"


def access(token: str = TOKEN, *, names_only: bool = False, warned: list[str] | None = None) -> Access:
    heard = [] if warned is None else warned
    return Access(token, names_only=names_only, cookie="vivace_admin_8001", warn=heard.append)


def cookie_of(rule: Access, now_s: float) -> str:
    return rule.new_cookie(now_s).partition(";")[0]


def test_without_a_token_everybody_who_can_connect_is_admitted() -> None:
    assert access("").admits({}, 0.0)


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN} "])
def test_the_token_is_admitted(shown: str) -> None:
    assert access().admits({"HTTP_AUTHORIZATION": shown}, 0.0)


@pytest.mark.parametrize(
    "shown", ["", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer x", f"Bearer {TOKEN}x", "Bearer \xff"]
)
def test_nothing_else_is(shown: str) -> None:
    assert not access().admits({"HTTP_AUTHORIZATION": shown}, 0.0)


def test_a_wrong_token_is_said_in_the_log_without_it() -> None:
    warned: list[str] = []
    assert not access(warned=warned).knows("guess", {"REMOTE_ADDR": "192.0.2.7"})
    assert warned == ["admin: a wrong token from 192.0.2.7"]


def test_a_cookie_is_good_for_its_time_and_is_not_the_token() -> None:
    rule = access()
    cookie = cookie_of(rule, 1000.0)
    assert TOKEN not in cookie
    environ = {"HTTP_COOKIE": f"theme=dark; {cookie}; other=1"}
    assert rule.admits(environ, 1000.0)
    assert access().admits(environ, 999.0 + LOGIN_S), "another process with the same token"
    assert not rule.admits(environ, 1000.0 + LOGIN_S)
    assert not access("another-token-altogether").admits(environ, 1000.0)


def test_the_cookie_is_kept_from_scripts_and_other_sites() -> None:
    attributes = {part.strip() for part in access().new_cookie(0.0).split(";")[1:]}
    assert attributes == {"Path=/", f"Max-Age={LOGIN_S}", "HttpOnly", "SameSite=Strict"}


@pytest.mark.parametrize(
    "value", ["", ".", "99999999999.", "99999999999.abc", "-1.x", "1e9.x", "\xb2.x", "9" * 50 + ".x"]
)
def test_a_cookie_that_was_made_up(value: str) -> None:
    assert not access().admits({"HTTP_COOKIE": f"vivace_admin_8001={value}"}, 0.0)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8001", "127.0.0.1:8001", "127.9.9.9", "[::1]:8001", "[::1]"])
def test_names_of_this_machine(host: str) -> None:
    assert not access("", names_only=True).is_rebound({"HTTP_HOST": host})


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8001", "127.0.0.1.evil.example", "localhost.", "a localhost"]
)
def test_a_name_that_somebody_has_pointed_here(host: str) -> None:
    assert access("", names_only=True).is_rebound({"HTTP_HOST": host})
    assert not access("").is_rebound({"HTTP_HOST": host}), "at a Unix socket, or with a token"
