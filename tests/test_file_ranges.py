"""wsgi.partial: parts of a file that the application sends by `wsgi.file_wrapper`, and conditions it left alone."""

from __future__ import annotations

import io
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import vivace
from wire import Client, Response, fetch, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    Serve = Callable[..., vivace.background]

DATA = b"".join(b"%06x" % number for number in range(20_000))  # 120 kB, without a short period
SIZE = len(DATA)
ETAG = '"v1"'
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
TYPE = ("Content-Type", "video/mp4")
WHOLE = "Accept-Ranges"

pytestmark = pytest.mark.usefixtures("no_fault")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "video.mp4"
    path.write_bytes(DATA)
    os.utime(path, (784111777, 784111777))
    return path


def sender(path: Path, *headers: tuple[str, str], status: str = "200 OK", offset: int = 0) -> Callable[..., Any]:
    """An application that sends the file, whatever it is asked; its files are in `opened`."""
    opened: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        file = open(path, "rb")
        opened.append(file)
        file.seek(offset)
        start_response(status, [TYPE, *headers])
        return environ["wsgi.file_wrapper"](file)

    app.opened = opened  # type: ignore[attr-defined]
    return app


def ask(app: Callable[..., Any], *fields: str, method: str = "GET", **settings: Any) -> Response:
    with vivace.background(app, threads=1, **settings) as server:
        return fetch(server, request("/", *fields, method=method), method)


# What is asked for.


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [("0-99", 0, 99), ("100-", 100, SIZE - 1), ("-100", SIZE - 100, SIZE - 1), ("0-", 0, SIZE - 1)],
)
def test_a_part(path: Path, text: str, first: int, last: int) -> None:
    app = sender(path)
    response = ask(app, f"Range: bytes={text}")
    assert (response.status, response.body) == (206, DATA[first : last + 1])
    assert response.field("Content-Range") == f"bytes {first}-{last}/{SIZE}"
    assert response.field("Content-Length") == str(last - first + 1)
    assert response.field("Content-Type") == "video/mp4"
    assert app.opened[0].closed  # type: ignore[attr-defined]


def test_the_whole_says_that_parts_are_to_be_had(path: Path) -> None:
    for fields in ((), ("Range: lines=1-2",), ("Range: bytes=2-1",), ("Range: bytes=" + "0-," * 1300,)):
        response = ask(sender(path), *fields)
        assert (response.status, response.body, response.field(WHOLE)) == (200, DATA, "bytes")
    response = ask(sender(path), "Range: bytes=0-9", method="HEAD")
    assert (response.status, response.field("Content-Length"), response.field(WHOLE)) == (200, str(SIZE), "bytes")


def test_several_parts(path: Path) -> None:
    response = ask(sender(path), "Range: bytes=50000-50009,0-9,-10")
    kind, _, boundary = (response.field("Content-Type") or "").partition("; boundary=")
    assert (response.status, kind) == (206, "multipart/byteranges")
    pieces = (b"\r\n" + response.body).split(b"\r\n--" + boundary.encode())
    assert (pieces.pop(0), pieces.pop()) == (b"", b"--\r\n")
    for piece, first in zip(pieces, (50000, 0, SIZE - 10), strict=True):
        about = f"\r\nContent-Type: video/mp4\r\nContent-Range: bytes {first}-{first + 9}/{SIZE}\r\n\r\n"
        assert piece == about.encode() + DATA[first : first + 10]


def test_none_of_it(path: Path) -> None:
    app = sender(path, ("Content-Length", str(SIZE)))
    response = ask(app, f"Range: bytes={SIZE}-")
    assert (response.status, response.field("Content-Range")) == (416, f"bytes */{SIZE}")
    assert response.field("Content-Type") == "text/plain; charset=utf-8"
    assert app.opened[0].closed  # type: ignore[attr-defined]


def test_the_representation_is_what_the_application_would_send(path: Path) -> None:
    """From where its file stands, as long as its Content-Length."""
    response = ask(sender(path, ("Content-Length", "1000"), offset=500), "Range: bytes=-10")
    assert (response.body, response.field("Content-Range")) == (DATA[1490:1500], "bytes 990-999/1000")
    response = ask(sender(path, offset=500), "Range: bytes=0-9")
    assert (response.body, response.field("Content-Range")) == (DATA[500:510], f"bytes 0-9/{SIZE - 500}")


