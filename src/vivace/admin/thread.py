"""The admin address of a server that has no supervisor: a thread with a loop of its own, in the server's process.

It takes its share of the GIL: some milliseconds a second while somebody looks. With workers it costs them nothing.
"""

from __future__ import annotations

import threading

from vivace.admin.server import make_server
from vivace.observe import own
from vivace.worker.process import Companion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings
    from vivace.worker.admin_address import AdminAddress
    from vivace.worker.log_file import Logs


class AdminThread(Companion):
    """Shows from `start` until `stop`."""

    def __init__(self, settings: Settings, address: AdminAddress, logs: Logs) -> None:
        """Raises SettingError."""
        self._server = make_server(settings, address, own.current, logs)
        self._thread = threading.Thread(target=self._server.run, name="vivace-admin", daemon=True)

    @property
    def url(self) -> str:
        """Where it shows."""
        return self._server.addresses[0]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends, closes the address, and waits for that. Twice does no harm."""
        self._server.stop()
        if self._thread.ident is None:
            self._server.run()  # never started: it only closes what it listened at
        else:
            self._thread.join()
