"""connection.annotating, over real connections: ids, timings and traces in environ and response, whoever answers."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

import vivace
from apps import TEXT
from vivace.connection import annotating
from vivace.hooks import phase, timing
from wire import TIMEOUT_S, Client, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wire import Response

    Serve = Callable[..., vivace.background]

pytestmark = pytest.mark.usefixtures("no_fault")

MADE = re.compile(r"[0-9a-f]{32}").fullmatch
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"traceparent: 00-{TRACE}-{PARENT}-01"
BELIEVED = {"request_id": "on", "request_id_from": "anyone"}


class Echo:
    """Answers 200, and keeps what it was called with."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environ = environ
        start_response("200 OK", list(TEXT))
        return [b"echo"]


def id_of(response: Response) -> str:
    """The one id of a response."""
    (value,) = response.values("X-Request-ID")
    return str(value)


# Request ids.


def test_nothing_is_added_unless_it_is_asked_for(serve: Serve) -> None:
    app = Echo()
    with serve(app) as server:
        response = fetch(server, request("/", "X-Request-ID: abc", GIVEN))
        assert server.server.loop.fast
    names = {name.lower() for name, _ in response.fields} - {"transfer-encoding", "content-length"}
    assert names == {"content-type", "server", "date"}
    assert not {"vivace.request", "vivace.request_id", "vivace.trace_id"} & set(app.environ)


def test_an_id_is_made(serve: Serve) -> None:
    app = Echo()
    with serve(app, request_id="on") as server, Client(server) as client:
        ids = []
        for _ in range(3):
            response = client.send(request("/", "X-Request-ID: the-client-s")).read_response()
            assert MADE(id_of(response))
            assert app.environ["vivace.request_id"] == app.environ["HTTP_X_REQUEST_ID"] == id_of(response)
            ids.append(id_of(response))
    assert len(set(ids)) == 3


@pytest.mark.parametrize("given", ["a", "7b1c/x:y=z,{}", "~" * 200])
def test_an_id_is_accepted(serve_bare: Serve, given: str) -> None:
    app = Echo()
    with serve_bare(app, **BELIEVED) as server:
        assert id_of(fetch(server, request("/", f"X-Request-ID: {given}"))) == given
    assert app.environ["vivace.request_id"] == app.environ["HTTP_X_REQUEST_ID"] == given


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "a'b", "a\\b", "a\tb", "caf\xe9", "~" * 201])
def test_an_id_that_is_none_is_replaced(serve_bare: Serve, given: str) -> None:
    app = Echo()
    with serve_bare(app, **BELIEVED) as server:
        assert MADE(id_of(fetch(server, request("/", f"X-Request-ID: {given}"))))
    assert MADE(app.environ["HTTP_X_REQUEST_ID"])


def test_two_ids_are_joined_and_so_none(serve_bare: Serve) -> None:
    with serve_bare(Echo(), **BELIEVED) as server:
        assert MADE(id_of(fetch(server, request("/", "X-Request-ID: a", "X-Request-ID: b"))).replace("a,b", "0" * 32))


@pytest.mark.parametrize(("network", "accepted"), [("127.0.0.1", True), ("192.0.2.0/24", False)])
def test_the_id_of_a_trusted_proxy_is_accepted_whoever_the_client_is(network: str, accepted: bool) -> None:
    app = Echo()
    with vivace.background(app, request_id="on", trusted_proxies=network) as server:
        found = id_of(fetch(server, request("/", "X-Request-ID: abc", "X-Forwarded-For: 203.0.113.7")))
    assert (found == "abc") == accepted
    assert (app.environ["REMOTE_ADDR"] == "203.0.113.7") == accepted


def test_another_field() -> None:
    app = Echo()
    with vivace.background(app, request_id="X-Correlation-Id", request_id_from="anyone") as server:
        response = fetch(server, request("/", "x-correlation-id: abc", "X-Request-ID: other"))
    assert response.values("X-Correlation-Id") == ["abc"]
    assert response.values("X-Request-ID") == []
    assert app.environ["HTTP_X_CORRELATION_ID"] == app.environ["vivace.request_id"] == "abc"
    assert app.environ["HTTP_X_REQUEST_ID"] == "other"


def test_the_application_s_own_id_field_passes_alone(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("x-Request-id", "mine")])
        return [b"own"]

    with serve(app, request_id="on") as server:
        assert id_of(fetch(server)) == "mine"


