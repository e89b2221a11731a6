"""The taxonomy of what can go wrong. Imports nothing; every other room may import it.

Four families, and one ladder (in `connection`) that maps them to an outcome:

* the peer's fault: `Refused`, a status and a close reason;
* the peer is gone: `PeerGone`, never logged as an error;
* the application's fault: `ApplicationError`, what it sent cannot be put on the wire
  (whatever the application itself raises stays what it is);
* the user's fault: `SettingError`, a sentence that says what was wrong, where, and what to do.

Beside them stands `RequestTimeout`, which vivace raises inside the application.
"""

from __future__ import annotations


class VivaceError(Exception):
    """Whatever vivace itself raises."""


class Refused(VivaceError):
    """The peer's message cannot be served: answer `status` and close the connection.

    `status` is an HTTP status code, `detail` one sentence for the client and the log. `detail`
    never repeats bytes of the message.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class PeerGone(VivaceError):
    """The peer closed or reset the connection, or stopped reading past its time limit."""


class ApplicationError(VivaceError):
    """The application broke PEP 3333 or HTTP: the message says which rule, and what it sent."""


class SettingError(VivaceError):
    """Settings, arguments or the application's name cannot be used; one line a problem."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class RequestTimeout(BaseException):
    """Raised in the thread of a request that took longer than `request_timeout`, wherever the application is.

    The request is answered by then. A BaseException, like KeyboardInterrupt and mod_wsgi's exception of the same name:
    frameworks turn every Exception into a page of their own, and would go on. `finally`, `with` and `close()` run as
    for any exception; who catches it to clean up raises it again.
    """

    def __init__(self, detail: str = "the request took longer than request_timeout allows") -> None:
        super().__init__(detail)
