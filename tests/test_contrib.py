"""vivace.contrib: real frameworks, whose requests are named by their rules, and which run elsewhere as they did."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from typing import TYPE_CHECKING
from wsgiref.util import setup_testing_defaults

import pytest

import vivace
from frameworks import django_site
from routed import Named
from wire import fetch, request

if TYPE_CHECKING:
    from typing import Any

pytestmark = [
    pytest.mark.usefixtures("no_fault"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:pkg_resources:UserWarning"),
]


def make_flask() -> Any:
    import flask

    from vivace.contrib.flask import init_app

    app = flask.Flask("named")
    init_app(app)
    part = flask.Blueprint("part", __name__, url_prefix="/part")
    part.add_url_rule("/<name>", "part", lambda name: name)
    app.register_blueprint(part)
    app.add_url_rule("/users/<int:id>", "user", lambda id: str(id))  # noqa: A006
    app.add_url_rule("/gone/<int:id>", "gone", lambda id: flask.abort(404))  # noqa: A006
    app.add_url_rule("/fails/<int:id>", "fails", lambda id: 1 // 0)  # noqa: A006
    app.add_url_rule("/slash/", "slash", lambda: "slash")
    return app


def make_django() -> Any:
    from django.http import Http404, HttpResponse
    from django.urls import include, path, re_path

    def gone(request: Any, id: int) -> Any:  # noqa: A002
        raise Http404

    def fails(request: Any, id: int) -> Any:  # noqa: A002
        raise ZeroDivisionError

    class Urls:
        urlpatterns = (
            path("users/<int:id>", lambda request, id: HttpResponse(str(id))),  # noqa: A006
            path("gone/<int:id>", gone),
            path("fails/<int:id>", fails),
            path("slash/", lambda request: HttpResponse("slash")),
            re_path(r"^old/([0-9]+)$", lambda request, number: HttpResponse(number)),
            path("part/", include([path("<name>", lambda request, name: HttpResponse(name))])),
        )

    return django_site(Urls, "vivace.contrib.django.RouteNames")


def make_bottle() -> Any:
    import bottle

    from vivace.contrib.bottle import init_app

    app = bottle.Bottle()
    init_app(app)
    app.route("/users/<id:int>", callback=lambda id: str(id))  # noqa: A006
    app.route("/gone/<id:int>", callback=lambda id: bottle.abort(404))  # noqa: A006
    app.route("/fails/<id:int>", callback=lambda id: 1 // 0)  # noqa: A006
    app.route("/slash/", callback=lambda: "slash")
    app.route("/part/<name>", callback=lambda name: name)
    return app


def make_falcon() -> Any:
    import falcon

    from vivace.contrib.falcon import RouteNames

    class Echo:
        def on_get(self, request: Any, response: Any, **found: Any) -> None:
            response.text = "".join(map(str, found.values()))

        on_head = on_get

    class Gone:
        def on_get(self, request: Any, response: Any, id: int) -> None:  # noqa: A002
            raise falcon.HTTPNotFound

    class Fails:
        def on_get(self, request: Any, response: Any, id: int) -> None:  # noqa: A002
            raise ZeroDivisionError

    app = falcon.App(middleware=[RouteNames()])
    app.add_route("/users/{id:int}", Echo())
    app.add_route("/gone/{id:int}", Gone())
    app.add_route("/fails/{id:int}", Fails())
    app.add_route("/part/{name}", Echo())
    app.add_sink(lambda request, response: None, prefix="/sink")
    return app


def make_pyramid() -> Any:
    from pyramid.config import Configurator
    from pyramid.httpexceptions import HTTPNotFound
    from pyramid.response import Response

    def gone(request: Any) -> Any:
        raise HTTPNotFound

    with Configurator() as config:
        config.include("vivace.contrib.pyramid")
        views: dict[str, Any] = {
            "users/{id}": lambda request: Response(request.matchdict["id"]),
            "/gone/{id}": gone,
            "fails/{id}": lambda request: 1 // 0,
            "part/{name}": lambda request: Response(request.matchdict["name"]),
        }
        for pattern, view in views.items():
            config.add_route(pattern, pattern)
            config.add_view(view, route_name=pattern)
        return config.make_wsgi_app()


RULES = {
    "flask": ("/users/<int:id>", "/gone/<int:id>", "/fails/<int:id>", "/part/<name>"),
    "django": ("/users/<int:id>", "/gone/<int:id>", "/fails/<int:id>", "/part/<name>"),
    "bottle": ("/users/<id:int>", "/gone/<id:int>", "/fails/<id:int>", "/part/<name>"),
    "falcon": ("/users/{id:int}", "/gone/{id:int}", "/fails/{id:int}", "/part/{name}"),
    "pyramid": ("/users/{id}", "/gone/{id}", "/fails/{id}", "/part/{name}"),
}
STATUSES = (200, 404, 500, 200)
PATHS = ("/users/7", "/gone/7", "/fails/7", "/part/seven")
MAKERS: dict[str, Any] = {
    "flask": make_flask,
    "django": make_django,
    "bottle": make_bottle,
    "falcon": make_falcon,
    "pyramid": make_pyramid,
}


@pytest.fixture(params=list(MAKERS))
def framework(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.mark.parametrize("threads", [1, 8])
def test_requests_have_the_names_of_their_rules(framework: str, threads: int) -> None:
    app = Named(MAKERS[framework]())
    with vivace.background(app, threads=threads) as server:
        assert tuple(fetch(server, path).status for path in PATHS) == STATUSES
        assert fetch(server, request("/users/8", method="HEAD"), "HEAD").status == 200
        assert fetch(server, "/users/9?a=b").status == 200
    rules = RULES[framework]
    for path, rule in zip(PATHS, rules, strict=True):
        assert app.names[f"GET {path}"] == f"GET {rule}"
    assert app.names["HEAD /users/8"] == f"HEAD {rules[0]}"
    assert app.names["GET /users/9"] == f"GET {rules[0]}"


def test_what_matches_nothing_counts_together(framework: str) -> None:
    app = Named(MAKERS[framework]())
    paths = ("/wp-login.php", "/.env", "/no/such/42", "/users/7/x")
    with vivace.background(app) as server:
        assert {fetch(server, path).status for path in paths} == {404}
    assert set(app.names.values()) == {"GET *"}


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_redirect_of_the_framework_s_own_keeps_the_server_s_name(framework: str) -> None:
    pytest.importorskip(framework)
    app = Named(MAKERS[framework]())
    with vivace.background(app) as server:
        assert fetch(server, "/slash").status in (301, 308)
        assert fetch(server, "/slash/").status == 200
    assert app.names == {"GET /slash": "GET /slash", "GET /slash/": "GET /slash/"}


def test_a_regular_expression_of_django_is_a_name() -> None:
    pytest.importorskip("django")
    app = Named(make_django())
    with vivace.background(app) as server:
        assert fetch(server, "/old/12").body == b"12"
    assert app.names["GET /old/12"] == "GET /old/([0-9]+)$"


def test_a_sink_of_falcon_keeps_the_server_s_name() -> None:
    pytest.importorskip("falcon")
    app = Named(make_falcon())
    with vivace.background(app) as server:
        assert fetch(server, "/sink/x").status == 200
    assert app.names["GET /sink/x"] == "GET /sink/x"


def test_the_mount_point_is_part_of_the_name() -> None:
    pytest.importorskip("flask")
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = Named(DispatcherMiddleware(make_flask(), {"/shop": make_flask()}))
    with vivace.background(app) as server:
        assert fetch(server, "/shop/users/7").status == fetch(server, "/users/7").status == 200
    assert set(app.names.values()) == {"GET /shop/users/<int:id>", "GET /users/<int:id>"}


def test_under_another_server_they_are_what_they_were(framework: str) -> None:
    app = MAKERS[framework]()
    for path, status in zip((*PATHS, "/nothing"), (*STATUSES, 404), strict=True):
        environ: dict[str, Any] = {"PATH_INFO": path, "wsgi.errors": io.StringIO()}
        setup_testing_defaults(environ)
        told: list[str] = []
        try:
            body = app(environ, lambda status, headers, exc_info=None, told=told: told.append(status))
            b"".join(body)
        except ZeroDivisionError:  # Pyramid leaves that to the server
            told.append("500")
        assert told[-1][:3] == str(status)
        assert not [key for key in environ if key.startswith("vivace.")]


def test_they_import_no_framework(framework: str) -> None:
    """But the one that calls them: the modules can be imported anywhere."""
    importlib.import_module(f"vivace.contrib.{framework}")
    code = f"import sys, vivace.contrib.{framework}; sys.exit({framework!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
