"""The second level: what the workers of a machine share, in an anonymous file in memory (memfd) that each of them maps.

A ring of records, written one after the other, each over the oldest; and an index, which is sets of seven places that
lead from the hash of a key into the ring. Made before the workers are forked, so that all of them hash alike.

Rules:

* Positions count the bytes ever written and are never used again; `position % capacity` is where it lies. A record is
  there while the head of the ring is less than a capacity beyond it.
* Readers take no lock. They copy, then see whether what they copied is whole: its check value, its own position and its
  key, and whether the head has passed over it meanwhile. If not it is a miss, never a wrong answer.
* Writers take turns (`exclusion`), for a few microseconds each; who does not get a turn soon lets it be.
* A writer notes where it writes before it writes, and makes it known in the index last. So the next one can tell that
  its predecessor was killed meanwhile, and steps over what that left.
* What was read since it was written, and is about to be written over, is written anew: hot ones survive.
* Times are of the monotonic clock, which all processes share. Must not know what a value is.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic
from zlib import crc32

from vivace.cache.claims import CLAIMS_BYTES, Claims
from vivace.cache.exclusion import Exclusion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MEMFD_NAME: Final = "vivace-shared"
MAGIC: Final = int.from_bytes(b"viv-L2\0\1", "little")
"""The last byte is the layout's version."""

HEADER_BYTES: Final = 4096
H_MAGIC, H_CAPACITY, H_BUCKETS, H_HASH, H_HEAD, H_TAIL, H_WRITING, H_FIRST = range(8)
"""H_HASH tells apart who hashes otherwise. H_TAIL: the oldest record. H_WRITING: where is being written, 0: nowhere."""
H_PUTS, H_RENEWED, H_FOUND_DEAD = range(8, 11)

BUCKET_BYTES: Final = 128
WAYS: Final = 7
BUCKET: Final = struct.Struct(f"={2 * WAYS}Q")
"""Hashes, positions. Behind them a byte each: whether it was read since it was written."""
READ_AT: Final = 2 * WAYS * 8

START: Final = struct.Struct("=QII")
"""Position, length of the record, check value of all that follows."""
REST: Final = struct.Struct("=IIdQ")
"""Length of the key, length of the value, when it expires, hash; then the key, then the value."""
START_BYTES, REST_BYTES = START.size, REST.size

ENTRY_BYTES: Final = 640
"""The index has a place for so many bytes of ring: 18 bytes a place, or 3% of the ring."""

RECORD_SHARE: Final = 8
RECORD_MAX: Final = 1 << 31
"""No record takes more than this part of the ring, nor more than this."""

RENEWED_MAX: Final = 4
RENEWED_BYTES_MAX: Final = 64 << 10
"""At most so many records are written anew for one that is written, and none that is longer: a turn stays short."""

WAIT_S: Final = 0.002
"""For a turn. Ordinary ones take 10 us; longer than this is a process that is stopped or starved."""

CHUNK_BYTES: Final = 5120
"""zlib lets go of the GIL for anything longer, and to get it back costs more than the sum does."""


def checked(data: bytes) -> int:
    """The check value."""
    if len(data) <= CHUNK_BYTES:
        return crc32(data)
    value = 0
    with memoryview(data) as view:
        for at in range(0, len(view), CHUNK_BYTES):
            value = crc32(view[at : at + CHUNK_BYTES], value)
    return value


