"""An access log again, with its own timing.

Rules:

* The common formats know the second only. Requests of one second are spread over it as those of independent visitors
  would be: at times drawn evenly, with a seed, in the order of the log.
* Logs are written when responses end, so lines are out of order. Up to WINDOW_S, or HELD_MAX lines, they are sorted.
* The log is streamed. What is kept is 12 bytes a request (`lab.timetable`) and each distinct request once, of which
  there are at most SHOTS_MAX.
"""

from __future__ import annotations

import random

from vivace.errors import SettingError
from vivace.lab.access_lines import TIMED, common_time
from vivace.lab.access_logs import Left, json_asked, sendable, shots_of, unusual
from vivace.lab.timetable import Timetable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from vivace.lab.access_lines import Asked
    from vivace.lab.access_logs import Log
    from vivace.lab.plan import Shot

WINDOW_S = 60
HELD_MAX = 100_000
BACK_S_MAX = 3600
"""A line so far before those above it says that the file was put together in the wrong order."""
SHOTS_MAX = 250_000
SHOTS_CHARS_MAX = 64 * 1024 * 1024
REQUESTS_MAX = 100_000_000


def replay(log: Log, speed: float = 1.0, seed: int = 0) -> tuple[list[Shot], Timetable, list[str]]:
    """The distinct requests of a log, when each is due at `speed` times the log's pace, and notes.

    Raises SettingError.
    """
    left = Left(log.path)
    order = Order(log.path)
    known: dict[tuple[str, str], int] = {}
    counts: list[int] = []
    due = Timetable()
    chars = 0
    for at_s, method, target in _timed(log, order.groups(_asked(log, left)), random.Random(seed)):
        index = known.get((method, target))
        if index is None:
            index = known[method, target] = len(counts)
            # What is not to be sent keeps its place as a 0.
            counts.append(0)
            chars += len(target)
            if index >= SHOTS_MAX or chars > SHOTS_CHARS_MAX:
                raise SettingError(
                    f"{log.path}: more than {index} different requests in the first {left.lines} lines; replay a part "
                    "of the log, or give it as a mix, without --replay"
                )
        if counts[index] or sendable(method, target, log, left):
            counts[index] += 1
            due.append(at_s / speed, index)
            if len(due) > REQUESTS_MAX:
                raise SettingError(f"{log.path}: more than {REQUESTS_MAX} requests; replay a part of the log")
    notes = left.notes()
    if order.late:
        notes.append(
            f"{order.late} lines stand more than {WINDOW_S} s, or {HELD_MAX} lines, behind their time; sent later"
        )
    if not due:
        raise SettingError(f"{log.path}: no request of its {left.lines} lines can be sent", *notes)
    due.begin_at_zero()
    wanted = [(method, target, counts[index]) for (method, target), index in known.items()]
    return _with_places(wanted, due, log), due, notes


def _with_places(wanted: list[tuple[str, str, int]], due: Timetable, log: Log) -> list[Shot]:
    """The shots; those that are never due are left out, and `due` counts without them."""
    if not all(count for _, _, count in wanted):
        places = []
        place = 0
        for _, _, count in wanted:
            places.append(place)
            place += bool(count)
        due.rename(places)
    return shots_of([each for each in wanted if each[2]], log)


def _asked(log: Log, left: Left) -> Iterator[Asked]:
    for block in log.blocks():
        if not left.lines:
            log.recognise(block)
        if log.json:
            for number, line in enumerate(block.split(b"\n"), left.lines + 1):
                if asked := json_asked(log, line, left, number):
                    yield asked
        else:
            yield from _common(block, left)
        left.lines += block.count(b"\n")


def _common(block: bytes, left: Left) -> Iterator[Asked]:
    lines: list[bytes] = []
    last, last_s = b"", 0.0
    for number, (when, method, target) in enumerate(TIMED.findall(block)):
        if when and when != last:
            try:
                last, last_s = when, common_time(when)
            except ValueError as error:
                left.on_strange(left.lines + number + 1, str(error))
                last = b""
                continue
        if when:
            yield last_s, method.decode(), target.decode()
            continue
        lines = lines or block.split(b"\n")
        if lines[number] and (asked := unusual(lines[number], left, left.lines + number + 1)):
            yield asked


def _timed(log: Log, groups: Iterator[list[Asked]], draw: random.Random) -> Iterator[Asked]:
    """Groups of one second each as requests in order. JSON knows more than the second."""
    for group in groups:
        if log.json:
            group.sort(key=_by_time)
            yield from group
        else:
            times = sorted([group[0][0] + draw.random() for _ in group])
            for at_s, (_, method, target) in zip(times, group, strict=True):
                yield at_s, method, target


def _by_time(asked: Asked) -> float:
    return asked[0]


class Order:
    """Puts lines into the order of their times, as far as a window reaches. `late`: those that it does not reach."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.late = 0

    def groups(self, asked: Iterator[Asked]) -> Iterator[list[Asked]]:
        """All of a second, in the order of the log; seconds in order. Raises SettingError."""
        held: dict[int, list[Asked]] = {}
        count = 0
        newest = done = -1
        for each in asked:
            second = int(each[0])
            if second <= done:
                if second < done - BACK_S_MAX:
                    raise SettingError(
                        f"{self._path}: a line is {(done - second) / 3600:.1f} h earlier than one above it; put the "
                        "parts of the log into the order of their times"
                    )
                self.late += 1
                second = done + 1
                each = (float(second), each[1], each[2])
            held.setdefault(second, []).append(each)
            count += 1
            newest = max(newest, second)
            while held and (count > HELD_MAX or min(held) < newest - WINDOW_S):
                done = min(held)
                group = held.pop(done)
                count -= len(group)
                yield group
        for second in sorted(held):
            yield held[second]
