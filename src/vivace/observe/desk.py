"""Questions to the workers of a running server, and their answers: for commands and the dashboard, of the same user.

A question is a JSON object, {"ask": topic, ...}, in the shared page's file (`questions`). An answer is a JSON object in
a file in memory (memfd) of the worker, which keeps it until the question is gone; {"error": text} is what could not be
answered. Several may ask at once (`asking`), and nothing listens at a socket.

A worker has a thread for this, which sleeps on a pipe, the bell. Topics are of two kinds: those of `aside` are answered
on a thread of their own, so also while the leader is held up, and may take their time; all others by the leader,
between two turns of its loop.

Rules:

* Nothing is left behind by who dies: a question ends with its asker, an answer with its question or its worker.
* A question has a deadline. A worker that does not get there in time is left out, and said to be.
* Must not know what is asked.
"""

from __future__ import annotations

import os
import select
from collections import deque
from threading import Lock, Thread

from vivace.observe.asking import ask as ask
from vivace.observe.asking import ask_places as ask_places
from vivace.observe.layout import H_QUESTION, QUESTIONS_MAX, S_BELL
from vivace.observe.questions import ANSWER_NAME, ANSWERS_AT, Q_LENGTH, Q_NUMBER, UNABLE, Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from vivace.observe.page import Page

    Answer = dict[str, Any]
    Topic = Callable[[dict[str, Any]], Answer]

TIDY_S: Final = 1.0
"""So often it is looked whether answers are still wanted, where nobody says that they are not."""


class Aside:
    """A topic that is answered on a thread of its own."""

    __slots__ = ("answer",)

    def __init__(self, answer: Topic) -> None:
        self.answer = answer


def aside(answer: Topic) -> Aside:
    """Marks a topic: it does not need the leader, and may take long. `answer` is called by any thread, by several at
    once if several ask."""
    return Aside(answer)


class Desk:
    """Where the worker in place `number` of `page` answers. `open` and `close`: one thread; `serve`: the leader."""

    def __init__(self, page: Page, number: int) -> None:
        self.waiting: deque[tuple[int, Place, Answer]] = deque()
        """Questions for the leader."""
        self._page = page
        self._number = number
        self._topics: dict[str, Topic | Aside] = {}
        self._wake: Callable[[], None] = _nothing
        self._bell: tuple[int, int] | None = None
        self._thread: Thread | None = None
        self._seen = 0
        self._guard = Lock()
        self._open: dict[int, tuple[int, Place]] = {}
        """Question -> descriptor of the answer, its place. Under the guard."""

    def open(self, topics: dict[str, Topic | Aside], wake: Callable[[], None]) -> None:
        """Answers from now on. What a topic raises becomes an error for the asker. `wake`: makes the leader `serve`.

        Without descriptors or threads there is no desk: nobody is served less for that.
        """
        if self._page.fd < 0:
            return
        self._topics, self._wake = topics, wake
        self._seen = self._page.words[H_QUESTION]
        try:
            bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # both ends are kept: with one it would be at its end
        except OSError:
            return
        thread = Thread(target=self._attend, name="vivace-desk", args=bell[:1], daemon=True)
        self._bell, self._thread = bell, thread
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            self.close()
            return
        self._page.section_words(self._number)[S_BELL] = bell[0] + 1

    def close(self) -> None:
        """Takes all answers away. Twice does no harm."""
        with self._guard:
            bell, self._bell = self._bell, None
        if bell is None:
            return
        self._page.section_words(self._number)[S_BELL] = 0
        if self._thread is not None:
            _push(bell)
            self._thread.join()
        for fd in bell:
            os.close(fd)
        with self._guard:
            for fd, _ in self._open.values():
                os.close(fd)
            self._open.clear()
        self.waiting.clear()

    def serve(self) -> None:
        """Answers what waits for the leader; a look where nothing does."""
        while self.waiting:
            number, place, question = self.waiting.popleft()
            self._answer(number, place, question)

    # The thread.

    def _attend(self, bell: int) -> None:
        poll = select.poll()
        poll.register(bell, select.POLLIN)
        while self._bell is not None:
            poll.poll(TIDY_S * 1000 if self._open else None)
            try:
                os.read(bell, 4096)
            except BlockingIOError:
                pass
            self._tidy()
            self._read()

    def _tidy(self) -> None:
        """Closes the answers that nobody waits for."""
        with self._guard:
            for number, (fd, place) in self._open.copy().items():
                if place.words[Q_NUMBER] != number or place.is_over:
                    os.close(fd)
                    del self._open[number]

    def _read(self) -> None:
        """Takes in the questions that are new."""
        newest = self._page.words[H_QUESTION]
        if newest == self._seen:
            return
        at = ANSWERS_AT + self._number
        for each in range(QUESTIONS_MAX):
            place = Place(self._page, each)
            number = place.words[Q_NUMBER]
            if self._seen < number <= newest and not place.words[at] and not place.is_over:
                self._hand_on(number, place)
        self._seen = newest

    def _hand_on(self, number: int, place: Place) -> None:
        """Has a question answered by who is to."""
        import json

        raw = bytes(place.text[: place.words[Q_LENGTH]])
        if place.words[Q_NUMBER] != number:
            return
        try:
            question = json.loads(raw)
            topic = self._topics.get(question["ask"])
        except (ValueError, LookupError, TypeError):
            self._reply(number, place, {"error": "the question is no JSON object that says what it asks"})
            return
        if isinstance(topic, Aside):
            answering = Thread(target=self._answer, args=(number, place, question), name="vivace-answer", daemon=True)
            try:
                answering.start()
            except RuntimeError:
                self._reply(number, place, {"error": "the system starts no thread to answer on"})
        else:
            self.waiting.append((number, place, question))
            self._wake()

    # Whoever answers.

    def _answer(self, number: int, place: Place, question: Answer) -> None:
        name = question.get("ask")
        topic = self._topics.get(str(name))
        try:
            if topic is None:
                answer: Answer = {"error": f"this server has nothing to say on {name!r}"}
            else:
                answer = topic.answer(question) if isinstance(topic, Aside) else topic(question)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        self._reply(number, place, answer)

    def _reply(self, number: int, place: Place, answer: Answer) -> None:
        import json

        try:
            text = json.dumps(answer).encode()
        except (TypeError, ValueError) as error:
            text = json.dumps({"error": f"its answer is no JSON: {error}"}).encode()
        fd = -1
        try:
            fd = os.memfd_create(f"{ANSWER_NAME}-{number}")
            with open(fd, "wb", closefd=False) as file:
                file.write(text)
        except OSError:
            if fd >= 0:
                os.close(fd)
            fd = -1
        with self._guard:
            if self._bell is None or place.words[Q_NUMBER] != number:  # nobody waits for it any more
                if fd >= 0:
                    os.close(fd)
                return
            if fd >= 0:
                self._open[number] = (fd, place)
                _push(self._bell)  # the thread looks after it from now on
            place.words[ANSWERS_AT + self._number] = fd + 1 if fd >= 0 else UNABLE


def _push(bell: tuple[int, int]) -> None:
    try:
        os.write(bell[1], b".")
    except OSError:
        pass  # it is full, and so heard


def _nothing() -> None:
    pass
