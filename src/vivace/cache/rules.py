"""What is kept of paths whose responses do not say: rules as text, and the one that fits a path. Pure.

    rule    = pattern 1*( SP word )
    pattern = a path; "*" stands for any characters          /api/*   /   *.json
    word    = time                    keep what says nothing of its freshness so long
            / "stale=" time           then answer from it so much longer, while it is made anew (RFC 5861)
            / "error=" time           and so much longer where the application fails (RFC 5861)
            / status "=" time         keep responses of this status so long: 404=1m
            / "cookies"               requests with cookies too, each set of cookies for itself
            / "authorization"         requests with Authorization too, each value for itself
            / "set-cookie"            responses with Set-Cookie too, without that field
            / "off"                   never keep anything
    time    = number [ "ms" / "s" / "m" / "h" / "d" ]         a number alone is seconds

Rules:

1. The first rule that fits a path counts, and no other.
2. What a response says goes before what a rule says. `off`, and the three words, which permit, are the exceptions.
3. `cookies` and `authorization` never make one user's response another's: what the request carries becomes a part of
   the key. What is to be shared between users with different cookies needs those cookies ignored, by name.
4. Names and paths come from clients: what is remembered of them is bounded.

Must not know: responses, entries, settings.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT_MAX = 4096
KEPT_CHARS_MAX = 256

TTL_MAX_S = 365 * 86400.0
"""RFC 2616 section 14.21 advised a year at most; nobody plans further ahead."""

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_time = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|)").fullmatch

PLAIN_STATUSES = frozenset((200, 203, 204, 300, 301, 302, 307, 308))
"""What a time without a status is for: what an application means. nginx: 200, 301 and 302."""


class Rule:
    """What to do with one kind of path. Times are seconds."""

    __slots__ = (
        "authorization",
        "cookies",
        "fits",
        "off",
        "pattern",
        "set_cookie",
        "sie_s",
        "statuses",
        "swr_s",
        "text",
        "ttl_s",
    )

    def __init__(self, pattern: str, text: str) -> None:
        self.pattern = pattern
        self.text = text
        self.ttl_s: float | None = None
        self.swr_s: float | None = None
        self.sie_s: float | None = None
        self.statuses: dict[int, float] = {}
        self.cookies = self.authorization = self.set_cookie = self.off = False
        self.fits = compiled(pattern)

    def lifetime_s(self, status: int) -> float | None:
        """How long a response of this status is kept that does not say so itself; None: not by this rule."""
        found = self.statuses.get(status)
        return self.ttl_s if found is None and status in PLAIN_STATUSES else found


def compiled(pattern: str) -> re.Pattern[str]:
    """Its `fullmatch` says whether a text fits."""
    return re.compile("(?s:" + ".*".join(re.escape(part) for part in re.split(r"\*+", pattern)) + ")")


def read_time(text: str, where: str) -> float:
    """Seconds. Raises ValueError."""
    match = _time(text)
    if match is None:
        raise ValueError(f"{text!r} in {where!r} is no time; give one as in 500ms, 10s, 5m, 2h or 1d")
    found = float(match[1]) * _UNITS[match[2]]
    if found > TTL_MAX_S:
        raise ValueError(f"{text!r} in {where!r} is more than a year; give at most 365d")
    return found


def read_rule(text: str) -> Rule:
    """Raises ValueError."""
    pattern, *words = text.split() or [""]
    if pattern[:1] not in ("/", "*") or not words:
        raise ValueError(f"{text!r} is no rule; give a path and what to do, as in '/api/* 1s' or '/shop/* off'")
    rule = Rule(pattern, text)
    seen = set()
    for word in words:
        name, equals, value = word.partition("=")
        kind = name if equals or not word[:1].isdigit() else "time"
        if kind in seen:
            raise ValueError(f"{text!r} says {kind} twice; leave one")
        seen.add(kind)
        if kind == "time":
            rule.ttl_s = read_time(word, text)
        elif not equals and kind in ("cookies", "authorization", "off"):
            setattr(rule, kind, True)
        elif not equals and kind == "set-cookie":
            rule.set_cookie = True
        elif equals and kind == "stale":
            rule.swr_s = read_time(value, text)
        elif equals and kind == "error":
            rule.sie_s = read_time(value, text)
        elif equals and re.fullmatch("[2-5][0-9][0-9]", kind) and kind not in ("206", "304"):
            rule.statuses[int(kind)] = read_time(value, text)
        else:
            raise ValueError(
                f"{word!r} in {text!r} is not understood; give a time (1s), stale=TIME, error=TIME, STATUS=TIME "
                "(404=1m), cookies, authorization, set-cookie or off"
            )
    if rule.off and len(words) > 1:
        raise ValueError(f"{text!r} says off and more; leave the rest out")
    return rule


class Rules:
    """All rules of a server, and which parts of a request tell no responses apart. May be shared by threads."""

    def __init__(
        self, rules: Iterable[Rule] = (), ignored_params: Iterable[str] = (), ignored_cookies: Iterable[str] = ()
    ) -> None:
        """Ignored names may hold "*"."""
        self.rules = tuple(rules)
        params, cookies = tuple(ignored_params), tuple(ignored_cookies)
        # With ";" in it a parameter may hold another one for some applications (CVE-2021-23336): it stays.
        self._ignored = re.compile(rf"(?:^|&)(?:{_any_of(params)})(?:=[^&;]*)?(?=&|\Z)") if params else None
        self._ignored_cookie = re.compile(_any_of(cookies)) if cookies else None
        self._found: dict[str, Rule | None] = {}

    def find(self, path: str) -> Rule | None:
        """The first rule that fits a path, decoded as in PATH_INFO."""
        if not self.rules:
            return None
        try:
            return self._found[path]
        except KeyError:
            pass
        found = next((rule for rule in self.rules if rule.fits.fullmatch(path)), None)
        if len(path) <= KEPT_CHARS_MAX:
            if len(self._found) >= KEPT_MAX:
                self._found.clear()
            self._found[path] = found
        return found

    def query(self, query: str) -> str:
        """A query without the parameters that do not count, in its order."""
        if self._ignored is None or self._ignored.search(query) is None:
            return query
        return self._ignored.sub("", query).removeprefix("&")

    def has_cookies(self, value: str) -> bool:
        """Whether a Cookie field holds a cookie that counts."""
        return self.cookies(value) != "" if self._ignored_cookie is not None else not value.isspace() and value != ""

    def cookies(self, value: str) -> str:
        """A Cookie field without the cookies that do not count, sorted: the order of cookies means nothing.

        Cookies of the same name stay in their order (RFC 6265 section 5.4 sorts them by path).
        """
        pairs = [pair.strip(" \t") for pair in value.split(";")]
        ignored = self._ignored_cookie
        if ignored is not None and '"' not in value:  # in quotes ";" may end no cookie: readers differ
            pairs = [pair for pair in pairs if not ignored.fullmatch(pair.partition("=")[0].rstrip(" \t"))]
        return "; ".join(sorted(filter(None, pairs), key=_name))


def _any_of(names: tuple[str, ...]) -> str:
    return "|".join("[^&;=]*".join(re.escape(part) for part in re.split(r"\*+", name)) for name in names)


def _name(pair: str) -> str:
    return pair.partition("=")[0]


NO_RULES = Rules()
