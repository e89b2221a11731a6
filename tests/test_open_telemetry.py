"""worker.open_telemetry: spans as a collector receives them over OTLP, and as the SDK's exporter in memory has them.

In this process the SDK is set up by the test, as an application would do it, once; where the server has to do it, the
server is a process of its own.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from command import Command
from routed import Route
from vivace.errors import SettingError
from vivace.hooks import name_route, timing
from vivace.worker import open_telemetry
from wire import TIMEOUT_S, Client, fetch, request, until

pytest.importorskip("opentelemetry.sdk")
collected = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

from opentelemetry import baggage, trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"traceparent: 00-{TRACE}-{PARENT}-01"


# In memory.


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """That of the application; a process has one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Callable[[int], list[Any]]:
    """Waits for so many spans, in the order of their ends."""
    exporter.clear()

    def wait(count: int) -> list[Any]:
        until(lambda: len(exporter.get_finished_spans()) >= count)
        found = list(exporter.get_finished_spans())
        assert len(found) == count
        return found

    return wait


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", list(TEXT))
    return [b"hello"]


def test_a_span_of_a_server(spans: Any, serve: Serve) -> None:
    with serve(hello, trace="otel") as server:
        data = request(
            "/a%20b?password=secret",
            GIVEN,
            "tracestate: a=1",
            "User-Agent: test/1",
            "Cookie: c=secret",
            host="shop.test:81",
        )
        fetch(server, data)
        (span,) = spans(1)
    assert span.kind is trace.SpanKind.SERVER
    assert span.name.split()[0] == "GET"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1"
    attributes = dict(span.attributes)
    assert attributes.pop("vivace.queue_time") >= 0
    assert attributes == {
        "http.request.method": "GET",
        "url.path": "/a%20b",
        "url.scheme": "http",
        "server.address": "shop.test",
        "server.port": 81,
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "user_agent.original": "test/1",
        "http.response.status_code": 200,
    }
    assert "secret" not in span.to_json()
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.instrumentation_scope.name == "vivace"


@pytest.mark.parametrize(
    ("target", "host", "path", "address", "port"),
    [
        ("http://a.test:8080/x?y", "a.test:8080", "/x", "a.test", 8080),
        ("http://a.test?y", "a.test", "/", "a.test", 80),
        ("/", "[2001:db8::1]:81", "/", "[2001:db8::1]", 81),
        ("/", "[2001:db8::1]", "/", "[2001:db8::1]", 80),
    ],
)
def test_where_it_was_sent(spans: Any, target: str, host: str, path: str, address: str, port: int) -> None:
    with vivace.background(hello, trace="otel") as server:
        fetch(server, request(target, host=host))
        (span,) = spans(1)
    found = [span.attributes[name] for name in ("url.path", "server.address", "server.port")]
    assert found == [path, address, port]


def test_a_method_that_nobody_knows(spans: Any) -> None:
    with vivace.background(hello, trace="otel") as server:
        fetch(server, request(method="JUNK7"))
        (span,) = spans(1)
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "JUNK7"
    assert "JUNK7" not in span.name


