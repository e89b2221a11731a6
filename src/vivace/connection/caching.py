"""The response cache in the loop: looks before a request takes its lane, and has what comes kept.

What may be kept and reused is decided in `cache.policy`; where it lies is `cache.levels`. Here they meet the requests.

Rules:

* A request that can be answered from what is kept never leaves the loop's thread, whatever lane its route is in.
* Of several requests for what has to be made, one goes to the application (`flights`), by a Fill (`fill`), and what it
  makes is kept (`filling`).

Threads: the leader, if nothing else is said.
"""

from __future__ import annotations

from time import time

from vivace.cache import keys, policy
from vivace.cache.entry import Entry, VaryRecord
from vivace.connection.cache_desk import TOPICS, told_of
from vivace.connection.connection import IDLE, RUNNING, Connection
from vivace.connection.fill import Fill
from vivace.connection.filling import Filling
from vivace.connection.flights import Flights
from vivace.connection.known import Known
from vivace.connection.meter import clock
from vivace.connection.plan import CACHE_RESULT, PARKED, Answer
from vivace.connection.refreshing import Ghost, Invalidating, Job
from vivace.connection.rows import Row
from vivace.http1.flags import CLOSE, HEAD, HTTP10, PRIVATE
from vivace.http1.response import NO_BODY
from vivace.observe.layout import QUEUED
from vivace.wsgi.body import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cache.policy import Wish
    from vivace.connection.loop import Loop
    from vivace.connection.plan import CachePlan

    Headers = list[tuple[str, str]]

JOIN_BYTES_MAX = 65536

SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class Caching:
    """The cache of one loop."""

    def __init__(self, loop: Loop, plan: CachePlan, known: Known) -> None:
        self._loop = loop
        self.levels = levels = plan.levels
        self.rules = plan.rules
        self._known = known
        self._flights = Flights(loop, levels, plan.wait_s)
        self.filling = Filling(loop, plan, self._flights, self._known)
        self.waits = levels.remote is not None
        """Whether what may be elsewhere is waited for, so that no request may do it on the loop's thread."""
        levels.on_change = self._known.clear
        levels.on_shared = lambda: self.filling.count("shared")
        levels.later = lambda call: loop.do_later(Job(call))
        self._known.levels = levels
        self._began = 0.0  # when the present request was looked for
        loop.plan.topics.update(dict.fromkeys(TOPICS, lambda question: told_of(self, question)))
        if levels.control is not None:
            loop.watch(levels.control.bell(), self._on_bell)

    # A request has come.

    def answer(self, conn: Connection, data: bytes = b"") -> tuple[bytes, bool] | None:
        """What is to be sent in answer to the request that `conn` holds, and whether another may follow on it.

        None: the application is to be called. PARKED: the request waits, and will come again by `ready`. `data`: the
        whole request, if it came alone and may be known by its bytes the next time. Raises PeerGone.
        """
        environ = conn.environ
        if self.levels.purged_elsewhere:
            self.levels.read_purges()
        if conn.fill is not None or conn.route.app is not None:
            return None  # it has been looked for already, or is the server's own
        if self._loop.plan.annotator is not None:
            self._began = clock()
        if environ["REQUEST_METHOD"] not in SAFE:
            self._count("bypassed", environ, "bypass")
            conn.fill = Invalidating(self._changed, self._loop.plan.app)
            return None
        if environ["wsgi.input"] is not EMPTY:
            self._count("bypassed", environ, "bypass")
            return None
        wish = self._wish(conn, environ)
        changes = self._known.changes
        primary = keys.primary(environ, self.rules, wish.via)
        if keys.is_too_long(primary):
            self._count("bypassed", environ, "bypass")
            return None
        key, entry = self.find(primary, environ)
        now = time()
        verdict, reason = policy.judge(entry, wish, now, keys.rule_of(environ, self.rules))
        if entry is not None and (verdict == policy.FRESH or verdict == policy.STALE):
            return self._reuse(conn, key, entry, wish, now, verdict, (data, primary, changes))
        if verdict == policy.UNAVAILABLE:
            return self._unavailable(conn)
        if verdict == policy.PASS:
            self._count("bypassed", environ, "bypass")
            if wish.stores:
                conn.fill = self._fill(key, wish, reason)
            return None
        return self._forward(conn, key, wish, entry, reason, data)

    def _count(self, name: str, environ: dict[str, Any], result: str) -> None:
        """What becomes of a request: one of CACHE_RESULTS, and the word for it that its log has."""
        self.filling.count(name)
        environ[CACHE_RESULT] = result

    def _wish(self, conn: Connection, environ: dict[str, Any]) -> Wish:
        identified = conn.site.secure and conn.filter.facts.get("SSL_CLIENT_VERIFY") == "SUCCESS"
        return policy.read_request(environ, self.rules, identified)

    def find(self, key: str, environ: dict[str, Any]) -> tuple[str, Entry | None]:
        """What is kept for such a request, and under which key; or would be."""
        found = self.levels.look(key)
        if type(found) is VaryRecord:
            key = keys.secondary(key, found, environ, self.rules)
            found = self.levels.look(key)
        return key, found if type(found) is Entry else None

    def _fill(self, key: str, wish: Wish, reason: str, stale: Entry | None = None, flight: Any = None) -> Fill:
        app = self._loop.plan.app
        return Fill(self.filling, app, key, wish, stale=stale, flight=flight, forwarded=reason)

    def _reuse(
        self,
        conn: Connection,
        key: str,
        entry: Entry,
        wish: Wish,
        now: float,
        verdict: int,
        asked: tuple[bytes, str, int],
    ) -> tuple[bytes, bool]:
        """The answer from what is kept. `asked`: the request, the primary key, `Known.changes` before it was found."""
        loop, filling = self._loop, self.filling
        if verdict == policy.STALE:
            self._count("stale", conn.environ, "stale")
            self._refresh(conn, key, entry)
        else:
            self._count("hits", conn.environ, "hit")
        environ, conn.environ = conn.environ, None
        coding = filling.code(entry, environ)
        # 1. As it was sent within this second, to others.
        usual = verdict == policy.FRESH and not wish.partial and not conn.flags & (HTTP10 | HEAD | CLOSE)
        plain = usual and loop.usual and loop.log is None and loop.plan.annotator is None
        if plain and (sent := entry.sent) is not None and sent[0] is loop.date and sent[1] == coding:
            head, body = sent[2], entry.coded[coding] if coding else entry.body
            if len(body) <= JOIN_BYTES_MAX:
                told = Answer(entry.status, len(body))
                self._tell(conn, told)
                answer = head + body
                if asked[0]:
                    self._remember(conn, answer, told, environ, entry, now, asked)
                return answer, True
        # 2. Made anew.
        status, headers, body = policy.answer(entry, wish, environ, now, coding)
        if status[:3] == "304":
            filling.count("not_modified")
        headers = headers + filling.status_field(policy.cache_status(hit=True, ttl=int(entry.fresh_until_s - now)))
        told = Answer(status, len(body), headers)
        answer, keep = self._send(conn, environ, told, body)
        if keep and answer and loop.plan.annotator is None:
            if plain and told.body_bytes:
                entry.sent = (loop.date, coding, answer[: len(answer) - len(body)])
            if asked[0] and verdict == policy.FRESH:
                self._remember(conn, answer, told, environ, entry, now, asked)
        return answer, keep

    def _remember(
        self,
        conn: Connection,
        answer: bytes,
        told: Answer,
        environ: dict[str, Any],
        entry: Entry,
        now: float,
        asked: tuple[bytes, str, int],
    ) -> None:
        """It may be given again, while it is fresh, to who asks the same; or nearly so."""
        data, primary, changes = asked
        names: list[bytes] = []
        if conn.flags & PRIVATE:
            site, loop = conn.site, self._loop
            # A log has to tell who asked, and behind a proxy the fields say what was asked for.
            parts = site.blocks.split(data, loop.plan.limits) if loop.log is None and site.adapt is None else None
            if parts is None:
                return
            data, names, differing = parts
            found = self.levels.look(primary)
            fields = found.fields if type(found) is VaryRecord else ()
            if not fields and found is not entry:
                return  # it has just gone
            if not policy.ignores(entry, differing, fields, keys.rule_of(environ, self.rules)):
                return
        fresh_s = entry.fresh_until_s - now
        self._known.remember(data, conn, answer, told, environ, fresh_s, (primary, changes, names))

    def _send(self, conn: Connection, environ: dict[str, Any], told: Answer, body: bytes) -> tuple[bytes, bool]:
        """An answer that the loop gives itself: what is to be sent of it, and whether another may follow."""
        loop = self._loop
        if (loop.closing or loop.full) and conn.at >= len(conn.buffer):
            conn.flags |= CLOSE
        assert told.status is not None
        assert told.headers is not None
        head, framing, keep = loop.heads.encode(told.status, told.headers, conn.flags, len(body), loop.date)
        annotator = loop.plan.annotator
        if annotator is not None:
            waited_s, took_s = self._began - conn.arrived, clock() - self._began
            result = environ[CACHE_RESULT]
            head = head[:-2] + annotator.answered(environ, conn.host, waited_s, took_s, result) + b"\r\n"
        if framing == NO_BODY:
            body = b""
        told.body_bytes = len(body)
        if len(body) > JOIN_BYTES_MAX and loop.tally is not None:  # it may take a while
            conn.row = Row(conn, environ, told, clock(), 0.0)
        else:
            self._tell(conn, told)
        if loop.log is not None:
            loop.log(environ, told, 0.0)
        if len(body) <= JOIN_BYTES_MAX:
            return head + body, keep
        conn.put_pair(head, body, True)
        return b"", keep

    def _tell(self, conn: Connection, told: Answer) -> None:
        """Counts a request that has been answered."""
        loop = self._loop
        tally = loop.tally
        if tally is not None:
            tally.count_known(conn, told, conn.arrived, not loop.monitor.turns & tally.detail_mask)

    def _unavailable(self, conn: Connection) -> tuple[bytes, bool]:
        """RFC 9111 section 5.2.1.7: what is kept will do, or nothing."""
        environ, conn.environ = conn.environ, None
        self._count("unavailable", environ, "unavailable")
        headers = [("Content-Type", "text/plain"), *self.filling.status_field(policy.cache_status(fwd="request"))]
        body = b"nothing fresh is kept\n"
        return self._send(conn, environ, Answer("504 Gateway Timeout", len(body), headers), body)

    def _forward(
        self, conn: Connection, key: str, wish: Wish, stale: Entry | None, reason: str, data: bytes
    ) -> tuple[bytes, bool] | None:
        """The application is to be asked, by this request or by one before it."""
        flight = None
        if policy.shares(stale, wish) and not self._flights.is_unkept(key):
            flight = self._flights.board(key, conn)
            if flight is None:
                self.filling.count("collapsed")
                self._park(conn, data)
                return PARKED
            if not wish.no_cache and self._made_meanwhile(key, stale):
                self._flights.land(flight, key)
                return self.answer(conn, data)
        self._count("missed", conn.environ, "miss")
        conn.fill = self._fill(key, wish, reason, stale, flight)
        return None

    def _made_meanwhile(self, key: str, stale: Entry | None) -> bool:
        """Whether another worker has made it between the look for it and the claim on it."""
        if self.levels.shared is None:
            return False
        found = self.levels.look(key)
        return found is not None and found is not stale

    def _park(self, conn: Connection, data: bytes) -> None:
        """Until the flight lands the connection is nobody's."""
        conn.state = RUNNING
        conn.asked = data
        environ = conn.environ
        text = f"{environ['REQUEST_METHOD']} {environ['REQUEST_URI']} from {conn.host or 'a local client'}"
        conn.slot = self._loop.section.enter(text.encode(), QUEUED, conn.route.number)

    # Who comes again.

    def resume(self, job: Any, table: list[Any]) -> bool:
        """A request that has waited, or a job where there is no pool; True: another thread leads."""
        if isinstance(job, Job):
            self.run_job(job)
            return False
        conn: Connection = job
        if conn.slot:
            self._loop.section.leave(conn.slot)
            conn.slot = 0
        conn.state = IDLE
        data, conn.asked = conn.asked, b""
        if data and conn.fill is None and self._is_known(conn, data):
            return False
        return self._loop.on_request(conn, table, conn.arrived, data)

    def _is_known(self, conn: Connection, data: bytes) -> bool:
        """Whether the response that it waited for is known by its bytes, since the first who waited got it."""
        loop = self._loop
        known, tally = loop.known, loop.tally
        if not loop.usual or known is None:
            return False
        environ, conn.environ = conn.environ, None
        detail = tally is not None and not loop.monitor.turns & tally.detail_mask
        if known.current().serve(conn, data, conn.arrived, clock(), detail):
            return True
        conn.environ = environ
        return False

    def run_job(self, job: Job) -> None:
        """What no client waits for. Pooled thread, or the leader where there is no pool."""
        try:
            job.run()
        except Exception as error:
            self._loop.plan.on_error(error)

    def end(self) -> None:
        """The loop has ended."""
        self._flights.end()

    def _on_bell(self) -> None:
        """A command has purged something. A loop without connections would sleep on."""
        if self.levels.control is not None:
            self.levels.control.on_bell()
        self._look_outside()

    def _look_outside(self) -> None:
        if self.levels.purged_elsewhere:
            self.levels.read_purges()

    def tick(self) -> None:
        """What time brings: once a second, and more often while another worker makes what is waited for."""
        self._look_outside()
        alone = self._flights.tick()
        for conn in alone:
            self._count("missed", conn.environ, "miss")
            wish = self._wish(conn, conn.environ)
            conn.fill = self._fill(keys.primary(conn.environ, self.rules, wish.via), wish, "uri-miss")
        self._loop.ready.extend(alone)

    # Renewing what is stale.

    def _refresh(self, conn: Connection, key: str, entry: Entry) -> None:
        """Has the application asked again, unless it is being asked already."""
        flight = self._flights.board(key, None)
        if flight is None:
            return
        if self._made_meanwhile(key, entry):
            self._flights.land(flight, key)
            return
        self.filling.count("refreshed")
        environ = {name: value for name, value in conn.environ.items() if name not in policy.CONDITIONS}
        wish = self._wish(conn, environ)
        if conn.site.secure:
            environ.update(conn.filter.facts)
        fill = self._fill(key, wish, "stale", entry, flight)
        self._loop.do_later(Job(Ghost(environ, fill, self._loop).run))

    # What is no longer right.

    def _changed(self, environ: dict[str, Any], status: str, headers: Headers) -> None:
        """A request that may change things has been answered (RFC 9111 section 4.4). Its thread."""
        try:
            found = policy.invalidates(environ["REQUEST_METHOD"], status, environ, headers, self.rules)
        except (AttributeError, TypeError, ValueError):  # the server is about to say what is wrong with them
            found = policy.invalidates(environ["REQUEST_METHOD"], status, environ, [], self.rules)
        for key in found:
            if not keys.is_too_long(key):
                self.filling.count("invalidated")
                self.levels.purge("key", key)
