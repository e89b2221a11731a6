# HOT  bench: benchmarks/bench_cache.py  budget: 0.6 us (a fresh hit, judged and answered)
"""What may be reused, for whom, and when: the decisions of a shared cache (RFC 9111, RFC 5861). Pure.

The first law: **a response must never reach a user that it was not for.** What follows from it:

1. What a response says explicitly (max-age, s-maxage, Expires, CDN-Cache-Control) is believed, for everybody; and
   private, no-store and Set-Cookie before it (`storing`).
2. What is kept by a rule, or by a guess (heuristic freshness, or only to be asked about), is kept from nobody and given
   to nobody who carries cookies, Authorization or another credential, unless the rule says so by name.
3. A request with Authorization gets what `public`, `s-maxage` or `must-revalidate` make everybody's, and nothing else
   (RFC 9111 section 3.5, read in both directions).
4. What is not understood is not reused.

A request is read once into a Wish; most have none of the fields that matter and share one of two constants.

Must not know: where entries lie, who waits for whom, clocks (`now` is an argument, in Unix seconds).
"""

from __future__ import annotations

from vivace.cache.answering import answer
from vivace.cache.entry import IMPLICIT, MUST_REVALIDATE, NO_CACHE, NO_STALE, SHARED
from vivace.cache.keys import origin, primary, resolve, target_of
from vivace.cache.rules import NO_RULES
from vivace.cache.storing import freshened, freshened_by_head, make_entry, varies_by
from vivace.cache.wish import CONDITIONS, PLAIN, PLAIN_HEAD, Wish, are_ordinary, read_request
from vivace.http1.dates import write_date
from vivace.http1.preconditions import strongly_same, weakly_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from vivace.cache.entry import Entry
    from vivace.cache.rules import Rule, Rules

    Environ = dict[str, Any]
    Headers = list[tuple[str, str]]

__all__ = [
    "CONDITIONS",
    "FRESH",
    "MISS",
    "PASS",
    "REVALIDATE",
    "STALE",
    "UNAVAILABLE",
    "Wish",
    "answer",
    "cache_status",
    "confirms",
    "freshened",
    "freshened_by_head",
    "ignores",
    "invalidates",
    "judge",
    "make_entry",
    "read_request",
    "revalidation",
    "serves_on_error",
    "shares",
    "varies_by",
]

FRESH = 0  # answer from the entry
STALE = 1  # the same, and ask the application behind it (stale-while-revalidate)
REVALIDATE = 2  # ask the application first (`revalidation`); the entry may stand in if that fails
MISS = 3  # nothing to go by
PASS = 4  # an entry or a rule that is not for this request: it goes to the application alone, and waits for nobody
UNAVAILABLE = 5  # only-if-cached: 504

Verdict = tuple[int, str]

# Verdicts, with the reason as Cache-Status says it (RFC 9211 section 2.2); "hit" is none.
_HIT = (FRESH, "hit")
_BEHIND = (STALE, "hit")
_MISSED = (MISS, "uri-miss")
_EXPIRED = (REVALIDATE, "stale")
_REQUESTED = (REVALIDATE, "request")
_OTHERS = (PASS, "bypass")
_UNWANTED = (PASS, "request")
_UNAVAILABLE = (UNAVAILABLE, "request")

_ERRORS = frozenset((0, 500, 502, 503, 504))  # RFC 5861 section 4; 0: no response at all


def judge(entry: Entry | None, wish: Wish, now: float, rule: Rule | None = None) -> Verdict:
    """What to do with a request, and why. `entry`: what is kept for it; `rule`: the one for its path."""
    if (
        entry is not None
        and (wish is PLAIN or wish is PLAIN_HEAD)
        and now < entry.fresh_until_s
        and not entry.flags & NO_CACHE
        and (rule is None or not rule.off)
    ):
        return _HIT
    if not wish.reads:
        return (PASS, wish.reason)
    if rule is not None and rule.off:
        return _OTHERS
    if entry is None:
        return _UNAVAILABLE if wish.only_if_cached else _MISSED
    if not _is_for(entry, wish, rule):
        return _OTHERS if not wish.only_if_cached else _UNAVAILABLE
    verdict = _by_time(entry, wish, now)
    if wish.only_if_cached and verdict[0] == REVALIDATE:
        return _UNAVAILABLE
    return verdict


def _is_for(entry: Entry, wish: Wish, rule: Rule | None) -> bool:
    """Whether the entry may be given to who asks (laws 2 and 3), whatever its age."""
    if wish.authorized and not (entry.flags & SHARED or (rule is not None and rule.authorization and wish.keyed)):
        return False
    if entry.flags & IMPLICIT:
        return may_be_implicit(wish, rule)
    return True


def may_be_implicit(wish: Wish, rule: Rule | None) -> bool:
    """Whether a request may be answered from, or make, what no response has declared to be everybody's (law 2)."""
    if wish.credentials:
        return False
    if wish.authorized and not (rule is not None and rule.authorization and wish.keyed):
        return False
    return not wish.cookies or (rule is not None and rule.cookies)


