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
LINE_BYTES_MAX = 512  # the longest line kept: a Content-Security-Policy may take some hundreds
STATUSES_MAX = 128  # statuses kept; RFC 9110 defines 45
NAMES_MAX = 1024

# wsgiref.util.is_hop_by_hop, which PEP 3333 ("Other HTTP Features") calls a fatal error, with the
# registered spelling of Trailer, and the name old proxies gave to Connection.
_HOP_BY_HOP = frozenset(
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
_MEANINGS = {"content-length": _LENGTH, "date": _DATE | _PRIVATE, "server": _SERVER | _PRIVATE}
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
            self._server = b"Server: %b\r\n" % _latin1("Server", server).strip(b" \t") if server else b""
        except ApplicationError as error:
            raise SettingError(f"server: {error}") from None
        # What encode returns, for the present `_date`
        self._heads: dict[Key, tuple[bytes, int, bool]] = {}
        # own lines of the application, as flags -> the lines of the server, to the end of the head
        self._ends: dict[int, bytes] = {}
        self._on_new_date(b"")
        # (name, value) -> line, of names that mean nothing to the encoder
        self._lines: dict[tuple[str, str], bytes] = {}
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
            kept = known(header)
            if kept is None:
                meaning, kept = self._read_header(header)
                if meaning == _LENGTH:
                    if told is not None:
                        raise ApplicationError("Content-Length is given twice")
                    told = _content_length(header[1])
                    continue
                meanings |= meaning
            parts.append(kept)
        # 2. The framing, and the connection's line.
        if told is not None and not flags and code not in _BODILESS:
            framing, keep_alive = told, True
            parts.append(b"Content-Length: %d\r\n" % told)
        else:
            framing, line, keep_alive = _frame(code, told, flags, length)
            parts.append(line)
            if not keep_alive:
                parts.append(b"Connection: close\r\n")
            elif flags & HTTP10:
                parts.append(b"Connection: keep-alive\r\n")
        # 3. The server's own lines.
        parts.append(self._ends[meanings & (_DATE | _SERVER)])
        encoded = (b"".join(parts), framing, keep_alive)
        if not meanings and len(self._heads) < HEADS_MAX and _are_exact(status, headers):
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
        encoded = _latin1("the status", status)
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

    def _read_header(self, header: tuple[str, str]) -> tuple[int, bytes]:
        """(meaning, line), or (_LENGTH, b""). Raises ApplicationError."""
        if not isinstance(header, tuple) or len(header) != 2:
            raise ApplicationError(f"a header is not a tuple of name and value (PEP 3333): {header!r}")
        name, value = header
        if type(name) is not str:
            name = _plain("the name of a header", name)
        meaning, begin = self._names.get(name) or self._read_name(name)
        if meaning == _LENGTH:
            return meaning, begin
        line = begin + _latin1(name, value).strip(b" \t") + b"\r\n"
        if not meaning and len(line) <= LINE_BYTES_MAX and type(header[0]) is type(value) is str:
            if len(self._lines) >= LINES_MAX:
                self._lines.clear()
            self._lines[header] = line
        return meaning, line

    def _read_name(self, name: str) -> tuple[int, bytes]:
        """(meaning, b"name: "). Raises ApplicationError."""
        if is_token(name) is None:
            raise ApplicationError(f"the name of a header is not a token (RFC 9110 section 5.1): {name!r}")
        lower = name.lower()
        if lower in _HOP_BY_HOP:
            raise ApplicationError(f"the header {name} belongs to the connection, which is the server's (PEP 3333)")
        meaning = _MEANINGS.get(lower, _PRIVATE if is_private(lower) else 0)
        read = (meaning, b"%b: " % name.encode("latin-1"))
        if len(self._names) >= NAMES_MAX:
            self._names.clear()
        self._names[name] = read
        return read


def _frame(code: int, told: int | None, flags: int, length: int | None) -> tuple[int, bytes, bool]:
    """(framing, the line that tells it, whether the connection persists); `told` is the application's length."""
    keep_alive = not flags & CLOSE
    if code == 204:  # RFC 9110 section 8.6: no Content-Length in 1xx and 204
        return NO_BODY, b"", keep_alive
    if code == 205:  # RFC 9110 section 15.3.6: no content, and told so
        return NO_BODY, b"Content-Length: 0\r\n", keep_alive
    if flags & HEAD or code == 304:
        # RFC 9110 section 8.6: the length the GET, or the 200, would have had. An empty body does not
        # tell: frameworks leave it out in answers to HEAD.
        if told is None and length and code != 304:
            told = length
        return NO_BODY, b"" if told is None else b"Content-Length: %d\r\n" % told, keep_alive
    if told is None:
        told = length
    if told is not None:
        return told, b"Content-Length: %d\r\n" % told, keep_alive
    if flags & HTTP10:  # RFC 9112 section 6.3: the body ends where the connection does
        return UNTIL_CLOSE, b"", False
    return CHUNKED, b"Transfer-Encoding: chunked\r\n", keep_alive


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


def _latin1(what: str, text: str) -> bytes:
    """`text` as bytes, if it may stand on a status or field line. Raises ApplicationError."""
    try:
        encoded = str.encode(text, "latin-1")
    except UnicodeEncodeError:
        raise ApplicationError(f"{what} is not latin-1 (PEP 3333): {text!r}") from None
    except TypeError:
        raise ApplicationError(f"{what} is not a str but {type(text).__name__} (PEP 3333)") from None
    if encoded.translate(CONTROLS) != encoded:
        raise ApplicationError(f"{what} holds a control character: {text!r}")
    return encoded


def _are_exact(status: str, headers: list[tuple[str, str]]) -> bool:
    """Whether all are plain str: a subclass may be equal to a str that reads differently."""
    return type(status) is str and all(type(name) is str and type(value) is str for name, value in headers)
