"""Why connections close: a closed list, each reason with its counter.

Every connection that closes increments exactly one counter, once.
"""

from __future__ import annotations

import threading

REASONS = {
    "client": "the client closed it between requests",
    "client_early": "the client closed it in the middle of a request",
    "client_gone": "the client closed or reset it before it had its whole response",
    "done": "the response was the last one (Connection: close, HTTP/1.0)",
    "refused": "a request broke HTTP or a limit and was refused",
    "overload": "a request waited past its queue deadline and was refused",
    "unread": "the application answered without reading the whole body that it asked to read itself",
    "aborted": "the application failed when the head was already out",
    "keepalive_timeout": "nothing came for keepalive_timeout_s",
    "head_timeout": "the head was not complete after head_timeout_s",
    "body_timeout": "the body came slower than body_timeout_s or body_rate_bytes_min allow",
    "write_timeout": "the client read nothing for write_timeout_s",
    "evicted": "idle, closed to make room for a new one (connections_max, descriptors)",
    "stopping": "the server stopped",
    "bug": "a fault of vivace itself, logged with its traceback",
}


class CloseCounts:
    """One counter a reason; `add` may be called by any thread."""

    __slots__ = ("_counts", "_guard")

    def __init__(self) -> None:
        self._counts = dict.fromkeys(REASONS, 0)
        self._guard = threading.Lock()

    def add(self, reason: str) -> None:
        with self._guard:
            self._counts[reason] += 1

    def snapshot(self) -> dict[str, int]:
        """Counts by reason, since the start."""
        return dict(self._counts)
