"""What stands at the admin address: a WSGI application over the recorder's snapshots.

Rules:

* GET and HEAD, and POST for the login alone. Nothing here changes anything of the server.
* Nothing is stored (Cache-Control), framed, or read by another site's pages: no CORS, and a Content-Security-Policy
  that allows this address's own files and nothing inline.
* /livez and /readyz say one word each and need no token: a probe has none.
* Query strings of requests are cut off before anything is written, unless `show_queries`.
"""

from __future__ import annotations

import json
import os
import re
import time
from urllib.parse import parse_qs

from vivace.admin.exposition import negotiate, render
from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.admin.access import Access
    from vivace.admin.recorder import Recorder

    Fields = list[tuple[str, str]]
    Answer = tuple[str, Fields, bytes]

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "files")

STATIC = {
    "/": ("dashboard.html", "text/html; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
    "/dashboard.js": ("dashboard.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/slow.js": ("slow.js", "text/javascript; charset=utf-8"),
    "/flame.js": ("flame.js", "text/javascript; charset=utf-8"),
    "/flame.css": ("flame.css", "text/css; charset=utf-8"),
    "/flames.js": ("flames.js", "text/javascript; charset=utf-8"),
    "/theme.js": ("theme.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
OPEN = ("/dashboard.css", "/theme.js", "/icon.svg", "/livez", "/readyz", "/login")
"""What needs no token: it tells nothing, or the login page is made of it."""

SAFE: Fields = [
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]

PROFILE_S_MAX = 3600

QUERY = re.compile(r"\?\S*")


class AdminApp:
    """The WSGI application."""

    def __init__(self, recorder: Recorder, access: Access, *, show_queries: bool) -> None:
        self._recorder = recorder
        self._access = access
        self._show_queries = show_queries
        self._files: dict[str, bytes] = {}
        self._pages: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "/metrics": self._metrics,
            "/snapshot.json": self._snapshot,
            "/history.json": self._history,
            "/in-flight": self._in_flight,
            "/slow.json": self._slow,
            "/profile.json": self._profile,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/login": self._login,
            "/logout": self._logout,
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        status, fields, body = self._answer(environ)
        start_response(status, [*SAFE, ("Content-Length", str(len(body))), *fields])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: dict[str, Any]) -> Answer:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if self._access.is_rebound(environ):
            return _plain("421 Misdirected Request", "This address answers to localhost, 127.0.0.1 and [::1] only.")
        if path not in self._pages and path not in STATIC:
            return _plain(
                "404 Not Found",
                "There is: / /metrics /snapshot.json /in-flight /slow.json /profile.json /livez /readyz",
            )
        if method not in ("GET", "HEAD") and not (method == "POST" and path == "/login"):
            return _plain("405 Method Not Allowed", "Nothing can be changed here.", ("Allow", "GET, HEAD"))
        if path not in OPEN and not self._access.admits(environ, time.time()):
            return self._ask_for_token(path)
        if path in STATIC:
            name, kind = STATIC[path]
            return "200 OK", [("Content-Type", kind)], self._file(name)
        return self._pages[path](environ)

    # Logging in.

    def _ask_for_token(self, path: str) -> Answer:
        if path == "/":
            return "303 See Other", [("Location", "/login"), ("Content-Type", "text/plain")], b""
        # RFC 9110 section 15.5.2: a 401 says how to do better.
        challenge = ("WWW-Authenticate", 'Bearer realm="vivace admin"')
        return _plain("401 Unauthorized", "Show the admin token: Authorization: Bearer TOKEN", challenge)

    def _login(self, environ: dict[str, Any]) -> Answer:
        if not self._access.needs_token:
            return "303 See Other", [("Location", "/"), ("Content-Type", "text/plain")], b""
        page = self._file("login.html")
        kind = ("Content-Type", "text/html; charset=utf-8")
        if environ["REQUEST_METHOD"] != "POST":
            return "200 OK", [kind], page
        form = parse_qs(environ["wsgi.input"].read().decode("utf-8", "replace"), max_num_fields=4)
        if not self._access.knows(form.get("token", [""])[0].strip(), environ):
            return "403 Forbidden", [kind], page.replace(b"<!--wrong-->", b"That is not the token.")
        cookie = ("Set-Cookie", self._access.new_cookie(time.time()))
        return "303 See Other", [("Location", "/"), cookie, ("Content-Type", "text/plain")], b""

    def _logout(self, environ: dict[str, Any]) -> Answer:
        cookie = ("Set-Cookie", self._access.no_cookie())
        return "303 See Other", [("Location", "/login"), cookie, ("Content-Type", "text/plain")], b""

    # Health of the whole server.

    def _livez(self, environ: dict[str, Any]) -> Answer:
        return _plain("200 OK", "ok")

    def _readyz(self, environ: dict[str, Any]) -> Answer:
        why = self._recorder.why_not_ready()
        return _plain("503 Service Unavailable", why) if why else _plain("200 OK", "ok")

    # Figures.

    def _metrics(self, environ: dict[str, Any]) -> Answer:
        form = negotiate(environ.get("HTTP_ACCEPT", ""))
        text = render(self._recorder.samples(), form)
        return "200 OK", [("Content-Type", form.content_type), ("Vary", "Accept")], text.encode()

    def _snapshot(self, environ: dict[str, Any]) -> Answer:
        return _json(self._shown(self._recorder.snapshot()))

    def _in_flight(self, environ: dict[str, Any]) -> Answer:
        """The requests in progress, longest first; as text for a terminal, as JSON for who accepts that."""
        rows = [
            {"worker": worker["place"], "pid": worker["pid"], **request}
            for worker in self._shown(self._recorder.snapshot()).get("workers", ())
            for request in worker["in_progress"]
        ]
        rows.sort(key=lambda row: -row["age_s"])
        if "json" in environ.get("HTTP_ACCEPT", ""):
            return _json(rows)
        lines = [f"{'age':>10}  {'worker':>6}  {'phase':<12} request"]
        lines += [f"{row['age_s']:>8.3f} s  {row['worker']:>6}  {row['phase']:<12} {row['request']}" for row in rows]
        return _plain("200 OK", "\n".join(lines))

    def _slow(self, environ: dict[str, Any]) -> Answer:
        """Slow requests, and those that run, each with what it did: the workers are asked."""
        return _json(self._shown(self._recorder.slow_requests()))

    def _profile(self, environ: dict[str, Any]) -> Answer:
        """Samples of the workers' last minutes, as flame graphs are made of."""
        last_s = parse_qs(environ["QUERY_STRING"], max_num_fields=8).get("last", ["60"])[-1]
        if not last_s.isdecimal() or not 0 < int(last_s) <= PROFILE_S_MAX:
            return _plain("400 Bad Request", f"profile.json?last=60: seconds, 1 to {PROFILE_S_MAX}")
        try:
            return _json(self._recorder.profile(float(last_s)))
        except SettingError as error:  # they cannot be asked now
            return _plain("503 Service Unavailable", str(error))

    def _history(self, environ: dict[str, Any]) -> Answer:
        """Points that are newer than `after`, of level `level`; slow requests and errors after `since`."""
        asked = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"], max_num_fields=8).items()}
        try:
            level, after, since = int(asked.get("level", 0)), int(asked.get("after", 0)), float(asked.get("since", 0))
            found = self._recorder.history(level, after, since)
        except (ValueError, IndexError):
            return _plain("400 Bad Request", "history.json?level=0&after=0&since=0: numbers; levels are 0, 1 and 2")
        return _json(self._shown(found | {"login": self._access.needs_token}))

    def _shown(self, found: dict[str, Any]) -> dict[str, Any]:
        """`found`, which is this request's own, without query strings."""
        if not self._show_queries:
            for row in (*found.get("slow", ()), *found.get("running", ()), *found.get("finished", ())):
                row["request"] = QUERY.sub("", row["request"])
            for worker in found.get("workers", ()):
                for request in worker["in_progress"]:
                    request["request"] = QUERY.sub("", request["request"])
        return found

    def _file(self, name: str) -> bytes:
        if name not in self._files:
            with open(os.path.join(FILES, name), "rb") as file:
                self._files[name] = file.read()
        return self._files[name]


def _plain(status: str, text: str, *fields: tuple[str, str]) -> Answer:
    return status, [("Content-Type", "text/plain; charset=utf-8"), *fields], f"{text}\n".encode()


def _json(value: Any) -> Answer:
    return "200 OK", [("Content-Type", "application/json")], json.dumps(value, separators=(",", ":")).encode()
