"""Asking the workers of a running server, from whatever process of the same user; `desk` is where they answer.

Rules: who asks waits for its answers, each of which may fail to come; what it wrote is gone when it is.
"""

from __future__ import annotations

import os
from time import monotonic, monotonic_ns, sleep

from vivace.errors import SettingError
from vivace.observe.layout import H_FILE, H_QUESTION, QUESTIONS_MAX, S_BELL, S_PID
from vivace.observe.questions import (
    ANSWER_NAME,
    ANSWERS_AT,
    NOT_ASKED,
    Q_LENGTH,
    Q_NUMBER,
    Q_PID,
    Q_UNTIL,
    TEXT_BYTES_MAX,
    UNABLE,
    Place,
)
from vivace.procfs import has_open, ring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, Final

    from vivace.observe.page import Page

    Answer = dict[str, Any]

WAIT_S: Final = 2.0
"""For a turn to write a question, which takes some microseconds."""
LOOK_S, LOOK_S_MAX = 0.001, 0.02
"""Between two looks for answers: the first, and the last."""


def ask(
    page: Page, question: dict[str, Any], timeout_s: float, pids: Collection[int] | None = None
) -> dict[int, Answer | None]:
    """Asks every worker, or those of `pids`: process -> answer, None if it gave none in time.

    Of a process with several servers the first one's: see `ask_places`. Raises SettingError if it cannot ask.
    """
    found: dict[int, Answer | None] = {}
    for pid, answer in ask_places(page, question, timeout_s, pids):
        if found.get(pid) is None:
            found[pid] = answer
    return found


def ask_places(
    page: Page, question: dict[str, Any], timeout_s: float, pids: Collection[int] | None = None
) -> list[tuple[int, Answer | None]]:
    """As `ask`, in the order of their places in the page, where a process may have more than one."""
    import json

    text = json.dumps(question).encode()
    if len(text) > TEXT_BYTES_MAX:
        raise SettingError(f"the question takes {len(text)} bytes; at most {TEXT_BYTES_MAX} fit")
    asked = {number: pid for number, pid in workers(page).items() if pids is None or pid in pids}
    if not asked:
        return []
    give_up_s = monotonic() + timeout_s
    place = _write(page, text, timeout_s, asked)
    number = place.words[Q_NUMBER]
    found: dict[int, Answer] = {}
    pause_s = LOOK_S
    try:
        for worker, pid in asked.items():
            _ring(page, worker, pid)
        while True:
            living = workers(page)
            for worker, pid in asked.items():
                fd = place.words[ANSWERS_AT + worker]
                if fd and worker not in found and (answer := _fetch(pid, fd - 1, number)) is not None:
                    found[worker] = answer
            awaited = [worker for worker, pid in asked.items() if worker not in found and living.get(worker) == pid]
            if not awaited or monotonic() >= give_up_s:
                return [
                    (pid, found.get(worker)) for worker, pid in asked.items() if worker in found or worker in awaited
                ]
            sleep(pause_s)
            pause_s = min(LOOK_S_MAX, pause_s * 1.5)
    finally:
        place.words[Q_NUMBER] = 0
        for worker, pid in asked.items():
            _ring(page, worker, pid)  # so that the answers are taken away


def workers(page: Page) -> dict[int, int]:
    """Place -> process of the workers that can be asked."""
    found: dict[int, int] = {}
    if page.fd < 0:
        return found
    file = os.fstat(page.fd)
    for number in range(page.sections):
        words = page.section_words(number)
        pid = words[S_PID]
        if pid and words[S_BELL] and has_open(pid, page.words[H_FILE], file):
            found[number] = pid
    return found


def _write(page: Page, text: bytes, timeout_s: float, asked: dict[int, int]) -> Place:
    """Puts a question to the workers in these places into a free place."""
    import fcntl

    # A lock of flock(2) is one of this open file, so it keeps threads apart as well, and ends with its holder.
    try:
        fd = os.open(f"/proc/self/fd/{page.fd}", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise SettingError(f"the server cannot be asked: its page cannot be opened: {error.strerror}") from None
    try:
        _take_turn(fd)
        places = [Place(page, place) for place in range(QUESTIONS_MAX)]
        place = next((place for place in places if place.is_over), None)
        if place is None:
            raise SettingError(f"{QUESTIONS_MAX} commands ask this server at the moment; try again")
        words = place.words
        words[Q_NUMBER] = 0
        for worker in range(page.sections):
            words[ANSWERS_AT + worker] = 0 if worker in asked else NOT_ASKED
        words[Q_PID], words[Q_UNTIL] = os.getpid(), monotonic_ns() + int(timeout_s * 1e9)
        words[Q_LENGTH] = len(text)
        place.text[: len(text)] = text
        words[Q_NUMBER] = page.words[H_QUESTION] + 1
        page.words[H_QUESTION] += 1
        fcntl.flock(fd, fcntl.LOCK_UN)
        return place
    finally:
        os.close(fd)


def _take_turn(fd: int) -> None:
    import fcntl

    until_s = monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if monotonic() > until_s:
                raise SettingError("another command holds the server's page and does not go on; end that one") from None
            sleep(LOOK_S)


def _ring(page: Page, worker: int, pid: int) -> None:
    """Wakes the thread at the desk of the worker in this place."""
    bell = page.section_words(worker)[S_BELL]
    if bell:
        ring(pid, bell - 1)


def _fetch(pid: int, fd: int, number: int) -> Answer | None:
    if fd + 1 == UNABLE:
        return {"error": "it could not open a file in memory to answer in"}
    import json

    path = f"/proc/{pid}/fd/{fd}"
    try:
        if not os.readlink(path).startswith(f"/memfd:{ANSWER_NAME}-{number} "):
            return None
        with open(path, "rb") as file:
            found = json.load(file)
    except OSError as error:
        return {"error": f"its answer cannot be read: {error.strerror}"}
    return found if isinstance(found, dict) else {"error": "its answer is no JSON object"}
