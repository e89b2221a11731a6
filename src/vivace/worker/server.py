"""A server in this process: settings and an application in, a running loop out.

The one place where the rooms meet: it opens the listeners and has the plan made that `connection` follows (`planning`).
What embeds a server (`vivace.serve`, `vivace.simple_server`, the command) goes through it.
"""

from __future__ import annotations

import gc
import os
import sys

from vivace.config.network import wants_tls
from vivace.connection.loop import Loop
from vivace.errors import SettingError
from vivace.net.listen import close_listener, open_listener, parse_address, systemd_listeners
from vivace.observe.collector import CollectorWatch
from vivace.observe.own import OwnPlace
from vivace.version import __version__
from vivace.worker.failures import recording
from vivace.worker.log_file import ErrorStream, Logs, open_logs
from vivace.worker.memory_topics import add_memory_topics
from vivace.worker.planning import annotate, make_plan
from vivace.worker.topics import Topics
from vivace.wsgi.files import FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.connection.plan import CachePlan, Plan
    from vivace.net.listen import Listener
    from vivace.observe.desk import Desk
    from vivace.observe.sampling import Profiler
    from vivace.worker.adapting import Adapting
    from vivace.worker.caching import Common
    from vivace.worker.console import Console
    from vivace.worker.tls import Tls

SOFTWARE = f"vivace/{__version__}"

SYSTEMD = "systemd:"


