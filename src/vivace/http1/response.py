# HOT  bench: benchmarks/bench_response.py  budget: 0.5 us (200, 2 fields)
"""A status and header fields, as given to start_response, -> one response head (PEP 3333, RFC 9110, RFC 9112).

Rules:

1. Nothing reaches the wire that could be read in two ways: no CR, LF, NUL or other control, no name
   that is not a token, no second Content-Length, no field that belongs to the connection. It raises
   ApplicationError, which names the field. Only white space around a value is taken away (RFC 9110
   section 5.5 leaves it out of the value).
2. The server alone decides how a body is delimited (RFC 9112 section 6) and whether the connection
   persists (RFC 9112 section 9.3).
3. An application's own Date and Server pass; the server then adds none.
4. Heads that repeat within the second of one Date are kept whole; behind them, lines that repeat are
   kept. Both are bounded. Neither keeps a cookie or another secret (`fields.is_private`).

Must not know: the body. The connection compares what the application yields with the framing
returned here.
"""

from __future__ import annotations

from vivace.errors import ApplicationError, SettingError
from vivace.http1.fields import CONTROLS, is_private, is_token
from vivace.http1.flags import CLOSE, HEAD, HTTP10
from vivace.http1.framing import CHUNKED, LENGTH_DIGITS_MAX

UNTIL_CLOSE, NO_BODY = -2, -3  # framings, beside CHUNKED = -1 and a length

HEADS_MAX = 1024  # heads kept of one second
LINES_MAX = 4096
VALUE_CHARS_MAX = 512  # the longest value kept: a Content-Security-Policy may take some hundreds
LENGTH_KEPT_MAX = 9999  # lines of longer lengths are not kept: they repeat less, and their bodies cost more
STATUSES_MAX = 128  # statuses kept; RFC 9110 defines 45
NAMES_MAX = 1024

# wsgiref.util.is_hop_by_hop, which PEP 3333 ("Other HTTP Features") calls a fatal error, with the
# registered spelling of Trailer, and the name old proxies gave to Connection.
HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    )
)

# What a name means to the encoder, as flags.
_LENGTH, _PRIVATE, _DATE, _SERVER = 1, 2, 4, 8
_MEANINGS = {"content-length": _LENGTH, "date": _DATE, "server": _SERVER}
_BODILESS = frozenset((204, 205, 304))

TYPE_CHECKING = False
if TYPE_CHECKING:
    # status, flags & (HTTP10 | HEAD | CLOSE), length, headers
    Key = tuple[str, int, int | None, tuple[tuple[str, str], ...]]


