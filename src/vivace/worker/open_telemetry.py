"""A span for each request, by the OpenTelemetry SDK (the extra `otel`).

Rules:

* If the application has set up OpenTelemetry itself, its provider takes the spans, and nothing is changed. Else one is
  made from the SDK's own variables (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, OTEL_BSP_...)
  and set for the whole process, so that what the application's instrumentations record goes the same way.
* Names and attributes follow the semantic conventions for HTTP server spans, stable since their version 1.23. Of the
  query, cookies and fields (but for User-Agent) nothing is recorded.
* A span begins when its request was there, and ends when the body of the response is closed. It is the current one
  meanwhile, so the application's spans become its children.
* Nothing that fails here costs a request: it is said once.

Made in the process that serves: the exporter has a thread, which no fork would keep.
"""

from __future__ import annotations

import os
import threading
import time

from vivace.connection.annotating import REQUEST, TRACE_ID, TRACEPARENT, TRACESTATE, Request, forget_trace
from vivace.errors import SettingError
from vivace.http1.trace_context import write_traceparent
from vivace.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Environ = dict[str, Any]

FLUSH_S = 5.0
"""How long a stopping server waits for the collector."""

# OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS: RFC 9110 section 9 and RFC 5789.
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))

MISSING = (
    "trace: otel needs OpenTelemetry's SDK, which cannot be imported ({error}); "
    "pip install 'vivace[otel]', or give pass or off"
)


class OpenTelemetry:
    """Begins and ends spans. Any thread; each request on one."""

    def __init__(self, sample: float, warn: Callable[[str], None]) -> None:
        """`sample`: of the traces that begin here, if no variable says anything else. Raises SettingError."""
        try:
            from opentelemetry import context, propagate, trace
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError as error:
            raise SettingError(MISSING.format(error=error)) from None
        self._warn = warn
        self._failed = False
        self._attach, self._detach = context.attach, context.detach
        self._extract = propagate.extract
        self._in_span = trace.set_span_in_context
        self._kind = trace.SpanKind.SERVER
        self._error = trace.StatusCode.ERROR
        self._getter: Any = Fields()
        provider: Any = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = _make_provider(sample)
            trace.set_tracer_provider(provider)
        self._provider = provider
        self._tracer = provider.get_tracer("vivace", __version__)

    def begin(self, request: Request, environ: Environ, waited_s: float, believed: bool) -> None:
        """See connection.annotating.Tracer."""
        try:
            if not believed:
                forget_trace(environ)
            context = self._extract(environ if believed else {}, getter=self._getter)
            span = self._tracer.start_span(
                _name(environ),
                context=context,
                kind=self._kind,
                attributes=_attributes(environ),
                start_time=time.time_ns() - int(waited_s * 1e9),
            )
            known = span.get_span_context()
            trace_id = environ[TRACE_ID] = f"{known.trace_id:032x}"
            environ[TRACEPARENT] = write_traceparent(trace_id, f"{known.span_id:016x}", known.trace_flags)
            if known.trace_state:
                environ[TRACESTATE] = known.trace_state.to_header()
            request.span = (span, self._attach(self._in_span(span, context)), waited_s)
        except Exception as error:
            self._fail(error)

    def note(self, environ: Environ, error: BaseException) -> None:
        """The application has raised `error`."""
        request = environ.get(REQUEST)
        if type(request) is Request:
            request.error = error

    def end(self, request: Request, environ: Environ, status: str | None, taken: bool) -> None:
        """See connection.annotating.Tracer."""
        if request.span is None:
            return
        (span, token, waited_s), request.span = request.span, None
        try:
            self._detach(token)
            if span.is_recording():
                self._tell(span, request, environ, "504" if taken else status, waited_s)
            span.end()
        except Exception as error:
            self._fail(error)

    def _tell(self, span: Any, request: Request, environ: Environ, status: str | None, waited_s: float) -> None:
        """What was not known before: the route, the status, what went wrong."""
        if request.route:
            span.set_attribute("http.route", request.route)
            span.update_name(f"{_method(environ)} {request.route}")
        else:
            span.update_name(_name(environ))
        span.set_attribute("vivace.queue_time", waited_s)
        for name, ms, _ in request.timings:
            span.set_attribute(f"vivace.timing.{name}", ms / 1000)
        code = status[:3] if status else ""
        if code.isdigit():
            span.set_attribute("http.response.status_code", int(code))
        error, request.error = request.error, None  # its traceback holds environ, which holds the request
        if error is not None:
            span.record_exception(error)
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(self._error, str(error)[:200])
        elif code >= "5" or not code:
            span.set_attribute("error.type", code or "client_gone")
            span.set_status(self._error)

    def flush(self) -> None:
        """Sends what was recorded, and waits for that, but not for ever. At the end of a server."""
        # In a thread: the SDK's own time limit is not kept everywhere (opentelemetry-python, issue 4568).
        thread = threading.Thread(target=self._flush, name="vivace-flush", daemon=True)
        thread.start()
        thread.join(FLUSH_S)
        if thread.is_alive():
            self._warn(f"the last spans are lost: they could not be sent in {FLUSH_S:g} s")

    def _flush(self) -> None:
        try:
            self._provider.force_flush(int(FLUSH_S * 1000))
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            self._warn(f"OpenTelemetry failed: {type(error).__name__}: {error}; spans are lost. (Said once.)")


