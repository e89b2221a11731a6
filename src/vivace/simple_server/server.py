"""`WSGIServer`: the standard module's class, with vivace's loop below `serve_forever` and `handle_request`.

Rules:

* Everything that a script may call or set is inherited. Overridden here is only what has to do with the loop: how it is
  run (`serve_forever`, `finish_request`), stopped (`shutdown`, `server_close`) and set up (`threads`, settings).
* Which path serves is looked at anew at each `serve_forever` and each connection of `handle_request`; see `overrides`.
"""

from __future__ import annotations

import selectors
import socket
import threading
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard

from vivace.simple_server import engine
from vivace.simple_server.handler import ServerHandler, WSGIRequestHandler
from vivace.simple_server.overrides import Look, Origins
from vivace.worker.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.simple_server.overrides import Found


class Life:
    """Whether a server serves, whether it is to stop, and what was found out about it."""

    __slots__ = ("closing", "ended", "engine", "found", "look", "settings", "stopping", "thread")

    def __init__(self) -> None:
        self.look: Look | None = None
        self.found: Found
        self.settings: tuple[tuple[Any, ...], Settings] | None = None
        self.engine: engine.Engine | None = None
        self.thread = 0
        """Identity of the thread that is in `serve_forever`."""
        self.stopping = False
        self.closing = False
        self.ended = threading.Event()


class WSGIServer(standard.WSGIServer):
    """Serves `application` at `server_address`. Subclass it as the standard one; see docs/simple_server.md.

    `threads`, as an attribute or a keyword, lets so many requests run at once: by default one, on the thread that
    called `serve_forever`, or 64 where `socketserver.ThreadingMixIn` is mixed in.
    """

    request_queue_size = 2048  # socketserver's 5 lets the kernel drop connections that come together
    threads: int | None = None
    vivace_settings: Mapping[str, Any] = {}
    """Other settings of vivace, by the names of docs/reference.md: on threads, limits, bodies and time limits."""

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Any,  # noqa: N803 - the standard name, which may be given as a keyword
        bind_and_activate: bool = True,
        **settings: Any,
    ) -> None:
        """As the standard constructor; `settings` are added to `vivace_settings`. Raises SettingError."""
        if settings:
            self.vivace_settings = {**self.vivace_settings, **engine.checked(settings)}
        super().__init__(server_address, RequestHandlerClass, bind_and_activate)

    @property
    def _life(self) -> Life:
        # Not made by the constructor: a subclass may have one that does not call this one.
        life: Life = self.__dict__.setdefault("_vivace_life", Life())
        return life

    def why_classic(self) -> list[str]:
        """Why the standard library's own code serves this server; nothing where vivace's loop does."""
        return self._look().reasons

    def _look(self) -> Found:
        life = self._life
        look = Look(self, _server_handler())
        if not look.same_as(life.look):
            life.found = look.found(ORIGINS)
            life.look = look
        return life.found

    def _settings(self, found: Found, *, alone: bool = False) -> Settings:
        life = self._life
        key = engine.settings_key(self, found, alone=alone)
        if life.settings is None or life.settings[0] != key:
            life.settings = (key, engine.settings_from(key))
        return life.settings[1]

    # Serving.

    def serve_forever(self, poll_interval: float | None = 0.5) -> None:
        """Serves until `shutdown()`, or until something is raised: KeyboardInterrupt comes out of here.

        `poll_interval` is how often `service_actions` is called while there is nothing to do, where it is overridden.
        None: not at all.
        """
        life = self._life
        life.ended.clear()
        life.thread = threading.get_ident()
        try:
            if life.stopping:
                return
            found = self._look()
            if found.reasons:
                self._serve_classic(poll_interval, found)
                return
            idle_s = -1.0 if poll_interval is None else poll_interval
            life.engine = engine.Engine(self, found, self._settings(found), _server_handler(), idle_s)
            if life.stopping:
                life.engine.stop()
            life.engine.run()
        finally:
            life.engine = None
            life.thread = 0
            life.stopping = False
            life.ended.set()
            if life.closing:
                life.closing = False
                self.server_close()

    def _serve_classic(self, poll_interval: float | None, found: Found) -> None:
        """The standard library's blocking code, one connection after the other."""
        life = self._life
        if self.vivace_settings or isinstance(self.threads, int):
            Console().warn(f"settings of vivace have no effect, because {found.reasons[0]}: see docs/simple_server.md")
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while not life.stopping:
                if selector.select(poll_interval) and not life.stopping:
                    self._handle_request_noblock()  # type: ignore[attr-defined]
                self.service_actions()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """One request on a connection of its own, for `handle_request`."""
        found = self._look() if type(request) is socket.socket else None
        if found is None or found.reasons:
            super().finish_request(request, client_address)
        else:
            one = engine.Engine(self, found, self._settings(found, alone=True), _server_handler(), None)
            one.run_one(request, client_address)

    # Stopping.

    def shutdown(self) -> None:
        """Ends `serve_forever`, and waits until it has: requests in flight are answered first.

        Called by the application itself (or by a signal handler) it does not wait, which could never end.
        """
        life = self._life
        life.stopping = True
        running = life.engine
        if running is not None:
            running.stop()
        if life.thread == threading.get_ident() or (running is not None and running.is_below()):
            return
        life.ended.wait()

    def server_close(self) -> None:
        """Closes the listening socket. While the loop serves at it, the loop is ended first."""
        life = self._life
        running = life.engine
        if running is not None:
            running.stop()
            if running.is_below():
                life.closing = True
                return
            life.ended.wait()
        super().server_close()


def _server_handler() -> Any:
    import vivace.simple_server as simple_server  # looked up at each call: a script may have put another one there

    return simple_server.ServerHandler


ORIGINS = Origins(WSGIServer, WSGIRequestHandler, ServerHandler)
