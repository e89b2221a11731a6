"""The process of the `vivace` command: logs, pidfile, listeners, rights, signals, start-up lines, and the exit code.

The order of the start is that of what each step may still do: what root alone may open is opened first, then the rights
are given up, then the application is imported.
"""

from __future__ import annotations

import os
import signal
import time

from vivace.errors import SettingError
from vivace.net.listen import close_listener
from vivace.worker.log_file import Logs, import_ahead, open_logs
from vivace.worker.server import SOFTWARE, Server, make_tls, open_listeners, settle_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FrameType

    from vivace.config.settings import Settings
    from vivace.connection.plan import Plan
    from vivace.net.listen import Listener
    from vivace.worker.admin_address import AdminAddress
    from vivace.worker.caching import Common
    from vivace.worker.console import Console
    from vivace.worker.notify import Notifier
    from vivace.worker.pidfile import Pidfile
    from vivace.worker.privileges import Identity
    from vivace.worker.tls import Tls

    Application = Callable[..., Iterable[bytes]]


def run(
    settings: Settings,
    load: Callable[[], tuple[Application, str]],
    beside: Callable[[AdminAddress, Logs], Companion] | None = None,
) -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code. Raises SettingError where it cannot start.

    `load` returns the application and its name or "", and is called once the process has the rights that it keeps.
    `beside` makes what shows the admin address meanwhile.
    """
    ground = prepare(settings)
    companion = None
    try:
        ground.give_up_rights()
        app, name = load()
        if ground.admin is not None and beside is not None:
            companion = beside(ground.admin, ground.logs)
            companion.start()
        serve(settings, app, name, ground)
    finally:
        if companion is not None:
            companion.stop()
        ground.leave()
    return 0


class Companion:
    """Something that runs on threads of its own while a server serves."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError


class Ground:
    """What a server stands on: its logs, its listeners, who it is to be, and whom it tells of its state."""

    __slots__ = ("admin", "cache", "identity", "listeners", "logs", "notifier", "pidfile", "tls")

    def __init__(self, logs: Logs, identity: Identity | None) -> None:
        self.logs = logs
        self.identity = identity
        self.admin: AdminAddress | None = None
        self.cache: Common | None = None
        self.listeners: list[Listener] = []
        self.notifier: Notifier | None = None
        self.pidfile: Pidfile | None = None
        self.tls: Tls | None = None

    def read_certificates(self, settings: Settings) -> None:
        """TLS as `settings` want it: the keys are read while this process may. Raises SettingError."""
        self.tls = tls = make_tls(settings, self.logs.console)
        if tls is not None:
            for listener in self.listeners:
                tls.label(listener)

    def adopt(self, settings: Settings) -> None:
        """What a reload takes of new settings, for the workers to come. Raises SettingError; then nothing is taken."""
        self.read_certificates(settings)
        import_ahead(settings)
        self.logs.console.adopt(settings.log_level, settings.log_format)

    def give_up_rights(self) -> None:
        """Keeps the rights that the settings leave, and no others. Raises SettingError."""
        if self.identity is not None:
            from vivace.worker import privileges

            privileges.become(self.identity)
            self.identity = None

    def leave(self) -> None:
        """The end: nobody listens any more."""
        for listener in self.listeners:
            close_listener(listener)
        if self.admin is not None:
            close_listener(self.admin.listener)
        if self.pidfile is not None:
            self.pidfile.remove()
        if self.cache is not None:
            self.cache.close()


def prepare(settings: Settings, inherited: Mapping[str, Listener] | None = None) -> Ground:
    """Opens what the settings name, while this process has the rights for it. Raises SettingError.

    `inherited`: listeners of the program before this one, in the same process.
    """
    from vivace.worker import privileges

    identity = privileges.find_identity(settings.user, settings.group)
    privileges.set_umask(settings.umask)
    ground = Ground(open_logs(settings), identity)
    try:
        ground.notifier = take_notifier()
        ground.pidfile = take_pidfile(settings.pidfile)
        owner = privileges.owner(identity)
        kept = dict(inherited or {})
        if settings.admin:
            from vivace.worker.admin_address import open_admin

            ground.admin = open_admin(settings, kept, owner=owner)
        ground.listeners = open_listeners(settings, os.environ, kept, owner=owner)
        ground.read_certificates(settings)
        if settings.cache:
            from vivace.worker.caching import Common

            ground.cache = Common(settings, ground.logs.console)
        raise_descriptor_limit(settings.connections_max, ground.logs.console)
        ground.logs.give(identity)
    except SettingError:
        ground.leave()
        raise
    return ground


def serve(settings: Settings, app: Application, name: str, ground: Ground) -> None:
    """Serves until a signal; in this process, on its main thread."""
    logs, listeners, notifier = ground.logs, ground.listeners, ground.notifier
    console = logs.console
    adjust = None if notifier is None else watched_by(notifier)
    server = Server(app, settings, listeners, logs=logs, adjust=adjust, tls=ground.tls, cache=ground.cache)
    stopping = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            console.warn(f"{signal.Signals(number).name} again: stopping without waiting")
            os._exit(128 + number)
        stopping = True
        server.stop()
        if notifier is not None:
            notifier.stopping()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # which ends the process; else somebody else listens to it
        signal.signal(signal.SIGUSR1, lambda number, frame: logs.reopen())
    settle_memory()
    what = f" {name}" if name else ""
    for address in server.addresses:
        console.info(f"{SOFTWARE} serves{what} on {address} (process {os.getpid()}, Ctrl-C stops it)")
    if notifier is not None:
        notifier.ready(f"serves{what} on {', '.join(server.addresses)}")
    server.run()
    console.info("stopped")


def take_notifier() -> Notifier | None:
    """Whom to tell of the service's state, None where nobody asked. Its variables are gone from os.environ."""
    if "NOTIFY_SOCKET" not in os.environ:
        return None
    from vivace.worker.notify import Notifier

    return Notifier.take(os.environ)


def take_pidfile(path: str) -> Pidfile | None:
    """The pidfile at `path`, written; None for "". Raises SettingError."""
    if not path:
        return None
    from vivace.worker.pidfile import Pidfile

    pidfile = Pidfile(path)
    pidfile.write(os.getpid())  # which holds it already, where the program was replaced
    return pidfile


def watched_by(notifier: Notifier) -> Callable[[Plan], None] | None:
    """What makes the loop tell systemd that it turns, if systemd wants to know: one that hangs falls silent."""
    if not notifier.watchdog_s:
        return None
    interval_s = notifier.watchdog_s / 2  # as sd_watchdog_enabled(3) advises
    due_s = 0.0

    def on_sweep() -> None:
        nonlocal due_s
        now = time.monotonic()
        if now >= due_s:
            due_s = now + interval_s
            notifier.watchdog()

    def adjust(plan: Plan) -> None:
        plan.on_sweep = on_sweep
        plan.idle_s = interval_s / 2

    return adjust


def raise_descriptor_limit(connections_max: int, console: Console) -> None:
    """Raises the soft limit of open files towards the hard one, as far as `connections_max` can need it."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + 256
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    best = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (best, hard))
    except (OSError, ValueError):
        best = soft
    if best < wanted:
        console.say("debug", f"open files are limited to {best}: fewer connections than connections_max can be open")
