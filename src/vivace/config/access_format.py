"""What a line of the access log can say, and how a format string says it: THE table of atoms, and its reader.

Two spellings are understood, also side by side: gunicorn's `%(h)s` and Apache's `%h`. From the table come the lines
(`worker.access_line`), the messages about a format that is wrong, and the tables in docs/logging.md
(`python -m vivace.config.access_format` writes them).

Rules:

* An atom has two halves. `takes` are expressions that are evaluated beside the request, over `get` (of the environ),
  `exchange` and `seconds`; each yields a value that may be kept. `shows` is evaluated later, with $0, $1 ... for
  those values and $KEY for the name in braces. The functions that they call stand in `worker.access_line`.
* An atom's `kind` says what has to become of its value. `plain`: nothing, it is made of digits or of what this program
  wrote. `text`: a client or the application may have written it. `line`: the same, and its spaces are its own.
  `query`: text that stays empty where there is none.
* Pure, and imported only where there is an access log.
"""

from __future__ import annotations

import re

from vivace.config.kinds import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

PLAIN, TEXT, LINE, QUERY = "plain", "text", "line", "query"

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 section 5.6.2, token: the name of a field."""

ATOM = re.compile(
    r"%(?:(?P<percent>%)|\((?P<name>[^)]*)\)(?P<conversion>[a-z]?)"
    r"|(?P<mark>[<>]?)(?:\{(?P<key>[^}]*)\})?(?P<letter>[A-Za-z]?))"
)

ESCAPED = {'\\"': '"', "\\t": "\t", "\\\\": "\\"}
"""As in Apache's configuration."""

NOWHERE = {"O": "%B", "S": "%B", "I": "%{Content-Length}i", "A": "%v", "k": "%X", "C": "%{Cookie}i"}
"""Letters of Apache's that are no atoms here, and what is nearest."""


def field_key(name: str) -> str:
    """The environ's key for a request field (PEP 3333; RFC 3875 section 4.1.18). Raises ValueError."""
    key = response_key(name).upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


def response_key(name: str) -> str:
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a field")
    return name.lower()


def variable_key(name: str) -> str:
    """Small letters mean the variable in capitals, as with gunicorn; those of WSGI have a dot."""
    if not name:
        raise ValueError("a variable has a name")
    return name.upper() if name.islower() and "." not in name else name


def time_key(form: str) -> str:
    if not form:
        raise ValueError("give a format of strftime(3), as in %{%Y-%m-%d}t")
    return form


class Atom:
    """One thing to say."""

    def __init__(
        self,
        name: str,
        gunicorn: str,
        apache: str,
        takes: tuple[str, ...],
        shows: str,
        help: str,  # noqa: A002
        kind: str = PLAIN,
        *,
        key: Callable[[str], str] | None = None,
    ) -> None:
        self.name = name
        self.gunicorn = tuple(gunicorn.split())  # what stands between %( and )s
        self.apache = tuple(apache.split())  # what stands after the %
        self.takes = takes
        self.shows = shows
        self.help = help
        self.kind = kind
        self.key = key  # reads the name in braces; raises ValueError

    @property
    def spelling(self) -> str:
        """The first one."""
        return f"%({self.gunicorn[0]})s" if self.gunicorn else "%" + self.apache[0]


_NOW, _SECONDS, _STATUS, _BYTES = "time()", "seconds", "exchange.status", "exchange.body_bytes"
_HOST = 'get("REMOTE_ADDR")'
_METHOD, _TARGET, _PROTOCOL = 'get("REQUEST_METHOD")', 'get("REQUEST_URI")', 'get("SERVER_PROTOCOL")'
_USER = ('get("REMOTE_USER")', 'get("HTTP_AUTHORIZATION")')
_CACHE = 'get("vivace.cache")'
_QUERY, _ID = 'get("QUERY_STRING")', 'get("vivace.request_id")'
_REFERER, _AGENT = 'get("HTTP_REFERER")', 'get("HTTP_USER_AGENT")'
PATH: Final = ('get("SCRIPT_NAME")', 'get("PATH_INFO")')