def test_a_length_that_is_wrong_is_still_a_clean_500(path: Path) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vivace.worker.console.Console.report", lambda console, environ, error: said.append(str(error)))
        assert ask(sender(path, ("Content-Length", str(SIZE + 1))), "Range: bytes=0-9").status == 500
        assert ask(sender(path, ("Content-Length", "x")), "Range: bytes=0-9").status == 500
    assert len(said) == 2


# Conditions that the application left alone.


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((f"If-None-Match: {ETAG}",), 304),
        (('If-None-Match: "x"',), 200),
        ((f"If-Modified-Since: {DATE}",), 304),
        (('If-Match: "x"',), 412),
        ((f"If-None-Match: {ETAG}", "Range: bytes=0-9"), 304),
        ((f"If-Range: {ETAG}", "Range: bytes=0-9"), 206),
        (('If-Range: "x"', "Range: bytes=0-9"), 200),
        ((f"If-Range: {DATE}", "Range: bytes=0-9"), 206),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(path: Path, fields: tuple[str, ...], status: int, method: str) -> None:
    app = sender(path, ("ETag", ETAG), ("Last-Modified", DATE), ("Cache-Control", "max-age=5"))
    response = ask(app, *fields, method=method)
    assert response.status == (200 if status == 206 and method == "HEAD" else status)
    assert response.field("ETag") == ETAG
    assert response.field("Cache-Control") == "max-age=5"
    if status == 304:
        assert response.field("Content-Type") is None
        assert response.field("Content-Length") is None
    assert app.opened[0].closed  # type: ignore[attr-defined]


def test_without_a_validator_there_is_no_condition(path: Path) -> None:
    assert ask(sender(path), "If-None-Match: *").status == 200
    assert ask(sender(path), "If-Match: *").status == 200
    assert ask(sender(path), f"If-Range: {ETAG}", "Range: bytes=0-9").status == 200


# What is none of the server's business.


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", [("Accept-Ranges", "none")]),
        ("200 OK", [("accept-ranges", "bytes"), ("ETag", ETAG)]),
        ("206 Partial Content", [("Content-Range", f"bytes 0-{SIZE - 1}/{SIZE}"), ("ETag", ETAG)]),
        ("203 Non-Authoritative Information", [("ETag", ETAG)]),
        ("404 Not Found", [("ETag", ETAG)]),
    ],
)
def test_what_the_application_has_dealt_with_stays(path: Path, status: str, headers: list[tuple[str, str]]) -> None:
    response = ask(sender(path, *headers, status=status), "Range: bytes=0-9", f"If-None-Match: {ETAG}")
    assert (response.status, response.body) == (int(status[:3]), DATA)
    assert [field for field in response.fields if field[0].lower() in dict(headers)] == [
        field for field in headers if field[0].lower() in dict(headers)
    ]


def test_post_is_answered_with_all_of_it(path: Path) -> None:
    with vivace.background(sender(path, ("ETag", ETAG)), threads=1) as server:
        response = fetch(server, request("/", "Range: bytes=0-9", f"If-None-Match: {ETAG}", method="POST", body=b""))
    assert (response.status, response.body, response.field(WHOLE)) == (200, DATA, None)


def test_what_is_no_regular_file_is_sent_as_it_is() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [TYPE, ("ETag", ETAG)])
        return environ["wsgi.file_wrapper"](io.BytesIO(DATA))

    response = ask(app, "Range: bytes=0-9", f"If-None-Match: {ETAG}")
    assert (response.status, response.body, response.field(WHOLE)) == (200, DATA, None)


# On the way.


def test_others_follow_on_the_connection(path: Path) -> None:
    whole, part = request("/"), request("/", "Range: bytes=5-6")
    with vivace.background(sender(path), threads=4) as server, Client(server) as client:
        client.send(part + whole + part + request("/", "Range: bytes=0-0,-1") + part)
        bodies = [response.body for response in client.read_responses(5)]
    assert (bodies[0], bodies[1], bodies[2], bodies[4]) == (DATA[5:7], DATA, DATA[5:7], DATA[5:7])