@pytest.mark.parametrize(
    ("settings", "fast"),
    [
        ({"request_id": "on"}, True),
        ({"trace": "pass"}, True),
        ({"request_id": "on", "trace": "pass"}, True),
        ({"request_id": "on", "server_timing": "0.5"}, False),
    ],
)
def test_ids_and_traces_leave_the_loop_its_fast_path(serve_bare: Serve, settings: Any, fast: bool) -> None:
    app = Echo()
    with serve_bare(app, **settings) as server, Client(server) as client:
        for _ in range(5):
            assert client.send(request()).read_response().body == b"echo"
            assert ("vivace.request_id" in app.environ) == ("request_id" in settings)
            assert ("vivace.trace_id" in app.environ) == ("trace" in settings)
        assert server.server.loop.fast == fast


# Every way to answer.


def answers(environ: dict[str, Any], start_response: Any) -> Any:
    """Each path another way that PEP 3333 allows."""
    path = environ["PATH_INFO"]
    headers = [("X-Seen", environ["vivace.request_id"]), *(TEXT if path != "/none" else ())]
    if path == "/late":

        def late() -> Iterator[bytes]:
            start_response("200 OK", headers)
            yield b"a"
            yield b"b"

        return late()
    if path == "/replaced":
        start_response("200 OK", list(TEXT))
        try:
            raise ValueError
        except ValueError as error:
            start_response("202 Accepted", headers, (type(error), error, error.__traceback__))
        return [b"ab"]
    write = start_response("200 OK" if path != "/none" else "204 No Content", headers)
    if path == "/write":
        write(b"a")
        return [b"b"]
    if path == "/iterator":
        return iter([b"a", b"b"])
    if path == "/none":
        return []
    if path == "/file":
        import io

        return environ["wsgi.file_wrapper"](io.BytesIO(b"ab"))
    return [b"a", b"b"]


@pytest.mark.parametrize("path", ["/list", "/late", "/replaced", "/write", "/iterator", "/file"])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("timed", ["off", "on"])
def test_each_way_to_answer_carries_id_and_timing(serve: Serve, path: str, version: str, timed: str) -> None:
    with serve(answers, request_id="on", server_timing=timed) as server:
        response = fetch(server, request(path, version=version))
    assert response.status == (202 if path == "/replaced" else 200)
    assert response.body == b"ab"
    assert id_of(response) == response.field("X-Seen")
    assert len(response.values("Server-Timing")) == (timed == "on")


def test_a_response_without_a_body_carries_them(serve: Serve) -> None:
    with serve(answers, request_id="on", server_timing="on") as server, Client(server) as client:
        response = client.send(request("/none")).read_response()
        assert (response.status, id_of(response)) == (204, response.field("X-Seen"))
        response = client.send(request("/list", method="HEAD")).read_response("HEAD")
        assert (response.status, id_of(response)) == (200, response.field("X-Seen"))


def test_pipelined_requests_have_each_their_own(serve: Serve) -> None:
    with serve(answers, request_id="on") as server, Client(server) as client:
        responses = client.send(request("/list") * 5).read_responses(5)
    ids = [id_of(response) for response in responses]
    assert ids == [response.field("X-Seen") for response in responses]
    assert len(set(ids)) == 5


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("timed", ["off", "on"])
def test_the_500_of_a_failed_application_carries_them(serve: Serve, started: bool, timed: str) -> None:
    seen = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ["vivace.request_id"])
        if started:
            start_response("200 OK", list(TEXT))
        raise ZeroDivisionError

    with serve(app, request_id="on", server_timing=timed) as server:
        response = fetch(server)
    assert (response.status, [id_of(response)]) == (500, seen)
    assert bool(response.field("Server-Timing")) == (timed == "on")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"rubbish\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999\r\n\r\n", 413),
    ],
)
def test_a_refusal_carries_an_id(serve_bare: Serve, data: bytes, status: int) -> None:
    refused: list[dict[str, Any]] = []

    server = serve_bare(Echo(), **BELIEVED, body_bytes_max=100)
    server.server.plan.refused = lambda environ, status, detail: refused.append(environ)
    with server:
        response = fetch(server, data)
    assert response.status == status
    assert MADE(id_of(response))
    assert [environ["vivace.request_id"] for environ in refused] == [id_of(response)]


def test_the_503_of_an_overload_carries_it() -> None:
    gate = threading.Event()
    calls: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        gate.wait(TIMEOUT_S)
        start_response("200 OK", list(TEXT))
        return [b"late"]

    settings: Any = {"threads": 2, "lanes": "pool", "queue_timeout": 0.05, **BELIEVED}
    with vivace.background(app, **settings) as server:
        clients = [Client(server).send(request("/", f"X-Request-ID: {number}")) for number in range(2)]
        until(lambda: len(calls) == 2)
        clients += [Client(server).send(request("/", f"X-Request-ID: {number}")) for number in range(2, 4)]
        refused = [client.read_response() for client in clients[2:]]
        gate.set()
        served = [client.read_response() for client in clients[:2]]
        for client in clients:
            client.socket.close()
    assert [(response.status, id_of(response)) for response in refused] == [(503, "2"), (503, "3")]
    assert [(response.status, id_of(response)) for response in served] == [(200, "0"), (200, "1")]


