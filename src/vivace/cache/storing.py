"""Whether a response may be kept, for how long, and what of it (RFC 9111 sections 3 and 4.2, RFC 9213). Pure.

Rules:

1. CDN-Cache-Control goes before Cache-Control and Expires, if it is there and well formed; then they do not count at
   all (RFC 9213 section 2.2).
2. A response with Set-Cookie is not kept, unless its own no-cache="set-cookie" or private="set-cookie" leaves that
   field to the one it is for, or a rule says so; it is kept without the field then.
3. Its age begins when its head comes, plus what Age and Date say of the time before. What it took to make counts only
   for what came through another cache (an Age field): RFC 9111 section 4.2.3 means the time on the network by it, and
   there is none between a server and its application. A page of one second's freshness may take two to make.
4. A time given by a rule begins when the response comes, whatever Age and Date say.
5. Fields named by no-cache="..." and private="..." are left out, which is safer than asking for them each time.
6. Freshness that cannot be read is none (RFC 9111 section 4.2.1).

Must not know: requests beyond what a Wish says; where entries lie.
"""

from __future__ import annotations

from vivace.cache.entry import IMPLICIT, MUST_REVALIDATE, NEGOTIATED, NO_CACHE, NO_STALE, ONCE, SHARED, Entry
from vivace.cache.keys import rule_of
from vivace.cache.rules import NO_RULES
from vivace.http1.cache_control import directives, seconds, targeted
from vivace.http1.dates import read_date, write_date
from vivace.http1.response import HOP_BY_HOP
from vivace.http1.status import REASONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vivace.cache.rules import Rule, Rules
    from vivace.cache.wish import Wish

    Environ = dict[str, Any]
    Headers = list[tuple[str, str]]

HEURISTIC_STATUSES = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
"""RFC 9110 section 15.1, but for 206: what may be reused although it does not say how long."""

HEURISTIC_FRACTION = 0.1  # RFC 9111 section 4.2.2
HEURISTIC_MAX_S = 86400.0

TAGS_MAX = 64
"""Tags of one response. Fastly: 16 KiB of them; Cloudflare: 1,000 of a purge."""

_NEVER_KEPT = HOP_BY_HOP | {"age", "proxy-authentication-info"}  # RFC 9111 section 3.1

_NOT_UPDATED = frozenset(("content-length", "content-encoding", "content-type", "content-range", "set-cookie"))
"""What a 304 does not change: what says how to read the body (RFC 9111 section 3.2), and what is for one client."""


class _Said:
    """What a response says of its reuse."""

    __slots__ = (
        "age",
        "cc",
        "date",
        "etag",
        "expires",
        "fields",
        "modified",
        "pragma",
        "set_cookie",
        "targeted",
        "vary",
    )

    def __init__(self, headers: Iterable[tuple[str, str]], now: float) -> None:
        fields: dict[str, str] = {}
        for name, value in headers:
            low = name.lower()
            # RFC 9110 section 5.3; of Age the first counts (RFC 9111 section 5.1).
            fields[low] = f"{fields[low]}, {value}" if low in fields else value
        get = fields.get
        self.fields = fields
        cdn = get("cdn-cache-control")
        meant = targeted(cdn) if cdn is not None else None
        self.targeted = meant is not None
        self.cc = directives(get("cache-control", "")) if meant is None else meant
        self.expires = get("expires") if meant is None else None
        date = get("date")
        self.date = read_date(date, now) if date is not None else None
        modified = get("last-modified")
        self.modified = read_date(modified, now) if modified is not None else None
        self.etag = get("etag", "")
        self.age = seconds(get("age", "").partition(",")[0].partition(";")[0].strip(" \t"))
        self.set_cookie = "set-cookie" in fields
        self.pragma = meant is None and not self.cc and "no-cache" in get("pragma", "").lower()
        self.vary = _names(get("vary", ""))


def _names(text: str) -> tuple[str, ...] | None:
    """Lower-case names of a list of field names; None if "*" is one of them."""
    if not text:
        return ()
    names = sorted({name.strip(" \t").lower() for name in text.split(",")} - {""})
    return None if "*" in names else tuple(names)


def varies_by(headers: Headers) -> tuple[str, ...] | None:
    """What the responses of a URL differ by (RFC 9110 section 12.5.5); None: by more than the fields of a request."""
    return _names(", ".join([value for name, value in headers if name.lower() == "vary"]))


