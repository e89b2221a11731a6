"""http1.proxy_header: both versions of the PROXY protocol, whole, cut at every byte, and broken in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_headers import (
    AUTHORITY,
    CRC32C,
    LOCAL,
    NOOP,
    PROXY,
    SIGNATURE,
    SSL,
    TCP4,
    TCP6,
    UNIX,
    UNSPEC,
    binary,
    line,
    summed,
    tlv,
)
from vivace.errors import Refused
from vivace.http1.proxy_header import HEADER_BYTES_MAX, LINE_BYTES_MAX, crc32c, read_header

if TYPE_CHECKING:
    from typing import Any

BEHIND = b"GET / HTTP/1.1\r\n\r\n"
NOBODY = (None, None, False)
TLS = tlv(SSL, b"\x01" + bytes(4) + tlv(0x21, b"TLSv1.3"))
LONGEST = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

HEADERS: list[tuple[bytes, Any]] = [
    (line(), ("192.0.2.1", "5000", False)),
    (line(port=0), ("192.0.2.1", "0", False)),
    (line(port=65535), ("192.0.2.1", "65535", False)),
    (line("2001:db8::1", family="TCP6", to="::1"), ("2001:db8::1", "5000", False)),
    (line("2001:DB8:0:0::1", family="TCP6", to="::1"), ("2001:db8::1", "5000", False)),
    (line("::ffff:192.0.2.1", family="TCP6", to="::1"), ("192.0.2.1", "5000", False)),
    (b"PROXY UNKNOWN\r\n", NOBODY),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", NOBODY),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", NOBODY),
    (binary(), ("192.0.2.1", "5000", False)),
    (binary(port=0), ("192.0.2.1", "0", False)),
    (binary("2001:db8::1"), ("2001:db8::1", "5000", False)),
    (binary("::ffff:192.0.2.1"), ("192.0.2.1", "5000", False)),
    (binary("/run/a.sock", family=UNIX), ("", "", False)),
    (binary(tlvs=TLS), ("192.0.2.1", "5000", True)),
    (binary(tlvs=tlv(SSL, bytes(5))), ("192.0.2.1", "5000", False)),
    (binary(tlvs=tlv(NOOP, b"") + tlv(AUTHORITY, b"shop.example") + tlv(0xEA, b"vpce")), ("192.0.2.1", "5000", False)),
    (binary(tlvs=tlv(NOOP, bytes(16000))), ("192.0.2.1", "5000", False)),
    (summed(), ("192.0.2.1", "5000", False)),
    (summed("2001:db8::1", TLS + tlv(NOOP, b"...")), ("2001:db8::1", "5000", True)),
    (binary(family=UNSPEC), NOBODY),
    (binary(family=UNSPEC, tlvs=tlv(NOOP, b"1234")), NOBODY),
    (binary(command=LOCAL, family=UNSPEC), NOBODY),
    (binary(command=LOCAL), NOBODY),
    (binary(command=LOCAL, family=UNSPEC, tlvs=b"rubbish"), NOBODY),
]
IDS = [repr(header[:60]) for header, _ in HEADERS]


def read(data: bytes) -> Any:
    """((host, port, tls), length), None."""
    found = read_header(data)
    return found and ((found[0].host, found[0].port, found[0].tls), found[1])


@pytest.mark.parametrize(("header", "wanted"), HEADERS, ids=IDS)
def test_headers(header: bytes, wanted: Any) -> None:
    assert read(header) == read(header + BEHIND) == (wanted, len(header))
    for end in range(1, min(len(header), 300)):
        assert read(header[:end]) is None


def test_the_longest_line() -> None:
    header = f"PROXY TCP6 {LONGEST} {LONGEST} 65535 65535\r\n".encode()
    assert len(header) == 104
    assert read(header) == ((LONGEST, "65535", False), 104)
    assert len(HEADERS[8][0]) == LINE_BYTES_MAX


def test_checksum() -> None:
    """RFC 9260, and the check value of the catalogue of CRC algorithms."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


