"""What the loop calls for a server of this room: its application, and the methods that its classes override.

Rules:

* A method is called only if it is overridden. Where none is, a request pays for four assignments to its environ.
* The environ is that of the standard module: the process environment, `base_environ`, CONTENT_LENGTH and CONTENT_TYPE
  also without a body, REMOTE_HOST, GATEWAY_INTERFACE. Two differences are meant: nothing of the process environment
  gets in under the name of a field (HTTP_*), and repeated fields are joined by ", " (RFC 9110 section 5.3).
* What a method raises goes to `handle_error`, as there. What `service_actions`, `get_request`, `verify_request` and
  (without threads) `handle_error` raise ends `serve_forever`, as there.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING
from wsgiref import simple_server as standard
from wsgiref.util import guess_scheme

from vivace.simple_server.handler import Request, client_address, make_handler
from vivace.simple_server.request_log import RequestLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.connection.plan import Answer, Plan
    from vivace.simple_server.overrides import Found
    from vivace.wsgi.exchange import Exchange

HANDLER_KEY = "vivace.handler"
"""Where a request's handler waits in the environ for its log methods to be called."""

OWN_KEYS = ("REQUEST_URI", "RAW_URI", "REMOTE_PORT")
"""What vivace adds to the environ that an overridden `get_environ` returns, beside wsgi.*."""

FAILED = "500 Internal Server Error"
FAILED_BODY = b"Internal Server Error\n"

LOOKS_UP_HOST = "address_string" in standard.WSGIRequestHandler.get_environ.__code__.co_names
"""CPython up to 3.12: REMOTE_HOST is what `address_string` returns, where that is not the address."""


