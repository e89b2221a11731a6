"""Hands every request on to the server at ORIGIN (host:port), and its response back: what a gateway does."""

from __future__ import annotations

import http.client
import os

ORIGIN = os.environ["ORIGIN"]
OURS = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection", "host"}
KEPT_BACK = OURS | {"proxy-authenticate", "proxy-authorization"}


class Final(http.client.HTTPResponse):
    """The final response: interim ones cannot pass through WSGI."""

    def begin(self):
        while True:
            super().begin()
            if self.status >= 200:
                return
            self.headers = self.msg = None
            self.length, self.will_close = None, False


class Connection(http.client.HTTPConnection):
    response_class = Final


def app(environ, start_response):
    fields = {key[5:].replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}
    fields = {name: value for name, value in fields.items() if name.lower() not in OURS}
    if environ.get("CONTENT_TYPE"):
        fields["Content-Type"] = environ["CONTENT_TYPE"]
    origin = Connection(ORIGIN, timeout=30)
    try:
        body = environ["wsgi.input"].read() or None
        origin.request(environ["REQUEST_METHOD"], environ["REQUEST_URI"], body, fields)
        response = origin.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        start_response("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [f"{type(error).__name__}\n".encode()]
    finally:
        origin.close()
    named = {name.strip().lower() for name in response.headers.get("Connection", "").split(",")}
    pairs = [(name, value) for name, value in response.getheaders() if name.lower() not in KEPT_BACK | named]
    start_response(f"{response.status} {response.reason}", pairs)
    return [body]
