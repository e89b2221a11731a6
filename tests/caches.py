"""A cache without a server: `cache.policy` and a dict, driven as `connection.caching` drives them.

One request at a time; each comes with what the application would answer to it. Time is an argument.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vivace.cache import keys, policy
from vivace.cache.entry import Entry, VaryRecord
from vivace.cache.rules import NO_RULES, Rules

Headers = list[tuple[str, str]]
Environ = dict[str, Any]


def environ_of(target: str = "/", method: str = "GET", **fields: str) -> Environ:
    """`fields` are keys of environ without HTTP_: COOKIE="a=b"."""
    path, _, query = target.partition("?")
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_URI": target}
    environ |= {"SCRIPT_NAME": "", "wsgi.url_scheme": "https", "HTTP_HOST": "a.test", "REMOTE_ADDR": "192.0.2.1"}
    return environ | {f"HTTP_{name}": value for name, value in fields.items()}


class Answer(NamedTuple):
    """`verdict`: of `policy.judge`; `reason`: why the response was not kept, "" if it was, or nobody was asked."""

    verdict: int
    reason: str
    status: str
    headers: Headers
    body: bytes

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class TinyCache:
    """Every response comes at once, and whole."""

    def __init__(self, rules: Rules = NO_RULES) -> None:
        self.rules = rules
        self.store: dict[str, Entry | VaryRecord] = {}

    def find(self, environ: Environ) -> tuple[str, Entry | None]:
        key = keys.primary(environ, self.rules)
        found = self.store.get(key)
        if isinstance(found, VaryRecord):
            key = keys.secondary(key, found, environ, self.rules)
            found = self.store.get(key)
        return key, found if isinstance(found, Entry) else None

    def put(self, entry: Entry, environ: Environ, now: float) -> str:
        """ "" or why it is not kept."""
        key = keys.primary(environ, self.rules)
        old = self.store.get(key)
        if entry.vary or isinstance(old, VaryRecord):
            record = keys.vary_record(key, entry.vary, now, old if isinstance(old, VaryRecord) else None)
            if record is None:
                return "it varies by too much"
            self.store[key] = record
            key = keys.secondary(key, record, environ, self.rules)
        entry.key = key
        self.store[key] = entry
        return ""

    def request(self, environ: Environ, now: float, status: str = "200 OK", *headers: str, body: bytes = b"") -> Answer:
        """One request, and what the application would answer to it: `headers` as "Name: value"."""
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in headers)]
        rule = keys.rule_of(environ, self.rules)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            for key in policy.invalidates(environ["REQUEST_METHOD"], status, environ, pairs, self.rules):
                self.store.pop(key, None)
            return Answer(policy.PASS, "", status, pairs, body)
        wish = policy.read_request(environ, self.rules)
        key, entry = self.find(environ)
        verdict, _ = policy.judge(entry, wish, now, rule)
        if verdict == policy.UNAVAILABLE:
            return Answer(verdict, "", "504 Gateway Timeout", [], b"")
        if entry is not None and verdict in (policy.FRESH, policy.STALE):
            return Answer(verdict, "", *policy.answer(entry, wish, environ, now))
        if entry is not None and verdict == policy.REVALIDATE:
            if status[:3] == "304" and policy.revalidation(entry, environ) and policy.confirms(entry, pairs):
                entry = policy.freshened(entry, pairs, now, now, rule, wish)
                return Answer(verdict, self.put(entry, environ, now), *policy.answer(entry, wish, environ, now))
            if policy.serves_on_error(entry, int(status[:3]), wish, now, rule):
                return Answer(verdict, "", *policy.answer(entry, wish, environ, now))
        made, reason = policy.make_entry(key, wish, environ, status, pairs, now, now, self.rules)
        if made is not None:
            made.body = body
            reason = self.put(made, environ, now)
        return Answer(verdict, reason, status, pairs, body)
