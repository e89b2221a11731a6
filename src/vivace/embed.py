"""A server inside a Python program: `vivace.serve(app)` blocks, `vivace.background(app)` is for tests and notebooks.

Settings are given as keywords, by the names of the table (`docs/reference.md`): `serve(app, bind="0.0.0.0:80",
threads=16)`.
"""

from __future__ import annotations

import signal
import threading

from vivace.config.load import from_keywords
from vivace.worker.process import run
from vivace.worker.server import Server, open_listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    Application = Callable[..., Iterable[bytes]]


def serve(app: Application, **settings: Any) -> None:
    """Serves `app` until SIGINT (Ctrl-C) or SIGTERM, or, outside the main thread, for ever.

    Raises SettingError for settings that are wrong and addresses that cannot be had.
    """
    chosen = from_keywords(**settings)
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            run(chosen, app)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return
    Server(app, chosen, open_listeners(chosen, {})).run()


class background:  # noqa: N801 - used like a function
    """Serves `app` from a thread of its own while the `with` block runs; by default on a free port of 127.0.0.1.

    >>> with background(app) as server:
    ...     urllib.request.urlopen(server.url)
    """

    def __init__(self, app: Application, **settings: Any) -> None:
        """Listens, so that a connection made from now on is answered. Raises SettingError."""
        settings.setdefault("bind", "127.0.0.1:0")
        if "shutdown_timeout_s" not in settings:
            settings.setdefault("shutdown_timeout", 5)
        chosen = from_keywords(**settings)
        self.server = Server(app, chosen, open_listeners(chosen, {}))
        self._thread = threading.Thread(target=self.server.run, name="vivace-background", daemon=True)

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end; `unix:path` for a Unix socket."""
        return self.server.addresses[0]

    @property
    def host(self) -> str:
        return self.server.listeners[0].server_name

    @property
    def port(self) -> int:
        return int(self.server.listeners[0].server_port)

    def start(self) -> background:
        """Begins to serve; what `with` does."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops when the requests in flight are answered, and waits for that. Twice does no harm."""
        self.server.stop()
        if self._thread.ident is None:
            self.server.run()  # never started: it only closes what it listened at
        else:
            self._thread.join()

    __enter__ = start

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
