"""Requests as bytes, made once, and what is kept with them while they are sent.

Rules: the bytes of a request never change during a load. Times of shots with the same name go into one array.
"""

from __future__ import annotations

from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.plan import Load, Place, Shot

NO_BODY = ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT")
"""Methods whose empty body needs no Content-Length (RFC 9110 section 8.6)."""


class Times:
    """What was measured of the shots of one name, since the last look."""

    __slots__ = ("latency", "name", "service")

    def __init__(self, name: str) -> None:
        self.name = name
        self.latency = array("f")
        self.service = array("f")


class Prepared:
    """A shot, ready to be sent."""

    __slots__ = ("data", "headless", "known", "size", "think_s", "times")

    def __init__(self, shot: Shot, place: Place, times: Times, known: dict[bytes, str]) -> None:
        self.data = request_bytes(shot, place)
        self.size = len(self.data)
        self.headless = shot.method == "HEAD"
        self.think_s = shot.think_s
        self.times = times
        self.known = known
        """Whole answers that were read before, that keep the connection: the class of their status."""


def request_bytes(shot: Shot, place: Place) -> bytes:
    """The request on the wire (RFC 9112 section 3)."""
    given = {name.lower() for name, _ in shot.headers}
    lines = [f"{shot.method} {shot.target} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {place.authority}")
    lines += [f"{name}: {value}" for name, value in shot.headers]
    if (shot.body or shot.method not in NO_BODY) and not given & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(shot.body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + shot.body


def prepared(load: Load, place: Place) -> list[Prepared]:
    """Of all shots of a load, in their order."""
    times: dict[str, Times] = {}
    known: tuple[dict[bytes, str], dict[bytes, str]] = ({}, {})
    return [
        Prepared(shot, place, times.setdefault(shot.name, Times(shot.name)), known[shot.method == "HEAD"])
        for shot in load.shots
    ]