BAD_LINES = [
    *(
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PROXY\r\n",
        b"PROXY  TCP4\r\n",
        b"PROXYTCP4 ",
        b"proxy TCP4 ",
        b"\r\n\r\nG",
    ),
    *(b"PROXY TCP4\r\n", b"PROXY \r\n", b"PROXY tcp4 192.0.2.1 192.0.2.9 1 2\r\n", b"PROXY UNKNOWNX\r\n"),
    *(b"PROXY UDP4 192.0.2.1 192.0.2.9 1 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.9 1\r\n"),
    *(b"PROXY TCP4  192.0.2.1 192.0.2.9 1 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 \r\n"),
    *(b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2 3\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.9 01 2\r\n"),
    *(b"PROXY TCP4 192.0.2.1 192.0.2.9 1 65536\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.9 -1 2\r\n"),
    *(b"PROXY TCP4 192.0.2.01 192.0.2.9 1 2\r\n", b"PROXY TCP4 192.0.2 192.0.2.9 1 2\r\n"),
    *(b"PROXY TCP4 ::1 192.0.2.9 1 2\r\n", b"PROXY TCP6 192.0.2.1 ::1 1 2\r\n", b"PROXY TCP6 ::1 192.0.2.9 1 2\r\n"),
    *(b"PROXY TCP6 [::1] ::1 1 2\r\n", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", b"PROXY TCP6 ::1::2 ::1 1 2\r\n"),
    *(b"PROXY TCP4 192.0.2.1\t192.0.2.9 1 2\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\n" + b"x" * 107),
    *(
        b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
        b"PROXY UNKNOWN " + b"x" * 93,
        b"PROXY TCP4 192.0.2.1 localhost 1 2\r\n",
    ),
]
BAD_HEADERS = [
    *(binary()[:12] + byte + binary()[13:] for byte in (b"\x11", b"\x31", b"\x22", b"\x2f", b"\x00")),
    *(binary()[:13] + byte + binary()[14:] for byte in (b"\x12", b"\x10", b"\x41", b"\xf1", b"\x22")),
    SIGNATURE + bytes([PROXY, TCP4, 0, 11]) + bytes(11),
    SIGNATURE + bytes([PROXY, TCP6, 0, 35]) + bytes(35),
    SIGNATURE + bytes([PROXY, UNIX, 0, 215]) + bytes(215),
    SIGNATURE + bytes([PROXY, TCP4, 0x40, 0]),
    SIGNATURE + bytes([LOCAL, TCP4, 0xFF, 0xFF]),
    SIGNATURE[:11] + b"\r",
    binary(tlvs=b"\x04"),
    binary(tlvs=b"\x04\x00"),
    binary(tlvs=b"\x04\x00\x01"),
    binary(tlvs=tlv(NOOP, b"1234")[:-1]),
    binary(tlvs=tlv(NOOP, b"1234") + b"\0"),
    binary(tlvs=tlv(SSL, bytes(4))),
    binary(tlvs=tlv(CRC32C, bytes(4))),
    binary(tlvs=tlv(CRC32C, b"")),
    binary(tlvs=tlv(CRC32C, bytes(5))),
    binary(family=UNSPEC, tlvs=b"\x04\x00"),
    summed().replace(b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02", 1),
]


@pytest.mark.parametrize("data", BAD_LINES + BAD_HEADERS, ids=lambda data: repr(data[:60]))
def test_bad_headers(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        read_header(data)
    assert refused.value.status == 400


def test_what_is_waited_for_is_bounded() -> None:
    """No beginning of a header that is longer than one may be is waited for."""
    assert read(b"PROXY " + b"x" * (LINE_BYTES_MAX - 7)) is None
    for data in (b"PROXY " + b"x" * (LINE_BYTES_MAX - 6), SIGNATURE + bytes([PROXY, TCP4]) + b"\x3f\xf1"):
        with pytest.raises(Refused):
            read_header(data)
    assert read(SIGNATURE + bytes([PROXY, TCP4]) + b"\x3f\xf0" + bytes(HEADER_BYTES_MAX - 17)) is None


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=120),
        st.binary(max_size=120).map(lambda data: SIGNATURE + data),
        st.binary(max_size=60).map(lambda data: SIGNATURE + bytes([PROXY, TCP4, 0, 12 + len(data)]) + bytes(12) + data),
        st.lists(
            st.sampled_from(["TCP4", "TCP6", "UNKNOWN", " ", "1", "::1", "10.0.0.1", "\r\n", "\r"]), max_size=14
        ).map(lambda words: ("PROXY " + "".join(words)).encode()),
    )
)
def test_any_bytes_are_a_header_or_a_beginning_or_refused(data: bytes) -> None:
    """And the same header whatever follows it."""
    try:
        found = read(data)
    except Refused:
        return
    assert found is None or found == read(data[: found[1]] + BEHIND)
