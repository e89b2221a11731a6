"""observe.collector: collections of garbage are counted, and timed where that does no harm."""

from __future__ import annotations

import gc
import time

import vivace
from vivace.observe.collector import CollectorWatch
from vivace.observe.layout import W_COLLECTING_NS, W_COLLECTIONS
from vivace.observe.section import Section
from wire import fetch, until


def test_collections_and_their_time() -> None:
    section = Section.private()
    words = section.words
    watch = CollectorWatch(section, timed=True)
    gc.collect()
    watch.begin()
    began = time.perf_counter_ns()
    gc.collect()
    gc.collect(0)
    took = time.perf_counter_ns() - began
    watch.tell()
    watch.end()
    watch.end()
    gc.collect()
    watch.tell()
    assert words[W_COLLECTIONS + 2] == 2, "the last one was counted, and not timed"
    assert words[W_COLLECTIONS] >= 1
    assert 0 < words[W_COLLECTING_NS + 2] < took


def test_what_could_swallow_an_exception_is_not_there() -> None:
    def app(environ: object, start_response: object) -> list[bytes]:
        gc.collect()
        start_response("200 OK", [("Content-Length", "0")])  # type: ignore[operator]
        return [b""]

    before = list(gc.callbacks)
    for timeout, added in ((0, 1), (5, 0)):
        with vivace.background(app, request_timeout=timeout) as server:
            words = server.server.loop.section.words
            counted = words[W_COLLECTIONS + 2]
            timed = words[W_COLLECTING_NS + 2]
            assert fetch(server, "/").status == 200
            assert len(gc.callbacks) == len(before) + added
            until(lambda: words[W_COLLECTIONS + 2] > counted)  # noqa: B023
            assert (words[W_COLLECTING_NS + 2] > timed) is bool(added)
    assert gc.callbacks == before