def test_a_slow_client_costs_one_descriptor(tmp_path: Path) -> None:
    """However many parts it asks for; and the file may be closed meanwhile."""
    large = tmp_path / "large"
    large.write_bytes(DATA * 400)
    spread = ",".join(f"{place}-{place + 100_000}" for place in range(0, 40_000_000, 500_000))
    app = sender(large)
    with vivace.background(app, threads=1) as server:
        before = len(os.listdir("/proc/self/fd"))
        with Client(server, receive_bytes=65536) as client:
            client.send(request("/", f"Range: bytes={spread}")).wait()
            assert len(os.listdir("/proc/self/fd")) <= before + 4, "two of the connection, the file, and its copy"
            response = client.read_response()
    assert (response.status, response.whole) == (206, True)
    assert response.body.count(b"Content-Range") == 80
    assert app.opened[0].closed  # type: ignore[attr-defined]


def test_over_tls(path: Path) -> None:
    with vivace.background(sender(path), threads=1, tls_self_signed=True) as server:
        url = server.url.replace("http:", "https:")
        command = ["curl", "-sSk", "-r", "7-106", "-w", "%{http_code}", url]
        out = subprocess.run(command, check=True, capture_output=True).stdout
        assert out == DATA[7:107] + b"206"
        command[3] = "0-9,60000-60009"
        assert DATA[60000:60010] in subprocess.run(command, check=True, capture_output=True).stdout


# Frameworks.


@pytest.fixture
def flask_site(path: Path) -> Any:
    flask = pytest.importorskip("flask")
    app = flask.Flask("site")

    @app.get("/conditional")
    def conditional() -> Any:
        return flask.send_file(path)

    @app.get("/plain")
    def plain() -> Any:
        return flask.send_file(path, conditional=False)

    return app


def test_flask_does_it_itself_or_has_it_done(flask_site: Any) -> None:
    with vivace.background(flask_site, threads=1) as server:
        for target in ("/conditional", "/plain"):
            part = fetch(server, request(target, "Range: bytes=10-19"))
            assert (part.status, part.body, len(part.values("Accept-Ranges"))) == (206, DATA[10:20], 1)
            assert len(part.values("Content-Range")) == 1
            etag = part.field("ETag")
            assert fetch(server, request(target, f"If-None-Match: {etag}")).status == 304
            assert fetch(server, request(target, 'If-Range: "x"', "Range: bytes=10-19")).body == DATA
            assert fetch(server, request(target, f"Range: bytes={SIZE}-")).status == 416


DJANGO = """
import sys
import django
from django.conf import settings
from django.http import FileResponse
from django.urls import path

settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[
    "django.middleware.http.ConditionalGetMiddleware"])
django.setup()

def send(request):
    response = FileResponse(open(sys.argv[1], "rb"))
    response["ETag"] = '"v1"'
    return response

urlpatterns = [path("", send)]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
import vivace
from wire import fetch, request
with vivace.background(app, threads=1) as server:
    for fields in ((), ("Range: bytes=10-19",), ("Range: bytes=0-0,-1",), ('If-None-Match: "v1"',)):
        answer = fetch(server, request("/", *fields))
        print(answer.status, len(answer.body), answer.values("Content-Range"), answer.values("Accept-Ranges"))
"""


def test_django(path: Path, tmp_path: Path) -> None:
    """In a process of its own: Django is configured once in one."""
    pytest.importorskip("django")
    import sys

    (tmp_path / "site_of_files.py").write_text(DJANGO)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])}
    command = [sys.executable, str(tmp_path / "site_of_files.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    whole, part, parts, same = done.stdout.splitlines() or [done.stderr]
    assert whole == f"200 {SIZE} [] ['bytes']"
    assert part == f"206 10 ['bytes 10-19/{SIZE}'] ['bytes']"
    assert parts.startswith("206 ")
    assert same == "304 0 [] []"
