"""Clean twins of `head.parse_head` and `response.ResponseHeads.encode`: the same rules in the plainest words, with no
cache and no care for speed. test_head.py and test_response.py compare them; the benchmarks show what the speed costs.
"""

from __future__ import annotations

import re
from typing import Any

from vivace.errors import ApplicationError, Refused
from vivace.http1 import fields, framing, response, target
from vivace.http1.flags import CLOSE, EXPECTS, HEAD, HTTP10, PRIVATE
from vivace.http1.framing import CHUNKED
from vivace.http1.head import HeadLimits

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
        if fields.is_private(name.replace("_", "-")):
            flags |= PRIVATE
        if "_" in name:
            if limits.underscores == "refuse":
                raise Refused(400, "")
            if name.replace("_", "-") in ("content-length", "content-type", "transfer-encoding"):
                if limits.underscores == "keep":
                    raise Refused(400, "")
                continue
            if limits.underscores == "drop":
                continue
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


HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "trailers", "transfer-encoding", "upgrade",
}  # fmt: skip


def encode(
    server: str, status: str, headers: list[tuple[str, str]], flags: int, length: int | None, date: bytes
) -> tuple[bytes, int, bool]:
    check(
        type(headers) is list
        and re.fullmatch(r"[2-5][0-9]{2} [^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*", status) is not None
    )
    code = int(status[:3])
    lines = [f"HTTP/1.1 {status}"]
    told = None
    for header in headers:
        check(isinstance(header, tuple) and len(header) == 2 and all(isinstance(text, str) for text in header))
        name, value = header
        check(fields.is_token(name) is not None and name.lower() not in HOP_BY_HOP)
        check(re.fullmatch(r"[^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*", value) is not None)
        if name.lower() == "content-length":
            check(told is None and re.fullmatch("[0-9]{1,18}", value) is not None)
            told = int(value)
        else:
            lines.append(f"{name}: " + value.strip(" \t"))
    keep_alive = not flags & CLOSE
    if code == 204:
        framing, told = response.NO_BODY, None
    elif code == 205:
        framing, told = response.NO_BODY, 0
    elif flags & HEAD or code == 304:
        framing = response.NO_BODY
        if told is None and code != 304 and length:
            told = length
    elif told is not None or length is not None:
        framing = told = length if told is None else told
    elif flags & HTTP10:
        framing, keep_alive = response.UNTIL_CLOSE, False
    else:
        framing = CHUNKED
        lines.append("Transfer-Encoding: chunked")
    if told is not None:
        lines.append(f"Content-Length: {told}")
    if not keep_alive:
        lines.append("Connection: close")
    elif flags & HTTP10:
        lines.append("Connection: keep-alive")
    names = {name.lower() for name, _ in headers}
    if server and "server" not in names:
        lines.append(f"Server: {server}")
    head = "".join(line + "\r\n" for line in lines).encode("latin-1")
    return head + (b"" if "date" in names else date) + b"\r\n", framing, keep_alive


def check(holds: bool) -> None:
    if not holds:
        raise ApplicationError
