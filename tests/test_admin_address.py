"""The settings of the admin address: what is refused before anything is opened, and that the token stays secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from vivace.cli.print_config import as_toml
from vivace.config.load import from_keywords
from vivace.config.observing import is_local
from vivace.errors import SettingError
from vivace.net.listen import close_listener
from vivace.worker.admin_address import open_admin, read_token

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "address", ["8001", "localhost:8001", "127.0.0.1:8001", "127.1.2.3:1", "[::1]:8001", "unix:/run/a"]
)
def test_local_addresses_need_no_token(address: str) -> None:
    assert is_local(address)
    assert from_keywords(admin=address).admin == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8001", ":8001", "[::]:8001", "10.0.0.1:1", "127.0.0.1.example:1", "a.example:1"]
)
def test_all_others_do(address: str) -> None:
    with pytest.raises(SettingError, match="needs a token; set VIVACE_ADMIN_TOKEN"):
        from_keywords(admin=address)
    assert from_keywords(admin=address, admin_token=TOKEN).admin_token == TOKEN


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"admin": "fd://3"}, "give host:port or unix:path"),
        ({"admin": "http://x"}, "write host:port"),
        ({"admin": "8001", "metrics": False}, "nothing to show without metrics"),
        ({"admin": "8001", "admin_token": "short"}, "at least 16 characters"),
        ({"admin": "8001", "admin_token": "with a space in it"}, "ASCII without spaces"),
        ({"admin": "8001", "admin_token": TOKEN, "admin_token_file": "x"}, "give one"),
    ],
)
def test_what_cannot_be_meant(settings: dict[str, object], why: str) -> None:
    with pytest.raises(SettingError, match=why):
        from_keywords(**settings)


def test_the_token_is_never_shown() -> None:
    settings = from_keywords(admin="8001", admin_token=TOKEN)
    assert TOKEN not in repr(settings)
    assert TOKEN not in as_toml(settings)
    assert "# admin_token is given and not shown  # keyword argument" in as_toml(settings)


def test_a_token_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f" {TOKEN}\nanother line\n")
    assert read_token(str(path)) == TOKEN
    assert read_token("") == ""


@pytest.mark.parametrize(
    ("content", "why"), [(None, "cannot be read"), ("", "empty"), ("short", "16 characters"), ("\xff", "cannot")]
)
def test_a_file_without_a_token(tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(SettingError, match=f"admin_token_file .*: .*{why}"):
        read_token(str(path))


def test_an_address_that_is_taken_is_said_to_be_the_admin_one() -> None:
    first = open_admin(from_keywords(admin="127.0.0.1:0"), {})
    assert first is not None
    try:
        with pytest.raises(SettingError, match=r"admin '127\.0\.0\.1:.*another program listens there"):
            open_admin(from_keywords(admin=f"127.0.0.1:{first.listener.server_port}"), {})
    finally:
        close_listener(first.listener)


def test_the_listener_of_the_program_before_is_taken_over() -> None:
    settings = from_keywords(admin="127.0.0.1:0")
    first = open_admin(settings, {})
    assert first is not None
    inherited = {first.listener.spec: first.listener}
    second = open_admin(settings, inherited)
    assert second is not None
    assert second.listener is first.listener
    assert inherited == {}
    close_listener(first.listener)
