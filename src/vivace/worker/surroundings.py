"""The surroundings of the application: where the process stands, its variables and its name.

Rules: set once, before anything is opened, forked or imported for the application; workers inherit them. A reload does
not look at them again (`reloadable`).
"""

from __future__ import annotations

import os

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings


def prepare(settings: Settings) -> None:
    """Does what chdir, env and name say. Raises SettingError where the directory cannot be entered."""
    if settings.chdir:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            raise SettingError(f"chdir {settings.chdir!r}: {error.strerror}; name a directory to work in") from None
    for pair in settings.env:
        name, _, value = pair.partition("=")
        os.environ[name] = value
    if settings.name:
        _call(settings.name)


def _call(name: str) -> None:
    """What top shows: the name of this thread, which those that it starts or forks get, too (proc(5), comm)."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(name)
    except OSError:
        pass  # another system, or a /proc that may not be written: the name is a convenience
