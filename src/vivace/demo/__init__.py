"""`vivace vivace.demo:app`: a page in the browser that shows what the server saw and lets a newcomer try it.

    /               the page
    /json           the request as JSON
    /sleep?ms=N     waits N ms: a route that blocks
    /cpu?ms=N       computes for N ms: a route that burns CPU
    /stream         ten lines, one at a time, length unknown
    /upload         POST or PUT: size and SHA-256 of what arrived, as a page or as JSON
    /download?mb=N  N megabytes

Rules: plain WSGI (PEP 3333), the standard library only, no module of vivace: it runs under any server. What
came from the client is escaped, and the page's own Content-Security-Policy allows nothing from outside. Each
amount is capped, for the page may be left open to the world by mistake. Nothing is kept between requests.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import os
import re
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Environ = dict[str, Any]
    StartResponse = Callable[..., Any]
    Fields = list[tuple[str, str]]
    # Status, content type, body, further fields. A body of bytes has a known length.
    Answer = tuple[str, str, bytes | Iterable[bytes], Fields]

SLEEP_MS_MAX = 10_000
CPU_MS_MAX = 2_000
DOWNLOAD_MB_MAX = 1_000
STREAM_LINES = 10
STREAM_PAUSE_S = 0.2
BLOCK_BYTES = 64 * 1024
PART_HEAD_BYTES_MAX = 16 * 1024

PLAIN = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json"


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The application. Off its routes it answers 404; to a method that a route does not take, 405."""
    method = environ["REQUEST_METHOD"]
    methods, route = ROUTES.get(environ.get("PATH_INFO", ""), ((), None))
    if route is None:
        answer = _error("404 Not Found", "There is nothing here; the demo's page is at /.")
    elif method not in methods:
        allow = ("Allow", ", ".join(methods))
        answer = _error("405 Method Not Allowed", f"This takes {allow[1]} only.", allow)
    else:
        answer = route(environ)
    status, kind, body, more = answer
    fields = [("Content-Type", kind), ("X-Content-Type-Options", "nosniff"), *more]
    if isinstance(body, bytes):
        fields.append(("Content-Length", str(len(body))))
        body = [body]
    start_response(status, fields)
    return [b""] if method == "HEAD" else body


# --- the routes -------------------------------------------------------------------------------------------


def page(environ: Environ) -> Answer:
    """The page itself."""
    return _page(environ, "")


def as_json(environ: Environ) -> Answer:
    """What the page shows of the request, as JSON."""
    parts = {"request": _request(environ), "fields": _fields(environ), "wsgi": _wsgi(environ)}
    return _json({name: dict(pairs) for name, pairs in parts.items()})


def sleep(environ: Environ) -> Answer:
    """Blocks without using the CPU."""
    ms = _amount(environ, "ms", 200, SLEEP_MS_MAX)
    time.sleep(ms / 1000)
    return "200 OK", PLAIN, f"slept {ms} ms\n".encode(), []


def cpu(environ: Environ) -> Answer:
    """Uses that much CPU time on this thread, however long it takes by the clock."""
    ms = _amount(environ, "ms", 50, CPU_MS_MAX)
    end_s = time.thread_time() + ms / 1000
    rounds = 0
    while time.thread_time() < end_s:
        sum(range(1000))
        rounds += 1
    return "200 OK", PLAIN, f"computed for {ms} ms: {rounds} rounds\n".encode(), []


def stream(environ: Environ) -> Answer:
    """Lines with a pause between, each of them to be sent before the next is asked for."""

    def lines() -> Iterator[bytes]:
        start_s = time.monotonic()
        for number in range(1, STREAM_LINES + 1):
            if number > 1:
                time.sleep(STREAM_PAUSE_S)
            after_ms = (time.monotonic() - start_s) * 1000
            yield f"line {number} of {STREAM_LINES}, after {after_ms:.0f} ms\n".encode()

    return "200 OK", PLAIN, lines(), [("Cache-Control", "no-store")]


