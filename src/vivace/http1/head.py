# HOT  bench: benchmarks/bench_head.py  budget: 2.3 us (GET, 6 headers)
"""A request head -> the request's part of a WSGI environ (RFC 9112 sections 2 to 6, PEP 3333, RFC 3875).

Rules:

1. Strict: what RFC 9112 does not define is refused and never guessed at. A head that is accepted means the same to
   every other strict reader of it.
2. A line that was read before is not read again: `fields.lines` and `target.kept` hold valid lines
   only, so bytes are checked only where a line is new.
3. What the peer sent does not outlive the request if it is a credential (flag PRIVATE).
4. Where a repeated field could be read in two ways that matter, it is refused (`_SINGLE`); otherwise it is
   joined (RFC 9110 section 5.3), cookies with "; " (RFC 9113 section 8.2.3).

Must not know: sockets, bodies, what the caller does with a Refused. `environ` is the caller's copy of the server's
own keys, none of which is CONTENT_TYPE, CONTENT_LENGTH or begins with HTTP_.
"""

from __future__ import annotations

from vivace.errors import Refused
from vivace.http1 import fields, target
from vivace.http1.fields import oddity, read_new
from vivace.http1.flags import CLOSE, EXPECTS, HEAD, HTTP10, PRIVATE
from vivace.http1.framing import CHUNKED, body_length, expects_continue
from vivace.http1.target import METHOD_CHARS_MAX, is_authority, read_request_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "CHUNKED",
    "CLOSE",
    "EXPECTS",
    "HEAD",
    "HTTP10",
    "PRIVATE",
    "HeadLimits",
    "incomplete_head",
    "parse_head",
]


class HeadLimits:
    """How much of a head is read, and what becomes of names with an underscore."""

    __slots__ = (
        "field_bytes_max",
        "fields_max",
        "head_bytes_max",
        "plain_bytes_max",
        "request_line_bytes_max",
        "underscores",
    )

    def __init__(
        self,
        request_line_bytes_max: int = 8190,  # Apache's LimitRequestLine
        head_bytes_max: int = 65536,  # http.server's longest line, for all lines together
        fields_max: int = 100,  # Apache's LimitRequestFields
        field_bytes_max: int = 16384,  # twice Apache's LimitRequestFieldSize: cookies have grown
        underscores: str = "drop",  # "drop" | "refuse" | "keep"
    ) -> None:
        self.request_line_bytes_max = request_line_bytes_max
        self.head_bytes_max = head_bytes_max
        self.fields_max = fields_max
        self.field_bytes_max = field_bytes_max
        self.underscores = underscores
        # A head this short breaks none of the limits in bytes.
        self.plain_bytes_max = min(request_line_bytes_max, head_bytes_max, field_bytes_max)


_kept_line = fields.lines.get
_kept_request_line = target.kept.get

# Hosts found valid. Bounded; hosts come from the peer.
_hosts: set[str | None] = set()
_HOSTS_MAX = 1024

_SINGLE = frozenset(
    (
        "HTTP_HOST",  # RFC 9112 section 3.2
        "CONTENT_LENGTH",  # RFC 9110 section 8.6
        "HTTP_TRANSFER_ENCODING",  # a list, but RFC 9112 section 6.1 lets chunked be applied once only
        "CONTENT_TYPE",  # RFC 9110 section 8.3: which of two is used decides how a body is read
        "HTTP_AUTHORIZATION",  # RFC 9110 section 11.6.2: a proxy may have checked the other one
    )
)
# In environ these cannot be told from the fields that delimit a message.
_POSING = frozenset(("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"))


def parse_head(head: bytes, environ: dict[str, Any], limits: HeadLimits) -> tuple[int, int]:
    """Fill `environ` from a whole request head, its CRLF CRLF included; returns (length, flags).

    environ gets REQUEST_METHOD, PATH_INFO (percent-decoded, latin-1), QUERY_STRING (as sent), REQUEST_URI and
    RAW_URI (the target in origin-form, undecoded), SERVER_PROTOCOL, CONTENT_TYPE, CONTENT_LENGTH and HTTP_*.
    length: body bytes, 0 for none, CHUNKED. flags: HTTP10 | HEAD | CLOSE (the connection closes after the
    response) | EXPECTS (a body follows and the client waits for 100) | PRIVATE (holds credentials or a
    value made for this request: do not keep the head). Raises Refused.
    """
    lines = head.split(b"\r\n")
    del lines[-2:]
    # 1. Limits.
    if len(head) > limits.plain_bytes_max or len(lines) > limits.fields_max:
        _check_limits(len(head), lines, limits)
    # 2. The request line.
    line = lines.pop(0)
    keys, authority, flags = _kept_request_line(line) or read_request_line(line)
    environ |= keys
    # 3. Field lines.
    entries: list[Any] = list(map(_kept_line, lines))
    if not all(entries):
        oddities = read_new(lines, entries)
        if oddities & fields.PRIVATE:
            flags |= PRIVATE
        if oddities > fields.PRIVATE:
            entries = _wanted(lines, entries, limits.underscores)
    expected = len(environ) + len(entries)
    environ |= entries
    if len(environ) != expected:
        _join_repeated(entries, environ)
    # 4. The host (RFC 9112 section 3.2).
    if environ.get("HTTP_HOST") not in _hosts:
        _check_host(environ.get("HTTP_HOST"), flags)
    if authority:
        environ["HTTP_HOST"] = authority
    # 5. Persistence (RFC 9112 section 9.3).
    connection = environ.get("HTTP_CONNECTION")
    if connection != "keep-alive" and (flags & HTTP10 if connection is None else _closes(connection, flags)):
        flags |= CLOSE
    # 6. Framing.
    if "HTTP_TRANSFER_ENCODING" in environ or "HTTP_EXPECT" in environ:
        return _frame(environ, flags)
    if "CONTENT_LENGTH" in environ:
        return body_length(environ["CONTENT_LENGTH"]), flags
    return 0, flags


