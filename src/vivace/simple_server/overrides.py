"""What a subclass changes, and which of the two paths that leaves to it.

A server whose classes change nothing, or only what stands in the tables below, is served by vivace's loop. Whatever
else is changed (`handle`, `process_request`, `send_error` ...) was written against the standard library's blocking
code, so that code serves it: the classic path. Nothing is guessed: an unknown change means the classic path.

Rules:

* A member is changed where looking it up gives another object than when this module was imported. So a subclass, a
  mix-in, a replaced attribute of the class (`WSGIRequestHandler.log_message = ...`) and a method set on the server
  object are all seen.
* Looked at once for each `serve_forever()` or `handle_request()`, never for a request. What was found stands as long
  as no class has changed.
"""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FREE = "nothing"
REQUEST = "a call for each request"
CONNECTION = "a call for each connection"
OCCASION = "a call when there is reason to"

SERVER = {
    # when the server is made, or called by the script itself
    "server_bind": FREE,
    "server_activate": FREE,
    "setup_environ": FREE,
    "set_app": FREE,
    "serve_forever": FREE,
    "handle_request": FREE,
    "handle_timeout": FREE,
    "shutdown": FREE,
    "server_close": FREE,
    # values
    "address_family": FREE,
    "allow_reuse_address": FREE,
    "allow_reuse_port": FREE,
    "application": FREE,
    "block_on_close": FREE,
    "daemon_threads": FREE,
    "request_queue_size": FREE,
    "threads": FREE,
    "timeout": FREE,
    "vivace_settings": FREE,
    # while it serves
    "get_app": REQUEST,
    "get_request": CONNECTION,
    "verify_request": CONNECTION,
    "handle_error": OCCASION,
    "service_actions": OCCASION,
}
"""What a server class may change and still be served by the loop, and what that costs."""

HANDLER = {
    "disable_nagle_algorithm": FREE,
    "protocol_version": FREE,
    "rbufsize": FREE,
    "server_version": FREE,
    "sys_version": FREE,
    "timeout": FREE,
    "wbufsize": FREE,
    "date_time_string": FREE,
    "version_string": FREE,
    "weekdayname": FREE,
    "get_environ": REQUEST,
    "get_stderr": REQUEST,
    "address_string": REQUEST,
    "log_request": REQUEST,
    "log_message": REQUEST,
    "log_date_time_string": REQUEST,
    "monthname": REQUEST,
    "log_error": OCCASION,
}
"""The same for a handler class. A log method whose body is `pass` costs nothing."""

SERVER_HANDLER = {"server_software": FREE, "os_environ": FREE}
"""The same for `ServerHandler`."""

LINE = {"address_string", "log_date_time_string", "monthname"}
"""What the default log methods make a line of."""


def members(cls: type) -> dict[str, Any]:
    """Every attribute of `cls` by name, as it stands in the class that it comes from."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(vars(base))
    return found


class Origin:
    """What the members of a class were at first: what it, or a subclass, is compared with."""

    def __init__(self, *classes: type) -> None:
        """A member that is the one of any of `classes` is original; the first names the members."""
        self._members = [members(cls) for cls in classes]

    def changed(self, cls: type, mixin: type | None = None) -> dict[str, Any]:
        """The members of `cls` that are not the original ones; those of `mixin` count as original."""
        now = members(cls)
        mixed = {name: value for name, value in vars(mixin).items() if name[:2] != "__"} if mixin else {}
        return {
            name: now.get(name)
            for name in self._members[0].keys() | mixed.keys()
            if (name[:2] != "__" or name == "__init__")
            if not any(now.get(name) is origin.get(name) for origin in ([mixed] if name in mixed else self._members))
        }


class Origins:
    """The origins of the three classes that a script may subclass."""

    def __init__(self, server: type, handler: type, server_handler: type) -> None:
        self.server = Origin(server)
        self.handler = Origin(handler, standard.WSGIRequestHandler)
        self.server_handler = Origin(server_handler)


class Found:
    """What was found: why the classic path serves (nothing: the loop does), and what the loop has to call."""

    def __init__(self, reasons: list[str], changed: dict[str, Any], *, threading: bool) -> None:
        self.reasons = reasons
        self.threading = threading
        self.hooks = {name for name in changed if (SERVER.get(name) or HANDLER.get(name)) != FREE}
        self.requests_by_handler = not self.hooks.isdisjoint({"log_request", "log_message"} | LINE)
        """Whether the handler's own methods have to be called to log a request."""
        self.refusals_by_handler = self.requests_by_handler or "log_error" in self.hooks
        self.logs_requests = not ("log_request" in changed and is_silent(changed["log_request"]))
        self.logs_refusals = True
        if "log_message" in changed and is_silent(changed["log_message"]):
            self.logs_requests = self.logs_requests and "log_request" in changed
            self.logs_refusals = not self.hooks.isdisjoint({"log_request", "log_error"})


