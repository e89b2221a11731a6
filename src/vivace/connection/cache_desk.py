"""What a running cache answers to `vivace cache`: counts, what is kept, and why. How it is asked: `observe.desk`.

{"ask": "cache_stats"}
    -> {"counters": {name: n}, "unstored": {reason: n}, "entries": n, "bytes": n, "bytes_max": n, "evictions": n,
        "shared": {name: n}}
{"ask": "cache_ls", "limit": n, "sort": field}
    -> {"entries": [{"key", "bytes", "age_s", "ttl_s", "hits", "tags", "status", "vary"}], "count": n}
{"ask": "cache_why", "method", "url", "headers": [[name, value]]} -> {"lines": [text]}
"""

from __future__ import annotations

from time import time

from vivace.cache import keys, policy
from vivace.cache.entry import Entry, VaryRecord
from vivace.observe.layout import CACHE_COUNTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.caching import Caching

    Told = dict[str, Any]

STATS, LIST, WHY = TOPICS = ("cache_stats", "cache_ls", "cache_why")
SORTS = ("bytes", "hits", "age", "ttl", "key")


def told_of(cache: Caching, question: Told) -> Told:
    """The answer to one question. The leader."""
    kind = question["ask"]
    if kind == STATS:
        return _stats(cache)
    if kind == LIST:
        return _list(cache, int(question.get("limit", 100)), str(question.get("sort", "bytes")))
    headers = [(str(name), str(value)) for name, value in question.get("headers", ())]
    return {"lines": _why(cache, str(question.get("method", "GET")), str(question["url"]), headers)}


def _stats(cache: Caching) -> Told:
    memory, shared = cache.levels.memory, cache.levels.shared
    return {
        "counters": dict(zip(CACHE_COUNTS, cache.filling.totals(), strict=True)),
        "unstored": dict(cache.filling.unstored),
        "entries": memory.count,
        "bytes": memory.bytes,
        "bytes_max": memory.bytes_max,
        "evictions": memory.evictions,
        "shared": shared.stats() if shared is not None else {},
    }


def _list(cache: Caching, limit: int, sort: str) -> Told:
    now = time()
    found: list[Told] = []
    for key, value, size, hits in cache.levels.memory.items():
        if type(value) is Entry:
            found.append(
                {
                    "key": key,
                    "bytes": size,
                    "age_s": value.age_s(now),
                    "ttl_s": value.fresh_until_s - now,
                    "hits": hits,
                    "tags": list(value.tags),
                    "status": value.code,
                    "vary": list(value.vary),
                }
            )
    field = {"age": "age_s", "ttl": "ttl_s"}.get(sort, sort)
    found.sort(key=lambda row: row.get(field, 0), reverse=sort != "key")
    return {"entries": found[:limit], "count": len(found)}


def _why(cache: Caching, method: str, url: str, headers: list[tuple[str, str]]) -> list[str]:
    """Sentences on what would happen to such a request now."""
    environ = _environ(method, url, headers)
    wish = policy.read_request(environ, cache.rules)
    rule = keys.rule_of(environ, cache.rules)
    primary = keys.primary(environ, cache.rules, wish.via)
    lines = [f"its key is {primary.partition(chr(10))[0]}"]
    if rule is not None:
        lines.append(f"the rule {rule.text!r} is for its path")
    if keys.is_too_long(primary):
        return [*lines, f"it is longer than {keys.KEY_BYTES_MAX} bytes: nothing is kept under it"]
    found = cache.levels.look(primary)
    if type(found) is VaryRecord:
        lines.append(f"responses of this URL differ by {', '.join(sorted(found.names))}")
    key, entry = cache.find(primary, environ)
    verdict, reason = policy.judge(entry, wish, time(), rule)
    now = time()
    if entry is None:
        lines.append("nothing is kept for such a request")
    else:
        left_s = entry.fresh_until_s - now
        fresh = f"fresh for {left_s:.0f} s more" if left_s > 0 else f"stale since {-left_s:.0f} s"
        lines.append(f"a response of status {entry.code} is kept, {entry.age_s(now)} s old, {fresh}")
    lines.append(SAYS[verdict].format(reason=reason))
    note = cache.filling.notes.get(key) or cache.filling.notes.get(primary)
    if note is not None:
        lines.append(f"the last response of the application, {now - note[0]:.0f} s ago: {note[1]}")
    return lines


SAYS = {
    policy.FRESH: "it would be answered from what is kept",
    policy.STALE: "it would be answered from what is kept, and the application asked for a new one behind it",
    policy.REVALIDATE: "the application would be asked first ({reason})",
    policy.MISS: "it would go to the application ({reason})",
    policy.PASS: "it would go to the application, and no other request would wait for it ({reason})",
    policy.UNAVAILABLE: "it would be answered 504: it wants what is kept, or nothing",
}


def _environ(method: str, url: str, headers: list[tuple[str, str]]) -> Told:
    """As much of an environ as decides on a request."""
    scheme, _, rest = url.partition("://")
    host, slash, target = rest.partition("/")
    environ: Told = {
        "REQUEST_METHOD": method,
        "wsgi.url_scheme": scheme,
        "HTTP_HOST": host,
        "REQUEST_URI": slash + target or "/",
        "PATH_INFO": (slash + target).partition("?")[0] or "/",
        "SCRIPT_NAME": "",
    }
    for name, value in headers:
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    return environ
