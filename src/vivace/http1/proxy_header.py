"""The header of the PROXY protocol, versions 1 and 2: who the client of a proxied connection is, told before HTTP.

Source: "The PROXY protocol, Versions 1 & 2", W. Tarreau, HAProxy Technologies, 2020/03/05; its sections are cited.

Rules:

1. Strict: a line of version 1 has one space between its parts and addresses in their usual form; lengths of version 2
   are those of the addresses and of every TLV, to the byte. Anything else is Refused 400, nothing is guessed.
2. A checksum (PP2_TYPE_CRC32C) that is there has to be right (section 2.2.3).
3. A connection that the proxy made for itself (LOCAL, UNKNOWN, AF_UNSPEC) has no client: its peer is the proxy.
4. Bounded: version 1 by its 107 bytes, version 2 by HEADER_BYTES_MAX.

Must not know: sockets, trust, deadlines.
"""

from __future__ import annotations

import re

from vivace.errors import Refused
from vivace.http1.trusted import unmapped

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""Section 2.2: of version 2; no beginning of HTTP, TLS or version 1."""

LINE_BYTES_MAX = 107
"""Section 2.1: with two full IPv6 addresses, and its CRLF."""

HEADER_BYTES_MAX = 16384
"""Of version 2; HAProxy's own buffer (tune.bufsize). The specification allows 65,551, nginx takes 4,096."""

LOCAL, PROXY = 0, 1
UNSPEC, INET, INET6, UNIX = 0, 1, 2, 3
STREAM = 1
ADDRESS_BYTES = {INET: 12, INET6: 36, UNIX: 216}
PP2_TYPE_CRC32C, PP2_TYPE_SSL = 0x03, 0x20
PP2_CLIENT_SSL = 0x01

# Section 2.1; a port is 0 to 65535 in decimal, without leading zeros.
_line = re.compile(
    rb"PROXY (?:(TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]{1,5}) ([0-9]{1,5})|UNKNOWN(?: .*)?)"
).fullmatch

_crc_table: list[int] = []


class Client:
    """What a header says. `host` and `port` are None where the connection is the proxy's own; "" at a Unix socket."""

    __slots__ = ("host", "port", "tls")

    def __init__(self, host: str | None, port: str | None, tls: bool = False) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        """The client reached the proxy by TLS (PP2_TYPE_SSL; version 1 cannot tell)."""


NOBODY = Client(None, None)


def read_header(data: bytes) -> tuple[Client, int] | None:
    """The header at the front of `data` and its length in bytes; None while it is not complete. Raises Refused 400."""
    if data.startswith(SIGNATURE):
        return _read_binary(data)
    if data.startswith(b"PROXY "):
        end = data.find(b"\r\n", 0, LINE_BYTES_MAX)
        if end < 0:
            if len(data) >= LINE_BYTES_MAX:
                raise Refused(400, "the PROXY line does not end within 107 bytes")
            return None
        return _read_line(data[:end]), end + 2
    if SIGNATURE.startswith(data) or b"PROXY ".startswith(data):
        return None
    raise Refused(400, "the connection does not begin with a PROXY protocol header, which proxy_protocol demands")


# Version 1.


def _read_line(line: bytes) -> Client:
    match = _line(line)
    if match is None:
        raise Refused(400, "the PROXY line is not as section 2.1 of the PROXY protocol has it")
    family = match[1]
    if family is None:
        return NOBODY
    version = 4 if family == b"TCP4" else 6
    source, _ = _address(match[2], version), _address(match[3], version)
    for port in (match[4], match[5]):
        if int(port) > 65535 or (port[0] == 0x30 and port != b"0"):
            raise Refused(400, "a port of the PROXY line is no port")
    return Client(source, match[4].decode())


def _address(text: bytes, version: int) -> str:
    from ipaddress import ip_address

    try:
        address = ip_address(text.decode())
    except ValueError:
        raise Refused(400, "an address of the PROXY line is none") from None
    if address.version != version:
        raise Refused(400, "an address of the PROXY line is of another family than the line")
    return str(unmapped(address))


# Version 2.


def _read_binary(data: bytes) -> tuple[Client, int] | None:
    """Section 2.2: signature, version and command, family and transport, length; addresses; TLVs."""
    if len(data) < 16:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    size = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command not in (LOCAL, PROXY):
        raise Refused(400, "the PROXY header has a version or a command that is not known")
    if size > HEADER_BYTES_MAX:
        raise Refused(400, f"the PROXY header is longer than {HEADER_BYTES_MAX} bytes")
    if len(data) < size:
        return None
    if command == LOCAL:  # whatever else it says is to be discarded
        return NOBODY, size
    header = data[:size]
    if family == UNSPEC:
        _check_tlvs(header, 16)
        return NOBODY, size
    if family not in ADDRESS_BYTES or transport != STREAM:
        raise Refused(400, "the PROXY header is of a family or a transport that this connection cannot have")
    end = 16 + ADDRESS_BYTES[family]
    if size < end:
        raise Refused(400, "the PROXY header is too short for its addresses")
    tls = _check_tlvs(header, end)
    if family == UNIX:
        return Client("", "", tls), size
    from ipaddress import ip_address

    width = 4 if family == INET else 16
    source = unmapped(ip_address(header[16 : 16 + width]))
    port = int.from_bytes(header[16 + 2 * width : 18 + 2 * width], "big")
    return Client(str(source), str(port), tls), size


def _check_tlvs(header: bytes, at: int) -> bool:
    """Checks the TLVs from `at` on; whether they say that the client came by TLS."""
    tls = False
    size = len(header)
    while at < size:
        kind, length = header[at], int.from_bytes(header[at + 1 : at + 3], "big")
        value = header[at + 3 : at + 3 + length]
        if at + 3 > size or len(value) < length:
            raise Refused(400, "a TLV of the PROXY header is longer than the header")
        if kind == PP2_TYPE_CRC32C:
            blank = header[: at + 3] + bytes(length) + header[at + 3 + length :]
            if length != 4 or int.from_bytes(value, "big") != crc32c(blank):
                raise Refused(400, "the checksum of the PROXY header is wrong")
        elif kind == PP2_TYPE_SSL:
            if length < 5:  # client (1 byte), verify (4 bytes)
                raise Refused(400, "the TLV on TLS in the PROXY header is too short")
            tls = bool(value[0] & PP2_CLIENT_SSL)
        at += 3 + length
    return tls


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), RFC 9260 appendix A."""
    if not _crc_table:
        for value in range(256):
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
            _crc_table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _crc_table[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF
