"""A server in this process: settings and an application in, a running loop out.

The one place where the rooms meet: it opens the listeners, makes the plan that `connection` follows, and resolves every
setting to a plain value. What embeds a server (`vivace.serve`, `vivace.simple_server`, the command) goes through it.
"""

from __future__ import annotations

import gc
import os
import sys

from vivace.connection.loop import Loop
from vivace.connection.plan import Plan
from vivace.errors import SettingError
from vivace.http1.head import HeadLimits
from vivace.http1.response import ResponseHeads
from vivace.net.listen import close_listener, open_listener, parse_address, systemd_listeners
from vivace.schedule.policy import Policy
from vivace.version import __version__
from vivace.worker.console import Console
from vivace.wsgi.files import FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.net.listen import Listener

SOFTWARE = f"vivace/{__version__}"

PLAIN = (
    "threads",
    "thread_idle_s",
    "tick_s",
    "queue_timeout_s",
    "poller",
    "connections_max",
    "body_bytes_max",
    "body_memory_bytes",
    "body_rate_bytes_min",
    "body_stream",
    "spill_dir",
    "response_buffer_bytes",
    "head_timeout_s",
    "body_timeout_s",
    "keepalive_timeout_s",
    "write_timeout_s",
    "shutdown_timeout_s",
)
"""Settings that the plan takes as they are."""


class Server:
    """Serves `app`. `run` blocks until `stop`, which any thread may call."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        settings: Settings,
        listeners: list[Listener],
        *,
        console: Console | None = None,
        base: Mapping[str, Any] | None = None,
        adjust: Callable[[Plan], None] | None = None,
    ) -> None:
        """`base` is added to every environ; `adjust` may change the plan before the loop is made from it."""
        self.settings = settings
        self.listeners = listeners
        self.console = console or Console(settings.log_level)
        self._gil = _gil_enabled()
        plan = make_plan(app, settings, self.console, gil=self._gil)
        if adjust is not None:
            adjust(plan)
        self.plan = plan
        try:
            self.loop = Loop(plan)
        except ValueError as error:
            for listener in listeners:
                close_listener(listener)
            raise SettingError(str(error)) from None
        for listener in listeners:
            self.loop.add_listener(listener, base_environ(listener, plan, base))

    @property
    def addresses(self) -> list[str]:
        """Where the server listens, as a person writes it, with the ports that were really bound."""
        return [listener.text for listener in self.listeners]

    def run(self) -> None:
        """Serves until `stop`. With threads = 1 the application runs on the calling thread, else on pooled ones."""
        interval = sys.getswitchinterval()
        if self.loop.pool is not None and self._gil and self.settings.switch_interval_s:
            sys.setswitchinterval(self.settings.switch_interval_s)
        try:
            self.loop.run()
        finally:
            sys.setswitchinterval(interval)
            if self.plan.on_tick is not None:
                self.plan.on_tick()

    def stop(self) -> None:
        """Ends `run` when the requests in flight are answered. Any thread, or a signal handler."""
        self.loop.stop()


def make_plan(app: Callable[..., Iterable[bytes]], settings: Settings, console: Console, *, gil: bool = True) -> Plan:
    """The plan that follows from `settings`."""
    plan = Plan()
    for name in PLAIN:
        setattr(plan, name, getattr(settings, name))
    plan.app = app
    plan.heads = ResponseHeads(settings.server_header)
    plan.limits = HeadLimits(
        settings.request_line_bytes_max,
        settings.head_bytes_max,
        settings.fields_max,
        settings.field_bytes_max,
        settings.underscores,
    )
    lanes = settings.lanes if settings.threads > 1 else "inline"
    plan.policy = Policy(tick_s=settings.tick_s, gil=gil, lanes=lanes, cores=cores())
    plan.report = console.report
    plan.on_error = console.on_error
    plan.on_disk_error = console.on_disk_error
    plan.warn = console.warn
    if settings.access_log:
        from vivace.worker.access_log import AccessLog

        access_log = AccessLog(_write_stdout, console.warn)
        plan.log = access_log.log
        plan.refused = access_log.refused
        plan.on_tick = access_log.flush
    return plan


def base_environ(listener: Listener, plan: Plan, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What every environ of `listener` starts from (PEP 3333, "environ Variables")."""
    return {
        "SERVER_NAME": listener.server_name,
        "SERVER_PORT": listener.server_port,
        "SERVER_SOFTWARE": SOFTWARE,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr or open(os.devnull, "w"),
        "wsgi.multithread": plan.threads > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        **(extra or {}),
    }


def open_listeners(settings: Settings, environ: Mapping[str, str]) -> list[Listener]:
    """The listeners that the settings name, or those that systemd handed over. Raises SettingError, all at once."""
    if settings.origin("bind") == "default":
        given = systemd_listeners(environ, backlog=settings.backlog)
        if given:
            return given
    opened: list[Listener] = []
    problems: list[str] = []
    for text in settings.bind:
        try:
            opened.append(
                open_listener(
                    parse_address(text),
                    backlog=settings.backlog,
                    unix_mode=settings.unix_mode,
                    unix_owner=settings.unix_owner,
                )
            )
        except SettingError as error:
            problems.extend(error.problems)
    if problems:
        for listener in opened:
            close_listener(listener)
        raise SettingError(*problems)
    return opened


def settle_memory() -> None:
    """Once the application is loaded: what it made lives as long as the process, so collections need not visit it."""
    gc.freeze()


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _gil_enabled() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return True if enabled is None else bool(enabled())


def _write_stdout(text: str) -> None:
    stream = sys.stdout
    if stream is not None:
        stream.write(text)
        stream.flush()
