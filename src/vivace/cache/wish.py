# HOT  bench: benchmarks/bench_cache.py  budget: 0.7 us (a request without special fields)
"""A request as the cache sees it: whether what is kept may answer it, under which conditions, and whose it is.

Rules:

1. Most requests have no field that matters, cookies, or a condition. The other names are remembered, so such a request
   is recognised by one comparison of sets; it gets a constant, which nobody may change.
2. A name that looks like a credential is one (`fields.is_credential`), and so is one that names a user: what a proxy in
   front calls its users is not known.
3. A request with a body, a method override or an upgrade is not looked up: what the application makes of it is not
   known by its URL.
4. A range of something unknown is the application's to answer: to have it make the whole could mean gigabytes.
5. The names come from clients: what is remembered is bounded.

Must not know: entries.
"""

from __future__ import annotations

from vivace.cache.keys import ASKED_FOR
from vivace.cache.rules import NO_RULES
from vivace.http1.cache_control import SECONDS_MAX, directives, seconds
from vivace.http1.fields import is_credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vivace.cache.rules import Rules

    Environ = dict[str, Any]

NAMES_MAX = 1024

CONDITIONS = (
    "HTTP_IF_NONE_MATCH",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_MATCH",
    "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_IF_RANGE",
    "HTTP_RANGE",
)
"""What makes a response depend on what the client has, or leaves a part of it out."""

_DIRECTING = ("HTTP_CACHE_CONTROL", "HTTP_PRAGMA")
_PERSONAL = ("HTTP_COOKIE", "HTTP_AUTHORIZATION")
_BODY = ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")

# Frameworks and proxies in front of them that honour one of these ask for something else than the URL says.
_ODD = (
    "HTTP_UPGRADE",
    "HTTP_X_HTTP_METHOD",
    "HTTP_X_HTTP_METHOD_OVERRIDE",
    "HTTP_X_METHOD_OVERRIDE",
    "HTTP_X_ORIGINAL_URL",
    "HTTP_X_REWRITE_URL",
)
_SPECIAL = frozenset((*CONDITIONS, *_DIRECTING, *_PERSONAL, *_BODY, *_ODD, *ASKED_FOR))

# Parts of names that tell one user from another, beside those of `fields`. User-Agent is none.
_USERS = ("user", "email", "login", "account", "tenant", "customer")

_ordinary: set[str] = {"HTTP_COOKIE"}
"""Keys of environ that do not matter, and the one that is looked at apart."""


class Wish:
    """What a request asks of the cache. Times are seconds."""

    __slots__ = (
        "authorized",
        "cookies",
        "credentials",
        "keyed",
        "max_age",
        "max_stale",
        "method",
        "min_fresh",
        "no_cache",
        "only_if_cached",
        "partial",
        "ranged",
        "reads",
        "reason",
        "sie_s",
        "stores",
        "via",
        "waits",
    )

    def __init__(self, method: str) -> None:
        self.method = method
        self.reads = method in ("GET", "HEAD")
        """It may be answered from what is kept; else `reason` says why not, as Cache-Status does."""
        self.reason = "" if self.reads else "method"
        self.stores = method == "GET"
        """Its response may be kept."""
        self.waits = self.stores
        """It may wait for another one's response, and others for its own, where nothing is known of the URL."""
        self.authorized = self.cookies = self.credentials = False
        """It carries Authorization; cookies that count; something else that tells who asks."""
        self.keyed = True
        """What `authorized` stands for is in Authorization, which can be made a part of the key."""
        self.via = False
        """It carries fields that say what was asked for in front of a proxy: they are a part of its key."""
        self.partial = self.ranged = False
        """It has conditions or a range; a range."""
        self.no_cache = self.only_if_cached = False
        self.max_age: int | None = None
        self.min_fresh = self.max_stale = self.sie_s = 0


PLAIN, PLAIN_HEAD = Wish("GET"), Wish("HEAD")
_WITH_COOKIES, _CONDITIONAL, _RANGED, _FORWARDED = Wish("GET"), Wish("GET"), Wish("GET"), Wish("GET")
_WITH_COOKIES.cookies = _FORWARDED.via = True
_WITH_COOKIES.waits = _RANGED.waits = False
_CONDITIONAL.partial = _RANGED.partial = _RANGED.ranged = True