class ResponseHeads:
    """Encodes the response heads of one server. May be shared by threads."""

    __slots__ = ("_date", "_ends", "_heads", "_lines", "_names", "_server", "_statuses")

    def __init__(self, server: str) -> None:
        """`server` is the value of the Server field, "" for none. Raises SettingError."""
        try:
            self._server = b"Server: %b\r\n" % _latin1(server, "Server").strip(b" \t") if server else b""
        except ApplicationError as error:
            raise SettingError(f"server: {error}") from None
        # What encode returns, for the present `_date`
        self._heads: dict[Key, tuple[bytes, int, bool]] = {}
        # own lines of the application, as flags -> the lines of the server, to the end of the head
        self._ends: dict[int, bytes] = {}
        self._on_new_date(b"")
        # (name, value) -> (meaning, line, length if it is Content-Length), of lines that may be kept
        self._lines: dict[tuple[str, str], tuple[int, bytes, int]] = {}
        # name -> (meaning, b"name: ")
        self._names: dict[str, tuple[int, bytes]] = {}
        # status -> (code, status line)
        self._statuses: dict[str, tuple[int, bytes]] = {}

    def encode(
        self, status: str, headers: list[tuple[str, str]], flags: int, length: int | None, date: bytes
    ) -> tuple[bytes, int, bool]:
        """The head with its CRLF CRLF, the framing of the body, whether the connection persists.

        `status` and `headers` as given to start_response; `flags` from parse_head; `length` the bytes of
        the body if the server knows them; `date` a whole Date line, the same object for a second.
        framing: bytes of the body, CHUNKED, UNTIL_CLOSE, or NO_BODY: whatever the application yields is
        not sent. Raises ApplicationError.
        """
        if type(headers) is not list:
            raise ApplicationError(f"the headers are not a list but {type(headers).__name__} (PEP 3333)")
        if date is not self._date:
            self._on_new_date(date)
        key = (status, flags & 7, length, tuple(headers))
        try:
            return self._heads.get(key) or self._encode(key, headers)
        except TypeError:
            # Something unhashable, which is no str or tuple of str: this says what.
            self._read_status(status)
            for header in headers:
                self._read_header(header)
            raise

    def _encode(self, key: Key, headers: list[tuple[str, str]]) -> tuple[bytes, int, bool]:
        """As `encode`, for a head that is not kept."""
        status, flags, length, _ = key
        code, line = self._statuses.get(status) or self._read_status(status)
        parts = [line]
        told = None
        meanings = 0
        known = self._lines.get
        # 1. The application's lines.
        for header in headers:
            meaning, line, size = known(header) or self._read_header(header)
            parts.append(line)
            if meaning:
                meanings |= meaning
                if meaning == _LENGTH:
                    if told is not None:
                        raise ApplicationError("Content-Length is given twice")
                    told = size
        # 2. The framing (RFC 9112 section 6.3), and the connection's line.
        keep_alive = not flags & CLOSE
        if code in _BODILESS or flags & HEAD:
            framing = NO_BODY
            _tell_bodiless(parts, code, told, length)
        elif told is not None:
            framing = told
        elif length is not None:
            framing = length
            parts.append(b"Content-Length: %d\r\n" % length)
        elif flags & HTTP10:
            framing, keep_alive = UNTIL_CLOSE, False
        else:
            framing = CHUNKED
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if not keep_alive:
            parts.append(b"Connection: close\r\n")
        elif flags & HTTP10:
            parts.append(b"Connection: keep-alive\r\n")
        # 3. The server's own lines.
        parts.append(self._ends[meanings & (_DATE | _SERVER)])
        encoded = (b"".join(parts), framing, keep_alive)
        if not meanings & _PRIVATE and len(self._heads) < HEADS_MAX and _are_exact(status, headers):
            self._heads[key] = encoded
        return encoded

    def _on_new_date(self, date: bytes) -> None:
        """A second has passed: no kept head is right any more."""
        self._heads.clear()
        self._ends = {
            0: self._server + date + b"\r\n",
            _DATE: self._server + b"\r\n",
            _SERVER: date + b"\r\n",
            _DATE | _SERVER: b"\r\n",
        }
        self._date = date

    def _read_status(self, status: str) -> tuple[int, bytes]:
        """(code, status line). Raises ApplicationError."""
        encoded = _latin1(status)
        digits = encoded[:3]
        # 1. Three digits, 2. a space, 3. of a final response (RFC 9110 section 15: up to 599).
        if not digits.isdigit() or encoded[3:4] != b" ":
            raise ApplicationError(f"the status is not three digits, a space and a reason (PEP 3333): {status!r}")
        if not b"200" <= digits <= b"599":
            raise ApplicationError(f"the status is not that of a final response, 200 to 599: {status!r}")
        read = (int(digits), b"HTTP/1.1 %b\r\n" % encoded)
        if len(self._statuses) >= STATUSES_MAX:
            self._statuses.clear()
        if type(status) is str:
            self._statuses[status] = read
        return read

    def _read_header(self, header: tuple[str, str]) -> tuple[int, bytes, int]:
        """(meaning, line, length if it is Content-Length, else 0). Raises ApplicationError."""
        if not isinstance(header, tuple) or len(header) != 2:
            raise ApplicationError(f"a header is not a tuple of name and value but {type(header).__name__} (PEP 3333)")
        name, value = header
        exact = type(header) is tuple and type(name) is type(value) is str
        if type(name) is not str:
            name = _plain("the name of a header", name)
        meaning, begin = self._names.get(name) or self._read_name(name)
        if meaning == _LENGTH:
            size = _content_length(value)
            kept = size <= LENGTH_KEPT_MAX
            read = (meaning, b"%b%d\r\n" % (begin, size), size)
        else:
            read = (meaning, begin + _latin1(value, name).strip(b" \t") + b"\r\n", 0)
            kept = not meaning and len(value) <= VALUE_CHARS_MAX
        if kept and exact:
            if len(self._lines) >= LINES_MAX:
                self._lines.clear()
            self._lines[header] = read
        return read

    def _read_name(self, name: str) -> tuple[int, bytes]:
        """(meaning, b"name: "). Raises ApplicationError."""
        if is_token(name) is None:
            raise ApplicationError(f"the name of a header is not a token (RFC 9110 section 5.1): {name!r}")
        lower = name.lower()
        if lower in HOP_BY_HOP:
            raise ApplicationError(f"the header {name} belongs to the connection, which is the server's (PEP 3333)")
        meaning = _MEANINGS.get(lower, _PRIVATE if is_private(lower) else 0)
        read = (meaning, b"%b: " % name.encode("latin-1"))
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[name] = read
        return read


