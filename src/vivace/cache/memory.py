"""The first level: what this worker remembers, in its own memory, bounded in bytes.

S3-FIFO (Yang and others, SOSP 2023): what is new waits in a small queue, 5% of the memory. What is asked for there
passes into the main queue, the rest leaves and is only noted as a ghost; a ghost that comes back goes to the main queue
at once. At the end of the main queue, what was asked for since goes round again. So a crawler that asks for everything
once passes through a twentieth of the memory, and a hit is one addition: no list is relinked.

Rules:

* `get` takes no lock and is for any thread; every change is made under one lock, and none of them waits for anything.
* `bytes` never exceeds `bytes_max`, at any moment: room is made before a value comes in. It counts the values as their
  owners measure them, the keys, OVERHEAD_BYTES for each entry, and the table of ghosts.
* Must not know what a value is, nor how old: who puts it knows what it weighs, and takes it out when it has expired.
"""

from __future__ import annotations

from _thread import allocate_lock
from array import array
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OVERHEAD_BYTES: Final = 352
"""What an entry takes beside its value and the letters of its key: node, key object, its place in the table and in a
queue, with the slack of both, and its numbers. Measured with the resident memory of a process (bench_eviction)."""

LEFT_BYTES: Final = 96
"""What a node takes that was removed and still stands in its queue."""

LEFT_MAX_SHARE: Final = 8
"""Of the nodes in the queues one in so many may have been removed, then the queues are swept."""

SMALL_SHARE: Final = 20
"""The queue of the new has one part in so many. The paper: 10%. 5% was better on every trace of the benchmark."""

PASS_AT: Final = 1
"""Hits that let a new one into the main queue. The paper: two. One was as good or better on every trace of the
benchmark."""

RECENT_MAX: Final = 3
"""More hits than this count as this many. The paper: two bits."""

ROUNDS_MAX: Final = 32
"""So many stay for one that comes in, then the next one goes whatever its hits: a put stays short even if everything in
a large memory is in use. No trace of the benchmark was the worse for it."""

GHOST_BYTES: Final = 1024
"""A ghost for so many bytes of memory: as many as fit entries of 1 KB. A ghost takes 8 bytes."""

GHOSTS_MAX: Final = 1 << 22


class Node:
    """An entry, and what is known of its use."""

    __slots__ = ("hits", "is_small", "key", "seen", "value", "weight")

    def __init__(self, key: str, value: object, is_small: bool) -> None:
        self.key = key
        self.value = value
        self.weight = 0
        self.hits = 0
        self.seen = 0
        """The hits that have been made use of; those since then are recent."""
        self.is_small = is_small


