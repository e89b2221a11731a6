"""A format of the access log, compiled: once into two functions, of which one runs beside the request.

`log` takes from a request what the format needs, as one tuple; `lines` makes lines of such tuples, later. Both are
generated, so that a format costs only what it says: no atom is looked up while requests are served.

Rules:

* Nothing here raises because of what a client or an application wrote: what cannot be shown is shown as -.
* What stands outside quotes has its spaces escaped, too, so that no value can move the fields behind it.
* No text of the user's gets into the generated source but as a literal made by repr.
"""

from __future__ import annotations

import os
import re
import time
from threading import get_ident

from vivace.config.access_format import FIELDS, LINE, PATH, PLAIN, QUERY, TEXT, Use, is_json, parse
from vivace.http1.dates import MONTHS
from vivace.http1.head import CLOSE
from vivace.http1.response import UNTIL_CLOSE
from vivace.worker.escaping import as_text, escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable
    from typing import Any

    Log = Callable[[dict[str, Any], Any, float], None]
    MakeLog = Callable[[deque[Any], Callable[[], None], int], Log]
    Lines = Callable[[deque[Any]], list[str]]

KNOWN_MAX = 1000
KNOWN_CHARS_MAX = 256
"""At most so many values of so many characters are remembered, for each format."""

SOURCE = """
def make_log(rows, flush, most):
    append = rows.append
    def log(environ, exchange, seconds):
        get = environ.get
        append(({taken}))
        if len(rows) >= most:
            flush()
    return log

def lines(rows):
    found = []
    take = rows.popleft
    while True:
        try:
            ({names}) = take()
        except IndexError:
            return found
        {unless}found.append({line})
"""


def compile_format(text: str, skip: Iterable[str] = ()) -> tuple[MakeLog, Lines]:
    """`make_log(rows, flush, most)` and `lines(rows)` for a format. Raises ValueError.

    The log appends to `rows` and calls `flush` when they are `most`; `lines` empties them. Requests for a path that
    one of `skip` describes (* stands for anything) have no line.
    """
    namespace: dict[str, Any] = {**HELPERS, **clocks(), "time": time.time}
    variables: dict[str, str] = {}  # expression -> the name of its value
    if text == "json" or is_json(text):
        from vivace.worker import json_text

        namespace |= vars(json_text)
    for name in ("quoted", "bare", "json_string"):
        if name in namespace:
            namespace[name] = remembering(namespace[name])
    if text == "json":
        pieces = _json_pieces(variables)
    else:
        wrap = JSON_BY_HAND if is_json(text) else PLAIN_TEXT
        parts = parse(text)
        pieces = [repr(part) if isinstance(part, str) else _piece(part, variables, namespace, wrap) for part in parts]
    unless = ""
    if skip:
        namespace["skips"] = skipper(skip)
        unless = "if not skips(path({}, {})): ".format(*(_name(each, variables) for each in PATH))
    names = "".join(f"{name}, " for name in variables.values())
    taken = "".join(f"{expression}, " for expression in variables)
    source = SOURCE.format(taken=taken, names=names, unless=unless, line=" ".join([*pieces, r'"\n"']))
    exec(compile(source, "<access log format>", "exec"), namespace)
    return namespace["make_log"], namespace["lines"]


def _piece(use: Use, variables: dict[str, str], namespace: dict[str, Any], wrap: dict[str, str]) -> str:
    """The source of one atom: an f-string."""
    shows = _filled(use.atom.shows, [_keyed(each, use.key) for each in use.atom.takes], variables)
    if "$KEY" in shows:  # a name, as a literal may not stand inside an f-string
        name = f"key{len(namespace)}"
        namespace[name] = use.key
        shows = shows.replace("$KEY", name)
    if use.atom.kind != PLAIN:
        kind = use.atom.kind if use.quoted else {TEXT: BARE, QUERY: BARE_QUERY}.get(use.atom.kind, use.atom.kind)
        shows = f"{wrap[kind]}({shows})"
    return 'f"{' + shows + '}"'


def _json_pieces(variables: dict[str, str]) -> list[str]:
    pieces: list[str] = []
    for field in FIELDS:
        shows = _filled(field.shows, list(field.takes), variables)
        if field.kind != PLAIN:
            shows = f"json_string({shows})"
        begin = "{" if not pieces else ", "
        pieces += [repr(f'{begin}"{field.name}": '), 'f"{' + shows + '}"']
    return [*pieces, "'}'"]


def _keyed(expression: str, key: str) -> str:
    return expression.replace("$KEY", repr(key))


def _name(expression: str, variables: dict[str, str]) -> str:
    return variables.setdefault(expression, f"v{len(variables)}")


def _filled(shows: str, takes: list[str], variables: dict[str, str]) -> str:
    for number, expression in enumerate(takes):
        shows = shows.replace(f"${number}", _name(expression, variables))
    return shows


