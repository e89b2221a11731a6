"""The same small site in five frameworks; `SITES` has a function for each that makes it. `path` is a file it can send.

GET /hello/NAME?q=...   JSON of name and q          GET  /stream     five blocks, as a generator
POST /json              the same JSON back          GET  /file       the file, by the framework's own means
POST /form              the field `text`            GET  /redirect   302 to /hello/there?q=redirected
POST /upload            name and size of `file`     GET  /error      an exception
GET /visits             counts in a cookie
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Site = Callable[..., Any]

BLOCKS = [f"block {number} ".encode() * 1000 for number in range(5)]


def blocks() -> Iterator[bytes]:
    """What /stream sends."""
    yield from BLOCKS


def make_flask(path: str) -> Site:
    import flask

    app = flask.Flask("site")

    @app.get("/hello/<name>")
    def hello(name: str) -> Any:
        return flask.jsonify(name=name, q=flask.request.args["q"])

    @app.post("/json")
    def echo() -> Any:
        return flask.jsonify(flask.request.get_json())

    @app.post("/form")
    def form() -> Any:
        return flask.request.form["text"]

    @app.post("/upload")
    def upload() -> Any:
        file = flask.request.files["file"]
        return flask.jsonify(name=file.filename, size=len(file.read()))

    @app.get("/visits")
    def visits() -> Any:
        count = int(flask.request.cookies.get("visits", "0")) + 1
        response = flask.make_response(str(count))
        response.set_cookie("visits", str(count))
        return response

    app.get("/stream")(lambda: flask.Response(blocks(), mimetype="application/octet-stream"))
    app.get("/file", endpoint="file")(lambda: flask.send_file(path, mimetype="application/octet-stream"))
    app.get("/redirect", endpoint="redirect")(lambda: flask.redirect("/hello/there?q=redirected"))
    app.get("/error", endpoint="error")(lambda: 1 // 0)
    return app


def make_django(path: str) -> Site:
    from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
    from django.http import HttpResponseRedirect as Redirect
    from django.urls import path as route

    def upload(request: HttpRequest) -> HttpResponse:
        file = request.FILES["file"]
        return JsonResponse({"name": file.name, "size": len(file.read())})

    def visits(request: HttpRequest) -> HttpResponse:
        count = int(request.COOKIES.get("visits", "0")) + 1
        response = HttpResponse(str(count))
        response.set_cookie("visits", str(count))
        return response

    def error(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    class Urls:
        urlpatterns = (
            route("hello/<name>", lambda request, name: JsonResponse({"name": name, "q": request.GET["q"]})),
            route("json", lambda request: JsonResponse(json.loads(request.body))),
            route("form", lambda request: HttpResponse(request.POST["text"])),
            route("upload", upload),
            route("visits", visits),
            route("stream", lambda request: StreamingHttpResponse(blocks())),
            route("file", lambda request: FileResponse(open(path, "rb"))),
            route("redirect", lambda request: Redirect("/hello/there?q=redirected")),
            route("error", error),
        )

    return django_site(Urls)


def django_site(urls: type, *middleware: str) -> Site:
    """The application with the `urlpatterns` of `urls`, until the next one is made: a process has one Django.

    `middleware` stands in front of Django's own."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.urls import clear_url_caches, set_urlconf

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=urls,
            SECRET_KEY="of a test",
            LOGGING_CONFIG=None,
            DEBUG=False,
            USE_TZ=True,
        )
        django.setup()
    settings.ROOT_URLCONF = urls
    settings.MIDDLEWARE = [*middleware, "django.middleware.common.CommonMiddleware"]
    clear_url_caches()
    set_urlconf(None)
    return get_wsgi_application()


