"""A closer look at the requests for some seconds, when somebody asks: what they have in common, route by route.

While a window is open the application is called through `wrap`, and the loop leaves its fast path; while none is,
nothing is paid. What is told stands in explain/facts.py. Two questions, both answered by the leader:

* {"ask": "facts", "for_s": 10}: opens a window, in the place of one that is open; answered with {"until_s": Unix time}.
* {"ask": "facts"}: what the last window has found; "open" says whether it goes on.

Rules:

* Of a response nothing is changed (`look`).
* Bytes are looked at outside of the compressor for what is sent, and inside of it for whether they come again.
* What the application answers to POST, or to a request with a body, is not compared; neither is a file, or what is
  sent by `write()`.
"""

from __future__ import annotations

import zlib
from threading import Lock, get_ident
from time import time

from vivace.connection.copying import is_one
from vivace.connection.look import Blocks, Look, One
from vivace.connection.meter import clock
from vivace.connection.route_facts import (
    HTTP10,
    KEEPABLE,
    TEXT_BYTES_MIN,
    TRIAL_BYTES_MAX,
    TRIALS_MAX,
    RouteFacts,
    media_type,
)
from vivace.http1.accept import best_coding
from vivace.http1.response import UNTIL_CLOSE
from vivace.observe.adding import added
from vivace.observe.log_records import LogRecords
from vivace.observe.repeats import Repeats
from vivace.wsgi.files import FileParts, FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.connection.loop import Loop
    from vivace.connection.rows import Row
    from vivace.content.compressor import Compressor
    from vivace.schedule.route import Route
    from vivace.wsgi.exchange import Exchange

    Environ = dict[str, Any]
    Application = Callable[..., Iterable[bytes]]

WINDOW_S_MAX = 600.0
REQUESTS_MAX = 20_000
"""A window ends with so many, too: a look takes 30 to 40 us, so all of them less than a second."""
ROUTES_MAX = 200
PEERS_MAX = 100_000
ACCEPTS_MAX = 1000


TEXT_TYPES = ("application/json", "application/javascript", "application/xml", "application/xhtml+xml")


