"""The logs' ways out beside their files: a syslog for either, and Python's logging for both.

Imported only where a setting asks for one. Whatever fails here is said on stderr or in the log file, once, and once
more when it works again.
"""

from __future__ import annotations

from vivace.worker.access_log import Outlet
from vivace.worker.carrier import Carried, Carrier
from vivace.worker.console import as_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.config.settings import Settings
    from vivace.worker.console import Console
    from vivace.worker.log_file import Logs
    from vivace.worker.syslog import Syslog


def add_outlets(logs: Logs, settings: Settings) -> None:
    """Adds to `logs` what the settings name. Raises SettingError."""
    carrier = logs.carrier = Carrier()
    console = logs.console
    if settings.access_log_syslog:
        syslog = _open(settings, "access_log_syslog")
        logs.outlets.append(_access_to(syslog, carrier, console))
    if settings.syslog:
        console.others.append(Messages(_open(settings, "syslog"), carrier, console).put)
    if settings.python_logging or settings.log_config:
        from vivace.worker import python_logging

        if settings.log_config:
            python_logging.configure(settings.log_config)
        logs.outlets.append(Carried(Outlet(python_logging.write_access, console.warn), carrier))
        console.others.append(_records(python_logging.write_message, carrier))
        console.mute = console.file is None


def _open(settings: Settings, setting: str) -> Syslog:
    from vivace.worker.syslog import Syslog

    return Syslog(
        getattr(settings, setting),
        setting,
        form=settings.syslog_format,
        facility=settings.syslog_facility,
        tag=settings.syslog_tag,
    )


def _access_to(syslog: Syslog, carrier: Carrier, console: Console) -> Carried:
    def write(text: str) -> None:
        syslog.send(text, "info", "access")

    return Carried(Outlet(write, console.warn, f"sent to syslog {syslog.address}"), carrier)


def _records(write: Callable[[str, str, dict[str, str]], None], carrier: Carrier) -> Callable[..., object]:
    def put(level: str, message: str, facts: dict[str, str]) -> None:
        carrier.post(lambda: write(level, message, facts), len(message))

    return put


class Messages:
    """The messages' way to a syslog. One that fails is said where the messages go otherwise."""

    def __init__(self, syslog: Syslog, carrier: Carrier, console: Console) -> None:
        self._syslog = syslog
        self._carrier = carrier
        self._console = console
        self._lost = 0

    def put(self, level: str, message: str, facts: dict[str, str]) -> None:
        text = as_lines(message, facts)
        self._carrier.post(lambda: self._send(level, text), len(text))

    def _send(self, level: str, text: str) -> None:
        try:
            self._syslog.send(text, level, "error")
        except OSError as error:
            self._lost += 1
            if self._lost == 1:
                why = error.strerror or str(error)
                self._console.alone("error", f"syslog {self._syslog.address}: {why}; messages are lost for it")
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._console.alone("warning", f"syslog {self._syslog.address} is there again; {lost} messages are lost")