def test_the_name_is_that_of_the_route(spans: Any, serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["vivace.route"] = Route("GET /users/{}")
        if environ["QUERY_STRING"]:
            name_route(environ, "/users/<int:id>")
            timing(environ, "db", 0.25)
        return hello(environ, start_response)

    with serve_bare(app, trace="otel") as server:
        fetch(server, "/users/7")
        fetch(server, "/users/7?named")
        template, named = spans(2)
    assert (template.name, template.attributes.get("http.route")) == ("GET /users/{}", None)
    assert (named.name, named.attributes["http.route"]) == ("GET /users/<int:id>", "/users/<int:id>")
    assert named.attributes["vivace.timing.db"] == 0.25


def test_the_application_s_spans_are_its_children(spans: Any, serve: Serve) -> None:
    tracer = trace.get_tracer("app")
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        seen.append((environ["vivace.trace_id"], environ["vivace.traceparent"]))
        start_response("200 OK", list(TEXT))
        with tracer.start_as_current_span("inner"):
            time.sleep(0.01)  # a quick one is begun on the loop's own thread, and overtaken
            yield b"a"
        yield b"b"

    with serve(app, trace="otel") as server:
        for _ in range(3):
            assert fetch(server).body == b"ab"
        found = spans(6)
    for (trace_id, parent), inner, outer in zip(seen, found[::2], found[1::2], strict=True):
        assert inner.parent.span_id == outer.context.span_id
        assert outer.parent is None  # and not the one before it on the same thread
        assert f"{outer.context.trace_id:032x}" == trace_id
        assert parent == f"00-{trace_id}-{outer.context.span_id:016x}-{int(outer.context.trace_flags):02x}"
        assert outer.start_time < inner.start_time < inner.end_time < outer.end_time
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_exception_is_recorded(spans: Any, serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ZeroDivisionError("by nought")

    with serve(app, trace="otel") as server:
        assert fetch(server).status == 500
        (span,) = spans(1)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["error.type"] == "ZeroDivisionError"
    assert span.attributes["http.response.status_code"] == 500
    (event,) = span.events
    assert event.name == "exception"


@pytest.mark.parametrize(
    ("status", "error"), [("503 Busy", "503"), ("404 No", None), ("499 x", None), ("500 x", "500")]
)
def test_5xx_is_an_error_and_4xx_is_none(spans: Any, serve_bare: Serve, status: str, error: str | None) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, list(TEXT))
        return [b"x"]

    with serve_bare(app, trace="otel") as server:
        fetch(server)
        (span,) = spans(1)
    assert span.attributes.get("error.type") == error
    assert (span.status.status_code is trace.StatusCode.ERROR) == (error is not None)


def test_a_request_that_takes_too_long(spans: Any, serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return []

    with serve_bare(app, trace="otel", request_timeout=0.1) as server:
        assert fetch(server).status == 504
        (span,) = spans(1)
    assert span.attributes["http.response.status_code"] == 504
    assert span.attributes["error.type"] == "504"


def test_a_client_that_has_gone(spans: Any) -> None:
    gone = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", list(TEXT))
        assert gone.wait(TIMEOUT_S)
        while True:
            yield b"x" * 65536

    with vivace.background(app, trace="otel") as server:
        client = Client(server).send(request())
        client.reset()
        gone.set()
        (span,) = spans(1)
    assert span.end_time > span.start_time


def test_the_queue_is_part_of_it(spans: Any) -> None:
    gate, inside = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/gate":
            inside.set()
            assert gate.wait(TIMEOUT_S)
        return hello(environ, start_response)

    with vivace.background(app, trace="otel", threads=2, lanes="pool") as server:
        first, second, waits = (Client(server) for _ in range(3))
        with first, second, waits:
            for client in (first, second):
                inside.clear()
                client.send(request("/gate"))
                assert inside.wait(TIMEOUT_S)
            waits.send(request("/waits"))
            until(lambda: len(server.server.loop.pool.waiting) == 1)  # type: ignore[union-attr]
            time.sleep(0.05)
            gate.set()
            assert waits.read_response().status == 200
        found = {span.attributes["url.path"]: span for span in spans(3)}
    span = found["/waits"]
    assert span.attributes["vivace.queue_time"] >= 0.05
    assert span.end_time - span.start_time >= 50_000_000


def test_a_trace_that_is_not_believed(spans: Any) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(dict(baggage.get_all()))
        return hello(environ, start_response)

    with vivace.background(app, trace="otel", trace_from="proxies") as server:
        fetch(server, request("/", GIVEN, "baggage: tenant=evil"))
        (span,) = spans(1)
    assert span.parent is None
    assert seen == [{}]


def test_health_checks_and_refusals_have_no_span(spans: Any) -> None:
    with vivace.background(hello, trace="otel", livez_path="/livez") as server:
        assert fetch(server, "/livez").status == 200
        assert fetch(server, b"GET / HTTP/1.1\r\n\r\n").status == 400
        fetch(server, "/last")
        (span,) = spans(1)
    assert span.attributes["url.path"] == "/last"


def test_what_fails_in_it_costs_no_request(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with vivace.background(hello, trace="otel", request_id="on") as server:

        def extract(*_: Any, **__: Any) -> Any:
            raise KeyError("a propagator")

        monkeypatch.setattr(server.server._tracer, "_extract", extract)
        for _ in range(3):
            assert fetch(server).status == 200
    assert capfd.readouterr().err.count("OpenTelemetry failed: KeyError: 'a propagator'") == 1


def test_a_collector_that_hangs_does_not_keep_the_server(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(open_telemetry, "FLUSH_S", 0.05)
    monkeypatch.setattr(trace.get_tracer_provider(), "force_flush", lambda timeout_millis: gate.wait(TIMEOUT_S))
    with vivace.background(hello, trace="otel") as server:
        assert fetch(server).status == 200
    gate.set()
    assert "the last spans are lost: they could not be sent in 0.05 s" in capfd.readouterr().err


def test_without_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingError, match=r"pip install 'vivace\[otel\]', or give pass or off"):
        vivace.background(hello, trace="otel")


# Over the wire.


class Collector:
    """A receiver of OTLP over HTTP: https://opentelemetry.io/docs/specs/otlp/#otlphttp"""

    def __init__(self) -> None:
        self.services: set[str] = set()
        self.spans: list[Any] = []
        self.raw = b""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert (environ["PATH_INFO"], environ["CONTENT_TYPE"]) == ("/v1/traces", "application/x-protobuf")
        data = environ["wsgi.input"].read()
        message = collected.ExportTraceServiceRequest.FromString(data)
        for resource in message.resource_spans:
            self.services |= {
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += scope.spans
        self.raw += data
        start_response("200 OK", [("Content-Type", "application/x-protobuf")])
        return [collected.ExportTraceServiceResponse().SerializeToString()]


APP = """
from opentelemetry import trace
from vivace.hooks import name_route

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/users/"):
        name_route(environ, "/users/<int:id>")
    with trace.get_tracer("app").start_as_current_span("inner"):
        if environ["PATH_INFO"] == "/fail":
            raise ZeroDivisionError
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["vivace.trace_id"].encode()]
"""


def serve_command(tmp_path: Path, endpoint: str, *arguments: str) -> Command:
    (tmp_path / "app.py").write_text(APP)
    variables = ("OTEL_SERVICE_NAME=shop", f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}", "OTEL_EXPORTER_OTLP_TIMEOUT=1")
    options = [word for variable in variables for word in ("--env", variable)]
    return Command("app:app", "--bind", "127.0.0.1:0", "--trace", "otel", *options, *arguments, cwd=tmp_path)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_spans_reach_a_collector_before_the_server_has_stopped(tmp_path: Path, workers: str) -> None:
    collector = Collector()
    with (
        vivace.background(collector) as receiver,
        serve_command(tmp_path, receiver.url, "--workers", workers) as command,
    ):
        assert fetch(command.url, request("/users/7?a=secret", GIVEN)).body.decode() == TRACE
        assert fetch(command.url, "/fail").status == 500
        command.send_signal()
        assert command.wait() == 0, command.log
    assert collector.services == {"shop"}
    named = {span.name: span for span in collector.spans if span.kind == span.SPAN_KIND_SERVER}
    users = named["GET /users/<int:id>"]
    assert (users.trace_id.hex(), users.parent_span_id.hex()) == (TRACE, PARENT)
    (failed,) = [span for span in named.values() if span is not users]
    assert failed.status.code == failed.status.STATUS_CODE_ERROR
    inner = [span for span in collector.spans if span.name == "inner"]
    assert {span.parent_span_id for span in inner} == {users.span_id, failed.span_id}
    assert b"secret" not in collector.raw


@pytest.mark.parametrize(
    "options",
    [("--trace-sample", "0"), ("--env", "OTEL_TRACES_SAMPLER=parentbased_always_off")],
    ids=["ours", "theirs"],
)
def test_what_is_sampled(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Of the traces that begin here none; those that others have begun as they say."""
    collector = Collector()
    with vivace.background(collector) as receiver, serve_command(tmp_path, receiver.url, *options) as command:
        assert fetch(command.url, request("/users/7", GIVEN)).status == 200
        assert fetch(command.url, "/users/8").status == 200
        command.send_signal()
        assert command.wait() == 0
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_without_a_collector_the_server_stops_all_the_same(tmp_path: Path) -> None:
    with serve_command(tmp_path, "http://127.0.0.1:1") as command:
        assert fetch(command.url, "/users/7").status == 200
        command.send_signal()
        assert command.wait() == 0
