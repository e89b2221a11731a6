"""Headers of the PROXY protocol as a proxy writes them; shares no code with vivace."""

from __future__ import annotations

import socket

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX, UNSPEC = 0x11, 0x21, 0x31, 0x00
SSL, CRC32C, NOOP, AUTHORITY = 0x20, 0x03, 0x04, 0x02


def line(source: str = "192.0.2.1", port: object = 5000, family: str = "TCP4", to: str = "192.0.2.9") -> bytes:
    """A header of version 1."""
    return f"PROXY {family} {source} {to} {port} 443\r\n".encode()


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def binary(
    source: str = "192.0.2.1", port: int = 5000, tlvs: bytes = b"", *, family: int | None = None, command: int = PROXY
) -> bytes:
    """A header of version 2."""
    if family is None:
        family = TCP6 if ":" in source else TCP4
    addresses = {
        TCP4: lambda: socket.inet_aton(source) + socket.inet_aton("192.0.2.9"),
        TCP6: lambda: socket.inet_pton(socket.AF_INET6, source) + bytes(16),
        UNIX: lambda: source.encode().ljust(108, b"\0") + bytes(108),
    }
    block = addresses[family]() if family in addresses else b""
    if family in (TCP4, TCP6):
        block += port.to_bytes(2, "big") + (443).to_bytes(2, "big")
    block += tlvs
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


def summed(source: str = "192.0.2.1", tlvs: bytes = b"") -> bytes:
    """A header of version 2 with its checksum."""
    blank = binary(source, tlvs=tlvs + tlv(CRC32C, bytes(4)))
    return blank[:-4] + crc32c(blank).to_bytes(4, "big")


def crc32c(data: bytes) -> int:
    """Bit by bit, from the polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
