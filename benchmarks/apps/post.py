"""Reads the body of a POST: JSON is parsed and answered in JSON, anything else answered with its length.

`?digest` answers with the SHA-256 of the body instead: the check before the measuring.
"""

from __future__ import annotations

import hashlib
import json


def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if environ.get("QUERY_STRING") == "digest":
        answer = hashlib.sha256(body).hexdigest().encode()
    elif environ.get("CONTENT_TYPE") == "application/json":
        answer = json.dumps({"items": len(json.loads(body)["items"])}).encode()
    else:
        answer = b"%d" % len(body)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
