"""net.tls: contexts from files and options, names, renewal. What is served over them stands in test_secure.py."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from certs import Authority, Pair
from vivace.errors import SettingError
from vivace.net import tls
from vivace.net.tls import CHECK_S, Certificates, distinguished_name

if TYPE_CHECKING:
    from typing import Any

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Told(list[tuple[str, str]]):
    """What the operator is told."""

    def __call__(self, level: str, message: str) -> None:
        self.append((level, message))

    @property
    def warnings(self) -> list[str]:
        return [message for level, message in self if level == "warning"]


@pytest.fixture
def told() -> Told:
    return Told()


def made(told: Told, *pairs: Pair, **options: Any) -> Certificates:
    files = [(str(pair.cert), str(pair.key)) for pair in pairs]
    return Certificates(files, tell=told, **{"ciphers": CIPHERS, **options})


def shaken(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> tuple[ssl.SSLObject, Any]:
    """(client's side, server's side) after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return ours, theirs


def certificate_for(certificates: Certificates, authority: Authority, name: str | None, now: float = 0.0) -> list[str]:
    """The names in what a client is shown that asks for `name`."""
    client = authority.client(check_hostname=False)
    ours, _ = shaken(certificates.context(now), client, name)
    found: Any = ours.getpeercert()
    return [value for _, value in found["subjectAltName"]]


# Names.


def test_several_certificates_are_told_apart_by_name(authority: Authority, told: Told) -> None:
    first = authority.issue("one.test", "www.one.test")
    second = authority.issue("two.test", "*.two.test")
    third = authority.issue("x.two.test", "one.test")
    certificates = made(told, first, second, third)
    shown = {
        name: certificate_for(certificates, authority, name)[0]
        for name in ("one.test", "WWW.One.Test", "two.test", "a.two.test", "x.two.test", "a.b.two.test", "three.test")
    }
    assert shown == {
        "one.test": "one.test",  # the first that has a name serves it
        "WWW.One.Test": "one.test",
        "two.test": "two.test",
        "a.two.test": "two.test",
        "x.two.test": "x.two.test",  # a name goes before a wildcard
        "a.b.two.test": "one.test",  # RFC 6125 section 6.4.3: a wildcard stands for one label
        "three.test": "one.test",
    }
    assert certificate_for(certificates, authority, None) == ["one.test", "www.one.test"]
    assert told == []


def test_what_the_client_asked_for_is_known(authority: Authority, told: Told) -> None:
    certificates = made(told, authority.issue("one.test"))
    client = authority.client(check_hostname=False)
    assert shaken(certificates.context(0), client, "other.test")[1].asked_for == "other.test"
    assert shaken(certificates.context(0), client, None)[1].asked_for == ""


# What is agreed on.


def test_safe_defaults(authority: Authority, told: Told) -> None:
    context = made(told, authority.issue("one.test")).context(0)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.verify_mode is ssl.CERT_NONE
    old = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert old
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in old)