class Server:
    """Serves `app`. `run` blocks until `stop`, which any thread may call."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        settings: Settings,
        listeners: list[Listener],
        *,
        console: Console | None = None,
        logs: Logs | None = None,
        base: Mapping[str, Any] | None = None,
        adjust: Callable[[Plan], None] | None = None,
        tls: Tls | None = None,
        cache: Common | None = None,
    ) -> None:
        """`base` is added to every environ; `adjust` may change the plan before the loop is made from it. `tls`: made
        from `settings`, where they want it, if it is not given.

        Without `console` and `logs` it opens those that the settings name. Raises SettingError.
        """
        self.settings = settings
        self.listeners = listeners
        self.logs = logs or (Logs(console) if console is not None else open_logs(settings))
        self.console = self.logs.console
        self._gil = _gil_enabled()
        self._place: OwnPlace | None = None
        self._cache: CachePlan | None = None
        self._desk: Desk | None = None
        try:
            self.plan = plan = make_plan(app, settings, self.console, self.logs, gil=self._gil)
            if adjust is not None:
                adjust(plan)
            if plan.metrics and plan.section is None:
                self._place = OwnPlace.take()
                plan.section, plan.desk = self._place.section, self._place.desk
            self._desk = plan.desk
            if plan.metrics and plan.section is not None:
                plan.report = recording(plan.report, plan.section)
            if settings.cache:
                from vivace.worker.caching import make_cache

                plan.cache = self._cache = make_cache(settings, cache, self.console)
            tls = tls or make_tls(settings, self.console)
            self._tracer = annotate(plan, settings, self.console)
            self.loop = Loop(plan)
            Topics(self.loop, settings)
            self.profiler: Profiler | None = None
            if settings.profile:
                from vivace.worker.profiling import make_profiler

                self.profiler = make_profiler(self.loop)
            self._adapting = self._adapt()
        except (ValueError, SettingError) as error:
            for listener in listeners:
                close_listener(listener)
            self._give_back()
            raise (error if isinstance(error, SettingError) else SettingError(str(error))) from None
        for listener in listeners:
            if tls is not None:
                tls.label(listener)
            site = self.loop.add_listener(listener, base_environ(listener, plan, base, self.console))
            if tls is not None:
                tls.set_up(self.loop, listener, site, listeners)
            if settings.trusted_proxies or settings.root_path:
                from vivace.worker.proxies import arrange

                arrange(site, settings, self.console.warn)

    def _adapt(self) -> Adapting | None:
        """What lets settings follow what is measured, where that is wanted."""
        if not self.settings.adaptive:
            return None
        from vivace.worker.adapting import Adapting

        return Adapting(self.loop, self.settings, lambda text: self.console.say("info", text), gil=self._gil)

    @property
    def addresses(self) -> list[str]:
        """Where the server listens, as a person writes it, with the ports that were really bound."""
        return [listener.text for listener in self.listeners]

    def run(self) -> None:
        """Serves until `stop`. With threads = 1 the application runs on the calling thread, else on pooled ones."""
        interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
        collector = None
        if self.plan.metrics:
            timed = not self.plan.request_timeout_s
            collector = self.loop.collector = CollectorWatch(self.loop.section, timed=timed)
            collector.begin()
            add_memory_topics(self.loop, collector)
        if self.loop.pool is not None and self._gil and self.settings.switch_interval_s:
            sys.setswitchinterval(self.settings.switch_interval_s)
        if self._adapting is not None:
            self._adapting.begin()
        if self.settings.gc_threshold:
            gc.set_threshold(self.settings.gc_threshold, *thresholds[1:])
        self.logs.begin()
        try:
            if self._cache is not None:
                self._cache.levels.begin()
            if self._desk is not None:
                self._desk.open(self.plan.topics, self.loop.poller.wake)
            if self.profiler is not None:
                self.profiler.begin()
            self.loop.run()
        finally:
            if self.profiler is not None:
                self.profiler.end()
            sys.setswitchinterval(interval)
            if self.settings.gc_threshold:
                gc.set_threshold(*thresholds)
            if collector is not None:
                collector.end()
            self._give_back()
            if self.plan.on_tick is not None:
                self.plan.on_tick()
            if self._tracer is not None:
                self._tracer.flush()
            self.logs.finish()

    def _give_back(self) -> None:
        """It serves no more, or never will: what others can see of it goes."""
        if self._desk is not None:
            self._desk.close()
        if self._place is not None:
            self._place.leave()
        if self._cache is not None:
            from vivace.worker.caching import leave_cache

            leave_cache(self._cache)

    def stop(self, *, gently: bool = False, delay: bool = True) -> None:
        """Ends `run` when the requests in flight are answered. Any thread, or a signal handler. See Loop.stop."""
        self.loop.stop(gently=gently, delay=delay)

    def reopen_logs(self) -> None:
        """Opens the log files anew. Any thread, or a signal handler."""
        self.logs.reopen()


def make_tls(settings: Settings, console: Console) -> Tls | None:
    """What `settings` say of TLS; None: nothing. Raises SettingError."""
    if not wants_tls(settings):
        return None
    from vivace.worker.tls import Tls

    return Tls(settings, console)


def base_environ(
    listener: Listener, plan: Plan, extra: Mapping[str, Any] | None = None, console: Console | None = None
) -> dict[str, Any]:
    """What every environ of `listener` starts from (PEP 3333, "environ Variables").

    `wsgi.errors` goes where `console` writes to, or else it is stderr.
    """
    errors = ErrorStream(console) if console is not None and console.takes_errors else sys.stderr
    return {
        "SERVER_NAME": listener.server_name,
        "SERVER_PORT": listener.server_port,
        "SERVER_SOFTWARE": SOFTWARE,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": errors or open(os.devnull, "w"),
        "wsgi.multithread": plan.threads > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
        **(extra or {}),
    }


def open_listeners(
    settings: Settings,
    environ: Mapping[str, str],
    inherited: Mapping[str, Listener] | None = None,
    *,
    owner: str = "",
) -> list[Listener]:
    """The listeners that the settings name, or those that systemd handed over. Raises SettingError, all at once.

    `inherited`: those of the program before this one, by their `spec`; what is not wanted any more is closed.
    `owner` ("1000:1000") has the Unix sockets where `unix_owner` says nothing.
    """
    kept = dict(inherited or {})
    opened: list[Listener] = []
    if settings.origin("bind") == "default":
        opened = [kept.pop(spec) for spec in list(kept) if spec.startswith(SYSTEMD)]
        opened = opened or systemd_listeners(environ, backlog=settings.backlog)
        for number, listener in enumerate(opened):
            listener.spec = f"{SYSTEMD}{number}"
    wanted = [(text, False) for text in (() if opened else settings.bind)]
    problems: list[str] = []
    for text, redirects in wanted + [(text, True) for text in settings.https_redirect]:
        try:
            listener = (
                kept.pop(text)
                if text in kept
                else open_listener(
                    parse_address(text),
                    backlog=settings.backlog,
                    unix_mode=settings.unix_mode,
                    unix_owner=settings.unix_owner or owner,
                    reuse_port=settings.reuse_port and settings.workers != "0",
                )
            )
            listener.spec = text
            listener.redirects = redirects
            opened.append(listener)
        except SettingError as error:
            problems.extend(error.problems)
    for listener in opened if problems else kept.values():
        close_listener(listener)
    if problems:
        raise SettingError(*problems)
    return opened


def settle_memory() -> None:
    """Once the application is loaded: what it made lives as long as the process, so collections need not visit it."""
    gc.freeze()


def _gil_enabled() -> bool:
    enabled = getattr(sys, "_is_gil_enabled", None)
    return True if enabled is None else bool(enabled())
