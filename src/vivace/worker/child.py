"""A worker under a supervisor: what runs in the forked process, from its first line to its exit code.

The supervisor and its worker talk over a socket, a line a message:

* worker to supervisor: `ready NAME`, `failed WHY` (it cannot start), `replace WHY` (it serves on until another one
  does), `reload WHY` (with the setting reload: a file has changed);
* supervisor to worker: `drain` (finish what there is; others serve on), `stop` (the same in haste: everybody stops),
  `reopen` (the log files).

Rules: if the socket ends, the supervisor is gone and the worker stops as for `stop`. SIGINT is ignored: at a terminal
it reaches the whole group, and the supervisor decides. SIGTERM drains.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import threading

from vivace.connection.sharing import Siblings
from vivace.errors import SettingError
from vivace.net.listen import twin
from vivace.observe.desk import Desk
from vivace.observe.layout import S_STATE, SERVING
from vivace.worker.server import Server, settle_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vivace.config.settings import Settings
    from vivace.connection.plan import Plan
    from vivace.observe.page import Page
    from vivace.worker.process import Ground

    Application = Callable[..., Iterable[bytes]]

EXIT_BOOT = 3
"""The application cannot be loaded, or the worker not be set up."""


class Assignment:
    """What the supervisor gives a worker when it forks it."""

    __slots__ = ("channel", "ground", "inboxes", "load", "number", "page", "section", "settings")

    def __init__(
        self,
        number: int,
        settings: Settings,
        load: Callable[[], tuple[Application, str]],
        ground: Ground,
        channel: socket.socket,
        page: Page,
        inboxes: list[tuple[socket.socket, socket.socket]],
    ) -> None:
        self.number = number
        self.settings = settings
        self.load = load
        self.ground = ground
        self.channel = channel
        self.page = page
        self.section = page.section(number)
        self.inboxes = inboxes


def work(task: Assignment, complain: Callable[[SettingError], None]) -> int:
    """Serves until told to stop; returns the exit code. In the forked process."""
    default_signals()
    # CPython leaves the parent's number there: who looks for a thread by the system's number would not find this one.
    setattr(threading.main_thread(), "_native_id", threading.get_native_id())  # noqa: B010
    faulthandler.enable()  # a fault in C code, or an abort, shows the stacks of all threads
    post = Post(task.channel)
    try:
        _pin(task)
        if task.settings.reuse_port:
            _take_sockets(task)
        task.ground.give_up_rights()
        app, name = _load(task, complain)
        worker = Worker(app, task, post)
    except SettingError as error:
        complain(error)
        post.say("failed " + " ".join(str(error).split()))
        return EXIT_BOOT
    worker.run(name)
    return 0


def _load(task: Assignment, complain: Callable[[SettingError], None]) -> tuple[Application, str]:
    try:
        return task.load()
    except SettingError as error:
        if not task.settings.reload:
            raise
        from vivace.worker.failed_app import failed_application

        complain(error)
        return failed_application(error), "(the problem, until it is mended)"


def default_signals() -> None:
    """What the supervisor set for itself is not for its children."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGWINCH):
        signal.signal(number, signal.SIG_IGN)


def _pin(task: Assignment) -> None:
    if task.settings.pin_workers and hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[task.number % len(usable)]})


def _take_sockets(task: Assignment) -> None:
    """A socket of this worker's own for each address that the supervisor has only bound."""
    for listener in task.ground.listeners:
        if listener.owned and not listener.text.startswith("unix:"):
            twin(listener, backlog=task.settings.backlog)
            listener.shared = False


class Post:
    """The worker's end of the socket."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        channel.setblocking(False)
        self._rest = b""

    def say(self, line: str) -> None:
        """One line to the supervisor; lost if that is gone."""
        try:
            self.channel.send(line.encode() + b"\n")
        except OSError:
            pass

    def hear(self) -> list[str]:
        """The lines that have come; ["gone"] where the supervisor is."""
        try:
            data = self.channel.recv(4096)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return ["gone"]
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in lines]


class Worker:
    """A server, and its conversation with the supervisor."""

    def __init__(self, app: Application, task: Assignment, post: Post) -> None:
        self._settings = task.settings
        self._post = post
        self._console = task.ground.logs.console
        self._section = task.section
        self._page, self._number = task.page, task.number
        self._siblings = Siblings(task.page, task.number, task.inboxes)
        self._listeners = task.ground.listeners
        self.server = Server(
            app,
            task.settings,
            task.ground.listeners,
            logs=task.ground.logs,
            tls=task.ground.tls,
            cache=task.ground.cache,
            base={"wsgi.multiprocess": task.settings.workers != "1"},
            adjust=self._adjust,
        )

    def _adjust(self, plan: Plan) -> None:
        plan.section = self._section
        plan.desk = Desk(self._page, self._number)
        plan.siblings = self._siblings
        plan.on_stuck = self.replace

    def run(self, name: str) -> None:
        """Serves the application called `name`; returns when everything is answered."""
        loop = self.server.loop
        loop.watch(self._post.channel.fileno(), self._on_mail)
        signal.signal(signal.SIGTERM, lambda number, frame: self._leave(gently=True))
        settle_memory()
        if self._settings.reload:
            from vivace.worker.reloader import Reloader

            Reloader(self._settings.app_dir, self._settings.reload_extra, self._on_change).start()
        self._section.words[S_STATE] = SERVING
        self._post.say(f"ready {name}")
        self.server.run()

    def _on_mail(self) -> None:
        for line in self._post.hear():
            if line == "drain":
                self._leave(gently=True)
            elif line == "reopen":
                self.server.reopen_logs()
            elif line in ("stop", "gone"):
                if line == "gone":
                    self.server.loop.unwatch(self._post.channel.fileno())
                    self._console.warn("the supervisor is gone: stopping")
                self._leave(gently=False)

    def _leave(self, *, gently: bool) -> None:
        """Stops when the requests in flight are answered. `gently`: others serve, so nobody is in a hurry."""
        # What waits to be accepted is taken along, though others could: the kernel may have told this process alone.
        for listener in self._listeners:
            listener.owned = True
        self.server.stop(gently=gently and not self._settings.reload, delay=not gently)

    def _on_change(self, path: str) -> None:
        shown = os.path.relpath(path, self._settings.app_dir)
        self._post.say(f"reload {path if shown.startswith('..') else shown} has changed")

    def replace(self, why: str) -> None:
        """Asks for a successor, and serves on until it serves."""
        self._post.say("replace " + why)
