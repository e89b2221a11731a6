"""net.self_signed: a certificate for development, by the package and by the command."""

from __future__ import annotations

import socket
import ssl
import sys
from typing import TYPE_CHECKING

import pytest

from vivace.errors import SettingError
from vivace.net import self_signed as module
from vivace.net.self_signed import host_names, self_signed
from vivace.net.tls import Certificates, names_of, read_certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["package", "command"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "command":
        monkeypatch.setitem(sys.modules, "cryptography", None)
    return str(request.param)


def test_it_covers_this_machine(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Box-7.lan")
    cert, _ = self_signed(str(tmp_path))
    facts = read_certificate(cert)
    assert names_of(facts) == ["localhost", "box-7.lan"]
    addresses = [value for kind, value in facts["subjectAltName"] if kind == "IP Address"]
    assert [address.replace("0:0:0:0:0:0:0:1", "::1").strip() for address in addresses] == ["127.0.0.1", "::1"]
    assert (tmp_path / "openssl.cnf").exists() is (way == "command")


def test_it_can_be_served_and_trusted(way: str, tmp_path: Path) -> None:
    cert, key = self_signed(str(tmp_path))
    context = Certificates([(cert, key)], tell=lambda level, message: None).context(0)
    client = ssl.create_default_context(cafile=cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    theirs = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    assert ours.getpeercert()


@pytest.mark.parametrize("name", ["localhost", "with_underscore", "ünicode", "", "x" * 64])
def test_a_host_name_that_no_certificate_can_hold_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert host_names() == ["localhost"]


def test_without_either_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingError, match=r"pip install 'vivace\[tls\]' \(the cryptography package\), or install the"):
        self_signed(str(tmp_path))


def test_a_command_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "openssl"
    command.write_text("#!/bin/sh\necho first >&2\necho the reason >&2\nexit 1\n")
    command.chmod(0o700)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingError, match=r"the openssl command failed \(the reason\)"):
        self_signed(str(tmp_path))


def test_its_life_is_short() -> None:
    """Apple's platforms refuse more than 398 days; a development server needs far fewer."""
    assert module.DAYS <= 398
