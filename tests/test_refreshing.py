"""connection.refreshing: asking without a client, and when what has changed is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certs import Authority, SecureClient
from test_caching import FRESH, Answer, Origin, ask
from vivace import background
from vivace.connection.refreshing import Invalidating
from wire import Client, until


class Recorder:
    """Who hears of changes, and what happened in which order."""

    def __init__(self, app: Any) -> None:
        self.events: list[str] = []
        self.invalidating = Invalidating(lambda environ, status, headers: self.events.append(f"told {status}"), app)

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.events.append("started")
        return lambda data: self.events.append("sent")

    def run(self) -> list[str]:
        try:
            body = self.invalidating({}, self.start_response)
            self.events.append("returned")
            for _ in body:
                self.events.append("sent")
        except RuntimeError:
            self.events.append("failed")
        self.invalidating.end()
        return self.events


class TestInvalidating:
    def run(self, make: Any) -> list[str]:
        recorders: list[Recorder] = []
        recorders.append(Recorder(make(lambda: recorders[0].events.append("committed"))))
        return recorders[0].run()

    def test_it_is_told_when_the_application_has_returned(self) -> None:
        def make(commit: Any) -> Any:
            def app(environ: dict[str, Any], start: Any) -> list[bytes]:
                start("200 OK", [])
                commit()
                return [b"done"]

            return app

        assert self.run(make) == ["started", "committed", "told 200 OK", "returned", "sent"]

    def test_before_anything_is_written_and_again_at_the_end(self) -> None:
        def make(commit: Any) -> Any:
            def app(environ: dict[str, Any], start: Any) -> list[bytes]:
                write = start("200 OK", [])
                write(b"a")
                commit()
                write(b"b")
                return []

            return app

        events = ["started", "told 200 OK", "sent", "committed", "sent", "told 200 OK", "returned"]
        assert self.run(make) == events

    def test_a_generator_may_change_things_while_it_sends(self) -> None:
        def make(commit: Any) -> Any:
            def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
                start("200 OK", [])
                yield b"a"
                commit()
                yield b"b"

            return app

        events = ["returned", "started", "told 200 OK", "sent", "committed", "sent", "told 200 OK"]
        assert self.run(make) == events

    def test_what_fails_after_it_has_begun_may_have_changed_things(self) -> None:
        def make(commit: Any) -> Any:
            def app(environ: dict[str, Any], start: Any) -> list[bytes]:
                start("200 OK", [])
                commit()
                raise RuntimeError("planted")

            return app

        assert self.run(make) == ["started", "committed", "failed", "told 200 OK"]

    def test_what_never_begins_tells_nothing(self) -> None:
        assert self.run(lambda commit: lambda environ, start: [b"x"]) == ["returned", "sent"]


def test_what_is_read_between_start_response_and_the_change_is_not_kept(origin: Origin) -> None:
    state = {"value": b"old"}
    with background(origin, cache=True, threads=4) as server, Client(server) as client, Client(server) as other:

        def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            if environ["REQUEST_METHOD"] == "GET":
                start_response("200 OK", [("Cache-Control", FRESH)])
                return [state["value"]]
            start_response("200 OK", [])
            assert ask(other, "/").body == b"old"
            state["value"] = b"new"
            return [b"changed"]

        server.server.loop.plan.app = app  # what the cache calls
        assert ask(client, "/", "Content-Length: 0", method="POST").body == b"changed"
        assert ask(other, "/").body == b"new"


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.mark.parametrize("threads", [1, 4])
def test_a_renewal_may_come_as_a_file_too_long_to_be_kept(tmp_path: Path, origin: Origin, threads: int) -> None:
    file = tmp_path / "long"
    file.write_bytes(b"x" * 100_000)
    errors: list[BaseException] = []

    def answer(environ: dict[str, Any]) -> Answer:
        headers = [("Cache-Control", "max-age=0, stale-while-revalidate=60"), ("ETag", '"a"')]
        if origin.calls["/"] == 1:
            return "200 OK", headers, [b"short"]
        return "200 OK", headers, environ["wsgi.file_wrapper"](file.open("rb"))

    origin.answers["/"] = answer
    server = background(origin, cache=True, cache_entry_bytes_max="50KiB", threads=threads)
    server.server.loop.report = lambda environ, error: errors.append(error)
    with server, Client(server) as client:
        assert ask(client, "/").body == b"short"
        assert ask(client, "/").body == b"short"
        until(lambda: origin.calls["/"] == 2)
        origin.on("/x")
        ask(client, "/x")
    assert errors == []


@pytest.mark.parametrize("threads", [1, 4])
def test_a_renewal_asked_for_by_one_with_a_certificate_is_his(tmp_path: Path, origin: Origin, threads: int) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("localhost").settings
    mine = authority.client(authority.issue("mine"))
    tls = {**own, "tls_ca_file": str(authority.cert), "tls_client": "optional"}
    origin.on("/", Cache_Control="public, max-age=0, stale-while-revalidate=60")
    server = background(origin, cache=True, threads=threads, **tls)
    with server, SecureClient(server, mine) as me, SecureClient(server, authority.client()) as other:
        assert ask(me, "/").body == b"1"
        origin.on("/", Cache_Control="max-age=60")
        assert ask(me, "/").body == b"1"  # and asks behind it
        until(lambda: origin.calls["/"] == 2)
        assert ask(other, "/").body != b"2"