ATOMS: Final = (
    Atom("client", "h", "h a", (_HOST,), "$0", "The client's address; - for one of a Unix socket.", TEXT),
    Atom(
        "peer",
        "",
        "{c}a",
        ('get("vivace.peer")', _HOST),
        "$0 or $1",
        "The address at the other end of the connection: that of a trusted proxy, where the client is behind one.",
        TEXT,
    ),
    Atom("ident", "l", "l", (), "'-'", "Always -, as nobody answers ident (RFC 1413) any more."),
    Atom(
        "user",
        "u",
        "u",
        _USER,
        "user($0, $1)",
        "REMOTE_USER, if the application or TLS has set it, or else the name in an Authorization field of the "
        "scheme Basic, which nobody need have checked.",
        TEXT,
    ),
    Atom("time", "t", "t", (_NOW,), "stamp($0)", "The end of the response, [10/Oct/2000:13:55:36 -0700]."),
    Atom(
        "strftime",
        "",
        "{FORMAT}t",
        (_NOW, _SECONDS),
        "clock($KEY, $0, $1)",
        "The same in a format of strftime(3), or sec, msec, usec (since 1970), msec_frac, usec_frac. begin: before "
        "it takes the moment when the application was called.",
        LINE,
        key=time_key,
    ),
    Atom(
        "request",
        "r",
        "r",
        (_METHOD, _TARGET, _PROTOCOL),
        "request($0, $1, $2)",
        "The request line; - where none could be read.",
        LINE,
    ),
    Atom("status", "s", "s >s <s", (_STATUS,), "code($0)", "The status code; - if the client had left before it."),
    Atom("method", "m", "m", (_METHOD,), "$0", "The method.", TEXT),
    Atom(
        "path",
        "U",
        "U",
        PATH,
        "path($0, $1)",
        "The path without the query, percent-decoded: SCRIPT_NAME and PATH_INFO.",
        TEXT,
    ),
    Atom("query", "q", "", (_QUERY,), "$0", "The query, without its question mark; empty without one.", QUERY),
    Atom("question", "", "q", (_QUERY,), "question($0)", "The query after a question mark, or nothing.", QUERY),
    Atom("protocol", "H", "H", (_PROTOCOL,), "$0", "The protocol, HTTP/1.1.", TEXT),
    Atom("bytes", "B", "B", (_BYTES,), "$0", "Bytes of the response's body, without chunks and head."),
    Atom("clf_bytes", "b", "b", (_BYTES,), "$0 or '-'", "The same, with - for 0."),
    Atom("referer", "f", "", (_REFERER,), "$0", "The field Referer.", TEXT),
    Atom("agent", "a", "", (_AGENT,), "$0", "The field User-Agent.", TEXT),
    Atom("seconds", "T", "T {s}T", (_SECONDS,), "int($0)", "Whole seconds in the application."),
    Atom("milliseconds", "M", "{ms}T", (_SECONDS,), "int($0 * 1e3)", "Milliseconds in the application."),
    Atom("microseconds", "D", "D {us}T", (_SECONDS,), "int($0 * 1e6)", "Microseconds in the application."),
    Atom("decimal", "L", "", (_SECONDS,), "$0:.6f", "Seconds in the application, with six decimals."),
    Atom("process", "p", "", (), "process()", "The process number in angle brackets."),
    Atom("pid", "", "P {pid}P", (), "getpid()", "The process number."),
    Atom("thread", "", "{tid}P", ("get_ident()",), "$0", "The identity of the thread."),
    Atom("port", "", "p {canonical}p {local}p", ('get("SERVER_PORT")',), "$0", "The server's port.", TEXT),
    Atom("client_port", "", "{remote}p", ('get("REMOTE_PORT")',), "$0", "The client's port.", TEXT),
    Atom("server", "", "v", ('get("SERVER_NAME")',), "$0", "The server's name.", TEXT),
    Atom("host", "", "V", ('get("HTTP_HOST")', 'get("SERVER_NAME")'), "$0 or $1", "The field Host.", TEXT),
    Atom(
        "connection",
        "",
        "X",
        ("mark(exchange)",),
        "$0",
        "What becomes of the connection: + it stays open, - it closes, X the client had left.",
    ),
    Atom(
        "id",
        "id {id}",
        "L {id}",
        (_ID,),
        "$0",
        "The request's id, as the messages about it have it, if the server gives out ids.",
        TEXT,
    ),
    Atom(
        "cache",
        "cache {cache}",
        "{cache}",
        (_CACHE,),
        "$0",
        "What the response cache did: hit, stale, miss, revalidated, bypass, unavailable; - without one, and for what "
        "the server answers itself.",
        TEXT,
    ),
    Atom("field", "{NAME}i", "{NAME}i", ("get($KEY)",), "$0", "A field of the request.", TEXT, key=field_key),
    Atom(
        "response_field",
        "{NAME}o",
        "{NAME}o",
        ("field(exchange.headers, $KEY)",),
        "$0",
        "A field of the response, as the application gave it; those that the server adds are not seen.",
        TEXT,
        key=response_key,
    ),
    Atom(
        "variable",
        "{NAME}e",
        "{NAME}e",
        ("get($KEY)",),
        "$0",
        "A variable of the WSGI environ. A name in small letters without a dot is taken in capitals.",
        TEXT,
        key=variable_key,
    ),
)

