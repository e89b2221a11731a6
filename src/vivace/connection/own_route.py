"""Routes that the server answers itself, by an application of its own.

They stay in their lane whatever they cost, so that they are answered while every thread is busy; but a call that does
not return (a file on a slow disk) is overtaken like any other, keeps its thread, and another one leads.
"""

from __future__ import annotations

import os

from vivace.connection.meter import clock
from vivace.connection.plan import Answer
from vivace.connection.rows import Row, Stats
from vivace.errors import PeerGone, RequestTimeout
from vivace.http1.flags import PRIVATE
from vivace.net.poller import READ
from vivace.observe.layout import S_NOW
from vivace.schedule.route import LOOP, Route
from vivace.schedule.routes import METHODS, OTHER
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.connection import Connection
    from vivace.connection.general import General
    from vivace.connection.loop import Loop


KNOWN_S = 1.0
"""A file that has changed is answered as it was for so long, at most, beside what its application remembers of it."""


class OwnRoute(Route):
    """A route that `app` answers instead of the application, on the loop's thread; nothing is learned of it."""

    __slots__ = ("annotated", "app", "known_s", "logged")

    def __init__(
        self,
        name: str,
        app: Callable[..., Any],
        *,
        annotated: bool,
        logged: bool,
        allowance_s: float = float("inf"),
        known_s: float = 0.0,
    ) -> None:
        """`known_s`: for so long an answer may be given again to who asks the same (`known`)."""
        super().__init__(name, allowance_s)
        self.lane = LOOP
        self.watch = False
        self.app = app
        self.annotated = annotated
        self.logged = logged
        self.known_s = known_s


def add_mounts(loop: Loop) -> None:
    """Puts the applications of `plan.mounts` in front of the application, each for all that lies under its path.

    To whoever counts, logs or annotates requests each is a route like another: "GET /static/*".
    """
    plan = loop.plan
    for path, app in plan.mounts:
        if plan.annotator is not None and plan.annotator.quick:
            app = plan.annotator.wrap(app)
        routes: dict[str, Route] = {}
        for method in ("GET", "HEAD", OTHER):
            name = f"{method} {path}/*"
            route = OwnRoute(name, app, annotated=True, logged=True, allowance_s=loop.policy.tick_s, known_s=KNOWN_S)
            routes[method] = route
            route.number = loop.section.number_route(route.name)
            if plan.metrics:
                route.stats = Stats()
        loop.routes.preset_under(path, {method: routes.get(method, routes[OTHER]) for method in (*METHODS, OTHER)})


def run_own(loop: General, conn: Connection, table: list[Any], data: bytes) -> bool:
    """As sections 4 to 6 of `Loop.turn`, for the request that `conn` holds, of an OwnRoute. Leader; True: overtaken.

    `data`: its bytes, if it came alone.
    """
    route: Any = conn.route
    environ, conn.environ = conn.environ, None
    tally, log = loop.tally, loop.log if route.logged else None
    loop.section.words[S_NOW] = route.number
    conn.table = table
    exchange = Exchange(conn, conn.flags, loop.heads, loop.date, loop.report, route.allowance_s)
    table.append(exchange)
    began = clock()
    try:
        answer, keep = exchange.run(route.app, environ)
        now = clock()
        sent = os.write(conn.fd, answer) if keep and answer and not conn.pending else 0
    except BlockingIOError:
        sent = 0
    except (OSError, PeerGone, RequestTimeout):
        answer, keep, sent, now = b"", False, 0, clock()
        conn.close_reason = conn.close_reason or "client_gone"
    except KeyboardInterrupt:
        answer, keep, sent, now = b"", False, 0, clock()
        loop.on_interrupt(conn)
    try:
        table.pop()
    except IndexError:
        loop.finish_overtaken(conn, exchange, environ, answer[sent:], keep, now - began)
        return True
    if log is not None:
        log(environ, exchange, now - began)
    if sent != len(answer) or not keep or conn.pending or conn.mode != READ:  # a new connection is not yet watched
        if tally is not None and route.stats is not None:
            conn.row = Row(conn, environ, exchange, began)
        loop.finish(conn, answer[sent:], keep, leading=True)
        return False
    conn.answered = now
    conn.expires = now + loop.plan.keepalive_timeout_s
    if data and answer and route.known_s and loop.known is not None and not conn.flags & PRIVATE:
        told = Answer(exchange.status, exchange.body_bytes, exchange.headers)
        loop.known.remember(data, conn, answer, told, environ, route.known_s)
    stats = route.stats
    if tally is not None and stats is not None:
        stats.count += 1
        if exchange.status is not stats.status:
            tally.note_status(stats, exchange.status)
        if not loop.monitor.turns & tally.detail_mask:
            tally.detail(stats, environ, exchange, (conn.arrived, began, now))
    return False