def make_bottle(path: str) -> Site:
    import bottle

    app = bottle.Bottle()
    request, response = bottle.request, bottle.response

    @app.get("/visits")
    def visits() -> str:
        count = int(request.get_cookie("visits", "0")) + 1
        response.set_cookie("visits", str(count))
        return str(count)

    @app.post("/upload")
    def upload() -> dict[str, Any]:
        file = request.files["file"]
        with request.body, file.file:  # both are temporary files in a cycle, for the collector to find in a later test
            return {"name": file.raw_filename, "size": len(file.file.read())}

    folder, _, name = path.rpartition("/")
    app.get("/hello/<name>")(lambda name: {"name": name, "q": request.query.q})
    app.post("/json")(lambda: request.json)
    app.post("/form")(lambda: request.forms.getunicode("text"))
    app.get("/stream")(blocks)
    app.get("/file")(lambda: bottle.static_file(name, folder, mimetype="application/octet-stream"))
    app.get("/redirect")(lambda: bottle.redirect("/hello/there?q=redirected", 302))
    app.get("/error")(lambda: 1 // 0)
    return app


def make_falcon(path: str) -> Site:
    import falcon

    class Hello:
        def on_get(self, req: Any, resp: Any, name: str) -> None:
            resp.media = {"name": name, "q": req.get_param("q")}

    class Json:
        def on_post(self, req: Any, resp: Any) -> None:
            resp.media = req.get_media()

    class Form:
        def on_post(self, req: Any, resp: Any) -> None:
            resp.text = req.get_media()["text"]

    class Upload:
        def on_post(self, req: Any, resp: Any) -> None:
            for part in req.get_media():
                if part.name == "file":
                    resp.media = {"name": part.filename, "size": len(part.stream.read())}

    class Visits:
        def on_get(self, req: Any, resp: Any) -> None:
            count = int(req.cookies.get("visits", "0")) + 1
            resp.set_cookie("visits", str(count), secure=False)
            resp.text = str(count)

    class Stream:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.stream = blocks()

    class File:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.content_type = "application/octet-stream"
            resp.stream = open(path, "rb")

    class Redirect:
        def on_get(self, req: Any, resp: Any) -> None:
            raise falcon.HTTPFound("/hello/there?q=redirected")

    class Error:
        def on_get(self, req: Any, resp: Any) -> None:
            raise ZeroDivisionError

    app = falcon.App()
    app.add_route("/hello/{name}", Hello())
    for kind in (Json, Form, Upload, Visits, Stream, File, Redirect, Error):
        app.add_route(f"/{kind.__name__.lower()}", kind())
    return app


def make_pyramid(path: str) -> Site:
    from pyramid.config import Configurator
    from pyramid.httpexceptions import HTTPFound
    from pyramid.request import Request
    from pyramid.response import FileResponse, Response

    class InMemory(Request):
        request_body_tempfile_limit = 1 << 30  # WebOb does not close its temporary files

    def upload(request: Any) -> Any:
        file = request.POST["file"]
        return Response(json_body={"name": file.filename, "size": len(file.file.read())})

    def visits(request: Any) -> Any:
        count = int(request.cookies.get("visits", "0")) + 1
        response = Response(str(count))
        response.set_cookie("visits", str(count))
        return response

    def error(request: Any) -> Any:
        raise ZeroDivisionError

    views = {
        "/hello/{name}": lambda request: Response(json_body={**request.matchdict, "q": request.GET["q"]}),
        "/json": lambda request: Response(json_body=request.json_body),
        "/form": lambda request: Response(request.POST["text"]),
        "/upload": upload,
        "/visits": visits,
        "/stream": lambda request: Response(app_iter=blocks(), content_type="application/octet-stream"),
        "/file": lambda request: FileResponse(path, request, content_type="application/octet-stream"),
        "/redirect": lambda request: HTTPFound("/hello/there?q=redirected"),
        "/error": error,
    }
    with Configurator(request_factory=InMemory) as config:
        for pattern, view in views.items():
            config.add_route(pattern, pattern)
            config.add_view(view, route_name=pattern)
        return config.make_wsgi_app()


SITES: dict[str, Callable[[str], Site]] = {
    "flask": make_flask,
    "django": make_django,
    "bottle": make_bottle,
    "falcon": make_falcon,
    "pyramid": make_pyramid,
}