def _by_time(entry: Entry, wish: Wish, now: float) -> Verdict:
    """RFC 9111 section 4.2 and 5.2.1."""
    flags = entry.flags
    if wish.no_cache:
        return _REQUESTED
    if flags & NO_CACHE:
        return _EXPIRED
    left = entry.fresh_until_s - now
    if wish.max_age is not None and now - entry.born_s > wish.max_age:
        return _REQUESTED
    if left > 0:
        return _HIT if left >= wish.min_fresh else _REQUESTED
    if flags & MUST_REVALIDATE:
        return _EXPIRED
    if wish.max_stale and -left <= wish.max_stale and not flags & NO_STALE:
        return _HIT
    if -left < entry.swr_s and not wish.min_fresh:
        return _BEHIND
    return _EXPIRED


def ignores(
    entry: Entry, keys: Sequence[str], fields: Iterable[tuple[str, str]] = (), rule: Rule | None = None
) -> bool:
    """Whether requests that differ in the values of these keys of environ alone get one answer, as this one got it.

    `fields`: of the vary record, if there is one.

    1. None of them means something to the cache. 2. A cookie may be for whom the response is (law 2), but not if it
    has declared itself. 3. Nor does the rule make it a part of the key. 4. Responses do not vary by one of them, which
    a coding does by Accept-Encoding.
    """
    return (
        are_ordinary(keys)
        and not entry.flags & IMPLICIT
        and not (rule is not None and (rule.cookies or rule.authorization))
        and "HTTP_ACCEPT_ENCODING" not in keys
        and not any(key in keys for _, key in fields)
    )


def shares(entry: Entry | None, wish: Wish) -> bool:
    """Whether a request that goes to the application may do so for others, and wait for one that does.

    Not where it would turn out to be for itself alone, for then all would go one after the other: a request with
    credentials, unless what was kept before is everybody's; one that wants it fresher than it may come (no-cache,
    max-age, min-fresh); nor for what each has to be validated for.
    """
    if not wish.stores or wish.no_cache or wish.max_age is not None or wish.min_fresh:
        return False
    if entry is None:
        return wish.waits
    return entry.reusable and (wish.waits or not entry.flags & IMPLICIT)


def revalidation(entry: Entry | None, environ: Environ) -> Environ:
    """What to set in a copy of environ, after taking CONDITIONS out of it, to ask the application about `entry`.

    RFC 9111 section 4.3.1. Empty if there is nothing to ask by: the application then makes the whole.
    """
    changes: Environ = {}
    if entry is not None:
        if entry.etag:
            changes["HTTP_IF_NONE_MATCH"] = entry.etag
        if entry.modified_s is not None:
            changes["HTTP_IF_MODIFIED_SINCE"] = write_date(entry.modified_s)
    return changes


def confirms(entry: Entry, headers: Headers) -> bool:
    """Whether a 304 with these fields is about `entry` (RFC 9111 section 4.3.4), and not about another version."""
    for name, value in headers:
        if name.lower() == "etag":
            return strongly_same(entry.etag, value) or (value[:2] == "W/" and weakly_same(entry.etag, value))
    return True


def serves_on_error(entry: Entry, status: int, wish: Wish, now: float, rule: Rule | None = None) -> bool:
    """Whether `entry` stands in for a failure: a status of 5xx, or 0 for no response at all (RFC 5861 section 4)."""
    if status not in _ERRORS or entry.status[:1] == "5":
        return False
    if entry.flags & (NO_CACHE | MUST_REVALIDATE) or not _is_for(entry, wish, rule):
        return False
    return now - entry.fresh_until_s < max(entry.sie_s, wish.sie_s)


def invalidates(method: str, status: str, environ: Environ, headers: Headers, rules: Rules = NO_RULES) -> list[str]:
    """Primary keys of what a request may have changed (RFC 9111 section 4.4)."""
    if method in ("GET", "HEAD", "OPTIONS", "TRACE") or status[:1] not in "23":
        return []
    base = origin(environ)
    url = base + target_of(environ)
    urls = [url]
    for name, value in headers:
        if name.lower() in ("location", "content-location"):
            found = resolve(url, value.strip(" \t"))
            if found is not None:
                urls.append(found)
    found_keys = []
    for one in dict.fromkeys(urls):
        asked = {**environ, "REQUEST_URI": one[len(base) :], "SCRIPT_NAME": ""}
        found_keys.append(primary(asked, rules).partition("\n")[0])
    return found_keys


def cache_status(
    *,
    hit: bool = False,
    fwd: str = "",
    fwd_status: int = 0,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    detail: str = "",
) -> str:
    """Cache-Status of one answer (RFC 9211 section 2). `fwd`: a reason of `judge`; `detail` without quotation marks."""
    text = "vivace; hit" if hit else "vivace"
    if fwd and fwd != "hit":
        text = f"{text}; fwd={fwd}"
    if fwd_status:
        text = f"{text}; fwd-status={fwd_status}"
    if ttl is not None:
        text = f"{text}; ttl={ttl}"
    if stored:
        text += "; stored"
    if collapsed:
        text += "; collapsed"
    return f'{text}; detail="{detail}"' if detail else text
