"""The fast path of `Loop.turn` and its general twin give the same bytes for the same requests.

Three servers with one application: one as it is; one that reads on the fast path and runs off it; one where everything
goes through `on_data` and no head is remembered. The Date is set to one text; everything else agrees to the byte.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from apps import TEXT, lengthy
from vivace.config.load import from_keywords
from vivace.worker.server import Server, open_listeners
from wire import Client, WireError, chunked, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("fast", "half", "general")


class Forgetful(dict[bytes, Any]):
    """A memo that keeps nothing."""

    def __setitem__(self, key: bytes, value: Any) -> None:
        pass


class Twin:
    """A server of one of the kinds; counts what goes which way."""

    def __init__(self, kind: str, app: Any, threads: int) -> None:
        settings = from_keywords(bind="127.0.0.1:0", threads=threads, lanes="inline", log_level="critical")

        def adjust(plan: Any) -> None:
            if kind == "half":
                plan.prepare = lambda environ: environ
            plan.report = lambda environ, error: None

        self.server = Server(app, settings, open_listeners(settings, {}), adjust=adjust)
        self.loop = self.server.loop
        self.url = self.server.addresses[0]
        self.counts = {"on_data": 0, "on_request": 0}
        if kind == "general":
            for _, site in self.loop.acceptor._sites.values():
                site.memo = Forgetful()
            self.loop.reader.take_whole = lambda conn, data: None  # type: ignore[method-assign]
        for name in self.counts:
            setattr(self.loop, name, self._counted(name, getattr(self.loop, name)))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def _counted(self, name: str, method: Callable[..., bool]) -> Callable[..., bool]:
        def counted(*arguments: Any) -> bool:
            self.counts[name] += 1
            return method(*arguments)

        return counted

    def stop(self) -> None:
        self.server.stop()
        self.thread.join()


class Tee:
    """A socket that keeps what came through it."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.data = b""

    def recv(self, size: int) -> bytes:
        data: bytes = self.sock.recv(size)
        self.data += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


Step = tuple[bytes, int, str]
"""What is sent, how many responses are read afterwards, and to which method."""


def conversation(twin: Twin, steps: list[Step]) -> tuple[bytes, str]:
    """Everything that one connection brings, the Date normalised, and how it ended; up to the last response on it."""
    with Client(twin.url) as client:
        tee = client.socket = Tee(client.socket)  # type: ignore[assignment]
        ended = "as announced"
        try:
            for data, responses, method in steps:
                client.send(data)
                found = client.read_responses(responses, method)
                if any(response.closes or response.ended for response in found):
                    break
            else:
                client.finish_sending()
            client.rest()
        except (WireError, OSError):
            ended = "within the requests"  # whether by a reset is a matter of time
        return re.sub(rb"\r\nDate: [^\r]+", b"\r\nDate: now", tee.data), ended


# One application that does everything.