def _make_provider(sample: float) -> Any:
    """A provider that exports by OTLP over HTTP, in batches. Raises SettingError."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise SettingError(MISSING.format(error=error)) from None
    # None: as OTEL_TRACES_SAMPLER says
    sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else ParentBased(TraceIdRatioBased(sample))
    # Not at exit: that waits for a collector that is not there. `flush` is the end.
    provider = TracerProvider(sampler=sampler, resource=Resource.create(), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Fields:
    """Reads the fields of a request, for the propagators that OTEL_PROPAGATORS names."""

    def get(self, carrier: Environ, key: str) -> list[str] | None:
        """The values of a field; joined ones are one."""
        value = carrier.get("HTTP_" + key.upper().replace("-", "_"))
        return None if value is None else [value]

    def keys(self, carrier: Environ) -> list[str]:
        """The names of all fields."""
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


def _name(environ: Environ) -> str:
    """The route as the server knows it, or the method alone."""
    route = environ.get("vivace.route")
    return _method(environ) if route is None else str(route.name)


def _method(environ: Environ) -> str:
    method = environ.get("REQUEST_METHOD", "")
    return method if method in METHODS else "HTTP"


def _attributes(environ: Environ) -> dict[str, Any]:
    """What is known at the beginning."""
    get = environ.get
    method = get("REQUEST_METHOD", "")
    host, port = _server(environ)
    found: dict[str, Any] = {
        "http.request.method": method if method in METHODS else "_OTHER",
        "url.path": _path(environ),
        "url.scheme": get("wsgi.url_scheme", "http"),
        "server.address": host,
        "network.protocol.version": str(get("SERVER_PROTOCOL", "")).partition("/")[2],
    }
    if method not in METHODS:
        found["http.request.method_original"] = method
    if port:
        found["server.port"] = port
    if address := get("REMOTE_ADDR"):
        found["client.address"] = address
    if agent := get("HTTP_USER_AGENT"):
        found["user_agent.original"] = agent
    return found


def _path(environ: Environ) -> str:
    """As the client wrote it, without the query."""
    path = str(environ.get("REQUEST_URI", "")).partition("?")[0]
    if path.startswith(("http://", "https://")):  # absolute-form (RFC 9112 section 3.2.2)
        slash = path.find("/", path.index("//") + 2)
        path = path[slash:] if slash >= 0 else "/"
    return path


def _server(environ: Environ) -> tuple[str, int]:
    """The host and port that the client asked for."""
    host = str(environ.get("HTTP_HOST") or "")
    if not host:
        host = f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        return host, 443 if environ.get("wsgi.url_scheme") == "https" else 80
    return name, int(port) if port.isdecimal() else 0