def download(environ: Environ) -> Answer:
    """Zeros, made as they are sent; 1 MB is 1,000,000 bytes."""
    megabytes = _amount(environ, "mb", 50, DOWNLOAD_MB_MAX)
    length = megabytes * 1_000_000

    def blocks() -> Iterator[bytes]:
        block = bytes(4 * BLOCK_BYTES)
        for start in range(0, length, len(block)):
            yield block[: length - start]

    disposition = f'attachment; filename="vivace-{megabytes}MB.bin"'
    fields = [("Content-Length", str(length)), ("Content-Disposition", disposition)]
    return "200 OK", "application/octet-stream", blocks(), fields


def upload(environ: Environ) -> Answer:
    """Size and digest of the body, and of the file in a form's; as a page for a browser, else as JSON."""
    if environ["REQUEST_METHOD"] in GET:
        return _page(environ, "")  # the address of the answer, opened again
    found = _measure(_body(environ), _delimiter(environ))
    if "text/html" not in environ.get("HTTP_ACCEPT", ""):
        return _json(found)
    rows = _rows(found.items())
    return _page(environ, f'<section class="card notice"><h2>What arrived</h2><dl>{rows}</dl></section>')


GET = ("GET", "HEAD")
ROUTES: dict[str, tuple[tuple[str, ...], Callable[[Environ], Answer]]] = {
    "": (GET, page),
    "/": (GET, page),
    "/json": (GET, as_json),
    "/sleep": (GET, sleep),
    "/cpu": (GET, cpu),
    "/stream": (GET, stream),
    "/download": (GET, download),
    "/upload": ((*GET, "POST", "PUT"), upload),
}


# --- what arrived -----------------------------------------------------------------------------------------


def _amount(environ: Environ, name: str, default: int, most: int) -> int:
    """The whole number `name` of the query, at most `most`; `default` when it is missing or none."""
    for pair in environ.get("QUERY_STRING", "").split("&"):
        key, _, text = pair.partition("=")
        if key == name and text.isascii() and text.isdecimal():
            return min(int(text[:12]), most)
    return default


def _body(environ: Environ) -> Iterator[bytes]:
    """The request body in blocks: to its end where the server marks one, else Content-Length bytes."""
    source = environ["wsgi.input"]
    left = int(environ.get("CONTENT_LENGTH") or 0)
    ends = environ.get("wsgi.input_terminated", False)
    while ends or left > 0:
        block = source.read(BLOCK_BYTES if ends else min(BLOCK_BYTES, left))
        if not block:
            return
        left -= len(block)
        yield block


