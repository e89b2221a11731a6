"""A listener without TLS whose every request is sent on to https: 308, and the connection closes.

A filter that never lets HTTP through: the loop answers by itself, also when every thread is busy, and no application
is asked. The same host, with the port of TLS in place of its own, and the same target (RFC 9110 section 15.4.9: the
method and the body stay what they are).
"""

from __future__ import annotations

from vivace.connection.plan import Answer
from vivace.errors import Refused
from vivace.http1.head import HeadLimits, incomplete_head, parse_head
from vivace.http1.status import moved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.connection.connection import Connection
    from vivace.connection.loop import Loop
    from vivace.connection.site import Site

HTTPS_PORT = "443"
STATUS = "308 Permanent Redirect"


class RedirectFilter:
    """One connection, one request, one answer."""

    __slots__ = ("_conn", "_head", "_limits", "_loop", "_port", "_scanned")

    def __init__(self, loop: Loop, conn: Connection, limits: HeadLimits, port: str) -> None:
        self._loop = loop
        self._conn = conn
        self._limits = limits
        self._port = port
        self._head = bytearray()
        self._scanned = 0

    def receive(self, data: bytes) -> bytes:
        """Never anything for HTTP. Raises Refused. Leader."""
        head = self._head
        head += data
        if head.startswith(b"\r\n"):  # RFC 9112 section 2.2: one empty line before the request line is forgiven
            del head[:2]
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            self._answer(bytes(head[: end + 4]))
        elif len(head) > self._scanned * 5 // 4:  # see reading: a head that comes in drops is not read at each of them
            incomplete_head(bytes(head), self._limits)
            self._scanned = len(head)
        return b""

    def _answer(self, head: bytes) -> None:
        loop, conn = self._loop, self._conn
        environ = conn.site.base.copy()
        environ["REMOTE_ADDR"] = conn.host
        environ["REMOTE_PORT"] = conn.port
        conn.environ = environ  # for the log, should it be refused
        parse_head(head, environ, self._limits)
        host = environ.get("HTTP_HOST")
        if not host:
            raise Refused(400, "without a Host field nobody knows where this should go; use https://")
        conn.environ = None
        fields = loop.date
        if loop.plan.annotator is not None:
            fields += loop.plan.annotator.refused(environ, conn.host)
        if loop.log is not None:
            loop.log(environ, Answer(STATUS), 0.0)
        conn.close_reason = "redirected"
        location = location_of(host, environ["REQUEST_URI"], self._port)
        loop.finish(conn, moved(STATUS, location, fields), False, leading=False)


def location_of(host: str, target: str, port: str) -> str:
    """The https URL for `target` at `host`, which is a valid Host field: its port is replaced by `port`."""
    end = host.rfind(":")
    if end > host.rfind("]"):
        host = host[:end]
    shown = "" if port == HTTPS_PORT else f":{port}"
    return f"https://{host}{shown}{target if target != '*' else ''}"


def redirect(loop: Loop, site: Site, port: str) -> None:
    """Has `site` send everybody on to TLS at `port`. Before its first connection."""

    def make_filter(conn: Connection) -> RedirectFilter:
        return RedirectFilter(loop, conn, loop.plan.limits, port)

    site.make_filter = make_filter
    site.opening_timeout_s = loop.plan.head_timeout_s
