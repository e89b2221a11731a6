# HOT  bench: benchmarks/bench_response.py  budget: 0.5 us (200, 2 fields)
"""A status line and header fields, as given to start_response, -> one response head (PEP 3333, RFC 9110, RFC 9112).

Rules:

1. Nothing reaches the wire that could be read as two things: no CR, LF, NUL or other control, no name that
   is not a token, no second Content-Length, no field that belongs to the connection. It raises
   ApplicationError and names the field; it is never repaired, but for white space around a value.
2. The server alone decides how a body is delimited (RFC 9112 section 6) and whether the connection persists (section 9.3).
3. An application's own Date and Server pass; the server then adds none.
4. Heads that repeat are kept whole, lines that repeat are kept beside them; both are bounded, and neither keeps
   a cookie or another secret (`fields.is_private`).

Must not know: the body. The connection compares what the application yields with the framing returned here.
"""

from __future__ import annotations

from vivace.errors import ApplicationError, SettingError
from vivace.http1.fields import is_private, is_token
from vivace.http1.head import CHUNKED, CLOSE, HEAD, HTTP10

UNTIL_CLOSE, NO_BODY = -2, -3  # framings beside CHUNKED = -1 and a length

_LENGTH_DIGITS_MAX = 18  # fits any file offset

# wsgiref.util.is_hop_by_hop, which PEP 3333 ("Other HTTP Features") says to treat as an error, with the
# registered spelling of Trailer and the one of old proxies for Connection.
_CONNECTION_FIELDS = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer trailers transfer-encoding upgrade "
    "proxy-connection".split()
)
_CONTROLS = {code: None for code in (*range(0x20), 0x7F) if code != 0x09}


class ResponseHeads:
    """Encodes the response heads of one server."""

    __slots__ = ("_server",)

    def __init__(self, server: str) -> None:
        """`server` is the value of the Server field, "" for none. Raises SettingError."""
        try:
            self._server = b"Server: %b\r\n" % _field_value("Server", server) if server else b""
        except ApplicationError as error:
            raise SettingError(f"server: {error}") from None

    def encode(
        self, status: str, headers: list[tuple[str, str]], flags: int, length: int | None, date: bytes
    ) -> tuple[bytes, int, bool]:
        """The head as bytes with its CRLF CRLF, the framing of the body, whether the connection persists.

        `status` and `headers` as given to start_response; `flags` from parse_head; `length` the bytes of the body if
        the server knows them; `date` a whole Date line. framing: bytes of the body, CHUNKED, UNTIL_CLOSE, or NO_BODY
        (whatever the application yields is not sent). Raises ApplicationError.
        """
        code = _status_code(status)
        parts = [b"HTTP/1.1 ", status.encode("latin-1"), b"\r\n"]
        if type(headers) is not list:
            raise ApplicationError("the headers are not a list (PEP 3333)")
        told: str | None = None
        names = set()
        for header in headers:
            name, value = _pair(header)
            lower = name.lower()
            names.add(lower)
            encoded = _field_value(name, value)
            if lower in _CONNECTION_FIELDS:
                raise ApplicationError(f"the header {name} belongs to the connection, which is the server's (PEP 3333)")
            if lower == "content-length":
                if told is not None:
                    raise ApplicationError("Content-Length is given twice")
                told = encoded.decode("latin-1")
                if not (told.isascii() and told.isdigit() and len(told) <= _LENGTH_DIGITS_MAX):
                    raise ApplicationError(f"Content-Length is not a number: {value!r}")
                continue
            parts.append(b"%b: %b\r\n" % (name.encode("latin-1"), encoded))
        framing, line, keep_alive = _frame(code, None if told is None else int(told), flags, length)
        parts.append(line)
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        elif flags & HTTP10:
            parts.append(b"Connection: keep-alive\r\n")
        if "server" not in names:
            parts.append(self._server)
        if "date" not in names:
            parts.append(date)
        parts.append(b"\r\n")
        return b"".join(parts), framing, keep_alive


def _frame(code: int, told: int | None, flags: int, length: int | None) -> tuple[int, bytes, bool]:
    """(framing, the line that tells it, whether the connection persists). `told`: the application's Content-Length."""
    keep_alive = not flags & CLOSE
    # RFC 9110 section 8.6: none in 1xx and 204.
    if code == 204:
        return NO_BODY, b"", keep_alive
    # RFC 9110 section 15.3.6: 205 has no content and says so.
    if code == 205:
        return NO_BODY, b"Content-Length: 0\r\n", keep_alive
    if flags & HEAD or code == 304:
        # RFC 9110 section 8.6: what the GET, or the 200, would have had; an empty body here does not tell.
        if told is None and length and code != 304:
            told = length
        return NO_BODY, b"" if told is None else b"Content-Length: %d\r\n" % told, keep_alive
    if told is None:
        told = length
    if told is not None:
        return told, b"Content-Length: %d\r\n" % told, keep_alive
    if flags & HTTP10:
        return UNTIL_CLOSE, b"", False
    return CHUNKED, b"Transfer-Encoding: chunked\r\n", keep_alive


def _status_code(status: str) -> int:
    if not isinstance(status, str):
        raise ApplicationError(f"the status is not a str but {type(status).__name__}")
    digits = status[:3]
    if not (len(status) >= 4 and status[3] == " " and digits.isascii() and digits.isdigit()):
        raise ApplicationError(f"the status is not three digits, a space and a reason: {status!r}")
    try:
        status.encode("latin-1")
    except UnicodeEncodeError:
        raise ApplicationError(f"the status is not latin-1: {status!r}") from None
    if status.translate(_CONTROLS) != status:
        raise ApplicationError(f"the status holds a control character: {status!r}")
    code = int(digits)
    if not 200 <= code <= 599:
        raise ApplicationError(f"the status is not one of a final response, 200 to 599: {status!r}")
    return code


def _pair(header: tuple[str, str]) -> tuple[str, str]:
    if not isinstance(header, tuple) or len(header) != 2:
        raise ApplicationError(f"a header is not a tuple of name and value: {header!r}")
    name, value = header
    if not isinstance(name, str) or not isinstance(value, str):
        raise ApplicationError(f"a header is not a tuple of two str: {header!r}")
    if is_token(name) is None:
        raise ApplicationError(f"the name of a header is not a token (RFC 9110 section 5.1): {name!r}")
    return name, value


def _field_value(name: str, value: str) -> bytes:
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError:
        raise ApplicationError(f"the value of the header {name} is not latin-1: {value!r}") from None
    if value.translate(_CONTROLS) != value:
        raise ApplicationError(f"the value of the header {name} holds a control character: {value!r}")
    return encoded.strip(b" \t")


_is_private = is_private