# --- the formats that have a name -------------------------------------------------------------------------

COMMON: Final = '%h %l %u %t "%r" %>s %b'
FORMATS: Final = {"common": COMMON, "combined": COMMON + ' "%{Referer}i" "%{User-Agent}i"'}

FIELDS: Final = (
    Atom("time", "", "", (_NOW,), "iso($0)", "The end of the response, RFC 3339, in UTC, with milliseconds.", LINE),
    Atom("client", "", "", (_HOST,), "$0", "The client's address; null for one of a Unix socket.", TEXT),
    Atom("user", "", "", _USER, "user($0, $1)", "As %u; null without one.", TEXT),
    Atom("method", "", "", (_METHOD,), "$0", "The method; null where no request could be read.", TEXT),
    Atom("target", "", "", (_TARGET,), "$0", "The request target, with the query, as it came.", TEXT),
    Atom("protocol", "", "", (_PROTOCOL,), "$0", "HTTP/1.1 or HTTP/1.0.", TEXT),
    Atom("host", "", "", ('get("HTTP_HOST")',), "$0", "The field Host.", TEXT),
    Atom("status", "", "", (_STATUS,), "number(code($0))", "The status code; null if the client had left before it."),
    Atom("bytes", "", "", (_BYTES,), "$0", "Bytes of the response's body."),
    Atom("seconds", "", "", (_SECONDS,), "$0:.6f", "In the application."),
    Atom("referer", "", "", (_REFERER,), "$0", "The field Referer.", TEXT),
    Atom("user_agent", "", "", (_AGENT,), "$0", "The field User-Agent.", TEXT),
    Atom("request_id", "", "", (_ID,), "$0", "The request's id; null if the server gives out none.", TEXT),
    Atom("pid", "", "", (), "getpid()", "The process number."),
    Atom("cache", "", "", (_CACHE,), "$0", "As %{cache}; null without one.", TEXT),
)
"""The members of each line of the format json, in their order. All of them are always there."""


# --- reading a format -------------------------------------------------------------------------------------


class Use:
    """An atom where it stands in a format; `quoted`: between double quotes."""

    def __init__(self, atom: Atom, key: str = "", *, quoted: bool = False) -> None:
        self.atom = atom
        self.key = key
        self.quoted = quoted


def parse(text: str) -> list[str | Use]:
    """Literal text and atoms, in their order, of one of FORMATS or of a format string. Raises ValueError.

    Adding an atom to a format cannot add a line: neither text nor value has a line end.
    """
    text = FORMATS.get(text, text)
    if "%" not in text:
        known = (*FORMATS, "json")
        near = nearest(text, known)
        hint = f"did you mean {near}?" if near else f"give {', '.join(known)} or a format string, as in {COMMON}"
        raise ValueError(f"{text!r} is no format and has no atom in it; {hint}")
    if any(char < " " and char != "\t" for char in text):
        raise ValueError("a line of the access log is one line: leave the line end out of its format")
    by_hand = is_json(text)
    parts: list[str | Use] = []
    quoted = False
    at = 0
    for found in ATOM.finditer(text):
        literal = _literal(text[at : found.start()], by_hand)
        at = found.end()
        quoted ^= literal.count('"') % 2 == 1
        parts.append(literal)
        if found["percent"]:
            parts.append("%")
        else:
            parts.append(_use(found, quoted))
    parts.append(_literal(text[at:], by_hand))
    return [part for part in parts if part]


