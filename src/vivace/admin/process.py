"""The admin process under a supervisor: what runs in the forked child, from its first line to its exit code.

It has no part in serving: it reads the shared page, and /proc. So it costs the workers nothing, answers when all of
them are stuck, and may end at any time.

Rules: it has the rights of a worker and no others. If the supervisor's end of the socket closes, the supervisor is gone
and this process ends. SIGINT is ignored: at a terminal it reaches the whole group, and the supervisor decides.
"""

from __future__ import annotations

import faulthandler
import signal

from vivace.admin.server import make_server
from vivace.observe.threads import Sampler
from vivace.worker.child import Post, default_signals
from vivace.worker.server import settle_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from types import FrameType

    from vivace.config.settings import Settings
    from vivace.observe.page import Page
    from vivace.worker.admin_address import AdminAddress
    from vivace.worker.process import Ground


class Showing:
    """What the supervisor gives the admin process when it forks it."""

    __slots__ = ("_address", "_channel", "_ground", "_page", "_settings")

    def __init__(
        self, settings: Settings, ground: Ground, address: AdminAddress, page: Page, channel: socket.socket
    ) -> None:
        self._settings = settings
        self._ground = ground
        self._address = address
        self._page = page
        self._channel = channel

    def run(self) -> int:
        """Shows until told to end; returns the exit code. Raises SettingError where it may not become who it should."""
        default_signals()
        faulthandler.enable()
        self._ground.give_up_rights()
        page = self._page
        sampler = Sampler(page)
        server = make_server(self._settings, self._address, lambda: page, self._ground.logs, sampler)
        post = Post(self._channel)

        def on_mail() -> None:
            for line in post.hear():
                if line == "reopen":
                    self._ground.logs.reopen()
                elif line == "gone":
                    server.loop.unwatch(self._channel.fileno())
                    server.stop()

        def on_term(number: int, frame: FrameType | None) -> None:
            server.stop()

        server.loop.watch(self._channel.fileno(), on_mail)
        signal.signal(signal.SIGTERM, on_term)
        settle_memory()
        sampler.begin()
        try:
            server.run()
        finally:
            sampler.end()
        return 0