class Memory:
    """A bounded memory of values by key."""

    def __init__(self, bytes_max: int, entry_bytes_max: int) -> None:
        """At most `bytes_max` in all, and no value above `entry_bytes_max`."""
        slots = 1 << 6
        while slots < min(bytes_max // GHOST_BYTES, GHOSTS_MAX):
            slots *= 2
        self.bytes_max = bytes_max
        self.entry_bytes_max = entry_bytes_max
        self.misses = 0
        self.evictions = 0
        # Everything below is changed under the lock.
        self.bytes = slots * 8
        self._lock = allocate_lock()
        self._nodes: dict[str, Node] = {}
        self._small: deque[Node] = deque()
        self._main: deque[Node] = deque()
        self._small_bytes = 0
        self._small_bytes_max = bytes_max // SMALL_SHARE
        self._left = 0
        self._gone_hits = 0
        # A ghost: 24 bits of the hash of its key, and when it went, in bytes that have gone since the begin.
        self._ghosts = array("Q", bytes(slots * 8))
        self._gone_bytes = 1 << 40

    def get(self, key: str) -> object | None:
        """The value last put, or None."""
        node = self._nodes.get(key)
        if node is None:
            self.misses += 1
            return None
        node.hits += 1
        return node.value

    @property
    def hits(self) -> int:
        """How often `get` found something. Added up here, so that `get` need not."""
        with self._lock:
            return self._gone_hits + sum(node.hits for node in self._nodes.values())

    @property
    def count(self) -> int:
        """Entries."""
        return len(self._nodes)

    def put(self, key: str, value: object, size: int) -> bool:
        """Remember `value`, which takes `size` bytes, in place of what was there. False: it is too large.

        What was there before under the key is gone in either case.
        """
        weight = size + len(key) + OVERHEAD_BYTES
        with self._lock:
            if size > self.entry_bytes_max or weight > self.bytes_max - len(self._ghosts) * 8:
                self._remove(key)
                return False
            node = self._make_room(key, weight)
            if node is None:
                node = self._nodes[key] = Node(key, value, not self._was_here(key))
                (self._small if node.is_small else self._main).append(node)
            else:
                node.value = value
            self._weigh(node, weight)
        return True

    def resize(self, key: str, size: int) -> bool:
        """The value of `key` takes `size` bytes from now on. False, and nothing changes: it would not fit, or is gone.

        To be asked before a value grows, so that the bound holds.
        """
        weight = size + len(key) + OVERHEAD_BYTES
        with self._lock:
            if key not in self._nodes or weight > self.bytes_max - len(self._ghosts) * 8:
                return False
            node = self._make_room(key, weight)
            if node is None:
                return False
            self._weigh(node, weight)
        return True

    def pop(self, key: str) -> object | None:
        """Forget `key`; what it stood for, or None."""
        with self._lock:
            return self._remove(key)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for key in list(self._nodes):
                self._remove(key)
            self._sweep()

    def items(self) -> list[tuple[str, object, int, int]]:
        """Of each entry its key, value, bytes (all that it is counted for) and hits, in no order."""
        with self._lock:
            return [(node.key, node.value, node.weight, node.hits) for node in self._nodes.values()]

    def nodes(self) -> list[Node]:
        """All entries, for who goes through them: a tenth of the time of `items`. Their keys and values are to be read
        only; the key is "" where one has been removed meanwhile."""
        with self._lock:
            return list(self._nodes.values())

    # Under the lock.

    def _weigh(self, node: Node, weight: int) -> None:
        """What the node counts for from now on."""
        more = weight - node.weight
        node.weight = weight
        self.bytes += more
        if node.is_small:
            self._small_bytes += more

    def _make_room(self, key: str, weight: int) -> Node | None:
        """Evicts until `key` may weigh so much. The node of it, which may itself have had to go."""
        rounds = 0
        while True:
            node = self._nodes.get(key)
            if self.bytes + weight - (0 if node is None else node.weight) <= self.bytes_max:
                return node
            rounds += self._evict(must=rounds >= ROUNDS_MAX)

    def _evict(self, must: bool) -> int:
        """One step: the oldest of a queue leaves, or stays in the main queue. Returns 1 if it stayed."""
        if self._small and (self._small_bytes > self._small_bytes_max or not self._main):
            node = self._small.popleft()
            if node.weight == LEFT_BYTES:
                self._forget_left(node)
            elif node.hits >= PASS_AT and not must:
                self._small_bytes -= node.weight
                node.is_small = False
                node.seen = node.hits
                self._main.append(node)
                return 1
            else:
                self._note_ghost(node)
                self._drop(node)
            return 0
        node = self._main.popleft()
        if node.weight == LEFT_BYTES:
            self._forget_left(node)
            return 0
        recent = node.hits - node.seen
        if recent and not must:
            node.seen = node.hits - min(recent, RECENT_MAX) + 1
            self._main.append(node)
            return 1
        self._drop(node)
        return 0

    def _drop(self, node: Node) -> None:
        """Evicts a node that has been taken from its queue."""
        del self._nodes[node.key]
        self._weigh(node, 0)
        self._gone_hits += node.hits
        self.evictions += 1

    def _remove(self, key: str) -> object | None:
        """Takes out what may stand anywhere in a queue. The node stays there until its turn comes or a sweep."""
        node = self._nodes.pop(key, None)
        if node is None:
            return None
        value, node.value, node.key = node.value, None, ""
        self._weigh(node, LEFT_BYTES)
        self._gone_hits += node.hits
        self._left += 1
        if self._left > 8 + len(self._nodes) // LEFT_MAX_SHARE:
            self._sweep()
        return value

    def _forget_left(self, node: Node) -> None:
        self._weigh(node, 0)
        self._left -= 1

    def _sweep(self) -> None:
        """Takes the nodes that were removed out of the queues."""
        for queue in (self._small, self._main):
            for _ in range(len(queue)):
                node = queue.popleft()
                if node.weight == LEFT_BYTES:
                    self._forget_left(node)
                else:
                    queue.append(node)

    def _note_ghost(self, node: Node) -> None:
        self._gone_bytes += node.weight
        mark = hash(node.key)
        self._ghosts[mark & (len(self._ghosts) - 1)] = (self._gone_bytes >> 6 & 0xFF_FFFF_FFFF) << 24 | (
            mark >> 32 & 0xFF_FFFF
        )

    def _was_here(self, key: str) -> bool:
        """Whether it left the small queue lately: before less went than the main queue holds."""
        mark = hash(key)
        ghost = self._ghosts[mark & (len(self._ghosts) - 1)]
        if not ghost or ghost & 0xFF_FFFF != mark >> 32 & 0xFF_FFFF:
            return False
        ago = (self._gone_bytes >> 6 & 0xFF_FFFF_FFFF) - (ghost >> 24)
        return 0 <= ago << 6 <= self.bytes_max - self._small_bytes_max