def environ_of(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """What of environ does not differ between two servers."""
    start_response("200 OK", TEXT)
    volatile = ("REMOTE_PORT", "SERVER_PORT", "wsgi.errors", "wsgi.input")
    rows = [f"{key}={value!r}\n" for key, value in sorted(environ.items()) if key not in volatile]
    rows.append(f"{type(environ['wsgi.input']).__name__} {environ['wsgi.input'].read()!r}")
    environ.clear()
    return ["".join(rows).encode()]


def write(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    send = start_response("200 OK", TEXT)
    send(b"one")
    send(b"two")
    return [b"three"]


def lazy(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("201 Created", [*TEXT, ("X-Lazy", "yes")])
    yield b"lazy"


def raising(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", TEXT)
    raise LookupError


def file(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def middle() -> Iterator[bytes]:
    yield b"begun"
    raise LookupError


def answer(body: Any, status: str = "200 OK", headers: Any = TEXT) -> Callable[..., Any]:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else body

    return app


ROUTES: dict[str, Callable[..., Any]] = {
    "/environ": environ_of,
    "/list": answer([b"hello"]),
    "/two": answer([b"hello", b" world"]),
    "/tuple": answer((b"hello",)),
    "/empty": answer([]),
    "/blank": answer([b""]),
    "/told": answer([b"hello"], headers=lengthy(5)),
    "/cookie": answer([b"hello"], headers=[*TEXT, ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]),
    "/date": answer([b"hello"], headers=[*TEXT, ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("Server", "mine")]),
    "/iterator": answer(lambda: iter([b"one", b"", b"two"])),
    "/lazy": lazy,
    "/write": write,
    "/file": file,
    "/large": answer([b"x" * 300_000]),
    "/border": answer([b"x" * 65536]),
    "/stream": answer(lambda: iter([b"x" * 100_000] * 3)),
    "/204": answer([b"secret"], "204 No Content", []),
    "/205": answer([b"secret"], "205 Reset Content", []),
    "/304": answer([b"secret"], "304 Not Modified", [("ETag", '"a"')]),
    "/404": answer([b"none"], "404 Not Found"),
    "/raises": raising,
    "/none": lambda environ, start_response: None,
    "/text": answer(["secret"]),
    "/shorter": answer([b"12345"], headers=lengthy(6)),
    "/longer": answer([b"12345"], headers=lengthy(4)),
    "/middle": answer(middle),
    "/short": answer(lambda: iter([b"12345"]), headers=lengthy(6)),
    "/long": answer(lambda: iter([b"12345", b"678"]), headers=lengthy(6)),
    "/injects": answer([b"secret"], headers=[("X-A", "a\r\nX-B: b")]),
    "/hop": answer([b"secret"], headers=[("Connection", "close")]),
}


def application(environ: dict[str, Any], start_response: Any) -> Any:
    return ROUTES[environ["PATH_INFO"]](environ, start_response)


@pytest.fixture(scope="module", params=[1, 8], ids=["1 thread", "8 threads"])
def twins(request: pytest.FixtureRequest) -> Iterator[list[Twin]]:
    made = [Twin(kind, application, request.param) for kind in KINDS]
    yield made
    for twin in made:
        twin.stop()


def assert_alike(twins: list[Twin], steps: list[Step], times: int = 1) -> bytes:
    """The same from all of them, `times` connections in a row; returns it."""
    found = [[conversation(twin, steps) for _ in range(times)] for twin in twins]
    for kind, answers in zip(KINDS, found, strict=True):
        assert answers == [found[0][0]] * times, f"{kind} differs"
    return found[0][0][0]


VARIANTS: dict[str, dict[str, Any]] = {
    "get": {},
    "head": {"method": "HEAD"},
    "post": {"method": "POST"},
    "close": {"fields": ("Connection: close",)},
    "head, close": {"method": "HEAD", "fields": ("Connection: close",)},
    "1.0": {"version": "HTTP/1.0"},
    "1.0 keep-alive": {"version": "HTTP/1.0", "fields": ("Connection: keep-alive",)},
    "cookie": {"fields": ("Cookie: a=b",)},
    "query": {"query": "?a=b"},
}


def data_of(path: str, variant: str) -> tuple[bytes, str]:
    """(the request, its method)."""
    options = dict(VARIANTS[variant])
    method = options.setdefault("method", "GET")
    target = path + options.pop("query", "")
    return request(target, *options.pop("fields", ()), **options), method


@pytest.mark.parametrize(
    ("path", "variant"),
    # To HTTP/1.0 a response cut off in the middle ends in a reset, which may overtake what was sent before it.
    [(path, name) for path in ROUTES for name in VARIANTS if path != "/middle" or not name.startswith("1.0")],
)
def test_each_sighting_of_a_head(twins: list[Twin], path: str, variant: str) -> None:
    """The first is read, the second is remembered, from the third on it is known: five in a row, on two connections."""
    data, method = data_of(path, variant)
    found = assert_alike(twins, [(data, 1, method)] * 5, times=2)
    assert found.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "path", ["/environ", "/list", "/iterator", "/write", "/large", "/file", "/204", "/raises", "/longer"]
)
def test_pipelines_of_known_heads(twins: list[Twin], path: str) -> None:
    data, _ = data_of(path, "get")
    last, _ = data_of(path, "close")
    alone: Step = (data, 1, "GET")
    assert_alike(twins, [alone, alone, alone, (data * 3, 3, "GET"), alone, (data + last + data, 2, "GET")], times=2)


def test_a_conversation_of_everything(twins: list[Twin]) -> None:
    """Known heads between others, whole, in pieces, and with the next one behind."""
    known = request("/list")
    body = request("/environ", method="POST", body=b"body")
    chunks = request("/environ", "Transfer-Encoding: chunked", method="POST") + chunked([b"chunk"], b"X-T: t\r\n")
    steps: list[Step] = [(known, 1, "GET")] * 3
    for other in (body, chunks, request("/two"), request("/environ", "Cookie: a=b"), request("/404?a")):
        steps += [(other, 1, "GET"), (known, 1, "GET")]
        steps += [(other + known, 2, "GET"), (known + other, 2, "GET"), (known + other + known, 3, "GET")]
    for at in (1, 15, len(known) - 1):
        steps += [
            (known[:at], 0, "GET"),
            (known[at:], 1, "GET"),
            (known + known[:at], 1, "GET"),
            (known[at:], 1, "GET"),
        ]
    steps += [(known, 1, "GET"), (b"\r\n" + known, 1, "GET"), (known, 1, "GET")]
    steps += [(known, 1, "GET"), (b"BROKEN\r\n\r\n" + known, 1, "GET")]
    found = assert_alike(twins, steps, times=3)
    assert found.count(b"HTTP/1.1 200") > 30
    assert b"HTTP/1.1 400" in found


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_line_alone_before_a_known_head(twins: list[Twin], kind: str) -> None:
    """RFC 9112 section 2.2 forgives one before each request; each in a segment of its own."""
    twin = twins[KINDS.index(kind)]
    known = request("/list")
    with Client(twin.url) as client:
        for _ in range(3):
            assert client.send(known).read_response().status == 200
        [conn] = [conn for conn in twin.loop.conns.values() if conn.port == str(client.port)]
        for number in range(3):
            client.send(b"\r\n")
            until(lambda: conn.forgiven)
            assert client.send(known).read_response().status == 200, number


def ways(twin: Twin, data: bytes, method: str) -> tuple[int, int]:
    """Of ten requests with a head that is known: how many go through `on_data`, and how many through `on_request`."""
    with Client(twin.url) as client:
        for _ in range(3):  # which of these tests was the first to send it is not for this one to say
            assert client.send(data).read_response(method).status == 200
    until(lambda: not twin.loop.conns, what="the connections of the tests before have ended")
    before = twin.counts.copy()
    with Client(twin.url) as client:
        for _ in range(10):
            assert client.send(data).read_response(method).status == 200
        return (
            twin.counts["on_data"] - before["on_data"],
            twin.counts["on_request"] - before["on_request"],
        )


@pytest.mark.parametrize("variant", ["get", "head", "post", "1.0 keep-alive", "cookie", "query"])
def test_the_ways_are_what_they_are_called(twins: list[Twin], variant: str) -> None:
    """Else this file would compare nothing. What comes with the connection itself is read by `accepting`."""
    data, method = data_of("/told", variant)
    fast, half, general = [ways(twin, data, method) for twin in twins]
    assert fast in ((0, 0), (1, 0), (0, 1))
    assert half in ((0, 10), (1, 9))
    assert general == (10, 0)


def test_a_known_head_as_the_last_one_on_a_connection(twins: list[Twin]) -> None:
    """The fast path closes as the general one does."""
    data, method = data_of("/told", "close")
    found = assert_alike(twins, [(data, 1, method)], times=5)
    assert b"Connection: close" in found


def test_a_client_that_left_meanwhile(twins: list[Twin]) -> None:
    """The answer finds nobody: counted once, for the same reason."""
    gate = threading.Event()

    def wait(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        gate.wait(10)
        start_response("200 OK", TEXT)
        return [b"x" * 60_000]

    ROUTES["/wait"] = wait
    for twin in twins:
        with Client(twin.url) as client:
            gate.set()
            for _ in range(3):
                client.send(request("/wait")).read_response()
            gate.clear()
            before = twin.loop.closed.snapshot()
            client.send(request("/wait"))
            client.reset()
        gate.set()
        until(lambda conns=twin.loop.conns: not conns)  # type: ignore[misc]
        after = twin.loop.closed.snapshot()
        assert {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]} in (
            {"client_gone": 1},
            {"client": 1},
            {"client_early": 1},
        )
