"""A route that waits for a service of elsewhere; the manifest lets two of its requests run at once, or sixteen."""

from __future__ import annotations

from urllib.request import urlopen

import upstream

URL = upstream.start()


def app(environ, start_response):
    body = urlopen(f"{URL}/weather?ms=40").read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
