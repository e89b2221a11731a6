"""What a request carries besides: an id, the trace that it belongs to, timings in its response.

An `Annotator` looks at each request before it reaches the application and makes its `Request`, which stands in for the
encoder of the response's head (`http1.response.ResponseHeads`): whatever head goes out, the application's or the 500
in its place, the fields are added then, behind the application's own. So nothing of PEP 3333 is wrapped.

Rules:

* Where none of it is asked for there is no Annotator, and nothing is paid for it. With one that is `quick`, which wants
  ids and traces alone, the loop still takes its fast path, and calls `wrap`'s application. Otherwise it never does.
* The fields are put behind an encoded head: the encoder's memory of heads that repeat stays of use.
* What a client has sent is taken over only if it is believed and well-formed. What is not believed is replaced in the
  environ, or removed from it, so that the application does not believe it either.
* An id field of the application's own passes; none is added then.

Called by the owner of the connection. Must not know: settings, sockets, the body, OpenTelemetry (see `Tracer`).
"""

from __future__ import annotations

import re
from time import thread_time

from vivace.connection.meter import clock
from vivace.connection.plan import CACHE_RESULT
from vivace.http1.trace_context import RANDOM, SAMPLED, read_traceparent, read_tracestate, write_traceparent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from vivace.http1.response import ResponseHeads
    from vivace.observe.section import Section
    from vivace.wsgi.exchange import Exchange

    Environ = dict[str, Any]

    class Tracer(Protocol):
        """Makes spans: see worker.open_telemetry."""

        def begin(self, request: Request, environ: Environ, waited_s: float, believed: bool) -> None:
            """The application is about to be called."""

        def end(self, request: Request, environ: Environ, status: str | None, taken: bool) -> None:
            """It has returned, and its body is closed. `taken`: it took too long and was answered in its place."""


REQUEST, REQUEST_ID = "vivace.request", "vivace.request_id"
TRACE_ID, TRACEPARENT, TRACESTATE = "vivace.trace_id", "vivace.traceparent", "vivace.tracestate"

DEMAND = "HTTP_X_SERVER_TIMING"
"""Where a client's token arrives."""

TIMINGS_MAX = 50
NAME_CHARS_MAX = 40
DESCRIPTION_CHARS_MAX = 100
MS_MAX = 1e12

# 1 to 200 visible ASCII characters (RFC 9110 section 5.6.2: VCHAR) but for quotes and the backslash: what may stand in
# a log, a shell and JSON as it is.
_is_id = re.compile(r"""[!#-&(-\[\]-~]{1,200}""").fullmatch

# metric-name = token (W3C Server Timing section 2, RFC 9110 section 5.6.2)
_no_token = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_no_text = re.compile(r"[^ -~]+")


class Request:
    """One request on its way, as `environ["vivace.request"]`; the encoder of its response's head."""

    __slots__ = (
        "_began_s",
        "_cpu_s",
        "_heads",
        "_id_mark",
        "_phase",
        "_section",
        "_waited_s",
        "cache",
        "conn",
        "error",
        "id_line",
        "route",
        "span",
        "timings",
    )

    def __init__(self, heads: ResponseHeads, section: Section | None) -> None:
        self._heads = heads
        self._section = section
        self.conn: Any = None
        """Its connection, while the application runs."""
        self._waited_s = -1.0  # its response has no timings
        self._began_s = 0.0
        self._cpu_s = 0.0
        self._id_mark = b""
        self.cache = ""
        """What became of it in the cache, where there is one."""
        self.id_line = b""
        """The response field with its id."""
        self._phase = ""
        self.route = ""
        """The rule of the application that it matched, where that is told."""
        self.timings: list[tuple[str, float, str]] = []
        """Name, milliseconds and description, as the application gave them."""
        self.error: BaseException | None = None
        """What the application raised."""
        self.span: Any = None
        """The tracer's."""

    @property
    def phase(self) -> str:
        """What the application says that it does now. The shared page tells it of requests that have a place there."""
        return self._phase

    @phase.setter
    def phase(self, text: str) -> None:
        self._phase = text
        if self._section is not None and self.conn is not None and self.conn.slot:
            self._section.note(self.conn.slot, text)

    def identify(self, name: bytes, value: str) -> None:
        """The response says `value` in the field `name`."""
        self.id_line = b"%b: %b\r\n" % (name, value.encode("latin-1"))
        self._id_mark = b"\n%b:" % name.lower()

    def begin_timing(self, waited_s: float) -> None:
        """The application is called now, `waited_s` after the head of the request had been read."""
        self._waited_s = max(waited_s, 0.0)
        self._cpu_s = thread_time()
        self._began_s = clock()

    def add_timing(self, name: object, seconds: Any, description: object = "") -> None:
        """One more, if it makes sense; what may not stand in the field is left out of it."""
        try:
            ms = float(seconds) * 1000
        except (TypeError, ValueError, OverflowError):
            return
        if 0 <= ms <= MS_MAX and len(self.timings) < TIMINGS_MAX:
            token = _no_token.sub("-", str(name)[:NAME_CHARS_MAX]) or "-"
            text = _no_text.sub("?", str(description)[:DESCRIPTION_CHARS_MAX]) if description else ""
            self.timings.append((token, ms, text))

    def encode(
        self, status: str, headers: list[tuple[str, str]], flags: int, length: int | None, date: bytes
    ) -> tuple[bytes, int, bool]:
        """As `ResponseHeads.encode`, with the fields of this request."""
        head, framing, keep = self._heads.encode(status, headers, flags, length, date)
        lines = self.id_line
        if lines and self._id_mark in head.lower():
            lines = b""
        if self._waited_s >= 0:
            lines += self._server_timing()
        return head[:-2] + lines + b"\r\n", framing, keep

    def _server_timing(self) -> bytes:
        """The field, of what is known now (W3C Server Timing section 2): milliseconds."""
        wall_ms = (clock() - self._began_s) * 1000
        cpu_ms = (thread_time() - self._cpu_s) * 1000
        text = (
            f"Server-Timing: queue;dur={self._waited_s * 1000:.3f}, app-cpu;dur={cpu_ms:.3f}, "
            f"app-wait;dur={max(wall_ms - cpu_ms, 0.0):.3f}"
        )
        if self.cache:
            text += f', cache;desc="{self.cache}"'
        for name, ms, description in self.timings:
            text += f", {name};dur={ms:.3f}"
            if description:
                escaped = description.replace("\\", "\\\\").replace('"', '\\"')
                text += f';desc="{escaped}"'
        return text.encode("ascii") + b"\r\n"


