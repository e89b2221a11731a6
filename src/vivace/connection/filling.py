"""What becomes of a response that the application has made: it is kept, renewed, coded, or it is not, and why.

The other side of `fill`: a Fill tells a Filling what has come.

Threads: those of requests, if nothing else is said.
"""

from __future__ import annotations

from time import time

from vivace.cache import keys, policy
from vivace.cache.entry import NEGOTIATED, ONCE, Entry, VaryRecord
from vivace.connection.flights import FAILED_S, UNKEPT_S
from vivace.connection.known import KEPT, UNCHANGED
from vivace.connection.refreshing import Job
from vivace.errors import ApplicationError
from vivace.observe.layout import CACHE_COUNTS, S_KEPT, S_KEPT_BYTES, S_KEPT_BYTES_MAX, W_CACHE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cache.levels import Levels
    from vivace.connection.fill import Fill
    from vivace.connection.flights import Flights
    from vivace.connection.known import Known
    from vivace.connection.loop import Loop
    from vivace.connection.plan import CachePlan

    Environ = dict[str, Any]
    Headers = list[tuple[str, str]]

NOTES_MAX = 1024

MALFORMED = "its head is not well-formed"

COUNT = {name: place for place, name in enumerate(CACHE_COUNTS)}


class Filling:
    """Of one loop."""

    def __init__(self, loop: Loop, plan: CachePlan, flights: Flights, known: Known) -> None:
        self._loop = loop
        self._levels: Levels = plan.levels
        self._flights = flights
        self._known = known
        self._rules = plan.rules
        self._says = plan.status_field
        self._compressor = loop.plan.compressor
        self._wait_s = plan.wait_s
        self.bytes_max = plan.entry_bytes_max
        self._coding: set[tuple[Entry, str]] = set()
        """What is being coded."""
        self.notes: dict[str, tuple[float, str]] = {}
        """Key -> when it was made the last time, and what became of that."""
        self.unstored: dict[str, int] = {}
        """Why responses were not kept, and how many."""
        self.counts = [0] * len(CACHE_COUNTS)
        self._told = [0] * len(CACHE_COUNTS)
        self.tell_page()

    def judge_made(self, fill: Fill, status: str, headers: Headers, now: float) -> tuple[Entry | None, str]:
        """What would be kept of such a response; or None, and why it is not."""
        if not self._is_well_formed(status, headers):
            return None, MALFORMED  # the server is about to say how
        return policy.make_entry(fill.key, fill.wish, fill.environ, status, headers, fill.asked_s, now, self._rules)

    def _is_well_formed(self, status: str, headers: Headers) -> bool:
        """Whether the server can send it: nobody will look at it again before it is sent from here."""
        try:
            self._loop.heads.encode(status, headers, 0, None, self._loop.date)
        except (ApplicationError, AttributeError, TypeError, ValueError):
            return False
        return True

    def keep(self, fill: Fill, entry: Entry) -> None:
        """The whole response is here."""
        if fill.done:
            return
        fill.done = True
        try:
            self._put(fill, entry)
        except Exception as error:  # a fault here costs no response
            self._loop.plan.on_error(error)
            self._drop(fill, "it could not be kept", FAILED_S)

    def _put(self, fill: Fill, entry: Entry) -> None:
        now = time()
        key = primary = keys.primary(fill.environ, self._rules, fill.wish.via)
        if self._compressor is not None and self._compressor.takes(entry.status, entry.headers, len(entry.body)):
            entry.flags |= NEGOTIATED
        found = self._levels.memory.get(key)
        old = found if type(found) is VaryRecord else None
        if entry.vary or old is not None:  # one that says less than others of its URL is still one of them
            record = keys.vary_record(key, entry.vary, now, old)
            if record is None:
                self._drop(fill, "its Vary names too many fields", UNKEPT_S)
                return
            if record is not old:
                self._levels.put(key, record, fill.asked_s, entry.kept_s)
            key = keys.secondary(key, record, fill.environ, self._rules)
        entry.key = key
        self._levels.put(key, entry, fill.asked_s, entry.kept_s, fill.claimed)
        fill.claimed = ""
        self.count("revalidated" if fill.confirmed else "stored")
        self._note(fill.key, "it was kept")
        self._known.forget(primary)
        self._land(fill)

    def _land(self, fill: Fill, unkept_s: float = 0.0) -> None:
        self._flights.land(fill.flight, fill.key, unkept_s)
        fill.flight = None  # last: who is struck by a time limit meanwhile tries again at its end

    def give_up(self, fill: Fill, reason: str, *, failed: bool = False) -> None:
        """It will not be kept. More than once does no harm. `failed`: the next one may well be."""
        if not fill.done:
            fill.done = True
            self._drop(fill, reason, FAILED_S if failed else UNKEPT_S)

    def let_go(self, fill: Fill) -> None:
        """Nobody is to wait for it any more, although it may come yet. Any thread."""
        self._flights.land(fill.flight, fill.key, FAILED_S)

    def _drop(self, fill: Fill, reason: str, unkept_s: float) -> None:
        self.count("unstored")
        self._note(fill.key, reason)
        if len(self.unstored) < NOTES_MAX or reason in self.unstored:
            self.unstored[reason] = self.unstored.get(reason, 0) + 1
        if fill.claimed:
            self._levels.release(fill.claimed)
        if fill.flight is None and not policy.shares(fill.stale, fill.wish):
            return  # what is not kept of one user's response says nothing of those of others
        self._land(fill, unkept_s)

    def found_elsewhere(self, fill: Fill) -> Entry | None:
        """What another machine has kept of it, fresh; may wait."""
        levels = self._levels
        if levels.remote is None or not fill.wish.stores:
            return None
        key = keys.primary(fill.environ, self._rules, fill.wish.via)
        key, found = self._varied(fill, key, levels.fetch(key))
        if found is None and fill.flight is not None:
            if levels.claim(key, self._wait_s):
                fill.claimed = key
                return None
            _, found = self._varied(fill, key, levels.wait(key, self._wait_s))
        if type(found) is not Entry:
            return None
        rule = keys.rule_of(fill.environ, self._rules)
        if policy.judge(found, fill.wish, time(), rule)[0] != policy.FRESH:
            return None
        self.count("remote")
        levels.adopt(found)
        fill.done = True
        self._land(fill)
        return found

    def _varied(self, fill: Fill, key: str, found: Entry | VaryRecord | None) -> tuple[str, Entry | VaryRecord | None]:
        """Where responses vary: the key of this one, and what is kept under that."""
        if type(found) is not VaryRecord:
            return key, found
        self._levels.adopt(found)
        key = keys.secondary(found.key, found, fill.environ, self._rules)
        return key, self._levels.fetch(key)

    def freshen(self, fill: Fill, headers: Headers, now: float) -> Entry:
        """What becomes of the stale entry, which the application has found right, and is handed on."""
        assert fill.stale is not None
        rule = keys.rule_of(fill.environ, self._rules)
        entry = policy.freshened(fill.stale, headers, fill.asked_s, now, rule, fill.wish)
        if entry.flags & ONCE:
            self.give_up(fill, "the application found it right, and does not want it kept")
        elif not self._is_well_formed(entry.status, entry.headers):
            self.give_up(fill, MALFORMED)
        else:
            fill.confirmed = True
            self.keep(fill, entry)
        return entry

    def told_by_head(self, fill: Fill, status: str, headers: Headers, now: float) -> None:
        """A HEAD for which there is something stale was answered by the application (RFC 9111 section 4.3.5)."""
        assert fill.stale is not None
        rule = keys.rule_of(fill.environ, self._rules)
        entry = None
        if self._is_well_formed(status, headers):
            entry = policy.freshened_by_head(fill.stale, status, headers, fill.asked_s, now, rule, fill.wish)
        if entry is None:
            fill.stale.expire(now)
            self._known.clear()
            self.give_up(fill, "a response to HEAD is about another version")
        else:
            self.keep(fill, entry)

    def stands_in(self, fill: Fill, code: int, now: float) -> bool:
        """Whether what is stale is handed on in place of this status, or of no response at all (0)."""
        rule = keys.rule_of(fill.environ, self._rules)
        return fill.stale is not None and policy.serves_on_error(fill.stale, code, fill.wish, now, rule)

    def code(self, entry: Entry, environ: Environ) -> str:
        """The coding in which this client gets `entry`, which has the body in it by now; "" for none.

        Where another thread can, what has yet to be coded is coded there, and this client gets it without.
        """
        compressor = self._compressor
        if compressor is None or not entry.flags & NEGOTIATED:
            return ""
        coding = compressor.kept_coding(environ)
        if not coding or coding in entry.coded:
            return coding
        if self._loop.pool is None:
            self._add_coding(entry, coding)
            return coding
        if (entry, coding) not in self._coding:
            self._coding.add((entry, coding))
            self._loop.do_later(Job(lambda: self._add_coding(entry, coding)))
        return ""

    def _add_coding(self, entry: Entry, coding: str) -> None:
        assert self._compressor is not None
        try:
            entry.coded[coding] = self._compressor.encode(coding, entry.body)
        finally:
            self._coding.discard((entry, coding))
        self._levels.grown(entry)

    def status_field(self, text: str) -> Headers:
        """Cache-Status, where it is wanted."""
        return [("Cache-Status", text)] if self._says else []

    def report(self, environ: Environ, error: BaseException) -> None:
        """The application failed, and its client does not see it."""
        self._loop.report(environ, error)

    # What is told of it.

    def count(self, name: str) -> None:
        """One more; a name of CACHE_COUNTS."""
        self.counts[COUNT[name]] += 1

    def _note(self, key: str, reason: str) -> None:
        if len(self.notes) >= NOTES_MAX:
            self.notes.clear()
        self.notes[key] = (time(), reason)

    def totals(self) -> list[int]:
        """What was counted so far, in the order of CACHE_COUNTS. Leader."""
        counts = self.counts.copy()
        known = self._known.served
        counts[COUNT["known"]] = known[KEPT] + known[UNCHANGED]
        counts[COUNT["hits"]] += known[KEPT] + known[UNCHANGED]
        counts[COUNT["not_modified"]] += known[UNCHANGED]
        counts[COUNT["evicted"]] = self._levels.memory.evictions
        return counts

    def tell_page(self) -> None:
        """What was counted, and what is kept, goes into the shared page. Leader."""
        counts = self.totals()
        words = self._loop.section.words
        for place, told in enumerate(self._told):
            if counts[place] != told:
                words[W_CACHE + place] += counts[place] - told
        self._told = counts
        memory = self._levels.memory
        words[S_KEPT], words[S_KEPT_BYTES], words[S_KEPT_BYTES_MAX] = memory.count, memory.bytes, memory.bytes_max