def make_entry(
    key: str,
    wish: Wish,
    environ: Environ,
    status: str,
    headers: Headers,
    asked_s: float,
    now: float,
    rules: Rules = NO_RULES,
) -> tuple[Entry | None, str]:
    """What would be kept of a response whose head has come, without its body; None, and why it is not to be kept.

    `asked_s`: when the application was called.
    """
    if not wish.stores:
        return None, "the request may not be kept"
    rule = rule_of(environ, rules)
    if rule is not None and rule.off:
        return None, f"the rule {rule.text!r}"
    said = _Said(headers, now)
    refusal = _refusal(said, int(status[:3]), rule)
    if refusal:
        return None, refusal
    entry, explicit = _assembled(key, status, headers, said, asked_s, now, rule)
    if not entry.lifetime_s and _explicit_s(said, now) is None and not _may_be_guessed(said, int(status[:3])):
        return None, f"status {status[:3]} without freshness"
    refusal = _is_personal(wish, explicit, said.cc, rule)
    if refusal:
        return None, refusal
    if entry.lifetime_s <= 0 and not entry.swr_s and not (entry.etag or entry.modified_s is not None):
        return None, "it is not fresh, and cannot be asked about"
    return entry, "kept"


def _keyed(wish: Wish, rule: Rule | None) -> bool:
    return rule is not None and rule.authorization and wish.keyed


def _refusal(said: _Said, code: int, rule: Rule | None) -> str:
    """Why a response may not be kept whatever its freshness, "" if it may (RFC 9111 section 3)."""
    cc = said.cc
    where = "CDN-Cache-Control" if said.targeted else "Cache-Control"
    if code < 200 or code in (206, 304):
        return f"status {code}"
    if "must-understand" in cc:  # RFC 9111 section 5.2.2.3
        if code not in REASONS:
            return f"must-understand, and status {code} is unknown"
    elif "no-store" in cc:
        return f"no-store in {where}"
    if "private" in cc and cc["private"] is None:
        return f"private in {where}"
    if said.vary is None:
        return "Vary: *"
    if said.set_cookie and "set-cookie" not in _left_out(cc) and not (rule is not None and rule.set_cookie):
        return "Set-Cookie"
    return ""


def _is_personal(wish: Wish, explicit: bool, cc: dict[str, str | None], rule: Rule | None) -> str:
    """Why a response may be for the one who asked alone, "" if it is not (`cache.policy`, laws 2 and 3)."""
    if wish.authorized and not (_is_shared(cc) or _keyed(wish, rule)):  # RFC 9111 section 3.5
        return "the request carries Authorization, and the response does not say public, s-maxage or must-revalidate"
    if explicit:
        return ""
    if wish.credentials or (wish.authorized and not _keyed(wish, rule)):
        return "the request carries credentials, and the response does not say that it is for everybody"
    if wish.cookies and not (rule is not None and rule.cookies):
        return "the request carries cookies, and the response does not say that it is for everybody"
    return ""


def _is_shared(cc: dict[str, str | None]) -> bool:
    return "public" in cc or "s-maxage" in cc or "must-revalidate" in cc


def _left_out(cc: dict[str, str | None]) -> set[str]:
    """Fields that the response allows to be kept without."""
    named = (cc.get("no-cache") or "") + "," + (cc.get("private") or "")
    return {name.strip(" \t").lower() for name in named.split(",")} - {""}


def _explicit_s(said: _Said, now: float) -> float | None:
    """The freshness lifetime that a response states (RFC 9111 section 4.2.1); None if it does not."""
    cc = said.cc
    for name in ("s-maxage", "max-age"):
        if name in cc:
            return float(seconds(cc[name]) or 0)
    if said.expires is not None:
        expires = read_date(said.expires, now)
        return 0.0 if expires is None else float(expires - (said.date if said.date is not None else int(now)))
    if "no-cache" in cc and cc["no-cache"] is None:
        return 0.0
    return 0.0 if said.pragma else None


def _assembled(
    key: str, status: str, headers: Headers, said: _Said, asked_s: float, now: float, rule: Rule | None
) -> tuple[Entry, bool]:
    """The entry of a response that may be kept, and whether it is declared to be everybody's."""
    cc, code = said.cc, int(status[:3])
    date_s = int(now) if said.date is None else said.date
    flags = SHARED if _is_shared(cc) else 0
    if "no-cache" in cc and cc["no-cache"] is None:
        flags |= NO_CACHE
    if "must-revalidate" in cc or "proxy-revalidate" in cc:
        flags |= MUST_REVALIDATE
    if "s-maxage" in cc:
        flags |= NO_STALE
    # RFC 9111 section 4.2.3
    age_s = 0.0 if said.age is None else said.age + max(0.0, now - asked_s)
    age_s = max(age_s, float(int(now) - date_s))
    lifetime_s = _explicit_s(said, now)
    explicit = lifetime_s is not None and (lifetime_s > 0 or bool(flags & SHARED)) and not flags & NO_CACHE
    if lifetime_s is None:
        by_rule = rule.lifetime_s(code) if rule is not None else None
        lifetime_s = _guess_s(said, code, date_s) if by_rule is None else by_rule + age_s
    if not explicit:
        flags |= IMPLICIT
    swr_s: float | None = seconds(cc.get("stale-while-revalidate"))
    sie_s: float | None = seconds(cc.get("stale-if-error"))
    if rule is not None and not flags & (MUST_REVALIDATE | NO_STALE):
        swr_s = rule.swr_s if swr_s is None else swr_s
        sie_s = rule.sie_s if sie_s is None else sie_s
    if flags & (MUST_REVALIDATE | NO_CACHE):
        swr_s = sie_s = 0
    entry = Entry(
        key,
        status,
        _kept(headers, said, now),
        stored_s=now,
        age_s=age_s,
        lifetime_s=max(0.0, lifetime_s),
        swr_s=swr_s or 0,
        sie_s=sie_s or 0,
        date_s=date_s,
        etag=said.etag,
        modified_s=said.modified,
        flags=flags,
        tags=_tags(said.fields),
        vary=said.vary or (),
    )
    return entry, explicit


