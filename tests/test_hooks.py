"""vivace.hooks: what an application may tell the server, there or not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from routed import Route
from vivace.hooks import name_route, name_unmatched, phase, timing
from wire import Client, request, until

if TYPE_CHECKING:
    from typing import Any


def test_elsewhere_they_do_nothing() -> None:
    environ: dict[str, Any] = {"PATH_INFO": "/"}
    name_route(environ, "/")
    name_unmatched(environ)
    timing(environ, "db", 0.1)
    with phase(environ, "query"):
        pass
    with pytest.raises(ZeroDivisionError), phase(environ, "query"):
        raise ZeroDivisionError
    assert environ == {"PATH_INFO": "/"}


def test_they_cost_no_import() -> None:
    code = "import sys; before = set(sys.modules); import vivace.hooks; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {"vivace", "vivace.hooks", "vivace.version", "__future__"}


def test_a_route_is_renamed_once() -> None:
    route = Route("GET /users/{}")
    for _ in range(3):
        name_route({"vivace.route": route}, "/users/<int:id>")
    assert route.names == ["GET /users/<int:id>"]


def test_the_method_is_the_route_s() -> None:
    route = Route("* /users/{}")  # a method that nobody knows
    name_route({"vivace.route": route, "REQUEST_METHOD": "JUNK-7"}, "/users/<int:id>")
    assert route.name == "* /users/<int:id>"


def test_a_name_is_bounded() -> None:
    route = Route("GET /")
    for _ in range(2):
        name_route({"vivace.route": route}, "/" + "x" * 1000)
    assert [len(name) for name in route.names] == [200]


def test_unmatched_requests_count_together() -> None:
    route = Route("GET /wp-login.php")
    environ = {"vivace.route": route, "PATH_INFO": "/wp-login.php"}
    name_unmatched(environ)
    name_unmatched(environ)
    assert route.names == ["GET *"]
    name_route(environ, "/<page>")  # a rule has the last word
    name_unmatched(environ)
    assert route.name == "GET /<page>"


def test_a_template_with_a_rule_keeps_it() -> None:
    """/users/deadbeef42 matches no <int:id>, but has its template in common with those that do."""
    route = Route("GET /users/{}")
    name_route({"vivace.route": route}, "/users/<int:id>")
    name_unmatched({"vivace.route": route, "PATH_INFO": "/users/deadbeef42"})
    assert route.name == "GET /users/<int:id>"


def test_in_a_server(vivace_server: Any) -> None:
    """Its own route is renamed, soon, and unmatched requests with it."""
    routes: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        routes[environ["PATH_INFO"]] = environ["vivace.route"]
        if environ["PATH_INFO"].startswith("/users/"):
            name_route(environ, "/users/<int:id>")
        else:
            name_unmatched(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"named"]

    with Client(vivace_server(app)) as client:

        def named(path: str, name: str) -> bool:
            assert client.send(request(path)).read_response().body == b"named"
            return bool(routes[path].name == name)

        until(lambda: named("/users/7", "GET /users/<int:id>"))
        until(lambda: named("/.env", "GET *"))
