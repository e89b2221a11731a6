"""CPython's own `test_wsgiref`, of the Python that runs this, against `vivace.simple_server`.

It runs twice, each time in a process of its own where `wsgiref.simple_server` is vivace's module:

* `classic`: as it is. Its handlers override `setup`, so vivace leaves them to the standard library's code.
* `loop`: with its way to make a request exchanged for one that goes over a socket and through vivace's loop.

Every deviation stands in the table, as the text that is exchanged in the suite and why. Nothing else of it is changed,
and no test of it is left out.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SUITE = "test.test_wsgiref"

NAMED = "RFC 9110 section 10.2.4 advises against naming more than the product in the Server field"
VERSION = (
    "the server speaks HTTP/1.1, and says so (RFC 9110 section 2.5); the order of fields means nothing (section 5.3)"
)
CLOSES = "handle_request serves one request, and the response says that it is the last (RFC 9112 section 9.6)"
JOINED = "RFC 9110 section 5.3 joins repeated fields by a comma and a space"
WORDS = "vivace's words for the same thing"
TARGET = "a target is ASCII, and a request has an end (RFC 9112 sections 2.1 and 3.2): the rest is refused"

FIELDS = '"Connection: close\\r\\nServer: vivace\\r\\n"'
NO_STATUS = "ApplicationError: the status is not three digits, a space and a reason (PEP 3333): "
SERVER_13 = 'Server: WSGIServer/0.2 " + pyver +"\\r\\n"'
SERVER_4 = 'Server: WSGIServer/0.2 "+ pyver + b"\\r\\n"'
DATE = 'b"Date: Wed, 24 Dec 2008 13:29:32 GMT'
INDENT = "\n" + 12 * " "
DEEPER = "\n" + 16 * " "

DEVIATIONS: dict[str, list[tuple[str, str, int, str]]] = {
    "classic": [
        (f'"{SERVER_13}', '"Server: vivace\\r\\n"', 1, NAMED),
        (f'b"{SERVER_4}', 'b"Server: vivace\\r\\n"', 1, NAMED),
    ],
    "loop": [
        ("def run_amock(", "def run_without_a_socket(", 1, "requests come by a socket: run_through_the_loop"),
        # test_plain_hello, test_validated_hello
        (f'"HTTP/1.0 200 OK\\r\\n"{INDENT}"{SERVER_13}', '"HTTP/1.1 200 OK\\r\\n"', 1, VERSION),
        (' "Content-Length: 13\\r\\n" or "") +', f' "Content-Length: 13\\r\\n" or "") + {FIELDS} +', 1, CLOSES),
        # test_bytes_validation
        (f'b"HTTP/1.0 200 OK\\r\\n"{DEEPER}b"{SERVER_4}', 'b"HTTP/1.1 200 OK\\r\\n"', 1, VERSION),
        (f'{DATE}\\r\\n"{DEEPER}b"\\r\\n"', f'{DATE}\\r\\n" b{FIELDS} b"\\r\\n"', 1, CLOSES),
        # test_cp1252_url
        (r'data=b"GET /\x80%80 HTTP/1.0"', r'data=b"GET /%80%80 HTTP/1.0\n\n"', 1, TARGET),
        (f'b"HTTP/1.0 200 OK",{DEEPER}mock.ANY', 'b"HTTP/1.1 200 OK"', 1, VERSION),
        (f'{DATE}",{DEEPER}b""', f'{DATE}", b"Connection: close", b"Server: vivace", b""', 1, CLOSES),
        # test_environ
        ('b"Python test,Python test 2;', 'b"Python test, Python test 2;', 1, JOINED),
        # test_request_length
        ('b"HTTP/1.0 414 ', 'b"HTTP/1.1 414 ', 1, VERSION),
        # test_status_validation_errors
        ("'AssertionError: Status must be at least 4 characters'", f"\"{NO_STATUS}'200'\"", 1, WORDS),
        ("'AssertionError: Status message must begin w/3-digit code'", f"\"{NO_STATUS}'20X OK'\"", 1, WORDS),
        ("'AssertionError: Status message must have a space after code'", f"\"{NO_STATUS}'200OK'\"", 1, WORDS),
        # the three tests of an application that fails
        ('b"A server error occurred.  Please contact the administrator."', 'b"Internal Server Error\\n"', 3, WORDS),
    ],
}
"""By run: what the suite says, what it is made to say, how often it says so, and why."""

if sys.version_info < (3, 13):
    DEVIATIONS["loop"].append(("414 Request-URI Too Long", "414 URI Too Long", 1, "RFC 9110 section 15.5.15"))

LINE_END = "RFC 9112 section 2.2: a line ends in CRLF; LF alone is refused, since a proxy may read it otherwise"
"""The one deviation that is not an exchange of text: what the suite sends goes out with CRLF."""


def run_through_the_loop(app: object, data: bytes = b"GET / HTTP/1.0\n\n") -> tuple[bytes, str]:
    """What the suite's `run_amock` returns, by a socket: the response as bytes, and what came on stderr."""
    import socket

    from vivace.simple_server import make_server

    before = sys.stderr
    stderr = sys.stderr = io.StringIO()
    try:
        with make_server("127.0.0.1", 0, app) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            with socket.create_connection(server.server_address) as client:
                client.sendall(data.replace(b"\n", b"\r\n"))  # LINE_END
                client.shutdown(socket.SHUT_WR)
                answer = client.makefile("rb").read()
            thread.join()
    finally:
        sys.stderr = before
    return answer, stderr.getvalue()


def load(mode: str) -> ModuleType:
    """The suite, with the deviations of `mode`."""
    import wsgiref

    from vivace import simple_server

    sys.modules["wsgiref.simple_server"] = wsgiref.simple_server = simple_server  # type: ignore[attr-defined]
    spec = importlib.util.find_spec(SUITE)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        source = file.read()
    for old, new, times, _ in DEVIATIONS[mode]:
        assert source.count(old) == times, f"the suite of this Python says otherwise than {times} times: {old}"
        source = source.replace(old, new)
    module = importlib.util.module_from_spec(spec)
    sys.modules[SUITE] = module
    exec(compile(source, spec.origin, "exec"), vars(module))
    if mode == "loop":
        hello = module.hello_app
        module.run_amock = lambda app=hello, *data, **named: run_through_the_loop(app, *data, **named)
    return module


def main(mode: str) -> None:
    """Runs the suite; the result as JSON on stdout."""
    import unittest

    suite = unittest.defaultTestLoader.loadTestsFromModule(load(mode))
    result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
    bad = [f"{test}\n{text}" for test, text in result.failures + result.errors]
    skipped = [f"{test}: {why}" for test, why in result.skipped]
    print(json.dumps({"ran": result.testsRun, "bad": bad, "skipped": skipped}))


@pytest.mark.parametrize("mode", DEVIATIONS)
def test_the_suite_of_cpython(mode: str) -> None:
    """Skipped only where Python comes without its tests (Debian packs them apart), and never in CI."""
    if importlib.util.find_spec("test") is None or importlib.util.find_spec(SUITE) is None:
        assert not os.environ.get("CI"), f"this Python has no {SUITE}: install one that has, as pyenv's do"
        pytest.skip(f"this Python has no {SUITE}")
    command = [sys.executable, "-X", "dev", "-W", "error", __file__, mode]
    search = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bad"] == []
    assert result["skipped"] == []
    assert result["ran"] >= 35


if __name__ == "__main__":
    main(sys.argv[1])
