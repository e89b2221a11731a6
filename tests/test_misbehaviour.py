"""Applications that do what they should not: it costs them their own response, and nobody else anything."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from apps import TEXT
from wire import TIMEOUT_S, Client, WireError, chunked, fetch, request, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    import vivace

    Serve = Callable[..., vivace.background]


def answer(start_response: Any, text: bytes) -> list[bytes]:
    start_response("200 OK", TEXT)
    return [text]


@pytest.mark.parametrize("moment", ["call", "start", "block", "close"])
def test_keyboard_interrupt_from_the_application(vivace_server: Any, moment: str) -> None:
    """Whatever raised it: with a pool it is one request's failure, and the server goes on."""

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"begun"
            if moment == "block":
                raise KeyboardInterrupt

        def close(self) -> None:
            if moment == "close":
                raise KeyboardInterrupt

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            return answer(start_response, b"next")
        if moment == "call":
            raise KeyboardInterrupt
        start_response("200 OK", TEXT)
        if moment == "start":
            raise KeyboardInterrupt
        return Body()

    server = vivace_server(app, threads=4)
    for _ in range(6):
        with Client(server) as client:
            client.send(request())
            try:
                response = client.read_response()
                assert response.status == (500 if moment in ("call", "start") else 200)
                assert response.whole == (moment != "block")
            except WireError:
                assert moment == "block"
    for _ in range(10):
        assert fetch(server, "/next").body == b"next"
    until(lambda: not server.server.loop.conns)


def test_body_sent_back_by_file_wrapper(serve: Serve, tmp_path: Path) -> None:
    """The file that the body was kept in is sent after the request has ended; nothing else may be in its place."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](environ["wsgi.input"])

    (tmp_path / "other").write_bytes(b"stolen" * 1_000_000)
    body = b"%07d " * 750_000 % tuple(range(750_000))
    settings = {"body_memory_bytes": 0, "spill_dir": str(tmp_path)}
    with serve(app, **settings) as server, Client(server, receive_bytes=65536) as client:
        client.send(request(method="POST", body=body)).wait()
        # Whatever is opened now may get the number of a descriptor that was closed too early.
        files = [os.open(tmp_path / "other", os.O_RDONLY) for _ in range(50)]
        try:
            response = client.read_response()
        finally:
            for file in files:
                os.close(file)
        assert response.whole
        assert response.body == body


def test_file_whose_close_fails(serve_bare: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The response is whole, the connection goes on, and the log says whose fault it was."""
    (tmp_path / "file").write_bytes(b"x" * 500_000)

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            return answer(start_response, b"next")
        file: Any = (tmp_path / "file").open("rb")
        close = file.close

        def failing() -> None:
            close()
            raise ValueError("close failed")

        file.close = failing  # as Django does, to close its response with the file
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](file)

    with serve_bare(app) as server, Client(server, receive_bytes=65536) as client:
        client.send((request() + request("/next")) * 2)
        assert [len(response.body) for response in client.read_responses(4)] == [500_000, 4, 500_000, 4]
    assert "ValueError: close failed" in capfd.readouterr().err


def test_write_kept_beyond_its_request(serve_bare: Serve) -> None:
    """What it writes then belongs to no response: the next one is in order."""
    kept: list[Callable[[bytes], None]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            try:
                kept[0](b"stray")
            except Exception:
                return answer(start_response, b"next")
            return answer(start_response, b"it took the stray block")
        kept.append(start_response("200 OK", TEXT))
        return [b"first"]

    with serve_bare(app) as server, Client(server) as client:
        assert client.send(request()).read_response().body == b"first"
        assert client.send(request("/next")).read_response().body == b"next"


def test_input_kept_beyond_its_request(serve_bare: Serve) -> None:
    """It is at its end, or closed; it never reads from a later request of the connection."""
    kept: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        kept.append(environ["wsgi.input"])
        if len(kept) == 1:
            return answer(start_response, kept[0].read(3))
        try:
            stray = kept[0].read()
        except ValueError:
            stray = b""
        return answer(start_response, kept[1].read() + b"|" + stray)

    for settings in ({}, {"body_memory_bytes": 0}, {"body_stream": True}):
        kept.clear()
        with serve_bare(app, **settings) as server:
            with Client(server) as client:
                first = client.send(request(method="POST", body=b"one")).read_response()
                assert first.body == b"one"
                data = request("/", "Transfer-Encoding: chunked", method="POST") + chunked([b"two"])
                if not first.closes:
                    assert client.send(data).read_response().body == b"two|"
            if first.closes:
                assert fetch(server, data).body == b"two|"


def test_thread_of_the_application_that_outlives_the_server(serve_bare: Serve) -> None:
    """A server stops although the application has left a thread behind."""
    gate = threading.Event()
    threads = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        threads.append(threading.Thread(target=gate.wait, args=(TIMEOUT_S,)))
        threads[-1].start()
        return answer(start_response, b"fine")

    with serve_bare(app) as server:
        assert fetch(server).body == b"fine"
    assert threads[0].is_alive()
    gate.set()
    threads[0].join()


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="/proc is Linux's")
def test_file_whose_size_says_nothing(serve_bare: Serve) -> None:
    """Those of /proc have size 0 and content all the same."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", TEXT)
        return environ["wsgi.file_wrapper"](open("/proc/version", "rb"))

    with serve_bare(app) as server, open("/proc/version", "rb") as expected:
        assert fetch(server).body == expected.read()


def test_streamed_body_that_comes_too_slowly(serve_bare: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """body_rate_bytes_min holds for a body that the application reads itself: it keeps a thread busy."""
    monkeypatch.setattr("vivace.connection.sweeping.RATE_GRACE_S", 0.2)
    raised = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            environ["wsgi.input"].read()
        except TimeoutError:
            raised.set()
        return answer(start_response, b"too slow")

    with serve_bare(app, body_stream=True, body_rate_bytes_min=100_000) as server, Client(server) as client:
        client.socket.settimeout(0.02)
        client.send(request("/", "Content-Length: 1000000", method="POST"))
        for _ in range(100):
            try:
                client.wait()
                break
            except TimeoutError:
                client.send(b"x" * 100)
        assert raised.wait(1)


def test_headers_changed_after_start_response(serve_bare: Serve) -> None:
    """PEP 3333: the server may use the list as it is until the head is out. It must be checked as it is sent."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        headers = list(TEXT)
        start_response("200 OK", headers)
        yield b""
        headers.append(("X-Evil", "a\r\nX-Injected: b"))
        yield b"body"

    with serve_bare(app) as server:
        response = fetch(server)
    assert b"X-Injected" not in response.head