def skipper(patterns: Iterable[str]) -> Callable[[str | None], object]:
    """Tells the paths that one of `patterns` describes."""
    wanted = "|".join(".*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns)
    fits = re.compile(wanted, re.DOTALL).fullmatch
    return lambda path: fits(path or "")


# --- what the generated functions call: beside the request ------------------------------------------------


def field(headers: Any, name: str) -> str | None:
    """The values of a response's field, None without one. The application may have given anything for headers."""
    try:
        values = [str(value) for key, value in headers or () if key.lower() == name]
    except Exception:
        return None
    return ", ".join(values) if values else None


def mark(exchange: Any) -> str:
    """Apache's %X: X, + or -."""
    conn = getattr(exchange, "sink", None)
    if conn is None:
        return "-"
    if conn.close_reason:
        return "X"
    return "-" if exchange.flags & CLOSE or exchange.framing == UNTIL_CLOSE else "+"


# --- and later --------------------------------------------------------------------------------------------


def quoted(value: object) -> str:
    """Between quotes; - for nothing."""
    return escaped(value) or "-"


def bare(value: object) -> str:
    """Outside quotes: without a space."""
    return (escaped(value) or "-").replace(" ", "\\x20")


def bare_query(value: object) -> str:
    return escaped(value).replace(" ", "\\x20")


def code(status: object) -> str:
    """The status code of a status line; the application may have said anything."""
    text = status[:3] if isinstance(status, str) else ""
    return text if len(text) == 3 and text.isascii() and text.isdigit() else "-"


def number(text: str) -> str:
    return "null" if text == "-" else text


def user(name: object, credentials: object) -> object:
    """RFC 7617 section 2: user-id ":" password, in base64. The password goes no further."""
    if name or not isinstance(credentials, str) or credentials[:6].lower() != "basic ":
        return name or None
    from binascii import a2b_base64

    try:
        return a2b_base64(credentials[6:].strip()).partition(b":")[0].decode("latin-1") or None
    except ValueError:
        return None


def path(script_name: object, path_info: object) -> str | None:
    return as_text(script_name or "") + as_text(path_info or "") or None


def request(method: object, target: object, protocol: object) -> str | None:
    if type(method) is type(target) is type(protocol) is str:
        return f"{method} {target} {protocol}" if method else None
    return f"{as_text(method)} {as_text(target)} {as_text(protocol)}" if method else None


def question(value: object) -> str | None:
    return f"?{as_text(value)}" if value else None


def process() -> str:
    return f"<{os.getpid()}>"


def clocks() -> dict[str, Callable[..., str]]:
    """`stamp`, `iso` and `clock`, which write times; a second is written once."""
    stamps: dict[int, str] = {}
    isos: dict[int, str] = {}

    def stamp(now: float) -> str:
        """As the common log format has it, in local time."""
        second = int(now)
        text = stamps.get(second)
        if text is None:
            local = time.localtime(second)
            clear_if_full(stamps)
            month = MONTHS[local.tm_mon - 1]
            text = stamps[second] = f"[{local.tm_mday:02d}/{month}/{local.tm_year}:" + time.strftime(
                "%H:%M:%S %z]", local
            )
        return text

    def iso(now: float) -> str:
        """RFC 3339, in UTC."""
        second = int(now)
        text = isos.get(second)
        if text is None:
            clear_if_full(isos)
            text = isos[second] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{text}.{int((now - second) * 1000):03d}Z"

    def clock(form: str, now: float, seconds: float) -> str:
        """Apache's %{FORMAT}t."""
        kind, colon, rest = form.partition(":")
        if colon and kind in ("begin", "end"):
            form, now = rest, now - seconds if kind == "begin" else now
        if form in FRACTIONS:
            return FRACTIONS[form](now)
        return time.strftime(form, time.localtime(now))

    return {"stamp": stamp, "iso": iso, "clock": clock}


def remembering(show: Callable[[object], str]) -> Callable[[object], str]:
    """`show`, with what it made of the last values: addresses, methods and browsers repeat."""
    known: dict[object, str] = {None: show(None)}

    def remembered(value: object) -> str:
        try:
            return known[value]
        except Exception:  # what the application put there may have no hash, or one that raises
            text = show(value)
        if type(value) is str and len(value) <= KNOWN_CHARS_MAX:
            if len(known) >= KNOWN_MAX:
                known.clear()
            known[value] = text
        return text

    return remembered


def clear_if_full(stamps: dict[int, str]) -> None:
    if len(stamps) > 64:
        stamps.clear()


FRACTIONS: dict[str, Callable[[float], str]] = {
    "sec": lambda now: f"{int(now)}",
    "msec": lambda now: f"{int(now * 1e3)}",
    "usec": lambda now: f"{int(now * 1e6)}",
    "msec_frac": lambda now: f"{int(now * 1e3) % 1000:03d}",
    "usec_frac": lambda now: f"{int(now * 1e6) % 1000000:06d}",
}


BARE, BARE_QUERY = "bare", "bare_query"
"""TEXT and QUERY outside quotes."""

PLAIN_TEXT = {TEXT: "quoted", LINE: "quoted", BARE: "bare", QUERY: "escaped", BARE_QUERY: "bare_query"}
JSON_BY_HAND = {
    **dict.fromkeys((TEXT, LINE, BARE), "inside_json"),
    **dict.fromkeys((QUERY, BARE_QUERY), "query_inside_json"),
}
"""The kind of an atom, and the function that makes its value fit for the line."""

HELPERS: dict[str, Any] = {
    "getpid": os.getpid,
    "get_ident": get_ident,
    **{
        each.__name__: each
        for each in (
            *(field, mark, escaped, quoted, bare, bare_query, code, number, user, path, request, question, process),
        )
    },
}
