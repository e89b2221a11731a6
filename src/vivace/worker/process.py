"""The process of the `vivace` command: listeners, signals, the start-up lines, and the exit code."""

from __future__ import annotations

import os
import signal

from vivace.worker.console import Console
from vivace.worker.server import SOFTWARE, Server, open_listeners, settle_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from vivace.config.settings import Settings


def run(settings: Settings, app: Callable[..., Iterable[bytes]], name: str = "") -> int:
    """Serves `app` until SIGINT or SIGTERM; returns the exit code. Raises SettingError where it cannot listen."""
    console = Console(settings.log_level)
    listeners = open_listeners(settings, os.environ)
    raise_descriptor_limit(settings.connections_max, console)
    server = Server(app, settings, listeners, console=console)
    stopping = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            console.warn(f"{signal.Signals(number).name} again: stopping without waiting")
            os._exit(128 + number)
        stopping = True
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    settle_memory()
    what = f" {name}" if name else ""
    for address in server.addresses:
        console.info(f"{SOFTWARE} serves{what} on {address} (process {os.getpid()}, Ctrl-C stops it)")
    server.run()
    console.info("stopped")
    return 0


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
