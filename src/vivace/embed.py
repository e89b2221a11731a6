"""A server inside a Python program: `vivace.serve(app)` blocks, `vivace.background(app)` is for tests and notebooks.

Settings are given as keywords, by the names of the table (`docs/reference.md`): `serve(app, bind="0.0.0.0:80",
threads=16)`.
"""

from __future__ import annotations

import signal
import sys
import threading

from vivace.config.load import from_keywords
from vivace.errors import SettingError
from vivace.worker.process import prepare, run
from vivace.worker.server import Server, open_listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.worker.admin_address import AdminAddress
    from vivace.worker.log_file import Logs
    from vivace.worker.process import Companion

    Application = Callable[..., Iterable[bytes]]

IN_VAIN = {
    "app_dir": "set sys.path before you import it",
    "chdir": "call os.chdir() before you import it",
    "env": "set os.environ before you import it",
    "name": "this process is yours to name",
    "python_path": "set sys.path before you import it",
    "reload": "what a program has imported by itself is not loaded anew",
}
"""Settings of how the application is loaded. Here the caller has done that, and is told what to do instead."""


def serve(app: Application, **settings: Any) -> None:
    """Serves `app` until SIGINT (Ctrl-C) or SIGTERM, or, outside the main thread, for ever.

    In this process, unless `workers` are asked for: those are forked, and end where they are told to, not in the
    caller's code. Raises SettingError for settings that are wrong and addresses that cannot be had.
    """
    chosen = _chosen(settings)
    if chosen.origin("workers") != "default" and chosen.workers != "0":
        _supervise(app, chosen)
        return
    if threading.current_thread() is threading.main_thread():
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        before = {number: signal.getsignal(number) for number in numbers}
        try:
            run(chosen, lambda: (app, ""), beside=beside(chosen))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return
    companion = _companion(chosen)
    server = Server(app, chosen, open_listeners(chosen, {}))
    if companion is not None:
        companion.start()
    try:
        server.run()
    finally:
        if companion is not None:
            companion.stop()


def beside(settings: Settings) -> Callable[[AdminAddress, Logs], Companion] | None:
    """What makes the companion of a server in this process, a thread for the admin address; None: there is none."""
    if not settings.admin:
        return None
    from vivace.admin.thread import AdminThread

    return lambda address, logs: AdminThread(settings, address, logs)


def _companion(settings: Settings) -> Companion | None:
    """What shows the admin address, if there is one, open. Raises SettingError."""
    make = beside(settings)
    if make is None:
        return None
    from vivace.worker.admin_address import open_admin
    from vivace.worker.log_file import open_logs

    address = open_admin(settings, {})
    assert address is not None
    return make(address, open_logs(settings))


def _chosen(keywords: dict[str, Any]) -> Settings:
    """The settings that `keywords` give. Raises SettingError, also for those that can have no effect any more."""
    chosen = from_keywords(**keywords)
    vain = [
        f"{name}: has no effect, since the application is imported already: {why}; or serve it with the vivace command"
        for name, why in IN_VAIN.items()
        if chosen.origin(name) != "default" and getattr(chosen, name)
    ]
    if vain:
        raise SettingError(*vain)
    return chosen


def _supervise(app: Application, settings: Settings) -> None:
    from vivace.supervisor.process import Supervisor
    from vivace.worker.child import Assignment, work

    if threading.current_thread() is not threading.main_thread():
        raise SettingError("workers are forked from the main thread only; call serve there, or leave workers out")
    name = getattr(app, "__name__", type(app).__name__)
    outcome = Supervisor(settings, lambda chosen: (app, name), None, prepare(settings)).run()
    if isinstance(outcome, Assignment):
        raise SystemExit(work(outcome, lambda error: print(f"vivace: {error}", file=sys.stderr)))
    if not isinstance(outcome, int):
        raise SystemExit(outcome.run())
    if outcome:
        raise SystemExit(outcome)


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
        chosen = _chosen(settings)
        self._companion = _companion(chosen)
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
        if self._companion is not None:
            self._companion.start()
        return self

    def stop(self) -> None:
        """Stops when the requests in flight are answered, and waits for that. Twice does no harm."""
        if self._companion is not None:
            self._companion.stop()
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
