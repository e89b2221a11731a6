"""What a response is remembered by: the primary key of a request, and the secondary one where responses vary.

    primary   = "GET " scheme "://" host path [ "?" query ] [ LF "for " digest ] [ LF "via " fields, or their digest ]
    secondary = primary LF number ":" names LF values, or their digest        (RFC 9111 section 4.1)

Rules:

1. Two requests have one key only if the application would be asked for the same thing. The path is compared as sent:
   an escape more or less makes two keys of one page, which costs a call, where the other mistake would mix two pages.
2. HEAD is looked up as GET (RFC 9110 section 9.3.2). No other method has a key.
3. No field value holds LF, so a key cannot be made to look like another one's.
4. Values that are secrets (Cookie, Authorization ...) enter as a digest: keys are shown, and leave the process.
5. A key made from one user's cookies or authorization (a rule that says so) is that user's alone.
6. What a proxy in front says of the request (ASKED_FOR) is a part of the key, whoever has written it: applications put
   it into links and redirections, and a stranger's must not reach others.
7. Field values are made alike only where their syntax is known to allow it.

Must not know: entries, freshness.
"""

from __future__ import annotations

import re

from vivace.cache.entry import VaryRecord
from vivace.cache.rules import NO_RULES
from vivace.http1.fields import is_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cache.rules import Rule, Rules

    Environ = dict[str, Any]

KEY_BYTES_MAX = 1000
"""Of a primary key. What is longer is not kept: a purge names its key in a record that holds this much (`control`). One
that could not would have to concern more than its key, at the will of whoever sends a long URL."""

VALUES_CHARS_MAX = 160
"""Longer values of varying fields enter as a digest."""

VARY_NAMES_MAX = 12
"""The most fields that responses may vary by. Fastly recommends one or two."""

ASKED_FOR = frozenset(
    (
        "HTTP_FORWARDED",
        "HTTP_FRONT_END_HTTPS",
        "HTTP_X_FORWARDED_HOST",
        "HTTP_X_FORWARDED_PATH",
        "HTTP_X_FORWARDED_PORT",
        "HTTP_X_FORWARDED_PREFIX",
        "HTTP_X_FORWARDED_PROTO",
        "HTTP_X_FORWARDED_PROTOCOL",
        "HTTP_X_FORWARDED_SCHEME",
        "HTTP_X_FORWARDED_SERVER",
        "HTTP_X_FORWARDED_SSL",
        "HTTP_X_FORWARDED_URI",
        "HTTP_X_HOST",
        "HTTP_X_ORIGINAL_HOST",
        "HTTP_X_SCHEME",
        "HTTP_X_SCRIPT_NAME",
        "HTTP_X_URL_SCHEME",
    )
)
"""Fields by which proxies say what the client has asked for. Who it was (X-Forwarded-For) is none of them."""

KEPT_MAX = 4096
KEPT_CHARS_MAX = 256

_known: dict[tuple[str, str], str] = {}  # what `normal` made of values that are no secrets

_PORTS = {"http": ":80", "https": ":443"}
_around_comma = re.compile(r"[ \t]*,[ \t,]*").sub
_spaces_at_comma = re.compile(r"[ \t]*,[ \t]*").sub
_around_parameter = re.compile(r"[ \t]*([;=])[ \t]*").sub
_forwarded = re.compile(r"(?:host|proto)[ \t]*=[^;,]*", re.IGNORECASE).findall
_dots = re.compile(r"/\.\.?(?:/|\Z)").search


def rule_of(environ: Environ, rules: Rules) -> Rule | None:
    """The rule for the path that the application is asked for."""
    return rules.find(environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]) if rules.rules else None


def primary(environ: Environ, rules: Rules = NO_RULES, via: bool = False) -> str:
    """The primary key of a GET or HEAD request. `via`: it carries some of ASKED_FOR."""
    path, _, query = target_of(environ).partition("?")
    if query and (query := rules.query(query)):
        path = f"{path}?{query}"
    key = f"GET {origin(environ)}{path}"
    if rules.rules:
        rule = rule_of(environ, rules)
        if rule is not None and (rule.cookies or rule.authorization):
            key += _whose(environ, rule, rules)
    return key + _via(environ) if via else key


def is_too_long(key: str) -> bool:
    """Whether nothing is kept under this primary key."""
    return len(key) > KEY_BYTES_MAX or not (key.isascii() or len(key.encode("utf-8", "surrogatepass")) <= KEY_BYTES_MAX)


def origin(environ: Environ) -> str:
    """scheme://host[:port] as the client wrote it, in lower case, without the scheme's own port (RFC 9110 4.2.3)."""
    scheme: str = environ["wsgi.url_scheme"]
    host: str = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return f"{scheme}://{host.lower().removesuffix(_PORTS.get(scheme, ':'))}"


def target_of(environ: Environ) -> str:
    """Path and query as sent, under the application's SCRIPT_NAME."""
    target: str = environ["REQUEST_URI"]
    root: str = environ.get("SCRIPT_NAME", "")
    return root + target if root and not target.startswith(root) else target


