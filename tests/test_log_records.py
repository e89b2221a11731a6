"""observe.log_records: what is logged is counted by line and route, and nothing else changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from vivace.observe import log_records
from vivace.observe.log_records import LogRecords


@pytest.fixture
def shop() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.shop")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.NullHandler()
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def test_records_are_counted_by_line_and_route(shop: logging.Logger) -> None:
    routes = {threading.get_ident(): "GET /"}
    records = LogRecords(lambda thread: routes.get(thread, ""))
    factory = logging.getLogRecordFactory()
    records.begin()
    try:
        for _ in range(3):
            shop.info("one %s", "more")
        shop.debug("nobody wants this one")
        thread = threading.Thread(target=shop.warning, args=("elsewhere",))
        thread.start()
        thread.join()
    finally:
        records.end()
    shop.info("after it")
    assert logging.getLogRecordFactory() is factory
    assert records.count == 4
    first, second = records.told()
    assert first[0] == __file__
    assert first[2:] == ["tests.shop", "INFO", 3, "GET /"]
    assert second[3:] == ["WARNING", 1, ""]
    assert records.of_routes() == {"GET /": 3, "": 1}


def test_the_record_is_as_ever(shop: logging.Logger) -> None:
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign]
    shop.addHandler(handler)
    records = LogRecords(lambda thread: "")
    records.begin()
    try:
        shop.info("%s and %s", 1, 2, extra={"order": 7})
    finally:
        records.end()
        shop.removeHandler(handler)
    assert seen[0].getMessage() == "1 and 2"
    assert seen[0].__dict__["order"] == 7
    assert seen[0].funcName == "test_the_record_is_as_ever"


def test_a_factory_of_somebody_else_stays(shop: logging.Logger) -> None:
    before = logging.getLogRecordFactory()
    records = LogRecords(lambda thread: "")
    records.begin()
    try:
        theirs = logging.LogRecord
        logging.setLogRecordFactory(theirs)
        records.end()
        assert logging.getLogRecordFactory() is theirs
    finally:
        logging.setLogRecordFactory(before)


def test_lines_are_bounded(shop: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_records, "LINES_MAX", 2)
    routes = iter(["a", "b", "c", "a"])
    records = LogRecords(lambda thread: next(routes))
    records.begin()
    try:
        for _ in range(4):
            shop.info("again")
    finally:
        records.end()
    assert records.count == 4
    assert records.of_routes() == {"a": 2, "b": 1}
