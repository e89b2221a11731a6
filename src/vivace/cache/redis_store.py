"""The third level: what machines remember together, in a Redis or Valkey.

Rules:

* Bytes go in and the same bytes come out. Whatever else lies there (foreign, cut off, changed) is a miss; nothing that
  comes from there is ever run (no pickle).
* Every method may block, up to the time limits of the link. While the store is away none does: `get` finds nothing,
  `put` keeps nothing, `claim` grants everything, and the machine serves from its own memory.
* Machines need no common clock. Purges are numbered by the store; what is put carries the number of the last purge
  that its maker knew of when it *began*, and each later purge that matches makes it a miss. The number is read together
  with the value, in one round trip, so a machine that missed a message still ignores what was purged.
* What was published as a message is also in a log, bounded to LOG_MAX. A machine that was away reads on where it
  stopped; one for which the log is too short ignores everything older, here and in its own memory.
* Numbers have an epoch, a random word. Where the store lost its memory, or lost writes in a failover, a new epoch
  begins: what was stored before is ignored, and each machine repeats its own purges of the last REPEAT_S seconds.

What lies in the store, under its namespace: `:e:KEY` a value, `:c:KEY` who is making it, `:at` epoch and number of the
last purge, `:log` a stream of purges, `:once:ID` purges that one of several workers told of; channels `:purges` and
`:d:KEY` (KEY has been made). A soft purge is a hard one here: a machine that has nothing itself makes anew.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque

from vivace.cache.purges import Purge
from vivace.cache.redis_format import CATCH_UP, PUBLISH, RELEASE, open_sealed, read_at, read_log, seal, write_purge
from vivace.cache.redis_link import Link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.cache.redis_format import Position

LOG_MAX = 1000
"""Purges that are remembered: those of a deployment that touches everything, or hours of an editor's work."""

REPEAT_S = 60.0
ONCE_S = 3600
CLAIMS_MAX = 10_000
PURGE_CHARS_MAX = 8192

POLL_S = 0.5
"""Waiting for another machine, its claim is looked at so often: it may have died, or its message be lost."""


