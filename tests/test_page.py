"""observe.page: what a worker writes, another process reads; also when the worker is dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from vivace.observe import layout as pages
from vivace.observe.layout import H_PID, OTHERS, R_COUNT, ROUTES, S_NOW, SLOT_BYTES, SLOTS, W_OVERTAKES
from vivace.observe.page import Page, page_of
from vivace.observe.section import Section


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page.create(4)
    yield page
    page.close()


def test_words_are_seen_by_whoever_maps_the_page(page: Page) -> None:
    other = Page.attach(os.dup(page.fd))
    page.section(2).words[S_NOW] = 7
    assert other.section(2).words[S_NOW] == 7
    assert other.section(1).words[S_NOW] == other.section(3).words[S_NOW] == 0
    assert other.words[H_PID] == os.getpid()
    other.close()


def test_what_a_killed_process_wrote_remains(page: Page) -> None:
    pid = os.fork()
    if pid == 0:
        section = page.section(1)
        section.enter(b"GET /stuck from 10.0.0.1")
        section.name_route(3, "GET /loop")
        section.words[S_NOW] = 3
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    section = page.section(1)
    assert [text for text, _ in section.requests()] == ["GET /stuck from 10.0.0.1"]
    assert section.route(section.words[S_NOW]) == "GET /loop"


def test_requests_come_and_go_oldest_first() -> None:
    section = Section.private()
    first, second = section.enter(b"one"), section.enter(b"two")
    assert [text for text, _ in section.requests()] == ["one", "two"]
    assert all(0 <= time.monotonic_ns() - began < 10**9 for _, began in section.requests())
    section.leave(first)
    third = section.enter(b"three")
    assert third == first, "the place that was left last is warm"
    assert [text for text, _ in section.requests()] == ["two", "three"]
    section.leave(second)
    section.leave(third)
    assert section.requests() == []


def test_long_and_odd_texts_are_cut_and_not_refused() -> None:
    section = Section.private()
    section.enter(b"x" * 5000)
    section.enter("é".encode() * 200)
    texts = [text for text, _ in section.requests()]
    assert texts[0] == "x" * (SLOT_BYTES - 18)
    assert texts[1].startswith("ééé")


def test_more_requests_than_places_are_not_noted() -> None:
    section = Section.private()
    slots = [section.enter(b"r") for _ in range(SLOTS + 3)]
    assert slots.count(0) == 3
    assert len(set(slots)) == SLOTS + 1
    assert len(section.requests()) == SLOTS


def test_routes_have_names_within_bounds() -> None:
    section = Section.private()
    section.name_route(1, "GET /" + "a" * 500)
    section.name_route(0, "nobody")
    section.name_route(10**6, "nobody")
    assert section.route(1) == "GET /" + "a" * (pages.ROUTE_BYTES - 6)
    assert section.route(0) == section.route(2) == section.route(10**6) == ""


def test_cleared_section_is_as_new(page: Page) -> None:
    section = page.section(0)
    section.words[S_NOW] = 5
    section.enter(b"r")
    section.clear()
    assert page.section(0).requests() == []
    assert section.words[S_NOW] == 0


def test_what_counts_goes_on_in_the_next_worker_of_the_place(page: Page) -> None:
    section = page.section(0)
    first = section.number_route("GET /a")
    section.route_counts(first)[R_COUNT] = 41
    section.words[W_OVERTAKES] = 3
    section.clear()
    successor = page.section(0)
    assert successor.number_route("GET /b") != first
    assert successor.number_route("GET /a") == first
    assert successor.route_counts(first)[R_COUNT] == 41
    assert successor.words[W_OVERTAKES] == 3


def test_too_many_routes_share_a_number() -> None:
    section = Section.private()
    numbers = [section.number_route(f"GET /{number}") for number in range(400)]
    assert len(set(numbers)) == ROUTES - 2  # without 0 and those never found
    assert numbers[-1] == OTHERS
    assert section.route(OTHERS) == "(others)"
    section.retire_route(numbers[7])
    assert section.number_route("GET /new") == numbers[7]
    assert section.route(numbers[7]) == "GET /new"


def test_note(page: Page) -> None:
    page.note = "kaputt: " + "é" * 2000
    other = Page.attach(os.dup(page.fd))
    assert other.note.startswith("kaputt: ééé")
    other.close()
    page.note = ""
    assert page.note == ""


def test_other_files_are_no_page() -> None:
    fd = os.memfd_create("vivace")
    with pytest.raises(ValueError, match="no page"):
        Page.attach(fd)
    os.write(fd, bytes(4096))
    with pytest.raises(ValueError, match="another version"):
        Page.attach(fd)
    os.close(fd)


def test_page_is_found_through_its_process(page: Page) -> None:
    found = page_of(os.getpid())
    assert found is not None
    assert found.words[H_PID] == os.getpid()
    found.close()