class Facts:
    """One window. `note` by any thread; all else by the leader."""

    def __init__(self, for_s: float, on_over: Callable[[], None]) -> None:
        """`on_over`: who looks whether its time is over calls it."""
        self.on_over = on_over
        self.began_s = clock()
        self.until_s = self.began_s + for_s
        self.ended_s = 0.0
        self.records = LogRecords(self._place)
        self._guard = Lock()
        self._repeats = Repeats()
        self._routes: dict[Route, RouteFacts] = {}
        self._at: dict[int, Route] = {}
        """Thread -> the route that it works for."""
        self._peers: set[int] = set()
        self._cost_s = 0.0
        self._requests = 0
        self._accepts: dict[str | None, bool] = {}
        """Accept-Encoding -> whether gzip is taken."""
        self._closed = {"client": 0, "http10": 0, "unframed": 0}

    @property
    def window_s(self) -> float:
        """How long it has been, or was, open."""
        return (self.ended_s or clock()) - self.began_s

    def wrap(self, app: Application, compressor: Compressor | None = None) -> Application:
        """`app` behind `compressor`, if there is one, as an exchange may call it."""

        def watched(environ: Environ, start_response: Any) -> Iterable[bytes]:
            """... and behind this look at what it sends and asks for, while the window is open."""
            exchange: Exchange = start_response.__self__
            # For a response that is made anew for the cache there is no client, and no route.
            if self.ended_s or not hasattr(exchange.sink, "route"):
                return (
                    app(environ, start_response) if compressor is None else compressor.run(app, environ, start_response)
                )
            thread = get_ident()
            look = Look(self, exchange, environ)
            self._at[thread] = look.route
            try:
                if compressor is None:
                    body = app(environ, start_response)
                else:
                    body = compressor.run(look.digested(app), environ, start_response)
            except BaseException:
                look.on_failure()
                raise
            if type(body) is list or type(body) is tuple:
                look.on_list(body)
            elif type(body) is FileWrapper or type(body) is FileParts:
                look.on_file()
            else:
                return One(look, body) if is_one(body) else Blocks(look, body)
            return body

        return watched

    def note(self, look: Look, digest: int | None) -> None:
        """A response has been made; `digest` of its body, None where it is not compared."""
        began = clock()
        self._at.pop(get_ident(), None)
        with self._guard:
            if self.ended_s:
                return
            facts = self._routes.get(look.route)
            if facts is None:
                if len(self._routes) >= ROUTES_MAX:
                    return
                facts = self._routes[look.route] = RouteFacts()
            self._requests += 1
            facts.note(look)
            self._note_connection(look)
            self._note_body(look, facts)
            self._note_text(look, facts)
            self._note_again(look, facts, digest)
            now = clock()
            self._cost_s += now - began
            if self._requests >= REQUESTS_MAX:
                self.ended_s = now
                self.until_s = 0.0  # soon the leader sees that it is over

    def on_row(self, row: Row) -> None:
        """A response is out."""
        facts = self._routes.get(row.route)
        if facts is not None:
            with self._guard:
                facts.note_sent(row)

    def told(self) -> dict[str, Any]:
        """As plain data."""
        with self._guard:
            window_s = self.window_s
            routes: dict[str, Any] = {}
            for route, facts in self._routes.items():
                name = _named(route)
                told = facts.told(window_s, self._repeats.share)
                routes[name] = added(routes[name], told) if name in routes else told
            for name, count in self.records.of_routes().items():
                if name in routes:
                    routes[name]["records"] = count
            return {
                "seconds": window_s,
                "open": not self.ended_s,
                "requests": self._requests,
                "cost_s": self._cost_s,
                "connections": {"count": len(self._peers), "requests": self._requests, "closed": self._closed},
                "logging": {"records": self.records.count, "lines": self.records.told()},
                "routes": routes,
            }

    # Under the guard.

    def _note_connection(self, look: Look) -> None:
        conn = look._exchange.sink
        if len(self._peers) < PEERS_MAX:
            self._peers.add(hash((conn.host, conn.port) if conn.port else id(conn)))
        said = look.environ.get("HTTP_CONNECTION", "").lower()
        if "close" in said:
            self._closed["client"] += 1
        elif look.environ.get("SERVER_PROTOCOL") == HTTP10 and "keep-alive" not in said:
            self._closed["http10"] += 1
        elif look.framing == UNTIL_CLOSE:
            self._closed["unframed"] += 1

    def _note_body(self, look: Look, facts: RouteFacts) -> None:
        length = look.environ.get("CONTENT_LENGTH") or "0"
        if look.chunked or length != "0":
            facts.counts["bodies"] += 1
            facts.counts["chunked"] += look.chunked
            facts.counts["body_bytes"] += int(length) if length.isdecimal() else 0

    def _note_text(self, look: Look, facts: RouteFacts) -> None:
        """Text that is sent as it is; now and then it is tried what gzip would save."""
        head = look.head
        kind = media_type(head.get("content-type", ""))
        if look.size < TEXT_BYTES_MIN or "content-encoding" in head or not is_text(kind):
            return
        if look.code == "206" or "no-transform" in head.get("cache-control", "").lower():
            return
        facts.note_text(look.size, kind, self._accepts_gzip(look.environ.get("HTTP_ACCEPT_ENCODING")))
        if facts.trials[0] < TRIALS_MAX and len(look.first) >= TEXT_BYTES_MIN:
            piece = look.first[:TRIAL_BYTES_MAX]
            facts.note_trial(len(piece), len(zlib.compress(piece, 3)))

    def _accepts_gzip(self, accepted: str | None) -> bool:
        found = self._accepts.get(accepted)
        if found is None:
            found = best_coding(accepted, ("gzip",)) == "gzip"
            if len(self._accepts) < ACCEPTS_MAX:
                self._accepts[accepted] = found
        return found

    def _note_again(self, look: Look, facts: RouteFacts, digest: int | None) -> None:
        environ = look.environ
        if environ.get("REQUEST_METHOD") != "GET" or (environ.get("CONTENT_LENGTH") or "0") != "0" or look.chunked:
            return
        target = hash((environ.get("HTTP_HOST"), environ.get("REQUEST_URI")))
        if not self._repeats.follows(target):
            return
        same = False
        if look.code == "304" or (digest is not None and look.code in KEEPABLE):
            owner = hash((environ.get("HTTP_COOKIE"), environ.get("HTTP_AUTHORIZATION")))
            client = hash((owner, environ.get("REMOTE_ADDR"), environ.get("HTTP_USER_AGENT")))
            known = None if look.code == "304" else hash((digest, look.code))
            same = self._repeats.note(facts.views, target, owner, client, known, look.seconds, clock())
        facts.note_again(look, same)

    def _place(self, thread: int) -> str:
        route = self._at.get(thread)
        return _named(route) if route is not None else ""


class FactsDesk:
    """Answers the questions of the module. The leader."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._last: Facts | None = None
        self._open = False

    def told_of(self, question: Environ) -> Environ:
        """The answer to one question."""
        loop = self._loop
        if "for_s" in question:
            for_s = min(max(float(question["for_s"]), 0.0), WINDOW_S_MAX)
            self.end()
            self._last = facts = Facts(for_s, self.end)
            self._open = True
            facts.records.begin()
            loop.watch_requests(facts)
            return {"until_s": time() + for_s}
        if self._last is None:
            return {"error": "no window has been opened: ask for one, with for_s"}
        if clock() >= self._last.until_s:
            self.end()
        loop.count()
        return self._last.told()

    def end(self) -> None:
        """Nothing is looked at any more."""
        facts = self._last
        if facts is not None and self._open:
            self._open = False
            self._loop.count()
            facts.ended_s = facts.ended_s or clock()
            facts.records.end()
            self._loop.watch_requests(None)


def _named(route: Route) -> str:
    return (route.became or route).name


def is_text(kind: str) -> bool:
    """Whether a media type is worth compressing."""
    if kind == "text/event-stream":
        return False
    return kind.startswith("text/") or kind in TEXT_TYPES or kind.endswith(("+json", "+xml"))
