"""The levels of one process's cache together: where a response is looked for, where it is put, and what was purged.

In this worker's memory, then in what the workers of the machine share; what machines share may wait, so it is asked
apart (`fetch`), on threads that may.

Rules:

* What was put before a purge that concerns it is never found after it, on whatever level it lies: purges are
  remembered (`purges`).
* What is kept while a purge comes is looked at again after it is there: either the purge finds it, or this does.
* `look` is for the leader of the loop alone; the rest for any thread.

Must not know: requests, what may be reused.
"""

from __future__ import annotations

from functools import partial
from time import time

from vivace.cache.entry import Entry, VaryRecord, pack, unpack
from vivace.cache.purges import Purge, Purges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vivace.cache.control import Control
    from vivace.cache.memory import Memory
    from vivace.cache.redis_store import RedisStore
    from vivace.cache.shared import Shared

    Kept = Entry | VaryRecord


class Levels:
    """See the module. `shared`, `control` and `remote` are None where there are none."""

    def __init__(
        self,
        memory: Memory,
        shared: Shared | None = None,
        control: Control | None = None,
        remote: RedisStore | None = None,
    ) -> None:
        self.memory = memory
        self.shared = shared
        self.control = control
        self.remote = remote
        self.on_change: Callable[[], None] = lambda: None
        """Something was put or purged: what was made of it is no longer right."""
        self.on_shared: Callable[[], None] = lambda: None
        """Something was found in what the workers share."""
        self.later: Callable[[Callable[[], object]], None] = lambda call: None
        """Has something done on a thread that may wait."""
        self._purges = Purges()
        self._seen = 0
        if remote is not None:
            remote.on_purge = self._purge

    # Its life.

    def begin(self) -> None:
        """In the process that serves, before anything is kept."""
        if self.control is not None:
            self.control.join()
            self.read_purges()
        if self.remote is not None:
            self.remote.start()

    def end(self) -> None:
        """The process serves no more."""
        if self.control is not None:
            self.control.leave()
        if self.remote is not None:
            self.remote.stop()

    # Finding.

    def look(self, key: str) -> object | None:
        """What lies under `key` in this process or on this machine."""
        found = self.memory.get(key)
        if type(found) is Entry and ("\nvia " in key or "\nfor " in key) and self._accepted(found) is None:
            self.memory.pop(key)  # it lies apart from its URL's own key, which is all that a purge of that takes out
            found = None
        if self.shared is None or (found is not None and not _is_stale(found)):
            return found
        packed = self.shared.get(key)
        other = self._accepted(unpack(packed)) if packed is not None else None
        if other is None or (found is not None and not _is_newer(other, found)):
            return found
        self.on_shared()
        self.adopt(other)
        return other

    def fetch(self, key: str) -> Kept | None:
        """What other machines have put under `key`. May wait."""
        return self._received(self.remote.get(key)) if self.remote is not None else None

    def _received(self, packed: bytes | None) -> Kept | None:
        found = self._accepted(unpack(packed)) if packed is not None else None
        if type(found) is Entry:
            found.stored_s = min(found.stored_s, time())  # by this machine's clock: purges are compared with it
        return found

    def adopt(self, found: Kept) -> None:
        """What was fetched lies in this process from now on."""
        self.memory.put(found.key, found, found.size)
        if self._accepted(found) is None:  # purged since
            self.memory.pop(found.key)

    def claim(self, key: str, seconds: float) -> bool:
        """Whether this machine is to make what `key` stands for, and no other has said so. May wait."""
        return self.remote is None or self.remote.claim(key, seconds)

    def wait(self, key: str, seconds: float) -> Kept | None:
        """What the machine that has claimed `key` puts there."""
        return self._received(self.remote.wait(key, seconds)) if self.remote is not None else None

    def release(self, key: str) -> None:
        """The claim on `key` ends; nothing was put."""
        if (remote := self.remote) is not None:
            self.later(lambda: remote.release(key))

    def purged(self, made_s: float, key: str, tags: Sequence[str]) -> bool:
        """Whether what was made at Unix time `made_s` has been purged since."""
        return self._purges.since(made_s, key, tags) is not None

    def _accepted(self, found: Kept | None) -> Kept | None:
        if found is None:
            return None
        purge = self._purges.since(found.stored_s, found.key, found.tags if type(found) is Entry else ())
        if purge is not None and type(found) is Entry and purge.soft:
            found.expire(purge.time_s)
        elif purge is not None and not purge.soft:
            return None
        return found

    # Keeping.

    def put(self, key: str, value: Kept, made_s: float, kept_s: float, claimed: str = "") -> None:
        """Keeps `value`, which began to be made at Unix time `made_s`, for `kept_s`. The claim on `claimed` ends."""
        self.memory.put(key, value, value.size)
        since = self.remote.position if self.remote is not None else None  # before purges are looked at
        tags = value.tags if type(value) is Entry else ()
        purge = self._since(made_s, key, tags)
        if purge is not None:
            # It is old already. What others would make of it depends on when it came to them, so it goes to nobody.
            if purge.soft and type(value) is Entry:
                value.expire(purge.time_s)
            else:
                self.memory.pop(key)
            if claimed:
                self.release(claimed)
            return
        if self.shared is not None or self.remote is not None:
            packed = pack(value)
            if self.shared is not None:
                self.shared.put(key, packed, kept_s)
            if (remote := self.remote) is not None:
                self.later(lambda: remote.put(key, packed, kept_s, tags, since, claimed))

    def grown(self, entry: Entry) -> None:
        """`entry` has got another coding of its body. What lies here by now may be another, or share its codings."""
        present = self.memory.get(entry.key)
        if type(present) is not Entry or present.coded is not entry.coded:
            return
        entry = present
        self.memory.resize(entry.key, entry.size)
        if self.shared is not None and self._since(entry.stored_s, entry.key, entry.tags) is None:
            self.shared.put(entry.key, pack(entry), entry.kept_s)
        self.on_change()

    # Purging.

    def purge(self, kind: str, pattern: str) -> None:
        """Something has changed here: nobody gets what was kept of it any more, in this process and all others."""
        self._purge(Purge(kind, pattern, time()))
        if self.control is not None and self.shared is not None:
            self.control.purge(kind, pattern)
        elif (remote := self.remote) is not None:
            self.later(lambda: remote.purge(kind, pattern))

    @property
    def purged_elsewhere(self) -> bool:
        """Whether there are purges that this process has not read."""
        return self.control is not None and self.control.number != self._seen

    def read_purges(self) -> None:
        """Does what others have had purged. Leader."""
        control = self.control
        if control is None:
            return
        number = control.number
        for purge in control.read():
            self._purge(purge)
            if (remote := self.remote) is not None:
                once = f"{control.name}-{purge.number}"  # each worker tells of it, and it is heard once
                self.later(partial(remote.purge, purge.kind, purge.pattern, purge.soft, once))
        self._seen = number
        control.applied(number)

    def _since(self, made_s: float, key: str, tags: Sequence[str]) -> Purge | None:
        """As `Purges.since`, with those that the leader has not read yet: they would not find it where it goes now."""
        control, seen = self.control, self._seen
        if control is not None and control.number != seen:
            for purge in control.since(seen)[1]:
                if purge.time_s >= made_s and purge.fits(key, tags):
                    return purge
        return self._purges.since(made_s, key, tags)

    def _purge(self, purge: Purge) -> None:
        self._purges.add(purge)
        if purge.kind == "key" and not purge.soft:
            # What varies under it is led to by what lies at the key itself: a new one leads elsewhere.
            self.memory.pop(purge.pattern)
            self.on_change()
            return
        for node in purge.chosen(self.memory.nodes()):
            value = node.value
            if purge.soft and type(value) is Entry:
                value.expire(purge.time_s)
            else:
                self.memory.pop(node.key)
        self.on_change()


def _is_stale(found: object) -> bool:
    """Whether another worker may have a newer one."""
    return type(found) is Entry and found.fresh_until_s <= time()


def _is_newer(other: Kept, found: object) -> bool:
    return type(found) is not Entry or type(other) is not Entry or other.stored_s > found.stored_s