def test_the_504_of_a_time_limit_has_the_id_that_the_application_saw(serve_bare: Serve) -> None:
    app = Echo()

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        app.environ = environ
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            time.sleep(0.01)
        return []

    with serve_bare(slow, request_id="on", request_timeout=0.1) as server:
        response = fetch(server)
        assert (response.status, id_of(response)) == (504, app.environ["vivace.request_id"])


def test_a_health_check_carries_nothing() -> None:
    with vivace.background(Echo(), request_id="on", livez_path="/livez") as server:
        assert fetch(server, "/livez").values("X-Request-ID") == []


# Server-Timing.

# W3C Server Timing section 2: server-timing-metric = metric-name *( OWS ";" OWS server-timing-param )
METRIC = re.compile(r"""([!#$%&'*+\-.^_`|~0-9A-Za-z]+);dur=([0-9]+\.[0-9]{3})(?:;desc="((?:[^"\\]|\\.)*)")?(?:, |\Z)""")


def metrics(response: Response) -> dict[str, tuple[float, str]]:
    """By name, milliseconds and description; all of the field is understood."""
    (field,) = response.values("Server-Timing")
    found = {}
    at = 0
    while at < len(field):
        metric = METRIC.match(field, at)
        assert metric, field[at:]
        found[metric[1]] = (float(metric[2]), re.sub(r"\\(.)", r"\1", metric[3] or ""))
        at = metric.end()
    return found


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_waiting_and_computing_are_told_apart(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/sleep":
            time.sleep(0.05)
        else:
            burn(0.05)
        start_response("200 OK", list(TEXT))
        return [b"done"]

    with serve(app, server_timing="on") as server:
        for _ in range(3):  # on the loop's own thread, overtaken, and on a pooled one
            found = metrics(fetch(server, "/sleep"))
            assert found["app-wait"][0] >= 49
            assert found["app-cpu"][0] < 40
            found = metrics(fetch(server, "/burn"))
            assert 49 <= found["app-cpu"][0] < 80
    assert list(found) == ["queue", "app-cpu", "app-wait"]


def test_the_queue_is_what_it_waited() -> None:
    gate = threading.Event()
    inside = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/gate":
            inside.set()
            gate.wait(TIMEOUT_S)
        start_response("200 OK", list(TEXT))
        return [b"done"]

    with vivace.background(app, threads=2, lanes="pool", server_timing="on") as server:
        first, second, waits = (Client(server) for _ in range(3))
        with first, second, waits:
            for client in (first, second):
                inside.clear()
                client.send(request("/gate"))
                assert inside.wait(TIMEOUT_S)
            began = time.perf_counter()
            waits.send(request("/waits"))
            until(lambda: len(server.server.loop.pool.waiting) == 1)  # type: ignore[union-attr]
            time.sleep(0.05)
            waited_ms = (time.perf_counter() - began) * 1000
            gate.set()
            found = metrics(waits.read_response())
    assert found["queue"][0] >= 50
    assert found["queue"][0] - waited_ms < 1000
    assert found["app-wait"][0] < 1000


def test_timings_of_the_application(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        timing(environ, "db", 0.0125, "users by id")
        timing(environ, "a b;c\r\n", 0.001, 'say "x\\y"\r\nX-Evil: caf\xe9')
        timing(environ, "", 1)
        for wrong in ("x", None, float("nan"), float("inf"), -1.0):
            timing(environ, "wrong", wrong)  # type: ignore[arg-type]
        start_response("200 OK", list(TEXT))
        return [b"done"]

    with serve(app, server_timing="on") as server:
        found = metrics(fetch(server))
    assert list(found) == ["queue", "app-cpu", "app-wait", "db", "a-b-c-", "-"]
    assert found["db"] == (12.5, "users by id")
    assert found["a-b-c-"] == (1.0, 'say "x\\y"?X-Evil: caf?')


def test_timings_are_bounded(serve_bare: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        for number in range(1000):
            timing(environ, f"t{number}" + "x" * 1000, 1.0, "d" * 1000)
        start_response("200 OK", list(TEXT))
        return [b"done"]

    with serve_bare(app, server_timing="on") as server:
        found = metrics(fetch(server))
    assert len(found) == annotating.TIMINGS_MAX + 3
    assert max(map(len, found)) == annotating.NAME_CHARS_MAX


def test_a_server_timing_of_the_application_stands_beside_it(serve: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("Server-Timing", "mine;dur=1")])
        return [b"done"]

    with serve(app, server_timing="on") as server:
        values = fetch(server).values("Server-Timing")
    assert values[0] == "mine;dur=1"
    assert len(values) == 2


@pytest.mark.parametrize(("field", "told"), [("X-Server-Timing: s3cret\xe9", False), ("X-Server-Timing: s3cret", True)])
def test_on_demand(serve_bare: Serve, field: str, told: bool) -> None:
    app = Echo()
    with serve_bare(app, server_timing="demand", server_timing_token="s3cret") as server:
        assert bool(fetch(server, request("/", field)).values("Server-Timing")) == told
        assert "HTTP_X_SERVER_TIMING" not in app.environ
        assert fetch(server, request("/", "X-Server-Timing: s3cre")).values("Server-Timing") == []
        assert fetch(server).values("Server-Timing") == []


def test_a_fraction(serve_bare: Serve) -> None:
    with serve_bare(Echo(), server_timing=0.25) as server, Client(server) as client:
        told = sum(bool(client.send(request()).read_response().values("Server-Timing")) for _ in range(400))
    assert 50 < told < 160  # more than 5 standard deviations around 100
    for fraction, expected in ((0, 0), (1, 20)):
        with serve_bare(Echo(), server_timing=fraction) as server, Client(server) as client:
            told = sum(bool(client.send(request()).read_response().values("Server-Timing")) for _ in range(20))
            assert told == expected


def test_phases(serve: Serve) -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        look = environ["vivace.request"]
        seen.append(look.phase)
        with phase(environ, "outer"):
            try:
                with phase(environ, "inner" * 100):
                    seen.append(look.phase)
                    raise ValueError
            except ValueError:
                pass
            seen.append(look.phase)
        seen.append(look.phase)
        start_response("200 OK", list(TEXT))
        return [b"done"]

    with serve(app, server_timing="demand", server_timing_token="x") as server:
        assert fetch(server).status == 200
    assert seen == ["", ("inner" * 100)[:40], "outer", ""]


# Traces.


def test_a_trace_goes_on_from_here(serve: Serve) -> None:
    app = Echo()
    with serve(app, trace="pass") as server:
        assert fetch(server, request("/", GIVEN, "tracestate: a=1, b=2")).values("traceparent") == []
    environ = app.environ
    assert environ["vivace.trace_id"] == TRACE
    version, trace, parent, flags = environ["vivace.traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", parent)
    assert parent not in (PARENT, "0" * 16)
    assert environ["vivace.tracestate"] == "a=1,b=2"
    assert environ["HTTP_TRACEPARENT"] == GIVEN.partition(" ")[2]  # for a tracer in the application


@pytest.mark.parametrize("field", [GIVEN + "-x", GIVEN.upper(), GIVEN.replace(TRACE, "0" * 32), "X-Nothing: 1"])
@pytest.mark.parametrize(("sample", "flags"), [(1, "03"), (0, "02")])
def test_a_trace_begins_here(field: str, sample: int, flags: str) -> None:
    app = Echo()
    with vivace.background(app, trace="pass", trace_sample=sample) as server, Client(server) as client:
        traces = set()
        for _ in range(3):
            client.send(request("/", field, "tracestate: a=1")).read_response()
            found = re.fullmatch(rf"00-([0-9a-f]{{32}})-[0-9a-f]{{16}}-{flags}", app.environ["vivace.traceparent"])
            assert found
            assert found[1] == app.environ["vivace.trace_id"] != TRACE
            assert "vivace.tracestate" not in app.environ
            traces.add(found[1])
    assert len(traces) == 3


@pytest.mark.parametrize("whose", ["anyone", "proxies"])
def test_whose_traces_are_gone_on_with(whose: str) -> None:
    app = Echo()
    with vivace.background(app, trace="pass", trace_from=whose, trusted_proxies="192.0.2.1") as server:
        fetch(server, request("/", GIVEN, "tracestate: a=1"))
    assert (app.environ["vivace.trace_id"] == TRACE) == (whose == "anyone")
    assert ("HTTP_TRACEPARENT" in app.environ) == ("HTTP_TRACESTATE" in app.environ) == (whose == "anyone")


def test_the_phase_of_a_request_in_progress_stands_in_the_page() -> None:
    inside, go = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        with phase(environ, "query"):
            inside.set()
            go.wait(TIMEOUT_S)
        assert not section.in_progress() or section.in_progress()[0][4].startswith("GET /held from ")
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    for how in ({"request_id": "X-Request-ID"}, {"server_timing": "on"}):
        inside.clear()
        go.clear()
        with vivace.background(app, lanes="pool", **how) as server, Client(server) as client:
            section = server.server.loop.section
            client.send(request("/held"))
            assert inside.wait(TIMEOUT_S)
            assert section.in_progress()[0][4] == "GET /held from 127.0.0.1 \N{MIDDLE DOT} query"
            go.set()
            assert client.read_response().status == 200
