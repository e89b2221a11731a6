"""The supervisor: one process that keeps the workers alive and never touches HTTP.

It listens (and never accepts), forks, hears signals and its workers' words, and does what `policy` says. It has one
thread, so that forking is safe, and imports nothing of the application unless `preload` asks for it.

Signals, as gunicorn has them: HUP reload; TERM and INT stop when the requests are answered, a second one at once;
QUIT stop at once; TTIN and TTOU one worker more or less; USR1 open the log files anew; USR2 replace the program.

Rules:

* `run` returns twice as fork(2) does: in the supervisor an exit code, in each child what it is to do. So a child leaves
  all of this behind and ends as any Python program does.
* A worker is told to go over its socket, and killed when its time is up.
* What is said of a worker is said once, by its process number.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from vivace.connection.sharing import make_inboxes
from vivace.errors import SettingError
from vivace.observe.layout import (
    H_FAILED,
    H_GENERATION,
    H_RELOADS,
    H_STATE,
    H_TARGET,
    H_WANTED,
    RELOADING,
    SERVING,
    STARTING,
    STOPPING,
)
from vivace.observe.page import Page
from vivace.supervisor import policy
from vivace.supervisor.crew import Child, Crew, Forked
from vivace.supervisor.obituary import cause
from vivace.supervisor.policy import Roster, Scaler
from vivace.supervisor.watch import Bounds, workers_wanted
from vivace.worker.server import SOFTWARE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.admin.process import Showing
    from vivace.config.settings import Settings
    from vivace.supervisor.upgrade import Inheritance
    from vivace.worker.child import Application, Assignment
    from vivace.worker.process import Ground

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGHUP", "SIGTERM", "SIGINT", "SIGQUIT", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2", "SIGCHLD")
)

HANDOVER = "_VIVACE_HANDOVER"
"""The variable in which one program leaves its state to the next (`upgrade`); no setting."""

PLACES_MIN = 16  # so many workers can be asked for while the server runs, or twice as many as at its start
SPARE_SECTIONS = 6
"""Places for workers that still drain when their successors have started."""

LOOK_S = 1.0  # how often the workers are looked at, where a setting needs it


class Supervisor(Crew):
    """Keeps the workers that `settings` ask for. `load` loads the application; `read_settings` reads them anew."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Settings], tuple[Application, str]],
        read_settings: Callable[[], Settings] | None,
        ground: Ground,
        inheritance: Inheritance | None = None,
    ) -> None:
        least, most = workers_wanted(settings.workers)
        page = inheritance.page if inheritance else Page.create(max(most * 2, PLACES_MIN) + SPARE_SECTIONS)
        inboxes = inheritance.inboxes if inheritance else make_inboxes(page.sections)
        super().__init__(settings, load, ground, page, Roster(least), inboxes)
        self._read_settings = read_settings
        self.scaler = Scaler(least, most)
        self._failed = 0  # the exit code, once it is known to be a failure
        self._next_look_s = 0.0
        self.notifier = ground.notifier
        self._watchdog_s = time.monotonic() if ground.notifier is not None and ground.notifier.watchdog_s else 0.0
        """When the service manager wants to hear of this process again; 0: it does not."""
        self._hears, self._shouts = self.private = [*socket.socketpair()]
        self._inherits = inheritance is not None
        if inheritance:
            inheritance.settle(self)

    # The life of the process.

    def run(self) -> Assignment | Showing | int:
        """Until the last worker has gone: the exit code. In a child: what it is to do."""
        for each in (self._hears, self._shouts):
            each.setblocking(False)
        signal.set_wakeup_fd(self._shouts.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, lambda *ignored: None) for number in SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self.poll.register(self._hears, select.POLLIN)
        for listener in self.listeners:
            listener.shared = True
        self._say_state(RELOADING if self._inherits else STARTING)
        self._say_generation()
        try:
            self.attend(time.monotonic())  # before the application is imported here, if it is: it needs none of that
            if self.settings.preload:
                self._preload()
            while True:
                self._advance()
                if self.stopping and not self.children:
                    break
                self._wait()
        except Forked as forked:
            return forked.task
        except SettingError:
            self._close()
            raise
        self._close()
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        if not self._failed:
            self.console.info("stopped")
        return self._failed

    def _preload(self) -> None:
        import gc

        try:
            self.ground.give_up_rights()  # the application's code runs here now
            self.preloaded = self._load(self.settings)
        except SettingError as error:
            if not self._inherits:
                raise
            self.roster.give_up()
            self.console.say("error", f"the application cannot be loaded; the old workers serve on: {error}")
        gc.freeze()  # so that no collection in a worker touches, and so copies, what they share

    def _close(self) -> None:
        self.attendant.end()
        self.ground.leave()
        for each in (*self.private, *(each for pair in self.inboxes for each in pair)):
            each.close()
        self.page.close()

    # One turn.

    def _advance(self) -> None:
        """Does what is to be done now."""
        now = time.monotonic()
        if self.notifier is not None and 0.0 < self._watchdog_s <= now:
            self._watchdog_s = now + self.notifier.watchdog_s / 2  # as sd_watchdog_enabled(3) advises
            self.notifier.watchdog()
        self.reap(now)
        self.attend(now)
        self.kill_late(now)
        if self.stopping:
            return
        while True:
            step = self.roster.next_step(now)
            if step.kind == "start":
                if not self.start(now):
                    break
            elif step.kind == "drain" and step.member is not None:
                self.retire(step.member.number, step.reason, now)
            else:
                break
        if self.roster.served and not self.roster.reloading:
            self._say_state(SERVING)

    def _wait(self) -> None:
        """Until a signal, a word from a worker, or the next deadline."""
        now = time.monotonic()
        dues = self.deadlines()
        if (put_off := self.roster.wait_s(now)) is not None:
            dues.append(now + put_off)
        if self._looks:
            dues.append(self._next_look_s)
        if self._watchdog_s:
            dues.append(self._watchdog_s)
        timeout = None if not dues else max(0.0, min(dues) - now) * 1000 + 1
        for fd, _ in self.poll.poll(timeout):
            if fd == self._hears.fileno():
                self._on_signals()
            else:
                self.on_mail(fd)
        if self._looks and time.monotonic() >= self._next_look_s:
            self._look()

    # What workers say, and how they fail.

    def on_line(self, child: Child, line: str) -> None:
        """One of the words that `worker.child` lists."""
        now = time.monotonic()
        word, _, rest = line.partition(" ")
        if word == "ready":
            if self.boots(child):
                child.by_s = 0.0
            self._on_ready(child, rest, now)
        elif word == "failed":
            child.complaint = rest
        elif word == "replace":
            self.roster.members[child.number].leaving = rest
        elif word == "reload":
            self.console.info(rest)
            self.reload()

    def _on_ready(self, child: Child, name: str, now: float) -> None:
        first = not self.roster.served
        self.roster.serves(child.number, now)
        if first:
            for listener in self.listeners:
                text = f"{SOFTWARE} serves {name} on {listener.text}"
                self.console.info(f"{text} (process {os.getpid()}, Ctrl-C stops it)")
        if not first or self.roster.target > 1:
            self.console.info(f"worker {child.pid} serves")

    def on_failed_start(self, child: Child, status: int) -> None:
        """A worker could not start: the end, or back to the older generation, or another try later."""
        why = child.complaint or cause(status)
        self.page.note = why
        if self.roster.give_up():
            self.page.words[H_FAILED] += 1
            self._say_generation()
            self.console.say("error", f"the reload has failed; the old workers serve on: {why}")
        elif not self.roster.served:
            if not child.complaint:
                self.console.say("error", f"worker {child.pid} {cause(status)} before it served")
            self.stop()
            self._failed = 1
        else:
            self.console.say("error", f"a worker cannot start: {why}; trying again in {self.roster.backoff_s():.2g} s")

    # Signals.

    def _on_signals(self) -> None:
        try:
            numbers = self._hears.recv(256)
        except BlockingIOError:
            return
        for number in numbers:
            name = signal.Signals(number).name
            if number in (signal.SIGTERM, signal.SIGINT):
                self.stop(at_once=self.stopping, name=name)
            elif number == signal.SIGQUIT:
                self.stop(at_once=True, name=name)
            elif self.stopping:
                continue
            elif number == signal.SIGHUP:
                self.reload()
            elif number in (signal.SIGTTIN, signal.SIGTTOU):
                self._scale(1 if number == signal.SIGTTIN else -1)
            elif number == signal.SIGUSR1:
                self.reopen_logs()
            elif number == signal.SIGUSR2:
                self.upgrade()

    def stop(self, *, at_once: bool = False, name: str = "") -> None:
        """Ends everything: when the requests are answered, or now."""
        now = time.monotonic()
        if at_once:
            if name:
                self.console.warn(f"{name}{' again' * self.stopping}: stopping without waiting")
            for child in self.children.values():
                os.kill(child.pid, signal.SIGKILL)
            for child in self.children.values():
                child.reason = "stop"
            self._failed = self._failed or (128 + getattr(signal, name) if name else 1)
        self.stopping = True
        self._say_state(STOPPING)
        for child in list(self.children.values()):
            self.retire(child.number, "the server stops", now)

    def reload(self) -> None:
        """A new generation with new settings and, unless it was preloaded, new code."""
        if self.settings.preload and self._read_settings is not None:
            self.upgrade()
            return
        if self._read_settings is not None:
            try:
                settings = self._read_settings()
                self.ground.adopt(settings)
            except SettingError as error:
                self.page.words[H_FAILED] += 1
                self.page.note = str(error)
                self.console.say("error", f"the settings are wrong and stay as they were: {error}")
                return
            self._take(settings)
        self.roster.reload()
        self.page.words[H_RELOADS] += 1
        self._say_state(RELOADING)
        self._say_generation()
        self.console.info(f"reloading: generation {self.roster.generation}")

    def _take(self, settings: Settings) -> None:
        """Settings for the workers to come; those that only a new program can take are named."""
        from vivace.config.settings import ROWS

        kept = [
            row.public
            for name, row in ROWS.items()
            if not row.reloadable and getattr(settings, name) != getattr(self.settings, name)
        ]
        if kept:
            self.console.warn(f"{', '.join(kept)}: a change takes effect with USR2 or a new start, not with a reload")
        if settings.workers != self.settings.workers:
            least, most = workers_wanted(settings.workers)
            self.scaler = Scaler(least, most)
            self.roster.target = least
        self.settings = settings

    def _scale(self, step: int) -> None:
        words = self.page.words
        wanted = words[H_WANTED]
        target = wanted - 1 if wanted else self.roster.target + step
        target = max(1, min(target, self.page.sections - SPARE_SECTIONS))
        if target != self.roster.target:
            self.console.info(f"{target} worker{'s' * (target > 1)} wanted instead of {self.roster.target}")
        self.roster.target = target
        self.scaler = Scaler(target, target)
        words[H_TARGET], words[H_WANTED] = target, 0  # in this order: who asked waits for the second

    def upgrade(self) -> None:
        """Replaces this program in place by what is installed now; the workers serve on meanwhile."""
        from vivace.supervisor.upgrade import replace_program

        try:
            replace_program(self)
        except SettingError as error:
            self.page.words[H_FAILED] += 1
            self.page.note = str(error)
            self.console.say("error", f"the program was not replaced: {error}")

    # Looking after the workers.

    @property
    def _looks(self) -> bool:
        return not self.stopping and (Bounds(self.settings).any or self.scaler.least != self.scaler.most)

    def _look(self) -> None:
        """Once a second: who has done its share, who is too big, whether there are enough."""
        now = time.monotonic()
        self._next_look_s = now + LOOK_S
        busy = []
        for child in list(self.children.values()):
            member = self.roster.members[child.number]
            if member.state != policy.SERVING:
                continue
            section = self.page.section(child.number)
            busy.append(child.watch.busy(child.pid, section, now, self.settings.threads))
            why, fatal = child.watch.verdict(child.pid, section, now)
            if fatal:
                self.console.say("error", f"worker {child.pid} {why} and is ended")
                os.kill(child.pid, fatal)
            elif why and not member.leaving and not self._replacing:
                member.leaving = why
        target = self.scaler.target(now, self.roster.target, busy)
        if target != self.roster.target:
            self.console.info(
                f"{target} workers wanted instead of {self.roster.target}: they are {sum(busy) / len(busy):.0%} busy"
            )
            self.roster.target = target
            self.page.words[H_TARGET] = target

    @property
    def _replacing(self) -> bool:
        """Whether some worker is being replaced: one at a time, so that they do not all go at once."""
        return any(self.roster.outdated(member) for member in self.roster.live)

    # What the page says.

    def _say_state(self, state: int) -> None:
        words = self.page.words
        words[H_TARGET] = self.roster.target
        if words[H_STATE] == state:
            return
        words[H_STATE] = state
        if self.notifier is None:
            return
        if state == SERVING:
            self.notifier.ready(f"generation {self.roster.generation} serves")
        elif state == RELOADING:
            self.notifier.reloading()
        elif state == STOPPING:
            self.notifier.stopping()

    def _say_generation(self) -> None:
        self.page.words[H_GENERATION] = self.roster.generation
