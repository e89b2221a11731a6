# HOT  bench: benchmarks/bench_loop.py  budget: 1.5 us a request (known answer, beside the system calls)
"""Whole answers that the loop knows by the bytes of a whole request, for less than a second.

What was answered without the application (from the cache, or a small file) is answered again, byte for byte, to whoever
asks byte for byte the same: no head is parsed and none is made.

Rules:

* An answer is remembered for a request that is one whole head without credentials or fields that differ in every
  request (PRIVATE), as the memo of heads is (`reading`).
* Where a head has such fields, and the answer is the same whatever their values (`policy.ignores`), it is remembered by
  what stands before them, its front. It is given to who sends the same front, and behind it fields of the same names.
* It holds until the Date line is renewed, or its response is no longer fresh, or what it was made of changes in the
  cache (`forget`, `clear`): so Age and Date are right, and a purge is seen at once.
* It belongs to a site: the same bytes may mean something else at another listener.
* What has changed while an answer was being made is not missed: who makes one says what `changes` was before it looked.

Threads: the leader; `clear` by any thread.
"""

from __future__ import annotations

import os

from vivace.connection.meter import clock
from vivace.http1.blocks import tail_names
from vivace.net.poller import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.cache.levels import Levels
    from vivace.connection.connection import Connection
    from vivace.connection.plan import Answer
    from vivace.connection.serving import Serving
    from vivace.schedule.route import Route

ANSWERS_MAX = 4096
ANSWER_BYTES_MAX = 65536
BYTES_MAX = 32 << 20
"""Of requests and answers together."""

FILE, KEPT, UNCHANGED = range(3)
"""What an answer is: of the server's own, from the cache, the same without its body (304)."""


class KnownAnswer:
    """One answer, and what has to be told of it each time that it is given."""

    __slots__ = ("answer", "environ", "kind", "names", "route", "site", "told", "until_s")

    def __init__(
        self,
        conn: Connection,
        answer: bytes,
        told: Answer,
        environ: dict[str, Any] | None,
        until_s: float,
        names: list[bytes],
    ) -> None:
        self.answer = answer
        self.site = conn.site
        self.route: Route = conn.route
        self.told = told
        self.kind = FILE if conn.route.app is not None else UNCHANGED if (told.status or "")[:3] == "304" else KEPT
        self.environ = environ
        """For the log; None where there is none."""
        self.until_s = until_s
        self.names = names
        """Of the lines behind the front, where it is known by that."""


class Known:
    """The answers of one loop."""

    def __init__(self, loop: Serving) -> None:
        self._loop = loop
        self._answers: dict[bytes, KnownAnswer] = {}
        self._fronts: dict[bytes, KnownAnswer] = {}
        self._keys: set[str] = set()
        """Primary keys of what they are made of."""
        self._bytes = 0
        self._limits = loop.plan.limits
        self.changes = 0
        """How often something changed that answers are made of, or less where several changed at once."""
        self.levels: Levels | None = None
        """Where what they are made of lies."""
        self.served = [0, 0, 0]
        """Answers given from here, all told, by their kind."""

    def current(self) -> Known:
        """Itself, with nothing in it that has been purged."""
        if self.levels is not None and self.levels.purged_elsewhere:
            self.levels.read_purges()
        return self

    def clear(self) -> None:
        """Nothing is known any more. Any thread."""
        self.changes += 1  # first: see `remember`
        self._answers = {}
        self._fronts = {}
        self._keys = set()
        self._bytes = 0

    def forget(self, key: str) -> None:
        """What lies at this primary key has changed. Any thread."""
        self.changes += 1
        if key in self._keys:
            self.clear()

    def remember(
        self,
        data: bytes,
        conn: Connection,
        answer: bytes,
        told: Answer,
        environ: dict[str, Any],
        fresh_s: float,
        made: tuple[str, int, list[bytes]] | None = None,
    ) -> None:
        """`data`, a whole request, has been given `answer`, which may be given again for `fresh_s`.

        `made`, of what was made from the cache: the primary key, `changes` before that was looked up, and the names of
        the lines that do not matter; with such names `data` is the front.
        """
        answers = self._answers
        names: list[bytes] = []
        if made is not None:
            key, changes, names = made
            # Whoever changes what lies at `key` from now on finds it among the keys; who has done so before has counted
            # that. And who clears meanwhile leaves `answers` to nobody.
            self._keys.add(key)
            answers = self._fronts if names else self._answers
            if changes != self.changes:
                return
        size = len(data) + len(answer)
        if len(answer) > ANSWER_BYTES_MAX or len(answers) >= ANSWERS_MAX or self._bytes + size > BYTES_MAX:
            return
        self._bytes += size
        logged = environ if self._loop.log is not None else None
        answers[data] = KnownAnswer(conn, answer, told, logged, clock() + fresh_s, names)

    def _by_front(self, conn: Connection, data: bytes) -> KnownAnswer | None:
        """What is known by the front of `data`."""
        if len(data) <= self._limits.plain_bytes_max:
            for mark in conn.site.blocks.marks:
                at = data.find(mark) + 2
                found = self._fronts.get(data[:at]) if at > 1 else None
                if found is not None and tail_names(data, at) == found.names:
                    return found
        return None

    def serve(self, conn: Connection, data: bytes, arrived: float, now: float, detail: bool) -> bool:
        """Whether `data` could be answered from here, and has been."""
        found = self._answers.get(data)
        if found is None and self._fronts:
            found = self._by_front(conn, data)
        if found is None or found.site is not conn.site or now >= found.until_s:
            return False
        loop = self._loop
        answer = found.answer
        try:
            sent = os.write(conn.fd, answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            conn.route = found.route
            loop.close(conn, "client_gone")
            return True
        self.served[found.kind] += 1
        conn.route = found.route
        told = found.told
        if loop.tally is not None:
            loop.tally.count_known(conn, told, max(arrived, conn.answered), detail)
        if found.environ is not None and loop.log is not None:
            environ = found.environ.copy()
            environ["REMOTE_ADDR"] = conn.host
            environ["REMOTE_PORT"] = conn.port
            loop.log(environ, told, 0.0)
        if sent == len(answer):
            conn.answered = now
            conn.expires = now + loop.plan.keepalive_timeout_s
            if not conn.mode:
                loop.set_mode(conn, READ)
        else:
            loop.finish(conn, answer[sent:], True, leading=True)
        return True
