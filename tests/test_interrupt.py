"""Raising in another thread: it comes, it comes once, and it can be taken back."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import vivace
from vivace.errors import RequestTimeout
from vivace.schedule.interrupt import SIGNAL, MainThread, forget_pending, raise_in
from wire import TIMEOUT_S, until


class Target:
    """A thread that computes until it is told to end, and notes what comes."""

    def __init__(self) -> None:
        self.hits = 0
        self.over = False
        self.turns = 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.over:
            try:
                while not self.over:
                    self.turns += 1
            except RequestTimeout:
                self.hits += 1

    def end(self) -> None:
        self.over = True
        self.thread.join(TIMEOUT_S)
        assert not self.thread.is_alive()


def test_it_comes_once() -> None:
    target = Target()
    assert target.thread.ident is not None
    try:
        for number in range(1, 4):
            turns = target.turns
            until(lambda turns=turns: target.turns > turns)  # type: ignore[misc]  # it is where it can be caught
            raise_in(target.thread.ident, RequestTimeout)
            until(lambda number=number: target.hits == number)  # type: ignore[misc]
    finally:
        target.end()
    assert target.hits == 3


def test_it_is_taken_back_on_the_thread_itself() -> None:
    lock = threading.Lock()
    lock.acquire()
    outcome = []

    def work() -> None:
        try:
            try:
                lock.acquire()  # it is pending when this returns
            finally:
                outcome.append("left")
        except RequestTimeout:
            outcome.append("hit")
        forget_pending(threading.get_ident())
        outcome.append("went on")

    thread = threading.Thread(target=work)
    thread.start()
    assert thread.ident is not None
    raise_in(thread.ident, RequestTimeout)
    forget_pending(thread.ident)
    lock.release()
    thread.join(TIMEOUT_S)
    assert outcome == ["left", "went on"]


def test_a_thread_that_has_ended() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.ident is not None
    raise_in(thread.ident, RequestTimeout)
    forget_pending(thread.ident)


def test_it_is_no_exception_that_frameworks_swallow() -> None:
    assert vivace.RequestTimeout is RequestTimeout
    assert issubclass(RequestTimeout, BaseException)
    assert not issubclass(RequestTimeout, Exception)
    assert "request_timeout" in str(RequestTimeout())


def test_only_the_main_thread_has_a_handler() -> None:
    before = signal.getsignal(SIGNAL)

    def work() -> None:
        with MainThread(lambda: None) as main:
            assert main.thread == 0
            assert not main.kick()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(TIMEOUT_S)
    assert signal.getsignal(SIGNAL) == before


MAIN = """
import signal, sys, threading, time
from vivace.schedule.interrupt import SIGNAL, MainThread

class Stop(BaseException):
    pass

def on_kick():
    raise Stop

def later(main):
    time.sleep(0.2)
    print("kicked", main.kick(), flush=True)

others = []
signal.signal(SIGNAL, lambda *args: others.append("called"))
with MainThread(on_kick) as main:
    threading.Thread(target=later, args=(main,)).start()
    started = time.monotonic()
    try:
        time.sleep(20)
    except Stop:
        print("stopped", time.monotonic() - started < 10)
with MainThread(lambda: None) as main:
    main.kick()
    time.sleep(0)
    print(others)
    signal.signal(SIGNAL, signal.SIG_IGN)  # the application's own choice
    print("kicked", main.kick())
print(signal.getsignal(SIGNAL) == signal.SIG_IGN, main.thread)
"""


@pytest.mark.skipif(SIGNAL is None, reason="this system has no such signal")
def test_the_main_thread_leaves_a_system_call() -> None:
    source = str(Path(vivace.__file__).parent.parent)
    run = subprocess.run(
        [sys.executable, "-c", MAIN], capture_output=True, text=True, timeout=30, env={"PYTHONPATH": source}
    )
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "kicked True",
        "stopped True",
        "['called']",
        "kicked False",
        "True 0",
    ]
