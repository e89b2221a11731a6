"""Two servers that know each other by a Redis alone: one asks the application for both, and both forget together."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from redis_server import RedisServer, needs_redis
from vivace import background
from wire import Response, fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytest.importorskip("redis")
pytestmark = [needs_redis, pytest.mark.usefixtures("no_fault")]


class Origin:
    """Behind both servers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.going = threading.Event()
        self.fields: dict[str, list[tuple[str, str]]] = {"/slow-private": [("Cache-Control", "private")]}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "POST":
            start_response("204 No Content", [])
            return []
        self.calls.append(path)
        number = len(self.calls)
        if path.startswith("/slow"):
            assert self.going.wait(10)
        start_response("200 OK", self.fields.get(path, [("Cache-Control", "max-age=600")]))
        return [f"{path} {number} {environ.get('HTTP_X_KIND')}".encode()]


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def store_of(machine: Any) -> Any:
    return machine.server.plan.cache.levels.remote


@pytest.fixture
def machines(origin: Origin, redis: RedisServer) -> Iterator[tuple[Any, Any]]:
    settings: Any = {"threads": 8, "cache": True, "cache_store": redis.url}
    with background(origin, **settings) as one, background(origin, **settings) as two:
        for machine in (one, two):
            assert store_of(machine).wait_joined(10)
        yield one, two


def ask(machine: Any, path: str, *fields: str, method: str = "GET") -> Response:
    lines = [f"{method} {path} HTTP/1.1", "Host: site.test", "Connection: close", *fields]
    return fetch(machine, "\r\n".join([*lines, "", ""]).encode(), method)


def make(machine: Any, path: str) -> bytes:
    """What it answers, once the store has it: that is put there behind the answer."""
    body = ask(machine, path).body
    until(lambda: store_of(machine).get(f"GET http://site.test{path}") is not None)
    return body


def test_what_one_made_both_have(machines: tuple[Any, Any], origin: Origin) -> None:
    one, two = machines
    made = make(one, "/a")
    found = ask(two, "/a")
    assert found.body == made
    assert found.field("Cache-Status") == 'vivace; hit; detail="another machine"'
    assert "hit; ttl=" in (ask(two, "/a").field("Cache-Status") or "")
    assert origin.calls == ["/a"]


def crowd(machines: tuple[Any, Any], path: str, origin: Origin) -> list[Response]:
    """Of six clients of each machine, who all wait before the application goes on."""
    responses: list[Response] = []
    threads = [threading.Thread(target=lambda m=m: responses.append(ask(m, path))) for m in machines * 6]
    for thread in threads:
        thread.start()
    until(lambda: origin.calls)
    time.sleep(0.05)
    origin.going.set()
    for thread in threads:
        thread.join()
    return responses


def test_for_clients_of_both_the_application_is_asked_once(machines: tuple[Any, Any], origin: Origin) -> None:
    bodies = {response.body for response in crowd(machines, "/slow", origin)}
    assert origin.calls == ["/slow"]
    assert len(bodies) == 1


def test_so_it_is_where_responses_vary(machines: tuple[Any, Any], origin: Origin) -> None:
    """The one that waits knows only afterwards by what they vary."""
    origin.fields["/slow-vary"] = [("Cache-Control", "max-age=600"), ("Vary", "X-Kind")]
    crowd(machines, "/slow-vary", origin)
    assert origin.calls == ["/slow-vary"]
    assert ask(machines[0], "/slow-vary", "X-Kind: b").body.endswith(b" b")
    assert len(origin.calls) == 2


def test_what_is_not_to_be_kept_reaches_nobody_else(machines: tuple[Any, Any], origin: Origin) -> None:
    bodies = [response.body for response in crowd(machines, "/slow-private", origin)]
    assert len(set(bodies)) == len(bodies) == len(origin.calls) == 12


def test_a_change_on_one_is_known_to_the_other(machines: tuple[Any, Any], origin: Origin) -> None:
    one, two = machines
    made = make(one, "/a")
    assert ask(two, "/a").body == made
    assert ask(one, "/a", method="POST").status == 204
    until(lambda: ask(two, "/a").body != made)
    # Either may have made it anew: what is made is told to the store behind the answer.
    assert made not in (ask(one, "/a").body, ask(two, "/a").body)


def test_without_the_store_each_serves_by_itself(machines: tuple[Any, Any], origin: Origin, redis: RedisServer) -> None:
    one, two = machines
    made = make(one, "/a")
    redis.kill()
    assert ask(one, "/a").body == made
    assert ask(two, "/a").body != made
    assert ask(two, "/b").status == ask(one, "/b").status == 200
    assert origin.calls.count("/b") == 2
    redis.start()
    for machine in machines:
        assert store_of(machine).wait_joined(10)
    made = make(one, "/c")
    assert ask(two, "/c").body == made


def test_parts_of_pages_go_the_same_way(machines: tuple[Any, Any]) -> None:
    """The application's own values lie in the memory of the server that was made last in this process."""
    from vivace.cache import Store, application

    store = Store(scope="machines", namespace="parts")
    assert application.ground.remote is store_of(machines[1])
    store.set("menu", "<ul></ul>", 60, tags=["menu"])
    assert store.get("menu") == "<ul></ul>"
    store_of(machines[0]).purge("tag", "menu")
    until(lambda: store.get("menu") is None)