class Hooks:
    """The hooks of one run of the loop. `fail` is called with what is to end `serve_forever`."""

    def __init__(
        self, server: Any, found: Found, process_environ: dict[str, str], fail: Callable[[BaseException], None]
    ) -> None:
        self._server = server
        self._found = found
        self._fail = fail
        self._request_log = RequestLog()
        # Names that a request's own fields have may not stand in what every environ starts from.
        self._process_environ = {key: value for key, value in process_environ.items() if not _is_field(key)}
        base = dict(getattr(server, "base_environ", {}))
        self._base = {key: value for key, value in base.items() if not _is_field(key)}
        self._defaults = {key: value for key, value in base.items() if _is_field(key)}
        self._defaults.setdefault("CONTENT_TYPE", "text/plain")  # email.message's default, which get_environ gives

    def base(self, threads: int) -> dict[str, Any]:
        """What every environ starts from, beside wsgi.input and the like."""
        base = {**self._process_environ, **self._base}
        base["SERVER_SOFTWARE"] = getattr(self._server.RequestHandlerClass, "server_version", "")
        base["wsgi.url_scheme"] = guess_scheme(base)
        base["wsgi.multithread"] = threads > 1 or self._found.threading
        return base

    def adjust(self, plan: Plan, poll_interval: float | None) -> None:
        """Puts the hooks that are wanted into `plan`. Without `poll_interval`, `service_actions` is not."""
        found = self._found
        if not found.hooks.isdisjoint({"get_request", "verify_request"}):
            plan.accept = self.accept
        if found.logs_requests:
            plan.log = self.log if found.requests_by_handler else self._request_log.log
        if found.logs_refusals:
            plan.refused = self.refused if found.refusals_by_handler else self._request_log.refused
        if found.logs_requests and not found.requests_by_handler:
            plan.on_tick = self._request_log.flush
        if "service_actions" in found.hooks and poll_interval is not None:
            plan.on_tick = self.tick
            plan.idle_s = poll_interval

    def application(self) -> Callable[..., Iterable[bytes]]:
        """What the loop calls as the application."""
        found = self._found
        asked = {"get_environ", "get_stderr", "get_app"} | ({"address_string"} if LOOKS_UP_HOST else set())
        if (found.logs_requests and found.requests_by_handler) or not found.hooks.isdisjoint(asked):
            return self._run_by_handler
        server = self._server
        defaults = tuple(self._defaults.items())

        def run(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            for key, value in defaults:
                if key not in environ:
                    environ[key] = value
            if sys.stderr is not None:
                environ["wsgi.errors"] = sys.stderr  # the one of now: tests exchange it
            answer: Iterable[bytes] = server.application(environ, start_response)
            return answer

        return run

    def _run_by_handler(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The application, called with what the overridden methods make of the request."""
        try:
            added = frozenset(key for key in self._defaults if key not in environ)
            handler = make_handler(self._server, environ, added)
            if self._found.logs_requests and self._found.requests_by_handler:
                environ[HANDLER_KEY] = handler
            given = self._environ_of(handler, environ)
            given["wsgi.errors"] = handler.get_stderr()
            app = self._server.get_app()
        except Exception:
            self._handle_error(environ)
            start_response(FAILED, [("Content-Type", "text/plain; charset=utf-8")])
            return [FAILED_BODY]
        answer: Iterable[bytes] = app(given, start_response)
        return answer

    def _environ_of(self, handler: Any, environ: dict[str, Any]) -> dict[str, Any]:
        hooks = self._found.hooks
        if "get_environ" not in hooks:
            if (
                LOOKS_UP_HOST
                and "address_string" in hooks
                and (host := handler.address_string()) != environ["REMOTE_ADDR"]
            ):
                environ["REMOTE_HOST"] = host
            for key, value in self._defaults.items():
                environ.setdefault(key, value)
            return environ
        given: dict[str, Any] = {**self._process_environ, **handler.get_environ()}
        given.update((key, value) for key, value in environ.items() if key[:5] == "wsgi.")
        for key in OWN_KEYS:
            given.setdefault(key, environ.get(key, ""))
        given["wsgi.url_scheme"] = guess_scheme(given)
        return given

    # Called by the loop.

    def log(self, environ: dict[str, Any], exchange: Exchange | Answer, seconds: float) -> None:
        """After a response (see `Plan.log`)."""
        status = exchange.status
        handler = environ.pop(HANDLER_KEY, None)
        if status is None:
            return
        try:
            handler = handler or make_handler(self._server, environ)
            handler.log_request(status.split(" ", 1)[0], exchange.body_bytes)
        except Exception:
            self._handle_error(environ)

    def refused(self, environ: dict[str, Any], status: int, detail: str) -> None:
        """After a refusal (see `Plan.refused`): what `send_error` logs."""
        self._request_log.flush()
        try:
            handler = make_handler(self._server, environ)
            handler.log_error("code %d, message %s", status, detail)
            handler.log_request(status)
        except Exception:
            self._handle_error(environ)

    def accept(self, listening: socket.socket) -> tuple[int, Any]:
        """The next client that the server's own methods take (see `Plan.accept`)."""
        server = self._server
        request, address = self._guarded(server.get_request)
        if not self._guarded(lambda: bool(server.verify_request(request, address)), request):
            server.shutdown_request(request)
        elif type(request) is socket.socket:
            return request.detach(), address
        else:
            self._serve_classic(request, address)  # wrapped in TLS, for one: the loop knows descriptors alone
        raise BlockingIOError

    def _guarded(self, method: Callable[[], Any], request: Any = None) -> Any:
        try:
            return method()
        except Exception as error:
            if request is None and isinstance(error, OSError):
                raise  # nobody there, as in the standard module
            if request is not None:
                self._server.shutdown_request(request)
            self._fail(error)
            raise BlockingIOError from error

    def _serve_classic(self, request: Any, address: Any) -> None:
        server = self._server
        try:
            server.process_request(request, address)
        except Exception as error:
            try:
                server.handle_error(request, address)
            except Exception:
                self._fail(error)
            server.shutdown_request(request)

    def tick(self) -> None:
        """Once a tick, where `service_actions` is overridden."""
        self._request_log.flush()
        try:
            self._server.service_actions()
        except BaseException as error:
            self._fail(error)

    def _handle_error(self, environ: dict[str, Any]) -> None:
        """Calls `handle_error` about the exception that is being handled."""
        server = self._server
        address = client_address(server, environ)
        try:
            server.handle_error(Request(server.server_address, address), address)
        except Exception as error:
            if self._found.threading:
                sys.excepthook(*sys.exc_info())  # there it is the end of a thread, here not even that
            else:
                self._fail(error)


def _is_field(key: str) -> bool:
    """Whether a request's fields may have this name in the environ."""
    return key.startswith(("HTTP_", "CONTENT_"))
