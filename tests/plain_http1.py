"""Clean twins of `head.parse_head` and `response.ResponseHeads.encode`: the same rules in the plainest words, with no
cache and no care for speed. test_head.py and test_response.py compare them; the benchmarks show what the speed costs.
"""

from __future__ import annotations

import re
from typing import Any

from vivace.errors import Refused
from vivace.http1 import fields, framing, target
from vivace.http1.head import CLOSE, EXPECTS, PRIVATE, HeadLimits
from vivace.http1.target import HTTP10

SINGLE = {"host", "content-length", "transfer-encoding", "content-type", "authorization"}
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")


def parse_head(head: bytes, environ: dict[str, Any], limits: HeadLimits) -> tuple[int, int]:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    if len(first) > limits.request_line_bytes_max:
        raise Refused(414, "")
    if (
        len(lines) > limits.fields_max
        or len(head) > limits.head_bytes_max
        or any(len(line) > limits.field_bytes_max for line in lines)
    ):
        raise Refused(431, "")
    if CONTROL.search(head):
        raise Refused(400, "")
    target.kept.clear()
    keys, authority, flags = target.read_request_line(first.encode("latin-1"))
    found: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not fields.is_token(name):
            raise Refused(400, "")
        if "_" in name:
            if limits.underscores == "refuse":
                raise Refused(400, "")
            if name.replace("_", "-") in ("content-length", "content-type", "transfer-encoding"):
                if limits.underscores == "keep":
                    raise Refused(400, "")
                continue
            if limits.underscores == "drop":
                continue
        if fields.is_private(name):
            flags |= PRIVATE
        if name != "proxy":
            found.setdefault(name.replace("_", "-"), []).append(value.strip(" \t"))
    if any(len(values) > 1 and name in SINGLE for name, values in found.items()):
        raise Refused(400, "")
    joined = {name: ("; " if name == "cookie" else ", ").join(values) for name, values in found.items()}
    host = joined.get("host")
    if (host is None and not flags & HTTP10) or (host is not None and not target.is_authority(host)):
        raise Refused(400, "")
    if authority:
        joined["host"] = authority
    for name, value in joined.items():
        key = name.upper().replace("-", "_")
        environ[key if name in ("content-type", "content-length") else "HTTP_" + key] = value
    environ.update(keys)
    options = [option.strip(" \t") for option in joined.get("connection", "").lower().split(",")]
    if "close" in options or (flags & HTTP10 and "keep-alive" not in options):
        flags |= CLOSE
    length = framing.body_length(joined.get("content-length"), joined.get("transfer-encoding"), bool(flags & HTTP10))
    if not flags & HTTP10 and framing.expects_continue(joined.get("expect", "")) and length:
        flags |= EXPECTS
    return length, flags