class Annotator:
    """What is wanted, for all requests of one server. May be shared by threads."""

    def __init__(
        self,
        heads: ResponseHeads,
        *,
        bits: Callable[[int], int],
        id_field: str = "",
        believes_id: Callable[[str], bool],
        timed: Callable[[Environ], bool] | None = None,
        trace: bool = False,
        believes_trace: Callable[[str], bool],
        trace_sample: float = 1.0,
        tracer: Tracer | None = None,
    ) -> None:
        """`bits` gives random numbers of so many bits. `id_field` is "" where requests have no id. `believes_id` and
        `believes_trace` take the peer's address. `timed` tells whose response has Server-Timing. `trace`: a trace is
        passed on, or begun, with `trace_sample` of the new ones marked as sampled; a `tracer` does that itself.
        """
        self._heads = heads
        self._bits = bits
        self._id_field = id_field.encode("ascii")
        self._id_key = "HTTP_" + id_field.upper().replace("-", "_")
        self._believes_id = believes_id
        self._timed = timed
        self._trace = trace
        self._believes_trace = believes_trace
        self._sample = int(trace_sample * (1 << 32))
        self._tracer = tracer
        self.section: Section | None = None
        """Where the phases of requests are told."""
        self.quick = timed is None and tracer is None
        """Whether no request has to be timed."""

    def wrap(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """`app`, as an `Exchange` may call it: all that a `quick` one does."""
        arrived = self._arrived

        def annotated(environ: Environ, start_response: Any) -> Iterable[bytes]:
            exchange: Exchange = start_response.__self__
            request = environ[REQUEST] = arrived(environ, exchange.sink.host)
            request.conn = exchange.sink
            exchange.use_heads(request)
            return app(environ, start_response)

        return annotated

    def begin(self, environ: Environ, host: str, waited_s: float) -> Request:
        """The application is about to be called with `environ`, by a peer at `host`. Changes environ."""
        request = environ[REQUEST] = self._arrived(environ, host)
        if self._tracer is not None:
            self._tracer.begin(request, environ, waited_s, self._believes_trace(host))
        if self._timed is not None and self._timed(environ):
            request.cache = environ.get(CACHE_RESULT, "")
            request.begin_timing(waited_s)
        return request

    def end(self, request: Request, environ: Environ, exchange: Exchange, taken: bool) -> None:
        """The application has returned, and closed its body."""
        if self._tracer is not None:
            self._tracer.end(request, environ, exchange.status, taken)

    def refused(self, environ: Environ, host: str) -> bytes:
        """The field lines of an answer that the server itself gives, for good or in place of the application. Changes
        environ, which may hold next to nothing."""
        request = environ.get(REQUEST)
        if type(request) is not Request:
            request = self._arrived(environ, host)
        return request.id_line

    def answered(self, environ: Environ, host: str, waited_s: float, took_s: float, result: str) -> bytes:
        """The field lines of an answer from the cache, which took so long after a wait; `result` is one of its words.
        Changes environ."""
        lines = self._arrived(environ, host).id_line
        if self._timed is None or not self._timed(environ):
            return lines
        queued_ms, took_ms = max(waited_s, 0.0) * 1000, took_s * 1000
        timing = f'Server-Timing: queue;dur={queued_ms:.3f}, cache;desc="{result}";dur={took_ms:.3f}'
        return lines + timing.encode("ascii") + b"\r\n"

    def _arrived(self, environ: Environ, host: str) -> Request:
        request = Request(self._heads, self.section)
        if self._id_field:
            key = self._id_key
            given = environ.get(key)
            if given is None or not self._believes_id(host) or not _is_id(given):
                given = f"{self._bits(128):032x}"
            environ[key] = environ[REQUEST_ID] = given
            request.identify(self._id_field, given)
        if self._trace:
            self._pass_on(environ, host)
        return request

    def _pass_on(self, environ: Environ, host: str) -> None:
        """The trace of the request, with a place in it for what the application calls."""
        text = environ.get("HTTP_TRACEPARENT")
        found = None
        if text is not None:
            if self._believes_trace(host):
                found = read_traceparent(text)
            else:
                forget_trace(environ)
        parent_id = f"{self._bits(64) or 1:016x}"
        if found is not None:
            trace_id, _, flags = found
            if state := read_tracestate(environ.get("HTTP_TRACESTATE", "")):
                environ[TRACESTATE] = state
        else:
            trace_id = f"{self._bits(128) or 1:032x}"
            flags = RANDOM | (SAMPLED if self._bits(32) < self._sample else 0)
        environ[TRACE_ID] = trace_id
        environ[TRACEPARENT] = write_traceparent(trace_id, parent_id, flags)


def forget_trace(environ: Environ) -> None:
    """The trace that a client claims is not believed: the application does not hear of it."""
    environ.pop("HTTP_TRACEPARENT", None)
    environ.pop("HTTP_TRACESTATE", None)
