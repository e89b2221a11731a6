"""What is sent, where, and how fast: the nouns that every other module of the lab takes. Pure.

* `Place`: where a server listens, read from a URL;
* `Shot`: one request, as often as its weight says;
* `Load`: the shots, and the law by which they are sent.

Two laws. *Open*: requests begin at times that were drawn before, whatever the server does, and a latency is measured
from that intended time, so that a server which stalls is charged for everybody who would have come meanwhile.
*Closed*: each connection sends its next request when it has its answer (and has thought), and a latency is measured
from the send; a stall then costs one sample a connection.

Rules: plain values, which cross between processes as JSON (`packed`, `unpacked`); whoever reads files, draws numbers
or opens sockets does it elsewhere. What makes no sense raises SettingError here, wherever it came from.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, field, fields
from urllib.parse import unquote, urlsplit

from vivace.errors import SettingError
from vivace.lab.timetable import Timetable
from vivace.lab.timetable import unpacked as timetable_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OPEN, CLOSED = "open", "closed"
ARRIVALS = ("poisson", "even")
"""Poisson: as many users who do not know of each other come. Even: a metronome, as wrk2 has it."""
CONNECTIONS_MAX = 20_000
RATE_MAX = 1e7
TIMEOUT_S = 10.0
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
"""tchar, RFC 9110 section 5.6.2."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens. `path` is that of a Unix socket, or "". `verify`: the certificate is checked."""

    host: str
    port: int
    tls: bool = False
    path: str = ""
    verify: bool = True

    @property
    def authority(self) -> str:
        """What a Host field says (RFC 9110 section 7.2): no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.path or self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """As a user would write it."""
        return f"unix:{self.path}" if self.path else f"http{'s' * self.tls}://{self.authority}"


def read_url(url: str, verify: bool = True) -> tuple[Place, str]:
    """The place and the target (path and query) of `http://`, `https://` or `unix:/socket[:/target]`."""
    if url.startswith("unix:"):
        path, _, target = url[5:].removeprefix("//").partition(":")
        if not path:
            raise SettingError(f"{url}: give the socket's path, as unix:/run/app.sock or unix:/run/app.sock:/target")
        return Place("localhost", 0, path=path), target or "/"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingError(f"{url}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"{url}: give a URL with http://, https:// or unix: in front")
    tls = parts.scheme == "https"
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    return Place(unquote(parts.hostname), port or (443 if tls else 80), tls, verify=verify), target


@dataclass(frozen=True, slots=True)
class Shot:
    """One request. Host and Content-Length are added where `headers` has none."""

    method: str = "GET"
    target: str = "/"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    weight: float = 1.0
    think_s: float = 0.0
    """How long a connection waits after the answer, in closed loop."""
    name: str = ""
    """What the report calls it; several shots may share one. "": all together."""

    def __post_init__(self) -> None:
        if not self.method or not TOKEN.issuperset(self.method):
            raise SettingError(f"method {self.method!r}: a method is a word, as GET or POST")
        if not self.target.isascii() or not self.target.isprintable() or " " in self.target or not self.target:
            raise SettingError(f"target {self.target!r}: a target is in ASCII without spaces; percent-encode it")
        for name, value in self.headers:
            if not name or not TOKEN.issuperset(name) or any(byte in value for byte in "\r\n\0"):
                raise SettingError(f"header {name!r}: {value!r} cannot be sent")
        if not 0 <= self.weight < 1e9 or not 0 <= self.think_s < 1e6:
            raise SettingError(f"{self.method} {self.target}: weight and think time are no less than 0")


@dataclass(frozen=True, slots=True)
class Load:
    """The shots and the law by which they are sent."""

    shots: list[Shot]
    mode: str = CLOSED
    rate: float = 0.0
    """Requests a second, of all processes together; open loop."""
    connections: int = 10
    """Of all processes together. In open loop the most that are used at once."""
    seconds: float = 10.0
    processes: int = 1
    timeout_s: float = TIMEOUT_S
    """From the send, or the begin of the connection, to the last byte of the answer."""
    warmup_s: float | None = None
    """What is cut off at the begin; None: detected (`lab.warmup`)."""
    seed: int = 1
    arrivals: str = "poisson"
    at_times: Timetable | Sequence[tuple[float, int]] = ()
    """Instead of a rate: (seconds after the begin, index of the shot), ascending. Open loop."""

    @property
    def slices(self) -> int:
        """Into how many slices the load is divided: of a tenth of a second, or 200."""
        return max(1, min(200, round(self.seconds / 0.1)))

    @property
    def slice_s(self) -> float:
        return self.seconds / self.slices

    def __post_init__(self) -> None:
        if not self.shots or not any(shot.weight for shot in self.shots):
            raise SettingError("there is no request to send")
        if self.mode not in (OPEN, CLOSED) or self.arrivals not in ARRIVALS:
            raise SettingError(f"mode {self.mode!r}, arrivals {self.arrivals!r}: not known")
        if self.mode == OPEN and not self.at_times and not 0 < self.rate <= RATE_MAX:
            raise SettingError(f"rate {self.rate:g}: give requests a second, more than 0")
        if not 1 <= self.connections <= CONNECTIONS_MAX:
            raise SettingError(f"connections {self.connections}: give 1 to {CONNECTIONS_MAX}")
        if not 1 <= self.processes <= self.connections:
            raise SettingError(f"{self.processes} processes: give 1 to the number of connections, {self.connections}")
        if not 0 < self.seconds <= 1e6 or not 0 < self.timeout_s <= 1e6:
            raise SettingError("the length of the load and its timeout are more than 0")
        if self.warmup_s is not None and not 0 <= self.warmup_s < self.seconds:
            raise SettingError(f"warm-up of {self.warmup_s:g} s: the whole load takes {self.seconds:g} s")


def packed(load: Load, place: Place) -> dict[str, Any]:
    """Both as what JSON can say."""
    found = {one.name: getattr(load, one.name) for one in fields(load)}
    found["shots"] = [{**asdict(shot), "body": b64encode(shot.body).decode()} for shot in load.shots]
    found["at_times"] = Timetable.of(load.at_times).packed()
    return {"load": found, "place": asdict(place)}


def unpacked(found: dict[str, Any]) -> tuple[Load, Place]:
    """What `packed` made."""
    load = dict(found["load"])
    load["shots"] = [
        Shot(**{**shot, "headers": [(name, value) for name, value in shot["headers"]], "body": b64decode(shot["body"])})
        for shot in load["shots"]
    ]
    load["at_times"] = timetable_from(load["at_times"])
    return Load(**load), Place(**found["place"])