def _check_limits(size: int, lines: list[bytes], limits: HeadLimits) -> None:
    if len(lines[0]) > limits.request_line_bytes_max:
        raise Refused(414, f"the request line is longer than {limits.request_line_bytes_max} bytes")
    if len(lines) - 1 > limits.fields_max:
        raise Refused(431, f"there are more than {limits.fields_max} fields")
    if size > limits.head_bytes_max:
        raise Refused(431, f"the head is longer than {limits.head_bytes_max} bytes")
    if any(len(line) > limits.field_bytes_max for line in lines[1:]):
        raise Refused(431, f"a field is longer than {limits.field_bytes_max} bytes")


def _wanted(lines: list[bytes], entries: list[Any], underscores: str) -> list[Any]:
    """The entries that go into environ, where a line has a name that is not an ordinary one."""
    wanted = []
    for line, entry in zip(lines, entries, strict=True):
        odd = oddity(line)
        if odd & fields.UNDERSCORE:
            if underscores == "refuse":
                raise Refused(400, "a field name holds an underscore")
            if underscores == "keep" and entry[0] in _POSING:
                raise Refused(400, "a field name with an underscore poses as one that delimits the message")
            if underscores != "keep":
                continue
        if not odd & fields.DROPPED:
            wanted.append(entry)
    return wanted


def _join_repeated(entries: list[tuple[str, str]], environ: dict[str, Any]) -> None:
    joined: dict[str, str] = {}
    for key, value in entries:
        if key in joined:
            if key in _SINGLE:
                raise Refused(400, f"the field {key.removeprefix('HTTP_').replace('_', '-').title()} is repeated")
            joined[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value
        else:
            joined[key] = value
    environ.update(joined)


def _check_host(host: str | None, flags: int) -> None:
    """400 without Host, unless the client speaks HTTP/1.0, and with a malformed one."""
    if host is None:
        if not flags & HTTP10:
            raise Refused(400, "an HTTP/1.1 request needs a Host field (RFC 9112 section 3.2)")
        return
    if not is_authority(host):
        raise Refused(400, "Host is not host or host:port (RFC 9110 section 7.2)")
    if len(_hosts) >= _HOSTS_MAX:
        _hosts.clear()
    _hosts.add(host)


def _closes(connection: str, flags: int) -> bool:
    """close wins; HTTP/1.0 persists only with keep-alive. Options are case-insensitive."""
    options = [option.strip(" \t") for option in connection.lower().split(",")]
    return "close" in options or (flags & HTTP10 != 0 and "keep-alive" not in options)


def _frame(environ: dict[str, Any], flags: int) -> tuple[int, int]:
    """(length, flags) of a request with Transfer-Encoding or Expect."""
    http10 = flags & HTTP10 != 0
    length = body_length(environ.get("CONTENT_LENGTH"), environ.get("HTTP_TRANSFER_ENCODING"), http10)
    expect = environ.get("HTTP_EXPECT")
    # RFC 9110 section 10.1.1: from an HTTP/1.0 client it is ignored.
    if expect is not None and not http10 and expects_continue(expect) and length:
        flags |= EXPECTS
    return length, flags


_TAIL = 4096  # bytes of a growing head that are looked at again
_TCHAR = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def incomplete_head(buffer: bytes, limits: HeadLimits) -> None:
    """Refuse what can never become a head, as early as it shows: raises Refused 400, 414, 431, 501 or 505.

    `buffer` begins at a request line and holds no CRLF CRLF yet. A lone CR is let pass: it may be half of the
    empty line that a caller skips (RFC 9112 section 2.2).
    """
    if buffer == b"\r":
        return
    end = buffer.find(b"\n")
    if end < 0:
        method, space, _ = buffer[: METHOD_CHARS_MAX + 1].partition(b" ")
        if method.translate(None, _TCHAR) or (space and not method):
            raise Refused(400, "this is not HTTP: perhaps TLS, or another protocol, on a plain port")
        if len(method) > METHOD_CHARS_MAX:
            raise Refused(501, "the method is unknown, and longer than any known one")
    if (len(buffer) if end < 0 else end) > limits.request_line_bytes_max + 1:
        raise Refused(414, f"the request line is longer than {limits.request_line_bytes_max} bytes")
    if end >= 0:
        if buffer[end - 1 : end] != b"\r":
            raise Refused(400, "a line of the head ends with LF alone (RFC 9112 section 2.2)")
        read_request_line(buffer[: end - 1])
        if buffer.count(b"\n") > limits.fields_max + 1:
            raise Refused(431, f"there are more than {limits.fields_max} fields")
        if len(buffer) - buffer.rfind(b"\n") > limits.field_bytes_max + 2:
            raise Refused(431, f"a field is longer than {limits.field_bytes_max} bytes")
    if len(buffer) > limits.head_bytes_max:
        raise Refused(431, f"the head is longer than {limits.head_bytes_max} bytes")
    # The first byte may be the LF of a CRLF cut by _TAIL, a CR at the end the beginning of one.
    bare = buffer[-_TAIL:].replace(b"\r\n", b"").removesuffix(b"\r")[1:]
    if bare.translate(fields.CONTROLS) != bare:
        raise Refused(400, "the head holds a control character, or CR or LF alone (RFC 9112 section 2.2)")
