"""A site: one listener, as its connections and its requests see it."""

from __future__ import annotations

from vivace.connection.connection import Connection
from vivace.http1.blocks import Blocks
from vivace.wsgi.body import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Site:
    """One listener, as its connections and its requests see it."""

    __slots__ = (
        "adapt",
        "base",
        "blocks",
        "body_memo",
        "for_client",
        "make_connection",
        "make_filter",
        "memo",
        "name",
        "opening_timeout_s",
        "response_buffer_bytes",
        "secure",
        "seen",
        "step_aside",
        "write_timeout_s",
    )

    def __init__(
        self,
        base: dict[str, Any],
        *,
        response_buffer_bytes: int,
        write_timeout_s: float,
        step_aside: Callable[[Connection], None],
    ) -> None:
        self.base = {**base, "wsgi.input": EMPTY, "REMOTE_ADDR": "", "REMOTE_PORT": "", "vivace.route": None}
        """What every request's environ starts from; a copy has the room for the client's address."""
        self.memo: dict[bytes, tuple[dict[str, Any], int, Any]] = {}
        """Whole heads without a body -> (environ, flags, route)."""
        self.body_memo: dict[bytes, tuple[dict[str, Any], int, Any]] = {}
        """The same for heads with a Content-Length: apart, because such a head alone is no whole request."""
        self.seen: set[int] = set()
        self.blocks = Blocks(self.base)
        """Heads that repeat but for a line or two."""
        self.response_buffer_bytes = response_buffer_bytes
        self.write_timeout_s = write_timeout_s
        self.step_aside = step_aside
        self.name = ""
        """Of the listener."""
        # What is not plain HTTP from the first byte on (`filters`).
        self.secure = False
        """Encrypted: what is read from the socket is never a request by itself."""
        self.make_connection: Callable[..., Connection] = Connection
        self.make_filter: Callable[[Connection], Any] | None = None
        self.opening_timeout_s = 0.0
        # Behind a proxy.
        self.adapt: Callable[[dict[str, Any]], int] | None = None
        """Changes a new environ before anything follows from it; returns flags to add. Raises Refused."""
        self.for_client: Callable[[str, bool], Site] | None = None
        """The site for a client's address, and whether it is known to have come to its proxy by TLS."""

    def copy(self) -> Site:
        """A site that differs in nothing yet, and remembers nothing."""
        copy = Site.__new__(Site)
        for name in Site.__slots__:
            setattr(copy, name, getattr(self, name))
        copy.base = self.base.copy()
        copy.memo = {}
        copy.body_memo = {}
        copy.seen = set()
        copy.blocks = Blocks(copy.base)
        return copy
