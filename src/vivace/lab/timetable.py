"""When which request is due, for millions of them: (seconds, index of the shot), in 12 bytes each. Pure."""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from typing import overload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Timetable:
    """Reads as a list of tuples; a slice of it is one of the same kind."""

    __slots__ = ("_shots", "_times")

    def __init__(self, times: array[float] | None = None, shots: array[int] | None = None) -> None:
        self._times = times if times is not None else array("d")
        self._shots = shots if shots is not None else array("I")

    @classmethod
    def of(cls, due: Timetable | Sequence[tuple[float, int]]) -> Timetable:
        """Any sequence of the same."""
        if isinstance(due, Timetable):
            return due
        return cls(array("d", [at_s for at_s, _ in due]), array("I", [shot for _, shot in due]))

    def append(self, at_s: float, shot: int) -> None:
        self._times.append(at_s)
        self._shots.append(shot)

    def __len__(self) -> int:
        return len(self._times)

    @overload
    def __getitem__(self, key: int) -> tuple[float, int]: ...

    @overload
    def __getitem__(self, key: slice) -> Timetable: ...

    def __getitem__(self, key: int | slice) -> tuple[float, int] | Timetable:
        if isinstance(key, slice):
            return Timetable(self._times[key], self._shots[key])
        return self._times[key], self._shots[key]

    def __iter__(self) -> Iterator[tuple[float, int]]:
        return zip(self._times, self._shots, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timetable) and self._times == other._times and self._shots == other._shots

    __hash__ = None  # type: ignore[assignment]

    @property
    def span_s(self) -> float:
        """From the begin to the last one; 0 without any."""
        return self._times[-1] if self._times else 0.0

    def begin_at_zero(self) -> None:
        """Moves all so that the first is due at once; none is due before it."""
        begin_s = self._times[0]
        self._times = array("d", (max(0.0, at_s - begin_s) for at_s in self._times))

    def rename(self, places: list[int]) -> None:
        """Shot i becomes places[i]."""
        self._shots = array("I", (places[shot] for shot in self._shots))

    def packed(self) -> dict[str, str]:
        """As what JSON can say, for another process of this machine."""
        return {"times": b64encode(self._times.tobytes()).decode(), "shots": b64encode(self._shots.tobytes()).decode()}


def unpacked(found: dict[str, str]) -> Timetable:
    """What `Timetable.packed` made."""
    times: array[float] = array("d")
    shots: array[int] = array("I")
    times.frombytes(b64decode(found["times"]))
    shots.frombytes(b64decode(found["shots"]))
    return Timetable(times, shots)
