"""observe.desk and asking: every worker answers, also one whose leader is held up; the dead leave nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vivace import background
from vivace.errors import SettingError
from vivace.observe import asking, own, questions
from vivace.observe import desk as desk_module
from vivace.observe.asking import workers
from vivace.observe.desk import Desk, aside, ask, ask_places
from vivace.observe.layout import H_QUESTION, QUESTIONS_MAX, S_BELL, S_PID
from vivace.observe.page import Page
from wire import TIMEOUT_S, Client, until

Answer = dict[str, Any]


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page.create(4)
    yield page
    page.close()


@contextmanager
def worker(page: Page, number: int, **topics: Any) -> Iterator[int]:
    """A process in place `number`, whose leader does nothing but serve at its desk."""
    pid = os.fork()
    if pid == 0:
        try:
            woken = threading.Event()
            desk = Desk(page, number)
            desk.open(topics, woken.set)
            page.section_words(number)[S_PID] = os.getpid()
            while woken.wait():
                woken.clear()
                desk.serve()
        finally:
            os._exit(1)
    try:
        until(lambda: workers(page).get(number) == pid)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def echo(question: Answer) -> Answer:
    return {"pid": os.getpid(), "asked": question}


def fine(question: Answer) -> Answer:
    return {"fine": True}


def answers_of(pid: int) -> list[str]:
    """The memfds that `pid` holds answers in."""
    folder = f"/proc/{pid}/fd"
    links = []
    for name in os.listdir(folder):
        try:
            links.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            continue
    return [link for link in links if "vivace-answer" in link]


@pytest.mark.parametrize("topic", [echo, aside(echo)], ids=["leader", "aside"])
def test_every_worker_answers(page: Page, topic: Any) -> None:
    with worker(page, 0, echo=topic) as first, worker(page, 2, echo=topic) as second:
        question = {"ask": "echo", "more": [1]}
        assert ask(page, question, TIMEOUT_S) == {pid: {"pid": pid, "asked": question} for pid in (first, second)}
        assert ask(page, question, TIMEOUT_S, [second]) == {second: {"pid": second, "asked": question}}
        assert ask(page, question, TIMEOUT_S, [1]) == {}


def test_an_attached_page_asks_as_well(page: Page) -> None:
    with worker(page, 0, fine=fine) as pid:
        other = Page.attach(os.dup(page.fd))
        assert ask(other, {"ask": "fine"}, TIMEOUT_S) == {pid: {"fine": True}}
        other.close()


def test_answers_may_be_long_and_many_may_ask_at_once(page: Page) -> None:
    found: dict[int, Any] = {}

    def one(number: int) -> None:
        found[number] = ask(page, {"ask": "long" if number % 2 else "aside", "number": number}, TIMEOUT_S)

    def long(question: Answer) -> Answer:
        return {"text": "x" * (1 << 20), "number": question["number"]}

    with worker(page, 0, long=long, aside=aside(long)) as pid:
        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: {pid: {"text": "x" * (1 << 20), "number": number}} for number in range(8)}
        until(lambda: not answers_of(pid), what="answers are taken away when they have been read")


def test_who_asked_and_died_leaves_nothing_behind(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "TIDY_S", 0.01)
    with worker(page, 0, fine=fine) as pid:
        asker = os.fork()
        if asker == 0:
            try:
                asking._write(page, b'{"ask": "fine"}', TIMEOUT_S, {0: pid})
                asking._ring(page, 0, pid)
                os.kill(os.getpid(), signal.SIGSTOP)
            finally:
                os._exit(0)
        os.waitpid(asker, os.WUNTRACED)
        until(lambda: answers_of(pid))
        os.kill(asker, signal.SIGKILL)
        os.waitpid(asker, 0)
        until(lambda: not answers_of(pid))
        assert ask(page, {"ask": "fine"}, TIMEOUT_S) == {pid: {"fine": True}}


def test_a_leader_that_is_held_up_hinders_only_its_own_topics(page: Page) -> None:
    def holds_up(question: Answer) -> Answer:
        time.sleep(60)
        return {}

    with worker(page, 0, fine=fine, aside=aside(fine), holds_up=holds_up) as pid, worker(page, 1, fine=fine) as other:
        assert ask(page, {"ask": "holds_up"}, 0.05, [pid]) == {pid: None}
        assert ask(page, {"ask": "fine"}, 0.1) == {pid: None, other: {"fine": True}}
        assert ask(page, {"ask": "aside"}, TIMEOUT_S, [pid]) == {pid: {"fine": True}}


def test_a_topic_that_lasts_holds_up_no_other(page: Page) -> None:
    def lasts(question: Answer) -> Answer:
        time.sleep(60)
        return {}

    with worker(page, 0, lasts=aside(lasts), fine=aside(fine)) as pid:
        assert ask(page, {"ask": "lasts"}, 0.02) == {pid: None}
        assert ask(page, {"ask": "fine"}, TIMEOUT_S) == {pid: {"fine": True}}


def test_who_dies_over_a_question_is_not_waited_for(page: Page) -> None:
    def dies(question: Answer) -> Answer:
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        desk = Desk(page, 0)
        desk.open({"dies": aside(dies)}, signal.pause)
        page.section_words(0)[S_PID] = os.getpid()
        time.sleep(60)
    until(lambda: workers(page))
    reaper = threading.Thread(target=os.waitpid, args=(pid, 0))
    reaper.start()
    assert ask(page, {"ask": "dies"}, TIMEOUT_S) == {}
    reaper.join()


def raises(question: Answer) -> Answer:
    raise KeyError(question["ask"])


@pytest.mark.parametrize("mark", [aside, lambda topic: topic], ids=["aside", "leader"])
def test_what_goes_wrong_is_an_answer(page: Page, mark: Callable[[Any], Any]) -> None:
    topics = {"raises": mark(raises), "odd": mark(lambda question: {"a": object()}), "list": mark(lambda question: [1])}
    with worker(page, 0, **topics) as pid:

        def error(asked: str) -> str:
            answer = ask(page, {"ask": asked}, TIMEOUT_S)[pid]
            assert answer is not None
            return str(answer["error"])

        assert error("raises") == "KeyError: 'raises'"
        assert "no JSON" in error("odd")
        assert "no JSON object" in error("list")
        assert "nothing to say on 'else'" in error("else")
        number = asking._write(page, b"[1, 2]", TIMEOUT_S, {0: pid})
        asking._ring(page, 0, pid)
        until(lambda: answers_of(pid))
        number.words[questions.Q_NUMBER] = 0
        assert error("raises") == "KeyError: 'raises'", "nonsense ends nothing"


def test_questions_have_bounds(page: Page) -> None:
    with worker(page, 0, fine=fine) as pid:
        with pytest.raises(SettingError, match="at most"):
            ask(page, {"ask": "x" * questions.TEXT_BYTES_MAX}, 1)
        places = [asking._write(page, b"{}", TIMEOUT_S, {}) for _ in range(QUESTIONS_MAX)]
        with pytest.raises(SettingError, match="try again"):
            ask(page, {"ask": "fine"}, 1)
        places[3].words[questions.Q_UNTIL] = 0
        assert ask(page, {"ask": "fine"}, TIMEOUT_S) == {pid: {"fine": True}}, "one that is forgotten makes room"


def test_a_writer_that_does_not_go_on_is_named(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(asking, "WAIT_S", 0.01)
    with worker(page, 0, fine=fine), open(f"/proc/self/fd/{page.fd}", "r+b", buffering=0) as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(SettingError, match="does not go on"):
            ask(page, {"ask": "fine"}, 1)


def test_a_worker_without_descriptors_says_so(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(name: str) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    with worker(page, 0, fine=fine) as pid:
        answer = ask(page, {"ask": "fine"}, TIMEOUT_S)[pid]
        assert answer is not None
        assert "could not open" in answer["error"]


def test_without_descriptors_or_threads_there_is_no_desk(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **more: object) -> Any:
        raise RuntimeError("can't start new thread")

    desk = Desk(page, 0)
    monkeypatch.setattr(threading.Thread, "start", fails)
    desk.open({}, threading.Event().set)
    assert page.section_words(0)[S_BELL] == 0
    desk.close()
    monkeypatch.setattr(os, "pipe2", lambda flags: os.close(-1))
    desk.open({}, threading.Event().set)
    desk.close()
    assert ask(page, {"ask": "fine"}, TIMEOUT_S) == {}


def test_closing_takes_everything_back(page: Page) -> None:
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    desk = Desk(page, 0)
    desk.open({"fine": aside(fine)}, threading.Event().set)
    page.section_words(0)[S_PID] = os.getpid()
    place = asking._write(page, b'{"ask": "fine"}', TIMEOUT_S, {0: os.getpid()})
    asking._ring(page, 0, os.getpid())
    until(lambda: place.words[questions.ANSWERS_AT])
    desk.close()
    desk.close()
    until(lambda: threading.active_count() == before[1])
    assert set(os.listdir("/proc/self/fd")) == before[0]
    assert workers(page) == {}


def test_a_server_can_be_asked() -> None:
    """Whatever it does, and where several servers are in one process, each of them."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with background(app) as first, background(app) as second:
        for number, server in enumerate((first, second)):
            topics = server.server.plan.topics
            topics["by_leader"] = lambda question, number=number: {
                "server": number,
                "leads": threading.get_ident() == (first, second)[number].server.loop.leader,
            }
            topics["aside"] = aside(lambda question, number=number: {"server": number})
        mine = own.current()
        assert mine is not None
        until(lambda: len(workers(mine)) == 2)
        with Client(first) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        asked = mine.words[H_QUESTION]
        found = ask_places(mine, {"ask": "by_leader"}, TIMEOUT_S)
        assert found == [(os.getpid(), {"server": number, "leads": True}) for number in (0, 1)]
        assert ask_places(mine, {"ask": "aside"}, TIMEOUT_S) == [(os.getpid(), {"server": n}) for n in (0, 1)]
        assert ask(mine, {"ask": "aside"}, TIMEOUT_S) == {os.getpid(): {"server": 0}}
        assert mine.words[H_QUESTION] == asked + 3