@pytest.mark.parametrize(
    ("min_version", "newest", "spoken"),
    [
        ("1.2", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("1.2", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("1.3", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("1.3", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_versions(authority: Authority, told: Told, min_version: str, newest: Any, spoken: str | None) -> None:
    certificates = made(told, authority.issue("one.test"), min_version=min_version)
    client = authority.client(maximum_version=newest)
    if spoken is None:
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
            shaken(certificates.context(0), client, "one.test")
    else:
        assert shaken(certificates.context(0), client, "one.test")[1].version() == spoken


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)]
)
def test_alpn(authority: Authority, told: Told, offered: list[str], chosen: str | None) -> None:
    client = authority.client()
    if offered:
        client.set_alpn_protocols(offered)
    ours, theirs = shaken(made(told, authority.issue("one.test")).context(0), client, "one.test")
    assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == chosen


def test_ciphers_can_be_chosen(authority: Authority, told: Told) -> None:
    certificates = made(told, authority.issue("one.test"), ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    client = authority.client(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert shaken(certificates.context(0), client, "one.test")[1].cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


# What cannot be used.


def problems(told: Told, *files: tuple[str, str], **options: Any) -> str:
    with pytest.raises(SettingError) as raised:
        Certificates(files, tell=told, **options)
    return "\n".join(raised.value.problems)


@pytest.fixture
def junk(tmp_path: Path) -> str:
    path = tmp_path / "junk.pem"
    path.write_text("neither a certificate nor a key\n")
    return str(path)


def test_a_file_that_is_not_there(authority: Authority, told: Told, tmp_path: Path) -> None:
    pair = authority.issue("one.test")
    missing = str(tmp_path / "missing.pem")
    no_file = f"{missing!r} cannot be read: No such file or directory"
    assert problems(told, (missing, str(pair.key))) == f"certfile {no_file}"
    assert problems(told, (str(pair.cert), missing)) == f"keyfile {no_file}"
    assert problems(told, (str(pair.cert), str(pair.key)), ca_file=missing) == f"tls_ca_file {no_file}"
    assert problems(told, (str(tmp_path), "")) == f"certfile {str(tmp_path)!r} cannot be read: Is a directory"


def test_a_file_that_holds_something_else(authority: Authority, told: Told, junk: str, tmp_path: Path) -> None:
    pair = authority.issue("one.test")
    cert, key = str(pair.cert), str(pair.key)
    half = tmp_path / "half.pem"
    half.write_text(pair.cert.read_text()[:200])
    for file in (junk, str(half), key):
        assert f"certfile {file!r} holds no certificate in PEM" in problems(told, (file, key))
        assert f"tls_ca_file {file!r} holds no certificate in PEM" in problems(told, (cert, key), ca_file=file)
    for file in (junk, cert):
        assert f"keyfile {file!r} holds no private key in PEM" in problems(told, (cert, file))
    assert "name the key's file by keyfile" in problems(told, (cert, ""))


def test_the_key_of_another_certificate(authority: Authority, told: Told) -> None:
    one, two = authority.issue("one.test"), authority.issue("two.test")
    found = problems(told, (str(one.cert), str(two.key)))
    assert found.startswith(f"keyfile {str(two.key)!r} is not the key of certfile {str(one.cert)!r}")


def test_key_and_certificate_in_one_file(authority: Authority, told: Told, tmp_path: Path) -> None:
    pair = authority.issue("one.test")
    both = tmp_path / "both.pem"
    for parts in ((pair.key, pair.cert), (pair.cert, pair.key)):
        both.write_bytes(b"".join(part.read_bytes() for part in parts))
        certificates = Certificates([(str(both), "")], tell=told)
        assert certificate_for(certificates, authority, "one.test") == ["one.test"]


def test_ciphers_that_nobody_has(authority: Authority, told: Told) -> None:
    pair = authority.issue("one.test")
    assert "tls_ciphers 'NONE-SUCH' selects no cipher" in problems(
        told, (str(pair.cert), str(pair.key)), ciphers="NONE-SUCH"
    )


def test_every_problem_is_told_at_once_and_none_twice(told: Told, junk: str) -> None:
    found = problems(told, (junk, junk), (junk, junk), ("/none", ""))
    assert len(found.split("\n")) == 2


def test_an_encrypted_key(authority: Authority, told: Told) -> None:
    pair = authority.issue("one.test", password=b"secret")
    found = problems(told, (str(pair.cert), str(pair.key)))
    assert found.startswith(f"keyfile {str(pair.key)!r}: the key is encrypted, and there is no terminal")
    found = problems(told, (str(pair.cert), str(pair.key)), ask=lambda path: "wrong")
    assert found == f"keyfile {str(pair.key)!r}: the passphrase is wrong"


def test_the_passphrase_is_asked_for_once(authority: Authority, told: Told) -> None:
    pair = authority.issue("one.test", password=b"secret")
    asked: list[str] = []

    def ask(path: str) -> str:
        asked.append(path)
        return "secret"

    certificates = made(told, pair, ask=ask)
    assert certificates.reload()
    assert asked == [str(pair.key)]
    # A new key with another passphrase: nobody is asked while the server runs.
    pair.replace(authority.issue("two.test", password=b"another"))
    assert not certificates.reload()
    assert "the passphrase is wrong" in told.warnings[0]


@pytest.mark.parametrize(("days", "said"), [(-1, "expired on"), (0, "is valid from")])
def test_a_certificate_out_of_its_time_is_served_with_a_warning(
    authority: Authority, told: Told, days: int, said: str
) -> None:
    pair = authority.issue("one.test", days=days)
    made(told, pair)
    assert [f"certfile {str(pair.cert)!r} {said}" in warning for warning in told.warnings] == [True]


def test_a_further_certificate_without_names(authority: Authority, told: Told) -> None:
    nameless = authority.issue()
    certificates = made(told, nameless)
    assert told == []
    certificates = made(told, authority.issue("one.test"), nameless)
    assert "it will never be chosen" in told.warnings[0]
    assert certificate_for(certificates, authority, "nobody") == ["one.test"]


# Renewal.


@pytest.fixture
def pair(authority: Authority) -> Pair:
    return authority.issue("old.test", to="renewed")


def shown(certificates: Certificates, authority: Authority, now: float) -> str:
    return certificate_for(certificates, authority, None, now)[0]


def test_files_that_stay_are_not_read_again(
    pair: Pair, authority: Authority, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = made(told, pair)
    first = certificates.context(0)
    pair.cert.touch()
    pair.cert.write_bytes(pair.cert.read_bytes())
    stats: list[str] = []
    stat = os.stat
    monkeypatch.setattr(tls.os, "stat", lambda path: stats.append(path) or stat(path))
    for tenth in range(19):  # less than CHECK_S after the first look
        assert certificates.context(tenth / 10) is first
    assert stats == []
    certificates.context(CHECK_S)
    assert sorted(stats) == sorted([str(pair.cert), str(pair.key)])


def test_changed_files_are_taken_up_at_the_second_look(pair: Pair, authority: Authority, told: Told) -> None:
    certificates = made(told, pair)
    assert shown(certificates, authority, 0) == "old.test"
    pair.replace(authority.issue("new.test"))
    assert shown(certificates, authority, CHECK_S) == "old.test"
    assert shown(certificates, authority, 2 * CHECK_S) == "new.test"
    assert told == [("info", "the certificates were read again")]
    assert certificates.context(3 * CHECK_S) is certificates.context(9 * CHECK_S)


def test_a_pair_that_is_half_replaced_is_left_alone(pair: Pair, authority: Authority, told: Told) -> None:
    certificates = made(told, pair)
    new = authority.issue("new.test")
    certificates.context(0)
    pair.cert.write_bytes(new.cert.read_bytes()[:100])
    assert shown(certificates, authority, 1 * CHECK_S) == "old.test"
    pair.cert.write_bytes(new.cert.read_bytes())
    assert shown(certificates, authority, 2 * CHECK_S) == "old.test"
    pair.key.write_bytes(new.key.read_bytes())
    assert shown(certificates, authority, 3 * CHECK_S) == "old.test"
    assert shown(certificates, authority, 4 * CHECK_S) == "new.test"
    assert told.warnings == []


def test_broken_files_leave_the_old_ones_serving_and_are_said_once(
    pair: Pair, authority: Authority, told: Told
) -> None:
    certificates = made(told, pair)
    pair.cert.write_text("broken")
    for look in range(9):
        assert shown(certificates, authority, look * CHECK_S) == "old.test"
    assert [warning.startswith("the certificates in use go on serving") for warning in told.warnings] == [True]
    assert f"certfile {str(pair.cert)!r} holds no certificate" in told.warnings[0]
    pair.cert.unlink()
    for look in range(9, 19):
        assert shown(certificates, authority, look * CHECK_S) == "old.test"
    assert len(told.warnings) == 2
    pair.replace(authority.issue("new.test"))
    assert shown(certificates, authority, 20 * CHECK_S) == "old.test"
    assert shown(certificates, authority, 21 * CHECK_S) == "new.test"
    assert len(told.warnings) == 2


def test_the_old_files_back_again(pair: Pair, authority: Authority, told: Told, tmp_path: Path) -> None:
    certificates = made(told, pair)
    pair.cert.rename(tmp_path / "aside")
    for look in range(3):
        certificates.context(look * CHECK_S)
    (tmp_path / "aside").rename(pair.cert)
    for look in range(3, 6):
        assert shown(certificates, authority, look * CHECK_S) == "old.test"
    assert len(told) == 1


def test_a_link_to_another_version(authority: Authority, told: Told, tmp_path: Path) -> None:
    """certbot's live/ and Kubernetes' ..data: the link changes, the files stay."""
    old, new = authority.issue("old.test"), authority.issue("new.test")
    link, fresh = tmp_path / "live", tmp_path / "fresh"
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder, version in zip(folders, (old, new), strict=True):
        folder.mkdir()
        Pair(folder / "cert", folder / "key").replace(version)
    link.symlink_to(folders[0])
    certificates = made(told, Pair(link / "cert", link / "key"))
    assert shown(certificates, authority, 0) == "old.test"
    fresh.symlink_to(folders[1])
    fresh.rename(link)
    certificates.context(CHECK_S)
    assert shown(certificates, authority, 2 * CHECK_S) == "new.test"


def test_what_has_no_files_is_not_watched(pair: Pair, authority: Authority, told: Told) -> None:
    certificates = made(told, pair, watch=False)
    first = certificates.context(0)
    pair.cert.unlink()
    pair.key.unlink()
    assert all(certificates.context(look * CHECK_S) is first for look in range(9))
    assert told == []


# Names of persons and machines.


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([[("countryName", "GB")], [("organizationName", "A, B")], [("commonName", "me")]], r"CN=me,O=A\, B,C=GB"),
        ([[("commonName", "a"), ("userId", "b")]], "CN=a+UID=b"),
        ([[("emailAddress", "a@b")]], "emailAddress=a@b"),
        ([[("commonName", ' #a"+;<>\\ ')]], 'CN=\\ #a\\"\\+\\;\\<\\>\\\\\\ '),
        ([[("commonName", "#a\r\nX: y")]], r"CN=\#a\0D\0AX: y"),
        ([[("commonName", "ž")]], "CN=\xc5\xbe"),
        ([[("commonName", " ")]], "CN=\\ "),
        ([[("commonName", "a\\ ")]], "CN=a\\\\\\ "),
        ([], ""),
    ],
)
def test_distinguished_name(parts: Any, expected: str) -> None:
    """RFC 4514 section 2.4; PEP 3333: strings of latin-1."""
    assert distinguished_name(parts) == expected
