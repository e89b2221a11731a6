"""http1.trusted: who is a trusted proxy, in every spelling of an address, and that what is remembered stays bounded."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.http1 import trusted as module
from vivace.http1.trusted import NODE_CHARS_MAX, Trusted, is_port

NETWORKS = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1")


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", True),
        ("2001:0DB8:0:0:0:0:0:1", True),
        ("2001:db9::1", False),
        ("::1", True),
        ("::2", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:a01:203", True),
        ("::ffff:11.1.2.3", False),
        ("::10.1.2.3", False),
        ("2001:db8::1%eth0", True),
        ("", False),
        ("localhost", False),
        ("10.0.0.1 ", False),
        ("010.0.0.1", False),
    ],
)
def test_peers(host: str, wanted: bool) -> None:
    trusted = Trusted(NETWORKS)
    assert trusted.peer(host) is wanted
    assert trusted.peer(host) is wanted  # from memory


def test_unix_is_a_network_of_its_own() -> None:
    assert Trusted(["unix"]).peer("")
    assert not Trusted(["unix"]).peer("127.0.0.1")
    assert not Trusted(["0.0.0.0/0", "::/0"]).peer("")


@pytest.mark.parametrize("network", ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "0.0.0.0/0"])
def test_networks_of_mapped_addresses(network: str) -> None:
    trusted = Trusted([network])
    assert trusted.peer("10.1.2.3")
    assert trusted.peer("::ffff:10.1.2.3")
    assert not trusted.peer("2001:db8::1")


def test_ipv6_everything_is_not_ipv4_everything() -> None:
    assert not Trusted(["::/0"]).peer("10.1.2.3")


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Trusted(["10.0.0.1/8"])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10.0.0.1", ("10.0.0.1", "", True)),
        (" 192.0.2.7\t", ("192.0.2.7", "", False)),
        ("192.0.2.7:80", ("192.0.2.7", "80", False)),
        ("2001:DB8::0:1", ("2001:db8::1", "", True)),
        ("[2001:db8::1]", ("2001:db8::1", "", True)),
        ("[2001:db8::1]:65535", ("2001:db8::1", "65535", True)),
        ("::ffff:192.0.2.1", ("192.0.2.1", "", True)),
        ("[::ffff:192.0.2.1]:80", ("192.0.2.1", "80", True)),
        ("2001:db8::1:443", ("2001:db8::1:443", "", True)),  # without brackets there is no port
    ],
)
def test_hops(text: str, wanted: object) -> None:
    assert Trusted(NETWORKS).node(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "localhost", "10.0.0.1.", "10.0.0", "10.0.0.01", "0x0a.0.0.1", "1", "unix:"),
        *("10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:+80", "10.0.0.1:８０", "10.0.0.1:80:80", "10.0.0.1/8"),
        *("[10.0.0.1]", "[::1", "::1]", "[::1]80", "[::1]:", "[::1]:x", "[]", "[]:80", "[[::1]]", "fe80::1%eth0"),
        *('"10.0.0.1"', "10.0.0.1\x00", "10.0.0.1\n", "1" * 100, "[" + "0:" * 40 + "]", "::1 ::1"),
    ],
)
def test_what_is_no_hop(text: str) -> None:
    assert Trusted(NETWORKS).node(text) == ("", "", False)


@settings(max_examples=50)
@given(st.one_of(st.text(max_size=80), st.text("0123456789abcdef:.[]%", max_size=60)))
def test_any_text_is_an_address_or_none(text: str) -> None:
    address, port, _ = Trusted(NETWORKS).node(text)
    assert not address or str(ipaddress.ip_address(address)) == address
    assert not port or is_port(port)


@settings(max_examples=50)
@given(st.ip_addresses(), st.ip_addresses())
def test_membership_is_that_of_ipaddress(address: object, other: object) -> None:
    """For single addresses: the mask arithmetic against equality, mapped addresses unwrapped."""

    def plain(value: object) -> object:
        return getattr(value, "ipv4_mapped", None) or value

    trusted = Trusted([str(address)])
    assert trusted.peer(str(address))
    assert trusted.peer(str(other)) is (plain(address) == plain(other))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEEN_MAX", 10)
    trusted = Trusted(["unix", "10.0.0.0/8"])
    for number in range(100):
        assert trusted.peer(f"10.0.0.{number}")
        assert trusted.node(f"10.0.0.{number}:80")[2]
        trusted.node("x" * (NODE_CHARS_MAX + number + 1))
        assert len(trusted._peers) <= 11
        assert len(trusted.nodes) <= 10
    assert trusted.peer("")
    assert max(map(len, trusted.nodes)) <= NODE_CHARS_MAX


@pytest.mark.parametrize("text", ["", "0", "65536", "999999", "+1", "-1", " 1", "1 ", "²", "1_0"])
def test_what_is_no_port(text: str) -> None:
    assert not is_port(text)
    assert is_port("1")
    assert is_port("65535")
