"""Lines to a syslog: RFC 3164, as syslog(3) writes it, or RFC 5424; over a Unix socket or UDP, a datagram a line.

Rules:

* A syslog that is not there loses lines. It is looked for again with each batch, so it may come back at any time, or
  be another one: a restarted daemon has a new socket under the old name.
* A name is resolved once, at the start: nothing here waits for a name server while requests are served.
* A line of more than LINE_BYTES_MAX is cut.
"""

from __future__ import annotations

import os
import socket
import time

from vivace.config.logs import FACILITIES, read_syslog
from vivace.errors import SettingError
from vivace.http1.dates import MONTHS

LINE_BYTES_MAX = 8192
"""rsyslog's maxMessageSize; RFC 5424 section 6.1 asks receivers to take 2048."""

SEND_TIMEOUT_S = 0.5
"""How long a Unix socket may be full. UDP never is."""

SEVERITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""RFC 5424 section 6.2.1, table 2."""


class Syslog:
    """Sends lines. One thread at a time. Raises SettingError where the address's name cannot be resolved."""

    def __init__(self, address: str, setting: str, *, form: str, facility: str, tag: str) -> None:
        self.address = address
        self._facility = _number(facility) * 8
        self._tag = tag
        self._modern = form == "rfc5424"
        self._socket: socket.socket | None = None
        path, port = read_syslog(address)
        self._family: int = socket.AF_UNIX
        self._target: object = path
        self._host = ""
        if port:
            self._host = socket.gethostname()
            try:
                found = socket.getaddrinfo(path, port, type=socket.SOCK_DGRAM)[0]
            except OSError as error:
                raise SettingError(f"{setting} {address}: {error.strerror}; name a host that is known") from None
            self._family, self._target = found[0], found[4]

    def send(self, text: str, severity: str, what: str) -> None:
        """Each line of `text` as a message of `what`: access or error. Raises OSError; then some are lost."""
        head = self._head(self._facility + SEVERITIES[severity], what)
        for line in filter(None, text.split("\n")):
            self._send_line((head + line).encode("utf-8", "backslashreplace")[:LINE_BYTES_MAX])

    def _head(self, priority: int, what: str) -> str:
        now = time.time()
        if self._modern:  # RFC 5424 section 6: TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
            return f"<{priority}>1 {stamp} {self._host or '-'} {self._tag} {os.getpid()} {what} - "
        # RFC 3164 section 4.1.2: the day has two places. What comes by a Unix socket names no host.
        local = time.localtime(now)
        host = f"{self._host} " if self._host else ""
        stamp = f"{MONTHS[local.tm_mon - 1]} {local.tm_mday:2d} {time.strftime('%H:%M:%S', local)}"
        return f"<{priority}>{stamp} {host}{self._tag}[{os.getpid()}]: "

    def _send_line(self, line: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.send(line)
                return
            except TimeoutError:
                raise
            except OSError:  # of the one before: a daemon that was restarted, a refusal of the last datagram
                self.close()
        self._connect().send(line)

    def _connect(self) -> socket.socket:
        new = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            new.settimeout(SEND_TIMEOUT_S)
            new.connect(self._target)  # type: ignore[arg-type]
        except OSError:
            new.close()
            raise
        self._socket = new
        return new

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        self.close()


def _number(facility: str) -> int:
    """The local ones begin at 16."""
    index = FACILITIES.index(facility)
    return index + 4 if facility.startswith("local") else index