def secondary(primary: str, record: VaryRecord, environ: Environ, rules: Rules = NO_RULES) -> str:
    """The key of the entry that fits this request, where responses vary as `record` says."""
    values = []
    for name, key in record.fields:
        value = environ.get(key)
        if value is None:
            value = "\t"  # an absent field is not an empty one; no value has white space at its ends
        elif name == "cookie":
            value = rules.cookies(value)
        else:
            value = _known.get((name, value)) or normal(name, value)
        values.append(value)
    text = "\n".join(values)
    if record.secret or len(text) > VALUES_CHARS_MAX:
        text = digest(text)
    return f"{primary}\n{record.mark}\n{text}"


def normal(name: str, value: str) -> str:
    """A field value in the form that all equal ones have, as far as that is known of the field."""
    made = value
    if '"' not in value:
        if "," in value and not name.startswith("accept"):
            made = _spaces_at_comma(",", made)
        elif "," in value:
            made = _around_comma(",", made).strip(",")  # RFC 9110 section 5.6.1: lists
        if name.startswith("accept"):  # Accept-Encoding, Accept-Language, Accept-Charset: no part heeds the case
            made = _around_parameter(r"\1", made)
            if name != "accept":
                made = made.lower()
    if len(value) <= KEPT_CHARS_MAX and not is_private(name):
        if len(_known) >= KEPT_MAX:
            _known.clear()
        _known[name, value] = made
    return made


def vary_record(primary: str, names: tuple[str, ...], now: float, old: VaryRecord | None) -> VaryRecord | None:
    """What stands at a primary key whose responses vary by `names`; `old` is what stood there. None: by too many.

    Names add up: one response that says less than others of its URL does not undo what they said. A new record has a
    new number, so entries made under an old one are never found again.
    """
    if old is not None:
        if old.names.issuperset(names):
            return old
        names = tuple(sorted(old.names.union(names)))
    if len(names) > VARY_NAMES_MAX:
        return None
    return VaryRecord(primary, names, int(now * 1e6), now)


def path_of(key: str) -> str:
    """Path and query of a primary or secondary key."""
    url = key.partition("\n")[0]
    at = url.find("/", url.find("://") + 3)
    return url[at:] if at >= 0 else "/"


def digest(text: str) -> str:
    """128 bits, as 32 digits."""
    from hashlib import blake2b

    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _whose(environ: Environ, rule: Rule, rules: Rules) -> str:
    """What makes a key one user's, "" if the request carries nothing of one."""
    cookies = rules.cookies(environ.get("HTTP_COOKIE", "")) if rule.cookies else ""
    authorization = environ.get("HTTP_AUTHORIZATION", "") if rule.authorization else ""
    return f"\nfor {digest(authorization + chr(10) + cookies)}" if cookies or authorization else ""


def _via(environ: Environ) -> str:
    """What proxies in front say of the request. Of Forwarded, what is about the client is left out (RFC 7239)."""
    said = [f"{key}:{environ[key]}" for key in sorted(ASKED_FOR & environ.keys()) if key != "HTTP_FORWARDED"]
    forwarded: str = environ.get("HTTP_FORWARDED", "")
    said += [forwarded] if '"' in forwarded else _forwarded(forwarded)  # in quotes ";" and "," end nothing
    text = "\x1f".join(said)  # a field value holds no control character but TAB
    return f"\nvia {text if len(text) <= VALUES_CHARS_MAX else digest(text)}" if text else ""


def resolve(base: str, reference: str) -> str | None:
    """The URL that a Location or Content-Location field means, if it is of the same origin as `base` (a URL).

    RFC 3986 section 5.2. None: another origin, or what is no http URL.
    """
    reference = reference.partition("#")[0]
    at = base.find("/", base.find("://") + 3)
    site, path = base[:at], base[at:]
    if reference.startswith("//"):
        reference = base.partition(":")[0] + ":" + reference
    scheme, colon, rest = reference.partition("://")
    if colon and "/" not in scheme and "?" not in scheme:
        host, _, rest = rest.partition("/")
        if "?" in host:
            host, _, query = host.partition("?")
            rest = f"?{query}"
        scheme = scheme.lower()
        if f"{scheme}://{host.lower().removesuffix(_PORTS.get(scheme, ':'))}" != site:
            return None
        target = "/" + rest
    elif not reference:
        return base
    elif reference[0] == "/":
        target = reference
    elif reference[0] == "?":
        target = path.partition("?")[0] + reference
    elif re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", reference):
        return None
    else:
        target = path.partition("?")[0].rpartition("/")[0] + "/" + reference
    return site + _without_dots(target)


def _without_dots(target: str) -> str:
    """RFC 3986 section 5.2.4."""
    path, mark, query = target.partition("?")
    if _dots(path):
        kept: list[str] = []
        *segments, last = path.split("/")[1:]
        for segment in segments:
            if segment == "..":
                del kept[-1:]
            elif segment != ".":
                kept.append(segment)
        if last == "..":
            del kept[-1:]
        path = "/" + "/".join([*kept, "" if last in (".", "..") else last])
    return path + mark + query