def _taken(size: int) -> int:
    """What a record takes in the ring, so that the start of the next one is never cut in two by its end."""
    return -(-size // START_BYTES) * START_BYTES


def marked(key: str) -> int:
    """The hash of a key, never 0."""
    return hash(key) & 0xFFFF_FFFF_FFFF_FFFF or 1


class Shared:
    """A bounded memory of bytes by key, for all processes that map it. Any thread."""

    def __init__(self, fd: int, capacity: int, buckets: int) -> None:
        self.fd = fd
        self.bytes_max = capacity
        index_end = HEADER_BYTES + buckets * BUCKET_BYTES
        self._arena = index_end + CLAIMS_BYTES
        self._buckets = buckets
        self._map = mmap.mmap(fd, self._arena + capacity)
        self._words = memoryview(self._map)[:index_end].cast("Q")
        self._claims = Claims(fd, memoryview(self._map)[index_end : self._arena].cast("Q"))
        self._turn = Exclusion(fd, 0)
        # Of this process.
        self.hits = 0
        self.misses = 0
        self.torn = 0
        """Misses because a record was written over while it was copied."""
        self.busy = 0
        """What was not put because there was no turn."""

    @classmethod
    def create(cls, bytes_max: int) -> Shared:
        """A new one, whose ring takes `bytes_max` as it fills up. Raises OSError where there is no memfd or memory."""
        capacity = max(bytes_max, 1 << 16) // 4096 * 4096
        buckets = capacity // (WAYS * ENTRY_BYTES) + 1
        fd = os.memfd_create(MEMFD_NAME)
        try:
            os.ftruncate(fd, HEADER_BYTES + buckets * BUCKET_BYTES + CLAIMS_BYTES + capacity)
            shared = cls(fd, capacity, buckets)
        except OSError:
            os.close(fd)
            raise
        words = shared._words
        words[H_CAPACITY], words[H_BUCKETS], words[H_HASH] = capacity, buckets, marked(MEMFD_NAME)
        words[H_HEAD] = words[H_TAIL] = words[H_FIRST] = capacity  # a position is never 0
        words[H_MAGIC] = MAGIC
        return shared

    @classmethod
    def attach(cls, fd: int) -> Shared:
        """The one behind `fd`, which it keeps. Raises ValueError: it is none, of another version, or of a process that
        hashes otherwise (not forked from the same one)."""
        head = os.pread(fd, 4 * 8, 0)
        words = struct.unpack("=4Q", head) if len(head) == 32 else (0, 0, 0, 0)
        if words[H_MAGIC] != MAGIC or words[H_HASH] != marked(MEMFD_NAME):
            raise ValueError("this is no shared memory of vivace's, or one of other processes")
        return cls(fd, words[H_CAPACITY], words[H_BUCKETS])

    def close(self) -> None:
        """Gives the descriptor back. The memory goes with the last process that maps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def get(self, key: str) -> bytes | None:
        """What was last put under `key`, if it is still there and has not expired."""
        mark = marked(key)
        bucket = HEADER_BYTES + mark % self._buckets * BUCKET_BYTES
        found = BUCKET.unpack_from(self._map, bucket)
        if mark in found:
            way = found.index(mark)
            value = self._read(key, found[way + WAYS]) if way < WAYS else None
            if value is not None:
                self.hits += 1
                if not self._map[bucket + READ_AT + way]:
                    self._map[bucket + READ_AT + way] = 1
                return value
        self.misses += 1
        return None

    def _read(self, key: str, position: int) -> bytes | None:
        words, capacity = self._words, self.bytes_max
        offset = position % capacity
        if not position or words[H_HEAD] - position > capacity or offset > capacity - START_BYTES:
            return None
        at = self._arena + offset
        itself, size, check = START.unpack_from(self._map, at)
        if itself != position or not START_BYTES + REST_BYTES <= size <= capacity - offset:
            return None
        rest = self._map[at + START_BYTES : at + size]
        if checked(rest) != check or words[H_HEAD] - position > capacity:
            self.torn += 1
            return None
        key_bytes, _, expires_s, _ = REST.unpack_from(rest)
        value_at = REST_BYTES + key_bytes
        if expires_s <= monotonic() or rest[REST_BYTES:value_at] != key.encode("utf-8", "surrogatepass"):
            return None
        return rest[value_at:]

    def put(self, key: str, packed: bytes, ttl_s: float) -> bool:
        """Keep `packed` for `ttl_s` seconds at most. False: it is too long, or others had all the turns."""
        raw, mark = key.encode("utf-8", "surrogatepass"), marked(key)
        size = START_BYTES + REST_BYTES + len(raw) + len(packed)
        if size > min(self.bytes_max // RECORD_SHARE, RECORD_MAX):
            return False
        rest = b"".join((REST.pack(len(raw), len(packed), monotonic() + ttl_s, mark), raw, packed))
        check = checked(rest)
        if not self._turn.enter(WAIT_S):
            self.busy += 1
            return False
        try:
            self._append(mark, check, rest)
        finally:
            self._turn.leave()
        return True

    def remove(self, key: str) -> None:
        """Forget `key`. Takes no turn: what somebody puts at the same moment may go with it, or stay."""
        mark = marked(key)
        at = (HEADER_BYTES + mark % self._buckets * BUCKET_BYTES) // 8
        for way in range(at, at + WAYS):
            if self._words[way] == mark:
                self._words[way + WAYS] = 0

    def clear(self) -> bool:
        """Forget everything. False: there was no turn."""
        if not self._turn.enter(WAIT_S):
            return False
        try:
            self._start_over()
        finally:
            self._turn.leave()
        return True

    def claim(self, key: str, ttl_s: float) -> bool:
        """Whether the caller may make what `key` stands for. False: another one does; it has so long for it.

        The claim of a process that has ended lapses. True also where nobody can claim it now, see `release`.
        """
        return self._claims.claim(marked(key), ttl_s)

    def claimed(self, key: str) -> bool:
        """Whether somebody who lives has claimed it. For who waits: cheap, and takes no turn."""
        return self._claims.claimed(marked(key))

    def release(self, key: str, pass_s: float = 0.0) -> None:
        """Ends the claim of this process. For `pass_s` seconds nobody waits for the like: it could not be kept."""
        self._claims.release(marked(key), pass_s)

    def stats(self) -> dict[str, int]:
        """What is there (all processes), and what this process found there. Looks through the whole index."""
        words, live = self._words, 0
        oldest = words[H_HEAD] - self.bytes_max
        for bucket in range(HEADER_BYTES // 8, len(words), BUCKET_BYTES // 8):
            live += sum(position > 0 and position >= oldest for position in words[bucket + WAYS : bucket + 2 * WAYS])
        return {
            "entries": live,
            "bytes": words[H_HEAD] - words[H_TAIL],
            "bytes_max": self.bytes_max,
            "puts": words[H_PUTS],
            "renewed": words[H_RENEWED],
            "found_dead": words[H_FOUND_DEAD],
            "hits": self.hits,
            "misses": self.misses,
            "torn": self.torn,
            "busy": self.busy,
        }

    # In turn.

    def _append(self, mark: int, check: int, rest: bytes) -> None:
        """Writes a record, and anew those before it that were read and would be lost by that."""
        words = self._words
        if words[H_WRITING]:
            self._step_over()
        todo = [(mark, check, rest)]
        new = 0
        for mark, check, rest in todo:  # which grows meanwhile, see _reserve
            size = START_BYTES + len(rest)
            room = self.bytes_max - words[H_HEAD] % self.bytes_max
            if size > room:
                self._reserve(room, room, 0, todo)
                words[H_WRITING] = 0
            position = self._reserve(size, _taken(size), check, todo)
            at = self._arena + position % self.bytes_max
            self._map[at + START_BYTES : at + size] = rest
            self._publish(mark, position, new)
            new = new or position
            words[H_WRITING] = 0
        words[H_PUTS] += 1
        words[H_RENEWED] += len(todo) - 1

    def _reserve(self, size: int, taken: int, check: int, todo: list[tuple[int, int, bytes]]) -> int:
        """The position of a new record. Whoever reads what lay there finds the head beyond it from now on."""
        words = self._words
        position = words[H_HEAD]
        tail = words[H_TAIL]
        while tail + self.bytes_max < position + taken:
            at = self._arena + tail % self.bytes_max
            itself, old_size, old_check = START.unpack_from(self._map, at)
            if itself != tail or not old_size:
                self._start_over()  # somebody else has written here, who must not
                return self._reserve(size, taken, check, todo)
            if START_BYTES + REST_BYTES < old_size <= RENEWED_BYTES_MAX and len(todo) <= RENEWED_MAX:
                self._maybe_renew(tail, at, old_size, old_check, todo)
            tail += _taken(old_size)
        words[H_TAIL] = tail
        words[H_WRITING] = position
        words[H_HEAD] = position + taken
        START.pack_into(self._map, self._arena + position % self.bytes_max, position, size, check)
        return position

    def _maybe_renew(self, tail: int, at: int, size: int, check: int, todo: list[tuple[int, int, bytes]]) -> None:
        _, _, expires_s, mark = REST.unpack_from(self._map, at + START_BYTES)
        bucket = HEADER_BYTES + mark % self._buckets * BUCKET_BYTES
        found = BUCKET.unpack_from(self._map, bucket)
        if tail not in found:
            return
        way = found.index(tail) - WAYS
        if found[way] == mark and self._map[bucket + READ_AT + way] and expires_s > monotonic():
            todo.append((mark, check, self._map[at + START_BYTES : at + size]))

    def _publish(self, mark: int, position: int, new: int) -> None:
        """Into the place of the same key, else that of the oldest record that nobody has read, else of the oldest.

        What is written anew does not take the place of what it was written anew for, which is at `new`.
        """
        bucket = HEADER_BYTES + mark % self._buckets * BUCKET_BYTES
        found = BUCKET.unpack_from(self._map, bucket)
        if mark in found[:WAYS]:
            way = found.index(mark)
        else:
            oldest = self._words[H_HEAD] - self.bytes_max
            read = self._map[bucket + READ_AT : bucket + READ_AT + WAYS]
            places = enumerate(zip(found[WAYS:], read, strict=True))
            way = min([(at >= oldest and (was_read or at == new), at, way) for way, (at, was_read) in places])[2]
        at = bucket // 8 + way
        self._words[at + WAYS] = 0
        self._words[at] = mark
        self._map[bucket + READ_AT + way] = 0
        self._words[at + WAYS] = position

    def _start_over(self) -> None:
        """All that is there is too old from now on."""
        self._words[H_HEAD] += self.bytes_max
        self._words[H_TAIL] = self._words[H_HEAD]

    def _step_over(self) -> None:
        """Who wrote last was killed meanwhile: what it had reserved becomes a record that nobody finds."""
        words = self._words
        position = words[H_WRITING]
        if words[H_HEAD] > position:
            at = self._arena + position % self.bytes_max
            START.pack_into(self._map, at, position, words[H_HEAD] - position, 0)
        words[H_WRITING] = 0
        words[H_FOUND_DEAD] += 1