def _tell_bodiless(parts: list[bytes], code: int, told: int | None, length: int | None) -> None:
    """Put right, in the lines so far, the length of a response without a body."""
    if code == 204 or code == 205:
        # RFC 9110 section 8.6: 204 has no Content-Length; section 15.3.6: that of 205 is 0.
        if told is not None:
            parts[:] = [line for line in parts if line[:15].lower() != b"content-length:"]
        if code == 205:
            parts.append(b"Content-Length: 0\r\n")
    elif told is None and length and code != 304:
        # RFC 9110 section 8.6: HEAD tells the length of the answer to GET, and 304 that of the 200. That is not the
        # length of an empty body: applications leave the body of an answer to HEAD out.
        parts.append(b"Content-Length: %d\r\n" % length)


def _content_length(value: str) -> int:
    if type(value) is not str:
        value = _plain("Content-Length", value)
    if value.isdigit() and value.isascii() and len(value) <= LENGTH_DIGITS_MAX:
        return int(value)
    raise ApplicationError(f"Content-Length is not a number (RFC 9110 section 8.6): {value!r}")


def _plain(what: str, text: str) -> str:
    """`text` as a str that is no subclass. Raises ApplicationError."""
    if not isinstance(text, str):
        raise ApplicationError(f"{what} is not a str but {type(text).__name__} (PEP 3333)")
    return str.__str__(text)


def _latin1(text: str, name: str = "") -> bytes:
    """A status, or the value of the header `name`, as bytes. Raises ApplicationError, which leaves the value out:
    it may be secret."""
    try:
        encoded = str.encode(text, "latin-1")
    except (TypeError, UnicodeEncodeError):
        text = _plain(_what(name), text)
        at, character = next((at, character) for at, character in enumerate(text) if character > "\xff")
        raise ApplicationError(f"{_what(name)} is not latin-1 (PEP 3333): {character!r} at {at}") from None
    if encoded.translate(CONTROLS) != encoded:
        at = next(at for at, byte in enumerate(encoded) if CONTROLS[byte] != byte)
        raise ApplicationError(f"{_what(name)} holds a control character: {chr(encoded[at])!r} at {at}")
    return encoded


def _what(name: str) -> str:
    return f"the value of the header {name}" if name else "the status"


def _are_exact(status: str, headers: list[tuple[str, str]]) -> bool:
    """Whether these are no subclasses of str and tuple: those may be equal to what reads differently."""
    return type(status) is str and all(
        type(header) is tuple and type(header[0]) is type(header[1]) is str for header in headers
    )