def _delimiter(environ: Environ) -> bytes:
    """What ends each part of a multipart form (RFC 2046 section 5.1.1), or b"" for any other body."""
    kind, _, parameters = environ.get("CONTENT_TYPE", "").partition(";")
    found = re.search(r'boundary="?([^";]{1,70})"?', parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        return b""
    return b"\r\n--" + found[1].strip().encode("latin-1", "replace")


def _measure(blocks: Iterable[bytes], delimiter: bytes) -> dict[str, Any]:
    """Size and SHA-256 of the body and, where `delimiter` says that it is a form, of the first file in it."""
    whole, part = hashlib.sha256(), hashlib.sha256()
    whole_bytes = part_bytes = 0
    name: str | None = None
    held = b""
    at = "head" if delimiter else "past"  # of the part: "head", "data", or "past" it
    for block in blocks:
        whole.update(block)
        whole_bytes += len(block)
        if at == "past":
            continue
        held += block
        if at == "head":
            head, end, rest = held.partition(b"\r\n\r\n")
            if not end:
                at = "head" if len(held) <= PART_HEAD_BYTES_MAX else "past"
                continue
            found = re.search(rb'filename="([^"\r\n]*)"', head)
            name = found[1].decode("utf-8", "replace") if found else ""
            at, held = "data", rest
        data, end, _ = held.partition(delimiter)
        if end:
            at, held = "past", b""
        else:
            # A block may end inside the delimiter: as many bytes as could be its beginning are held back.
            keep = len(delimiter) - 1
            data, held = held[:-keep], held[-keep:]
        part.update(data)
        part_bytes += len(data)
    result: dict[str, Any] = {"body bytes": whole_bytes, "body SHA-256": whole.hexdigest()}
    if name is not None:
        result |= {"file": name, "file bytes": part_bytes, "file SHA-256": part.hexdigest()}
    return result


def _request(environ: Environ) -> Fields:
    client, port = environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", "")
    return [
        ("method", environ["REQUEST_METHOD"]),
        ("path", _text(environ.get("PATH_INFO", ""))),
        ("query", environ.get("QUERY_STRING", "")),
        ("protocol", environ.get("SERVER_PROTOCOL", "")),
        ("scheme", environ["wsgi.url_scheme"]),
        ("client", f"{client}, port {port}" if port else client or "local"),
        ("thread", str(threading.get_native_id())),
        ("process", str(os.getpid())),
    ]


def _fields(environ: Environ) -> Fields:
    """The request's header fields, under their usual names."""
    found = [("Content-" + key[8:].title(), environ.get(key)) for key in ("CONTENT_TYPE", "CONTENT_LENGTH")]
    found += [(key[5:].replace("_", "-").title(), environ[key]) for key in environ if key[:5] == "HTTP_"]
    return sorted((name, str(value)) for name, value in found if value)


def _wsgi(environ: Environ) -> Fields:
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        ("server", environ.get("SERVER_SOFTWARE", "")),
        ("Python", f"{sys.implementation.name} {python}"),
        ("wsgi.multithread", str(bool(environ["wsgi.multithread"])).lower()),
        ("wsgi.multiprocess", str(bool(environ["wsgi.multiprocess"])).lower()),
    ]


def _text(value: str) -> str:
    """A WSGI string, bytes that pose as latin-1 (PEP 3333, "Unicode Issues"), as the text that it means."""
    return value.encode("latin-1", "replace").decode("utf-8", "replace")


# --- what is sent -----------------------------------------------------------------------------------------


def _json(content: dict[str, Any]) -> Answer:
    return "200 OK", JSON, (json.dumps(content, indent=2) + "\n").encode(), [("Cache-Control", "no-store")]


def _error(status: str, sentence: str, *fields: tuple[str, str]) -> Answer:
    return status, PLAIN, f"{status}\n{sentence}\n".encode(), list(fields)


def _rows(pairs: Iterable[tuple[str, Any]]) -> str:
    return "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(str(value))}</dd>" for key, value in pairs)


def _page(environ: Environ, notice: str) -> Answer:
    parts, policy = _template()
    host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
    filled = {
        "notice": notice,
        "request": _rows(_request(environ)),
        "fields": _rows(_fields(environ)),
        "wsgi": _rows(_wsgi(environ)),
        "origin": html.escape(f"{environ['wsgi.url_scheme']}://{host}"),
        "sleep_max": f"{SLEEP_MS_MAX:,}",
        "cpu_max": f"{CPU_MS_MAX:,}",
        "download_max": f"{DOWNLOAD_MB_MAX:,}",
    }
    # Text and names alternate, and each is taken once: no value is ever searched for names.
    text = "".join(filled[part] if index % 2 else part for index, part in enumerate(parts))
    fields = [("Content-Security-Policy", policy), ("Cache-Control", "no-store")]
    return "200 OK", HTML, text.encode("utf-8", "replace"), fields


@functools.cache
def _template() -> tuple[list[str], str]:
    """The page, cut at its {{names}}, and the policy (CSP 3) that allows its style and script by hash."""
    with open(os.path.join(os.path.dirname(__file__), "page.html"), encoding="utf-8") as file:
        text = file.read()
    hashes = []
    for tag in ("style", "script"):
        inside = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        hashes.append(f"{tag}-src 'sha256-{digest}'; ")
    policy = "".join(hashes) + (
        "default-src 'none'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    return re.split(r"\{\{(\w+)\}\}", text), policy
