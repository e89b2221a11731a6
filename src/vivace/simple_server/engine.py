"""Driving vivace's loop for a server of this room: for `serve_forever`, and for a single connection.

The listening socket stays the server's own: the loop borrows it, and gives it back as it was.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from vivace.config.load import from_keywords
from vivace.config.settings import names
from vivace.connection.accepting import peer_name
from vivace.connection.connection import HEAD, RUNNING, Connection
from vivace.connection.meter import clock
from vivace.connection.site import Site
from vivace.errors import SettingError
from vivace.http1.response import ResponseHeads
from vivace.net.listen import Listener, adopt
from vivace.net.poller import READ
from vivace.simple_server.hooks import Hooks
from vivace.worker.server import Server, base_environ

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from types import FrameType
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.connection.loop import Loop
    from vivace.connection.plan import Plan
    from vivace.simple_server.overrides import Found

SECTIONS = ("scheduler", "limits", "body", "timeouts")
"""Settings that a server of this room takes; the others are arguments, attributes or methods of its classes."""

SHUTDOWN_TIMEOUT_S = 5.0
"""How long `shutdown` lets requests finish. As `vivace.background`: its users are tests."""

TIMEOUTS = ("head_timeout_s", "body_timeout_s", "keepalive_timeout_s", "write_timeout_s")
"""What a handler class's `timeout` sets: in the standard module it is that of every read and write."""

THREADS = 64
"""With `ThreadingMixIn`, where nothing else is said: the setting's own default."""

FOREVER_S = 86400.0
"""One connection is ended by its own time limits."""


def checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """`keywords` as settings, by the names of the table. Raises SettingError."""
    known = names()
    misplaced = [name for name in keywords if name in known and known[name].section not in SECTIONS]
    if misplaced:
        raise SettingError(*(f"{name}: no setting of a simple_server; see docs/simple_server.md" for name in misplaced))
    from_keywords(**keywords)
    return {known[name].name: value for name, value in keywords.items()}


def settings_key(server: Any, found: Found, *, alone: bool) -> tuple[Any, ...]:
    """What the settings of `server` are made of."""
    waits = found.threading and not server.daemon_threads
    timeout = getattr(server.RequestHandlerClass, "timeout", None)
    return dict(server.vivace_settings), server.threads, found.threading, waits, timeout, alone


def settings_from(key: tuple[Any, ...]) -> Settings:
    """The settings of a server, for its socket or for one connection. Raises SettingError."""
    given, threads, threading, waits, timeout, alone = key
    chosen = checked(given)
    if isinstance(threads, int) and not isinstance(threads, bool):
        chosen.setdefault("threads", threads)
    chosen.setdefault("threads", THREADS if threading else 1)
    if not waits:  # threads that are no daemons are waited for, in the standard module as well
        chosen.setdefault("shutdown_timeout_s", SHUTDOWN_TIMEOUT_S)
    if timeout is not None:
        for name in TIMEOUTS:
            chosen.setdefault(name, max(0.1, float(timeout)))
    if alone:
        chosen.update(threads=1, shutdown_timeout_s=FOREVER_S)
    return from_keywords(**chosen)


class Engine:
    """One run of the loop for `server`. With `poll_interval` at its listening socket, else for one connection."""

    def __init__(
        self, server: Any, found: Found, settings: Settings, server_handler: Any, poll_interval: float | None
    ) -> None:
        self._server = server
        self._server_handler = server_handler
        self._poll_interval = poll_interval
        self._failure: BaseException | None = None
        self._hooks = Hooks(server, found, server_handler.os_environ, self.fail)
        self._timeout = server.socket.gettimeout()
        self._base = self._hooks.base(settings.threads)
        self._inner = Server(
            self._hooks.application(),
            settings,
            [] if poll_interval is None else [adopt(server.socket)],
            base=self._base,
            adjust=self._adjust,
        )
        self.loop: Loop = self._inner.loop

    def _adjust(self, plan: Plan) -> None:
        self._hooks.adjust(plan, self._poll_interval)
        plan.heads = ResponseHeads(self._server_handler.server_software or "")
        report = plan.on_error

        def on_error(error: BaseException) -> None:
            if comes_from_signal_handler(error):
                raise error
            report(error)

        plan.on_error = on_error

    def run(self) -> None:
        """Serves until `stop`; raises what interrupts it (KeyboardInterrupt), and what `fail` was called with."""
        try:
            self._inner.run()
        except BaseException:
            abandon(self.loop)
            raise
        finally:
            if self._poll_interval is not None and self._server.socket.fileno() >= 0:
                self._server.socket.settimeout(self._timeout)
        if self._failure is not None:
            raise self._failure

    def run_one(self, request: socket.socket, address: Any) -> None:
        """Answers one request on the connection `request`, on this thread, and closes it. Raises as `run`."""
        loop, plan, server = self.loop, self._inner.plan, self._server
        name, port = getattr(server, "server_name", ""), getattr(server, "server_port", "")
        listener = Listener(server.socket, "", name, str(port))
        site = Site(
            base_environ(listener, plan, self._base),
            response_buffer_bytes=plan.response_buffer_bytes,
            write_timeout_s=plan.write_timeout_s,
            step_aside=loop.step_aside,
        )
        if loop.limiter is not None:
            site.base.update(loop.limiter.base)
        request.setblocking(False)
        conn = Connection(request.detach(), *peer_name(address), site, clock() + plan.head_timeout_s)
        conn.state = HEAD  # its request is on the way: a stopping loop closes idle connections, but waits for this one
        conn.buffer = bytearray()
        loop.conns[conn.fd] = conn
        loop.set_mode(conn, READ)
        loop.stop()  # no more than one: its response says Connection: close
        self.run()

    def stop(self) -> None:
        """`run` returns when the requests in flight are answered. Any thread, or a signal handler."""
        self._inner.stop()

    def fail(self, error: BaseException) -> None:
        """`run` ends and raises `error`."""
        self._failure = self._failure or error
        self._inner.stop()

    def is_below(self) -> bool:
        """Whether the caller was called by the loop: an application, a hook, a signal handler."""
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_locals.get("self") is self.loop:
                return True
            frame = frame.f_back
        return False


def abandon(loop: Loop) -> None:
    """Ends a loop that an exception has left: requests on pooled threads are waited for, the rest is closed."""
    loop.stop()
    if loop.pool is not None:
        loop.monitor.watch()  # returns when the leader has ended
        loop.pool.end()
    loop.done = True
    if loop.limiter is not None:
        loop.limiter.close()
    loop.acceptor.close()
    for conn in list(loop.conns.values()):
        if loop.pool is None or conn.state != RUNNING:
            loop.close(conn, "stopping")
    loop.poller.close()


def comes_from_signal_handler(error: BaseException) -> bool:
    """Whether a signal handler raised `error`. The loop survives its own faults, but this is not one of them."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False