class RedisStore:
    """A level of the cache. Any thread that may block."""

    def __init__(self, url: str, namespace: str = "vivace", *, warn: Callable[[str], None]) -> None:
        """Connects nowhere yet: see `start`. Raises SettingError."""
        self.on_purge: Callable[[Purge], object] = lambda purge: None
        """Another process has purged; or purges were missed, which is one of everything. To be set before `start`.

        Called on the listening thread, or on one that asks for something. Must not call the store.
        """
        self._root = namespace.encode() + b":"
        self._purges = self._root + b"purges"
        self._at = self._root + b"at"
        self._log = self._root + b"log"
        self._warn = warn
        self._sender = os.urandom(8).hex()
        self.hits = 0
        self.misses = 0
        # Replaced as a whole, under the lock: epoch, last number known, number below which nothing is known, purges.
        self._view: tuple[str, int, int, tuple[Purge, ...]] = ("", 0, 0, ())
        self._last = b""  # the last purge known, as it stands in the log
        self._lock = threading.Lock()
        self._synced_at = time.monotonic()
        self._count = 0
        self._queue: deque[tuple[Purge, str]] = deque()
        self._own: deque[tuple[float, Purge]] = deque(maxlen=LOG_MAX)
        self._claims: OrderedDict[str, tuple[bytes, Position]] = OrderedDict()
        self._link = Link(url, self._catch_up, self._sync, warn)

    # The level.

    def get(self, key: str) -> bytes | None:
        """What was put, unless it has expired or was purged."""
        found = self._link.call(lambda client: client.execute_command("MGET", self._name(b"e:", key), self._at))
        packed = self._accept(key, *found) if found else None
        if packed is None:
            self.misses += 1
        else:
            self.hits += 1
        return packed

    def put(
        self,
        key: str,
        packed: bytes,
        ttl_s: float,
        tags: Iterable[str] = (),
        since: Position | None = None,
        release: str = "",
    ) -> None:
        """Keep `packed`; then the claim on `release` ends, and those who wait for that are told.

        `since`: what `position` was when it began to be made; else that of its claim, else that of now.
        """
        position = since or self._claims.get(key, (b"", self._view[:2]))[1]
        ttl_ms = int(ttl_s * 1000)
        if ttl_ms <= 0 or not position[0]:
            self.release(release)
            return
        value = seal(packed, position, tags)
        token, _ = self._claims.pop(release, (b"", None))

        def command(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SET", self._name(b"e:", key), value, "PX", ttl_ms)
            if token:
                pipe.execute_command(*self._releasing(release, token))
            return pipe.execute()

        self._link.call(command)

    def remove(self, key: str) -> None:
        """Forget `key`, on all machines: at once, or as soon as the store is back."""
        name = self._name(b"e:", key)
        if self._link.call(lambda client: client.execute_command("DEL", name)) is None:
            self.purge("key", key)

    def claim(self, key: str, ttl_s: float) -> bool:
        """Whether this process is to make `key`: no other has said so within its `ttl_s`. True if the store is away."""
        token = os.urandom(12).hex().encode()
        epoch, known, *_ = self._view
        if len(self._claims) >= CLAIMS_MAX:
            self._claims.popitem(last=False)

        def command(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SET", self._name(b"c:", key), token, "NX", "PX", max(1, int(ttl_s * 1000)))
            pipe.execute_command("GET", self._at)
            return pipe.execute()

        found = self._link.call(command)
        if found is not None and not found[0]:
            return False
        # A claim whose answer was lost may have been granted: it is taken back like one that was.
        self._claims[key] = (token, (read_at(found[1]) if found else None) or (epoch, known))
        return True

    def release(self, key: str) -> None:
        """The claim of this process ends, whatever came of it: those who wait for it need not wait longer."""
        token, _ = self._claims.pop(key, (b"", None))
        if token:
            self._link.call(lambda client: client.execute_command(*self._releasing(key, token)))

    def wait(self, key: str, timeout_s: float) -> bytes | None:
        """What another process is making, when its claim has ended; None if there is nothing then, or not in time."""
        deadline = time.monotonic() + timeout_s
        channel = self._name(b"d:", key)
        names = (self._name(b"e:", key), self._at, self._name(b"c:", key))
        told = self._link.expect(channel)
        try:
            told.wait(min(timeout_s, POLL_S))  # for the answer to SUBSCRIBE: no message is lost from here on
            while True:
                told.clear()
                found = self._link.call(lambda client: client.execute_command("MGET", *names))
                if found is None:
                    return None
                packed = self._accept(key, found[0], found[1])
                remaining_s = deadline - time.monotonic()
                if found[2] is None or remaining_s <= 0:
                    return packed
                told.wait(min(remaining_s, POLL_S))
        finally:
            self._link.forget(channel, told)

    # Purges.

    @property
    def position(self) -> Position:
        """How far this process knows the purges."""
        return self._view[:2]

    def purge(self, kind: str, pattern: str = "", soft: bool = False, once: str = "", wait: bool = True) -> bool:
        """Tell all machines. False: the store has not been told yet.

        `once`: of several processes that tell of one purge under this name, only the first is heard. `wait` False: the
        listening thread tells it, at once, for callers that may not block.
        """
        if len(pattern) > PURGE_CHARS_MAX:
            kind, pattern = "all", ""
        with self._lock:
            self._queue.append((Purge(kind, pattern, time.time(), soft=soft), once))
            if len(self._queue) > LOG_MAX:
                self._queue.clear()
                self._queue.append((_everything(), ""))
        if not wait:
            self._link.wake()
            return False
        return self._link.call(self._catch_up) is True

    @property
    def untold(self) -> int:
        """Purges that the store has not been told of."""
        return len(self._queue)

    # Its life.

    def start(self) -> None:
        """Connect, in a thread of its own. After a fork, in the process that serves."""
        self._link.start(self._purges)

    def wait_joined(self, timeout_s: float) -> bool:
        """Whether the store answers, within that time."""
        return self._link.wait_joined(timeout_s)

    @property
    def up(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._link.up

    @property
    def failures(self) -> int:
        """Commands that were not answered, or refused."""
        return self._link.failures

    def stop(self) -> None:
        """Ends the thread. Says if other machines have not been told of a purge."""
        self._link.stop()
        if self._queue:
            self._warn(
                f"cache_store was not told of {len(self._queue)} purges, because {self._link.where} did not answer: "
                "other machines may have kept what they concern; repeat them there, with vivace cache purge"
            )

    # Keys and claims.

    def _name(self, kind: bytes, key: str) -> bytes:
        return self._root + kind + key.encode("utf-8", "surrogatepass")

    def _releasing(self, key: str, token: bytes) -> tuple[Any, ...]:
        return ("EVAL", RELEASE, 1, self._name(b"c:", key), token, self._name(b"d:", key))

    def _accept(self, key: str, value: bytes | None, at: bytes | None) -> bytes | None:
        """What was sealed in `value`, if no purge since then was meant for it."""
        if value is None:
            return None
        opened = open_sealed(value)
        if opened is None:
            return None
        if read_at(at) != self._view[:2] and self._link.call(self._catch_up) is not True:
            return None
        epoch, _, floor, log = self._view
        (made_in, number), tags, packed = opened
        if made_in != epoch or number < floor:
            return None
        for purge in reversed(log):
            if purge.number <= number:
                break
            if purge.fits(key, tags):
                return None
        return packed

    # What is known of purges.

    def _sync(self) -> None:
        """A message has come, or might have been lost. The listening thread."""
        self._link.call(self._catch_up)

    def _catch_up(self, client: Any) -> bool:
        """Reads what is not known yet, tells what is queued, passes on what others purged.

        True, or raises one of the client's errors.
        """
        with self._lock:
            self._read(client)
            while self._queue:
                self._tell(client)
                self._read(client)
        return True

    def _tell(self, client: Any) -> None:
        """Sends what is queued. Under the lock."""
        while self._queue:
            purge, once = self._queue[0]
            self._count += 1
            text = write_purge(self._sender, self._count, purge)
            keys = (self._at, self._log, self._root + b"once:" + once.encode())
            arguments = (os.urandom(8).hex(), LOG_MAX, text, self._purges, ONCE_S if once else "")
            client.execute_command("EVAL", PUBLISH, len(keys), *keys, *arguments)
            self._queue.popleft()
            self._own.append((time.monotonic(), purge))

    def _read(self, client: Any) -> None:
        """Reads on in the log, and passes on what others purged; everything, if that cannot be known. Under the lock.

        First it is passed on, then `position` knows of it: what is put with a position later than a purge was looked at
        by who heard of that purge.
        """
        epoch, known, floor, log = self._view
        keys = (self._at, self._log)
        answer = client.execute_command(
            "EVAL", CATCH_UP, len(keys), *keys, os.urandom(8).hex(), epoch, known, self._last
        )
        at = read_at(answer[0])
        if at is None:
            raise OSError(f"{self._at!r} holds what is not of vivace")
        now = time.monotonic()
        away_s, self._synced_at = now - self._synced_at, now
        if at == (epoch, known):
            return
        more, missed = read_log(answer[1], self._sender, time.time())
        lost = False
        if at[0] != epoch:
            known, floor, log = 0, 0, ()
            # Who has just begun has made nothing yet that could have been purged; who could not begin at once, has.
            lost = away_s > REPEAT_S / 2 if epoch else self._link.failures > 0
            if not epoch:
                missed = []
            self._repeat(now)
        if (more[0].number if more else at[1] + 1) != known + 1:  # the log does not reach back so far
            floor = more[0].number - 1 if more else at[1]
            lost = lost or epoch != ""
        log = (log + more)[-LOG_MAX:]
        if log:
            floor = max(floor, log[0].number - 1)
        for purge in [_everything()] if lost else missed:
            self.on_purge(purge)
        self._view = (at[0], more[-1].number if more else at[1], floor, log)
        self._last = answer[1][-1][1][1] if more else b""

    def _repeat(self, now: float) -> None:
        """The store may have forgotten what it was told lately."""
        self._queue.extend((purge, "") for told_at, purge in self._own if now - told_at < REPEAT_S)
        self._own.clear()


def _everything() -> Purge:
    return Purge("all", "", time.time())
