"""For development: watches the files of the application and says when one has changed.

`watchfiles` (the extra `reload`) hears of changes from the system; without it the files are looked at twice a second.
Watched are the Python files below the application's directory, those of every module that is imported from elsewhere
than the standard library and site-packages, and what `reload_extra` names. Runs in a thread of the worker.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from importlib.util import cache_from_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

POLL_S = 0.5
HEARD_MS = 500
"""After so long without news the files are looked at, once: they may have changed before the system began to tell."""
SETTLE_S = 0.05
"""An editor that writes in several steps is given so long to finish."""

SKIPPED = ("__pycache__", "node_modules", "site-packages", "dist-packages", "venv", "env")
FILES_MAX = 20_000
"""More than this below the application's directory are not looked at by polling: install watchfiles."""

Stamp = tuple[int, int]


class Reloader(threading.Thread):
    """Calls `on_change(path)` once, at the first change, and ends."""

    def __init__(
        self, directory: str, extra: Iterable[str], on_change: Callable[[str], None], *, poll: bool = False
    ) -> None:
        """`poll`: even if watchfiles is installed."""
        super().__init__(name="vivace-reload", daemon=True)
        self._directory = directory
        self._extra = [os.path.abspath(path) for path in extra]
        self._on_change = on_change
        self._poll = poll
        self._before = self.stamps()

    def run(self) -> None:
        path = self._polled() if self._poll else self._heard()
        time.sleep(SETTLE_S)
        self._forget_bytecode()
        self._on_change(path)

    def _forget_bytecode(self) -> None:
        """Of what has changed. Python knows a stale file by the second and the size: a quick change may have both."""
        for path, stamp in self.stamps().items():
            if path.endswith(".py") and self._is_changed(path, stamp):
                with suppress(OSError, NotImplementedError):  # there may be none, of any file
                    os.unlink(cache_from_source(path))

    def _heard(self) -> str:
        try:
            import watchfiles
        except ImportError:
            return self._polled()
        files = set(self._before)
        folders = {os.path.dirname(path) for path in files} | {self._directory, *filter(os.path.isdir, self._extra)}
        roots = [folder for folder in folders if not any(_inside(folder, other) for other in folders - {folder})]
        wanted = tuple(path for path in self._extra if os.path.isdir(path))

        def counts(change: object, path: str) -> bool:
            skipped = set(path.split(os.sep)).intersection(SKIPPED) - set(self._directory.split(os.sep))
            ours = path in self._extra or any(_inside(path, folder) for folder in wanted)
            return ours or (path.endswith(".py") and not skipped)

        is_checked = False
        while True:
            for changes in watchfiles.watch(
                *roots,
                watch_filter=counts,
                debounce=50,
                rust_timeout=HEARD_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                if changes:
                    return str(min(path for _, path in changes))
                if not is_checked and (changed := self.changed()):
                    return changed
                is_checked = True

    def _polled(self) -> str:
        while not (path := self.changed()):
            time.sleep(POLL_S)
        return path

    def changed(self) -> str:
        """A file that is new, gone or another one than at the start; "" if there is none."""
        now = self.stamps()
        for path, stamp in now.items():
            if self._is_changed(path, stamp):
                return path
            self._before[path] = stamp
        return next((path for path in self._before if path not in now and not os.path.exists(path)), "")

    def _is_changed(self, path: str, stamp: Stamp) -> bool:
        """A file that was not watched before is a new one, unless it lies elsewhere and has been imported since."""
        return self._before.get(path, stamp if not _inside(path, self._directory) else None) != stamp

    def stamps(self) -> dict[str, Stamp]:
        """Every watched file with its time of change and size."""
        found: dict[str, Stamp] = {}
        for path in self.files():
            try:
                status = os.stat(path)
            except OSError:
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
        return found

    def files(self) -> Iterator[str]:
        """The paths to look at; some may not exist."""
        yield from _python_files(self._directory)
        for path in self._extra:
            if os.path.isdir(path):
                for folder, _, names in os.walk(path):
                    yield from (os.path.join(folder, name) for name in names)
            else:
                yield path
        library = os.path.dirname(os.__file__)
        ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None) or ""
            elsewhere = path.startswith((library, ours, "<")) or "site-packages" in path or "dist-packages" in path
            if path.endswith(".py") and not elsewhere:
                yield os.path.abspath(path)


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _python_files(directory: str) -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        for name in names:
            if name.endswith(".py"):
                count += 1
                if count > FILES_MAX:
                    return
                yield os.path.join(folder, name)
