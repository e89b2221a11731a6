"""The workers as processes: forked, told to go, killed when they are late, buried.

Rules:

* `start` returns twice as fork(2) does; in the worker it raises Forked, which unwinds everything of the supervisor.
* A worker is told to go over its socket, and killed when its time is up.
* Of an unexpected death the cause is said, and the requests that the worker held.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time

from vivace.connection.sharing import receive, send
from vivace.observe.layout import DRAINING, H_DEATHS, H_SUPERVISED, S_GENERATION, S_PID, S_STARTED, S_STATE, STARTING
from vivace.observe.page import Page
from vivace.supervisor import policy
from vivace.supervisor.attendant import Attendant, send_line
from vivace.supervisor.obituary import obituary
from vivace.supervisor.policy import BOOTING, Roster
from vivace.supervisor.watch import Bounds, Watch
from vivace.worker.child import Assignment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.admin.process import Showing
    from vivace.config.settings import Settings
    from vivace.worker.child import Application
    from vivace.worker.process import Ground

KILL_GRACE_S = 2.0
"""A worker that does not end this long after its deadline is killed."""


class Child:
    """One worker process, as the supervisor knows it."""

    __slots__ = ("by_s", "channel", "complaint", "number", "pid", "reason", "rest", "watch")

    def __init__(self, number: int, pid: int, channel: socket.socket, watch: Watch) -> None:
        self.number = number
        self.pid = pid
        self.channel = channel
        self.watch = watch
        self.rest = b""
        self.by_s = 0.0
        """When it is killed; 0: not yet told to go, or still starting."""
        self.reason = ""
        """Why it goes."""
        self.complaint = ""
        """Why it cannot start, in its own words."""


class Forked(Exception):
    """Raised in the new process, to unwind out of the supervisor."""

    def __init__(self, task: Assignment | Showing) -> None:
        self.task = task


class Crew:
    """The worker processes. What they say and how they fail to start is for the subclass."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[Settings], tuple[Application, str]],
        ground: Ground,
        page: Page,
        roster: Roster,
        inboxes: list[tuple[socket.socket, socket.socket]],
    ) -> None:
        self.settings = settings
        self.ground = ground
        self.console = ground.logs.console
        self.listeners = ground.listeners
        self.page = page
        page.words[H_SUPERVISED] = 1
        self.roster = roster
        self.children: dict[int, Child] = {}
        """By number: the place in the page."""
        self.preloaded: tuple[Application, str] | None = None
        self.attendant = Attendant(page, self.console, wanted=ground.admin is not None)
        self.stopping = False
        self.poll = select.poll()
        self.inboxes = inboxes
        self.private: list[socket.socket] = []
        """What no worker may keep open."""
        self._load = load

    def on_line(self, child: Child, line: str) -> None:
        """A worker says something."""
        raise NotImplementedError

    def on_failed_start(self, child: Child, status: int) -> None:
        """A worker ended before it served."""
        raise NotImplementedError

    def start(self, now: float) -> bool:
        """Forks a worker; False: there is no place for one yet. Raises Forked in the worker."""
        number = next((place for place in range(self.page.sections) if place not in self.children), None)
        if number is None:
            return False
        section = self.page.section(number)
        section.clear()
        words = section.words
        # Before the fork: the worker, which may be the quicker one, says itself that it serves.
        words[S_GENERATION] = self.roster.generation
        words[S_STARTED] = time.monotonic_ns()
        words[S_STATE] = STARTING
        ours, theirs = socket.socketpair()
        pid = self._fork(now)
        if pid == 0:
            ours.close()
            self._leave_behind()
            raise Forked(Assignment(number, self.settings, self.loaded, self.ground, theirs, self.page, self.inboxes))
        theirs.close()
        if pid < 0:
            ours.close()
            words[S_STATE] = 0
            return False
        words[S_PID] = pid
        self.adopt(Child(number, pid, ours, Watch(Bounds(self.settings), now)))
        self.children[number].by_s = now + self.settings.boot_timeout_s
        self.roster.started(number, now)
        return True

    def _fork(self, now: float) -> int:
        """fork(2); -1 where the system cannot, and then no worker is started for a while."""
        try:
            return os.fork()
        except OSError as error:
            self.roster.crashes += 2
            self.roster.not_before_s = now + self.roster.backoff_s()
            self.console.warn(f"no worker can be started: {error.strerror}; trying again")
            return -1

    def attend(self, now: float) -> None:
        """Starts the admin process, where one is due. Raises Forked in it."""
        due_s = self.attendant.due_s()
        if due_s is None or now < due_s or (channel := self.attendant.fork(now)) is None:
            return
        from vivace.admin.process import Showing

        address = self.ground.admin
        assert address is not None
        self.ground.admin = None
        self._leave_behind()
        self.ground.admin = address
        address.listener.path = ""
        # Nobody may wait in a queue that this process holds open and never looks at.
        for listener in self.listeners:
            listener.socket.close()
        for pair in self.inboxes:
            for each in pair:
                each.close()
        raise Forked(Showing(self.settings, self.ground, address, self.page, channel))

    def adopt(self, child: Child) -> None:
        """Looks after a worker from now on."""
        child.channel.setblocking(False)
        self.children[child.number] = child
        self.poll.register(child.channel, select.POLLIN)

    def _leave_behind(self) -> None:
        """In the worker: what belongs to the supervisor and to its siblings."""
        for each in self.private:
            each.close()
        for child in self.children.values():
            child.channel.close()
        for listener in self.listeners:
            listener.path = ""  # the socket's file is the supervisor's to remove
        if self.attendant.channel is not None:
            self.attendant.channel.close()
        if self.ground.admin is not None:
            self.ground.admin.listener.path = ""
            self.ground.admin.listener.socket.close()

    def loaded(self) -> tuple[Application, str]:
        return self.preloaded or self._load(self.settings)

    def retire(self, number: int, reason: str, now: float) -> None:
        """Tells a worker to finish what it has and go."""
        child = self.children[number]
        child.reason = reason
        self.roster.drains(number, now)
        self.page.section(number).words[S_STATE] = DRAINING
        child.by_s = now + self.settings.drain_delay_s + self.settings.shutdown_timeout_s + KILL_GRACE_S
        send_line(child.channel, "stop" if self.stopping else "drain")
        if not self.stopping:
            self.console.info(f"worker {child.pid} goes: {reason}")

    def reopen_logs(self) -> None:
        """Here and in every child."""
        self.ground.logs.reopen()
        self.attendant.tell("reopen")
        for child in self.children.values():
            send_line(child.channel, "reopen")

    def deadlines(self) -> list[float]:
        """When a child is killed, or started again."""
        dues = [child.by_s for child in self.children.values() if child.by_s]
        attendant_s = self.attendant.due_s()
        return dues if attendant_s is None else [*dues, attendant_s]

    def kill_late(self, now: float) -> None:
        for child in self.children.values():
            if child.by_s and now >= child.by_s:
                child.by_s = now + KILL_GRACE_S
                late = "does not serve after boot_timeout" if self.boots(child) else "does not end in time"
                self.console.warn(f"worker {child.pid} {late} and is killed")
                os.kill(child.pid, signal.SIGKILL)

    def boots(self, child: Child) -> bool:
        return self.roster.members[child.number].state == BOOTING

    def reap(self, now: float) -> None:
        """Takes leave of those that have ended; also of strangers, where this process is the first of a container."""
        by_pid = {child.pid: child for child in self.children.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                self._bury(by_pid[pid], status, now)
            else:
                self.attendant.has_died(pid, status, now)

    def _bury(self, child: Child, status: int, now: float) -> None:
        self.read(child)  # its last words
        self.poll.unregister(child.channel)
        child.channel.close()
        del self.children[child.number]
        section = self.page.section(child.number)
        state = self.roster.members[child.number].state
        crashed = self.roster.died(child.number, now)
        section.words[S_PID] = section.words[S_STATE] = 0
        for place in range(self.page.sections):  # somebody may have sent something to one that has ended before
            if place not in self.children:
                self._forward(place)
        if state == policy.DRAINING:
            if status:
                self.console.say("error", obituary(child.pid, status, section))
            else:
                self.console.say("debug", f"worker {child.pid} has ended")
            return
        if self.stopping:
            return
        if state == BOOTING:
            self.on_failed_start(child, status)
            return
        self.page.words[H_DEATHS] += 1
        self.console.say("error", obituary(child.pid, status, section))
        if crashed and self.roster.crashes > 1:
            self.console.warn(
                f"{self.roster.crashes} workers in a row died young; "
                f"the next one starts in {self.roster.backoff_s():.2g} s"
            )

    # What workers say.

    def _forward(self, number: int) -> None:
        """Connections that were passed on to a worker which has ended go to another one, or wait for its successor."""
        serving = [member.number for member in self.roster.members.values() if member.state == policy.SERVING]
        while serving and (gift := receive(self.inboxes[number][0])) is not None:
            fd, label = gift
            send(self.inboxes[serving[0]][1], fd, label)
            os.close(fd)

    def on_mail(self, fd: int) -> None:
        for child in self.children.values():
            if child.channel.fileno() == fd:
                self.read(child)
                return

    def read(self, child: Child) -> None:
        while True:
            try:
                data = child.channel.recv(4096)
            except OSError:
                return
            if not data:
                self.poll.modify(child.channel, 0)  # it ends: SIGCHLD comes
                return
            *lines, child.rest = (child.rest + data).split(b"\n")
            for line in lines:
                self.on_line(child, line.decode("utf-8", "replace"))
