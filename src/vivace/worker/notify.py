"""What systemd is told of the service: the protocol of sd_notify(3), by one datagram a message.

Rules:

* Nothing here raises or waits for long: a service that nobody listens to serves all the same. Each method says whether
  the message went out.
* Whoever speaks to systemd keeps the address to itself: `take` removes it from the environment, so that neither the
  workers nor what the application starts can speak in the service's name. `variables` gives it back to a successor.
* systemd believes the main process only (NotifyAccess=main), so one process a service has a Notifier: the supervisor,
  or the server where there is none.

Descriptors are not handed over (FDSTORE): the sockets that outlive a restart are those of socket activation.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

SEND_TIMEOUT_S = 1.0
"""systemd reads its socket at once; where it does not for so long, it will not."""


class Notifier:
    """Speaks to the service manager that `environ` names, or to nobody."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.variables = {name: environ[name] for name in VARIABLES if name in environ}
        """What a process that takes this one's place has to find in its environment."""
        address = environ.get("NOTIFY_SOCKET", "")
        # A path or an abstract name; vsock: is for virtual machines as a whole.
        self._address = "\0" + address[1:] if address[:1] == "@" else address if address[:1] == "/" else ""
        self.watchdog_s = _watchdog_s(environ) if self._address else 0.0
        """The service is killed if it is silent for so long; 0: it is not. Half of it is a good interval."""

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Notifier:
        """A Notifier, and its variables are gone from `environ` (os.environ: for children, too)."""
        notifier = cls(environ)
        for name in notifier.variables:
            del environ[name]
        return notifier

    def ready(self, status: str = "") -> bool:
        """The service serves: after its start, and again after a reload. `status`: a line for `systemctl status`."""
        # A line end would begin another assignment.
        return self._send("READY=1", *(["STATUS=" + " ".join(status.split())] if status else []))

    def reloading(self) -> bool:
        """A reload has begun, which the next `ready` ends (Type=notify-reload wants the time of it)."""
        stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={stamp}")

    def stopping(self) -> bool:
        """The service has begun to stop."""
        return self._send("STOPPING=1")

    def watchdog(self) -> bool:
        """The service is alive; at least once in `watchdog_s`."""
        return self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> bool:
        if not self._address:
            return False
        import socket

        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(SEND_TIMEOUT_S)
                sock.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            return False
        return True


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """The interval of sd_watchdog_enabled(3), 0 where it is not meant for this process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if (pid and pid != str(os.getpid())) or not (usec.isascii() and usec.isdecimal()):
        return 0.0
    return int(usec) / 1e6