class Look:
    """The classes of a server, and what they change: good until one of them differs."""

    def __init__(self, server: Any, server_handler: type) -> None:
        handler = server.RequestHandlerClass
        classes = (type(server), handler, server_handler)
        self._bases = [base for cls in classes for base in getattr(cls, "__mro__", ())[:-1]]
        self._own = {name: value for name, value in vars(server).items() if callable(value)}
        self._socket = (type(server.socket), server.socket_type)
        self._handler = handler
        self._classes = (type(server), server_handler)

    def same_as(self, other: Look | None) -> bool:
        """Whether `other`, an earlier look that was `remembered`, saw the same."""
        if other is None or (self._bases, self._own, self._socket) != (other._bases, other._own, other._socket):
            return False
        return all(vars(base) == seen for base, seen in zip(self._bases, other._seen, strict=True))

    def found(self, origins: Origins) -> Found:
        """Compares with the origins, and remembers."""
        self._seen = [dict(vars(base)) for base in self._bases]
        (cls, server_handler), handler, (kind, kind_of_socket) = self._classes, self._handler, self._socket
        threading = mixes_in_threads(cls)
        changed = origins.server.changed(cls, ThreadingMixIn if threading else None)
        changed.pop("__init__", None)
        changed.update((name, self._own[name]) for name in self._own.keys() & members(cls).keys())
        reasons = _not_in(SERVER, changed, cls)
        if kind is not socket.socket:
            reasons.append(f"{cls.__name__}.socket is a {kind.__name__}")
        if kind_of_socket != socket.SOCK_STREAM:
            reasons.append(f"{cls.__name__}.socket_type is not SOCK_STREAM")
        if isinstance(server_handler, type):
            reasons += _not_in(SERVER_HANDLER, origins.server_handler.changed(server_handler), server_handler)
        else:
            reasons.append("ServerHandler is no class")
        if isinstance(handler, type) and issubclass(handler, standard.WSGIRequestHandler):
            of_handler = origins.handler.changed(handler)
            reasons += _not_in(HANDLER, of_handler, handler)
            changed |= of_handler
        else:
            reasons.append(f"{getattr(handler, '__name__', handler)} is no class derived from WSGIRequestHandler")
        return Found(reasons, changed, threading=threading)


def _not_in(table: dict[str, str], changed: Iterable[str], cls: type) -> list[str]:
    return [f"{cls.__name__} changes {name}" for name in sorted(changed) if name not in table]


def mixes_in_threads(cls: type) -> bool:
    """Whether `ThreadingMixIn` is mixed in where it counts, before the server class."""
    return members(cls).get("process_request") is vars(ThreadingMixIn)["process_request"]


def _nothing() -> None:
    pass


def _nothing_but_words() -> None:
    """A docstring takes a place among the constants, so the same body has other bytes."""


def is_silent(value: Any) -> bool:
    """Whether `value` is a function that does nothing: how a log is mostly switched off."""
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    if code is None or code.co_consts[-1:] != (None,):
        return False
    return any(
        code.co_code == silent.__code__.co_code and len(code.co_consts) == len(silent.__code__.co_consts)
        for silent in (_nothing, _nothing_but_words)
    )