def is_json(text: str) -> bool:
    """Whether a format string is JSON written by hand: its values are escaped as JSON wants it."""
    return text.lstrip().startswith("{")


def _literal(text: str, by_hand: bool) -> str:
    return text if by_hand else re.sub(r'\\["t\\]', lambda found: ESCAPED[found[0]], text)


def _use(found: re.Match[str], quoted: bool) -> Use:
    """The atom that `found` spells. Raises ValueError."""
    place = f"{found[0]} at character {found.start() + 1}"
    if found["name"] is not None:
        if found["conversion"] not in ("s", "d"):
            raise ValueError(f"{place}: an atom in parentheses ends with an s: %({found['name']})s")
        exact, spelled, known = found["name"], "%({})s", GUNICORN
        brace = re.fullmatch(r"\{([^}]*)\}([A-Za-z])", exact)
        key, letter = (brace[1], brace[2]) if brace else ("", "")
    else:
        key, letter = found["key"], found["letter"]
        exact, spelled, known = found["mark"] + ("" if key is None else f"{{{key}}}") + letter, "%{}", APACHE
    if (atom := known.get(exact)) is not None and atom.key is None:
        return Use(atom, quoted=quoted)
    if key and (atom := known.get("{}" + letter)) is not None and atom.key is not None:
        try:
            return Use(atom, atom.key(key), quoted=quoted)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    raise ValueError(f"{place}: no such atom; {_meant(exact, letter, spelled, known)}")


def _meant(exact: str, letter: str, spelled: str, known: dict[str, Atom]) -> str:
    """The end of the sentence on an atom that is none."""
    by_name = {atom.name: atom.spelling for atom in ATOMS}
    if letter and exact != letter and ("{}" + letter.lower()) in known:
        return f"did you mean {spelled.format('{NAME}' + letter.lower())}?"
    if exact.swapcase() in known:
        return f"did you mean {spelled.format(exact.swapcase())}?"
    if exact[-1:] in NOWHERE and spelled == "%{}":
        return f"the nearest is {NOWHERE[exact[-1]]}"
    near = nearest(exact.strip("{}").lower(), by_name)
    if near:
        return f"did you mean {by_name[near]}?"
    return f"docs/logging.md lists them; a percent sign is %%, a field of the request {spelled.format('{NAME}i')}"


def _spelled(spellings: Callable[[Atom], tuple[str, ...]]) -> dict[str, Atom]:
    """Each spelling and its atom; {}i stands for {NAME}i."""
    return {re.sub("{(NAME|FORMAT)}", "{}", each): atom for atom in ATOMS for each in spellings(atom)}


GUNICORN: Final = _spelled(lambda atom: atom.gunicorn)
APACHE: Final = _spelled(lambda atom: atom.apache)


# --- the tables in the documentation ----------------------------------------------------------------------

BEGIN: Final = "<!-- generated: python -m vivace.config.access_format {} -->\n"
END: Final = "<!-- end of the generated part -->\n"


def atoms_table() -> str:
    lines = ["| gunicorn | Apache | what it says |", "|---|---|---|"]
    for atom in ATOMS:
        gunicorn = " ".join(f"`%({each})s`" for each in atom.gunicorn)
        apache = " ".join(f"`%{each}`" for each in atom.apache)
        lines.append(f"| {gunicorn} | {apache} | {atom.help} |")
    return "\n".join(lines) + "\n"


def fields_table() -> str:
    lines = ["| member | what it says |", "|---|---|"]
    lines += [f"| `{field.name}` | {field.help} |" for field in FIELDS]
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """`page` with its two tables made anew. Raises ValueError if a mark is missing."""
    for name, table in (("atoms", atoms_table), ("fields", fields_table)):
        begin = BEGIN.format(name)
        start = page.index(begin) + len(begin)
        page = f"{page[:start]}\n{table()}\n{page[page.index(END, start) :]}"
    return page


if __name__ == "__main__":
    import sys

    path = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1].endswith(".md") else "docs/logging.md"
    with open(path, encoding="utf-8") as file:
        renewed_page = renewed(file.read())
    with open(path, "w", encoding="utf-8") as file:
        file.write(renewed_page)
