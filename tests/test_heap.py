"""observe.heap: objects by type, without a tuple or a frame, and without disturbing what is being made."""

from __future__ import annotations

import gc
import threading
from typing import Any

from vivace.observe import heap


class Thing:
    pass


def test_objects_by_type() -> None:
    things = [Thing() for _ in range(30)]
    assert heap.types()[Thing] == 30
    assert {id(each) for each in heap.of(frozenset({Thing}))} == {id(each) for each in things}
    assert abs(heap.count() - len(gc.get_objects())) < 1000


def test_who_refers_to_one() -> None:
    thing = Thing()
    holder = {"thing": thing}
    packed = (thing,)
    assert [each for each in heap.referrers(thing) if each is holder or each is packed] == [holder]


def test_neither_tuples_nor_frames_are_given() -> None:
    assert heap.of(heap.NEVER) == []
    assert heap.types()[tuple] > 0


def test_the_collector_is_left_as_it_was() -> None:
    assert gc.isenabled()
    heap.count()
    assert gc.isenabled()
    gc.disable()
    try:
        heap.types()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_tuples_that_are_being_made_are_finished() -> None:
    errors: list[BaseException] = []
    over = threading.Event()

    def make() -> None:
        try:
            while not over.is_set():
                assert len(tuple(each for each in range(300))) == 300  # grows, where nobody else refers to it
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    kinds: frozenset[Any] = frozenset({Thing, list, dict, tuple})
    try:
        for _ in range(6):
            heap.types()
            heap.of(kinds)
            heap.referrers(heap)
    finally:
        over.set()
        thread.join()
    assert errors == []