def read_request(environ: Environ, rules: Rules = NO_RULES, identified: bool = False) -> Wish:
    """`identified`: the connection itself says who asks (a client's certificate)."""
    method = environ["REQUEST_METHOD"]
    cookies = environ.get("HTTP_COOKIE")
    if not identified and environ.keys() <= _ordinary:
        if cookies is None or not rules.has_cookies(cookies):
            return PLAIN if method == "GET" else PLAIN_HEAD if method == "HEAD" else Wish(method)
        if method == "GET":
            return _WITH_COOKIES
    found = [] if cookies is None else ["HTTP_COOKIE"]
    credentials = identified
    for key in environ.keys() - _ordinary:
        if key in _SPECIAL:
            found.append(key)
        elif _tells_who(key):
            credentials = credentials or bool(environ[key])
        else:
            if len(_ordinary) >= NAMES_MAX:
                _ordinary.clear()
                _ordinary.add("HTTP_COOKIE")
            _ordinary.add(key)
    if method == "GET" and len(found) == 1 and not credentials:
        if found[0] == "HTTP_COOKIE":
            return _WITH_COOKIES if rules.has_cookies(environ["HTTP_COOKIE"]) else PLAIN
        if found[0] in CONDITIONS:
            return _RANGED if found[0] == "HTTP_RANGE" else _CONDITIONAL
    if method == "GET" and not credentials and ASKED_FOR.issuperset(found):
        return _FORWARDED if found else PLAIN
    wish = Wish(method)
    if identified:
        wish.authorized = True
        wish.keyed = False
    if credentials:
        wish.credentials = True
        wish.waits = False
    if found:
        _read(wish, environ, found, rules)
    return wish


def are_ordinary(keys: Iterable[str]) -> bool:
    """Whether these keys of environ say nothing to the cache, whatever their values; cookies as far as known here."""
    return all(key in _ordinary for key in keys)


def _tells_who(key: str) -> bool:
    if key == "REMOTE_USER":
        return True
    # Names with Sec- are a browser's own (Fetch standard, "forbidden request-header"): Sec-Fetch-User is a yes or no.
    if key[:5] != "HTTP_" or key == "HTTP_USER_AGENT" or key[:9] == "HTTP_SEC_":
        return False
    name = key[5:].lower().replace("_", "-")
    return is_credential(name) or any(part in name for part in _USERS)


def _read(wish: Wish, environ: Environ, found: list[str], rules: Rules) -> None:
    for key in found:
        if key in CONDITIONS:
            wish.partial = True
            wish.ranged = wish.ranged or key == "HTTP_RANGE"
        elif key in ASKED_FOR:
            wish.via = True
        elif key == "HTTP_COOKIE":
            wish.cookies = rules.has_cookies(environ[key])
        elif key == "HTTP_AUTHORIZATION":
            wish.authorized = True
        elif key in _ODD or (key in _BODY and environ[key] not in ("", "0")):
            wish.reads = wish.stores = wish.waits = False
            wish.reason = "bypass"
    if wish.cookies or wish.authorized or wish.ranged:
        wish.waits = False
    text = environ.get("HTTP_CACHE_CONTROL")
    if text is not None:
        _direct(wish, directives(text))
    elif "no-cache" in environ.get("HTTP_PRAGMA", "").lower():  # RFC 9111 section 5.4
        wish.no_cache = True


def _direct(wish: Wish, said: dict[str, str | None]) -> None:
    """RFC 9111 section 5.2.1."""
    if "no-store" in said:
        wish.reads = wish.stores = wish.waits = False
        wish.reason = wish.reason or "request"
    wish.no_cache = "no-cache" in said
    wish.only_if_cached = "only-if-cached" in said
    wish.max_age = seconds(said.get("max-age"))
    wish.min_fresh = seconds(said.get("min-fresh")) or 0
    wish.sie_s = seconds(said.get("stale-if-error")) or 0
    if "max-stale" in said:
        value = said["max-stale"]
        wish.max_stale = SECONDS_MAX if value is None else seconds(value) or 0
