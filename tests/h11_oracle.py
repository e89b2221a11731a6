"""h11 as the oracle for whole requests: head, body, and where the next request begins.

Invariants:

1. What vivace serves, h11 reads as the same request: method, target, version, fields, body, rest. The one difference
   is LAXER.
2. What h11 reads, vivace serves, but for the differences in STRICTER, each intended.

`agree` holds one stream to both. test_oracle_h11.py feeds it the corpus and what hypothesis makes, `fuzz` all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv6Address
from typing import Any, NamedTuple

import h11

from wire_corpus import Outcome, exchange

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
AUTHORITY = rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2}){1,255})(?::([0-9]*))?"
PATH = rb"(?:/(?:[!-\"$&->@-~]|%(?!00)[0-9A-Fa-f]{2})*)"
EXTENSION = rb'[ \t]*;[ \t]*[\w!#$%&\'*+.^`|~-]+(?:[ \t]*=[ \t]*(?:[\w!#$%&\'*+.^`|~-]+|"(?:[^"\\]|\\.)*"))?'


class Read(NamedTuple):
    """A request as h11 reads it."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    rest: bytes
    head: bytes  # as sent
    framing: bytes  # chunk sizes and extensions as sent, and trailers

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.fields if found == name]


def read(stream: bytes) -> Read | None:
    """What h11 makes of the first request of a stream; None if it refuses it or waits for more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    body = b""
    try:
        request = connection.next_event()
        if request is h11.NEED_DATA:
            return None
        behind = connection.trailing_data[0]
        event = connection.next_event()
        while isinstance(event, h11.Data):
            body += event.data
            event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    rest = connection.trailing_data[0]
    return Read(
        bytes(request.method),
        bytes(request.target),
        bytes(request.http_version),
        [(bytes(name), bytes(value)) for name, value in request.headers],
        body,
        [(bytes(name), bytes(value)) for name, value in event.headers],
        rest,
        stream[: len(stream) - len(behind)],
        stream[len(stream) - len(behind) : len(stream) - len(rest)],
    )


def repeated(*names: bytes) -> Callable[[Read], bool]:
    return lambda read: any(len(re.findall(rb"(?im)^" + name + rb":", read.head)) > 1 for name in names)


def odd_target(read: Read) -> bool:
    if read.method == b"OPTIONS" and read.target == b"*":
        return False
    form = rb"(?i:https?)://" + AUTHORITY + PATH + rb"?(?:\?[!-\"$-~]*)?|" + PATH + rb"(?:\?[!-\"$-~]*)?"
    absolute = re.match(rb"(?i:https?)://([^/?]*)", read.target)
    return re.fullmatch(form, read.target) is None or (absolute is not None and not right_host(absolute[1]))


def right_host(host: bytes) -> bool:
    match = re.fullmatch(AUTHORITY, host)
    if match is None:
        return False
    ipv6, port = match.groups()
    try:
        return int(port or 0) <= 65535 and (ipv6 is None or IPv6Address(ipv6.decode()) is not None)
    except AddressValueError:
        return False


def odd_chunks(read: Read) -> bool:
    """Whether some chunk line is not size and well-formed extensions. What is data is known from the sizes."""
    if not read.values(b"transfer-encoding"):
        return False
    left = read.framing
    while True:
        line, _, left = left.partition(b"\r\n")
        if re.fullmatch(rb"[0-9A-Fa-f]{1,16}(?:" + EXTENSION + rb")*", line) is None or CONTROL.search(line):
            return True
        size = int(re.match(rb"[0-9A-Fa-f]+", line)[0], 16)  # type: ignore[index]
        if not size:
            return False
        left = left[size + 2 :]


def odd_trailers(read: Read) -> bool:
    if not read.values(b"transfer-encoding"):
        return False
    section = read.framing[read.framing.rfind(b"0\r\n") + 3 :] if read.trailers else b""
    forbidden = {b"content-length", b"transfer-encoding", b"host", b"trailer", b"content-encoding"}
    return (
        CONTROL.search(read.framing.replace(read.body, b"")) is not None
        or re.search(rb"\r\n[ \t]", section) is not None
        or any(name in forbidden for name, _ in read.trailers)
        or any(CONTROL.search(value) for _, value in read.trailers)
    )


def other_expectation(read: Read) -> bool:
    members = b",".join(read.values(b"expect")).lower().split(b",")
    return read.version == b"1.1" and not {member.strip() for member in members} <= {b"", b"100-continue"}


# Each row: the rule, and whether it applies to what h11 has read.
STRICTER: dict[str, Callable[[Read], bool]] = {
    "HTTP/1.0 and HTTP/1.1 only, others get 505": lambda read: read.version not in (b"1.0", b"1.1"),
    "no tunnels: CONNECT gets 501 or 400": lambda read: read.method == b"CONNECT",
    "methods have up to 32 characters": lambda read: len(read.method) > 32,
    "one of the four forms of target, well escaped, without fragment and %00 (RFC 9112 3.2)": odd_target,
    "CRLF ends lines, never LF alone (RFC 9112 2.2 allows it)": lambda read: b"\n" in read.head.replace(b"\r\n", b""),
    "no control characters; h11 takes all but NUL (RFC 9110 5.5)": lambda read: bool(CONTROL.search(read.head)),
    "no folded lines (RFC 9112 5.2)": lambda read: bool(re.search(rb"\n[ \t]", read.head)),
    "Host is checked, not empty, and has up to 255 characters (RFC 9112 3.2, RFC 3986 3.2.2)": lambda read: (
        not all(map(right_host, read.values(b"host")))
    ),
    "one Content-Length, of up to 18 digits, even if all are equal (RFC 9110 8.6)": lambda read: (
        repeated(b"content-length")(read)
        or re.search(rb"(?im)^content-length:[^\r\n]*(?:,|[0-9]{19})", read.head) is not None
    ),
    "one Content-Type and one Authorization": repeated(b"content-type", b"authorization"),
    "Content-Length and Transfer-Encoding exclude each other (RFC 9112 6.1)": lambda read: bool(
        read.values(b"content-length") and read.values(b"transfer-encoding")
    ),
    "no Transfer-Encoding from HTTP/1.0 (RFC 9112 6.1)": lambda read: (
        read.version == b"1.0" and bool(read.values(b"transfer-encoding"))
    ),
    "100-continue is the only expectation, others get 417 (RFC 9110 10.1.1)": other_expectation,
    "chunk sizes have no white space behind and up to 16 digits; extensions follow their grammar": odd_chunks,
    "trailers are field lines, and none of them frames or routes (RFC 9110 6.5.1)": odd_trailers,
    "request lines, fields, chunk lines and trailers are limited": lambda read: (
        max(map(len, read.head.split(b"\r\n"))) > 8190
        or len(read.head) > 65536
        or read.head.count(b"\r\n") > 102
        or len(read.framing) > len(read.body) + 4096
        or len(read.trailers) > 100
    ),
}

# White space before the semicolon of a chunk extension: RFC 9112 section 7.1.1 has BWS there, which a recipient must
# accept (RFC 9110 section 5.6.3); RFC 7230, which h11 follows, had it in an erratum only.
LAXER = re.compile(rb"^[0-9A-Fa-f]+[ \t]+;", re.MULTILINE)


def agree(stream: bytes) -> None:
    # h11 leaves the empty line before a request (RFC 9112 section 2.2) to its caller.
    found, served = read(stream.removeprefix(b"\r\n")), exchange([stream])
    if served.status == 0:
        if found is None and LAXER.search(stream):
            return
        assert found is not None, "vivace serves what h11 refuses"
        assert same(served, found)
    elif found is not None:
        assert [rule for rule, applies in STRICTER.items() if applies(found)], (served.status, found)


def same(served: Outcome, found: Read) -> bool:
    environ = served.environ
    assert environ["REQUEST_METHOD"].encode() == found.method
    assert environ["SERVER_PROTOCOL"].encode() == b"HTTP/" + found.version
    assert environ["RAW_URI"].encode() == origin_form(found)
    assert (served.body, served.rest) == (found.body, found.rest)
    assert fields(environ) == expected(found)
    return True


def origin_form(found: Read) -> bytes:
    """The target without scheme and authority (RFC 9112 sections 3.2.1, 3.2.2 and 3.2.4)."""
    absolute = re.match(rb"(?i:https?)://[^/?]*", found.target)
    if absolute is None:
        return found.target
    rest = found.target[absolute.end() :]
    if not rest and found.method == b"OPTIONS":
        return b"*"
    return rest if rest[:1] == b"/" else b"/" + rest


def fields(environ: dict[str, Any]) -> dict[str, str]:
    return {
        key: value
        for key, value in environ.items()
        if key in ("CONTENT_LENGTH", "CONTENT_TYPE") or (key.startswith("HTTP_") and key != "HTTP_TRANSFER_ENCODING")
    }


def expected(found: Read) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in found.fields:
        if b"_" in name or name in (b"proxy", b"transfer-encoding"):
            continue
        key = name.decode().upper().replace("-", "_")
        key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else "HTTP_" + key
        glue = "; " if name == b"cookie" else ", "
        joined[key] = joined[key] + glue + value.decode("latin-1") if key in joined else value.decode("latin-1")
    absolute = re.match(rb"(?i:https?)://([^/?]*)", found.target)
    if absolute:
        joined["HTTP_HOST"] = absolute[1].decode()
    return joined