def _may_be_guessed(said: _Said, code: int) -> bool:
    return code in HEURISTIC_STATUSES or "public" in said.cc


def _guess_s(said: _Said, code: int, date_s: int) -> float:
    """Heuristic freshness (RFC 9111 section 4.2.2)."""
    if said.modified is None or not _may_be_guessed(said, code):
        return 0.0
    return min(max(0.0, (date_s - said.modified) * HEURISTIC_FRACTION), HEURISTIC_MAX_S)


def _kept(headers: Headers, said: _Said, now: float) -> Headers:
    """The fields that are kept, with a Date (RFC 9110 section 6.6.1)."""
    left_out = _NEVER_KEPT | _left_out(said.cc) | {"set-cookie"}
    if "connection" in said.fields:
        left_out |= {name.strip(" \t").lower() for name in said.fields["connection"].split(",")}
    kept = [(name, value) for name, value in headers if name.lower() not in left_out]
    if "date" not in said.fields:
        kept.append(("Date", write_date(int(now))))
    return kept


def _tags(fields: dict[str, str]) -> tuple[str, ...]:
    """What a response can be purged by: Surrogate-Key (Fastly: by spaces), Cache-Tag (Cloudflare: by commas)."""
    if "surrogate-key" not in fields and "cache-tag" not in fields:
        return ()
    tags = fields.get("surrogate-key", "").replace(",", " ").split()
    tags += [tag.strip(" \t") for tag in fields.get("cache-tag", "").split(",")]
    return tuple(dict.fromkeys(tag for tag in tags if tag))[:TAGS_MAX]


def freshened(
    entry: Entry, headers: Headers, asked_s: float, now: float, rule: Rule | None = None, wish: Wish | None = None
) -> Entry:
    """What `entry` becomes by a 304 with these fields (RFC 9111 section 3.2 and 4.3.4): a new one, with its body.

    `wish`: of the request that asked. With the flag ONCE the entry answers that request, and is not to be kept.
    """
    news: dict[str, Headers] = {}
    for name, value in headers:
        low = name.lower()
        if low not in _NOT_UPDATED and low not in _NEVER_KEPT:
            news.setdefault(low, []).append((name, value))
    merged: Headers = []
    for name, value in entry.headers:
        low = name.lower()
        if low not in news and low != "date":
            merged.append((name, value))
    for pairs in news.values():
        merged += pairs
    said = _Said([*merged, *[(name, value) for name, value in headers if name.lower() == "age"]], now)
    found, explicit = _assembled(entry.key, entry.status, merged, said, asked_s, now, rule)
    cc = said.cc
    if ("no-store" in cc and "must-understand" not in cc) or ("private" in cc and cc["private"] is None):
        found.flags |= ONCE
    if said.vary is None or (wish is not None and _is_personal(wish, explicit, said.cc, rule)):
        found.flags |= ONCE
    found.flags |= entry.flags & NEGOTIATED
    found.body = entry.body
    found.coded = entry.coded
    return found


def freshened_by_head(
    entry: Entry,
    status: str,
    headers: Headers,
    asked_s: float,
    now: float,
    rule: Rule | None = None,
    wish: Wish | None = None,
) -> Entry | None:
    """What `entry` becomes by the response to a HEAD (RFC 9111 section 4.3.5); None: it is no longer right."""
    if status[:3] != entry.status[:3]:
        return None
    said = _Said(headers, now)
    length = said.fields.get("content-length")
    if (
        (said.etag and said.etag != entry.etag)
        or (said.modified is not None and said.modified != entry.modified_s)
        or (length is not None and length.strip(" \t") != str(len(entry.body)))
        or said.set_cookie
    ):
        return None
    found = freshened(entry, headers, asked_s, now, rule, wish)
    return None if found.flags & ONCE else found
