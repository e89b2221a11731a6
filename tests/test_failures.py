"""The last failures of the application, as they stand in the shared page."""

from __future__ import annotations

from typing import Any

import pytest

from vivace.observe.section import Section
from vivace.schedule.route import Route
from vivace.worker import failures
from vivace.worker.failures import TEXT_BYTES, recording, shortened

ROUTE = Route("GET /items/{}", 0.002)
ROUTE.number = 3
ENVIRON = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/items/7?password=1", "vivace.route": ROUTE}


def raised(text: str) -> ValueError:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def record(section: Section, *errors: BaseException, environ: dict[str, Any] = ENVIRON) -> list[BaseException]:
    told: list[BaseException] = []
    report = recording(lambda environ, error: told.append(error), section)
    for error in errors:
        report(environ, error)
    return told


def test_a_failure_is_kept_with_its_route_and_without_its_query() -> None:
    section = Section.private()
    error = raised("no such item")
    assert record(section, error) == [error]
    [(_, route, text)] = section.errors()
    assert route == 3
    assert text.startswith("GET /items/7\nTraceback")
    assert text.endswith("ValueError: no such item\n")
    assert "password" not in text


@pytest.mark.parametrize("environ", [{}, {"vivace.route": None}, {"vivace.route": "GET /items/{}"}])
def test_an_environ_that_the_application_has_emptied(environ: dict[str, Any]) -> None:
    section = Section.private()
    record(section, raised("x"), environ=environ)
    assert section.errors()[0][1] == 0


def test_a_route_that_has_another_name_by_now() -> None:
    section = Section.private()
    route = Route("GET /items/{}", 0.002)
    route.became = ROUTE
    record(section, raised("x"), environ={"vivace.route": route})
    assert section.errors()[0][1] == 3


def test_failures_in_a_storm_are_left_out_and_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "PAUSE_S", 3600)
    section = Section.private()
    errors = [raised(str(number)) for number in range(5)]
    assert record(section, *errors) == errors
    assert len(section.errors()) == 1


def test_a_long_traceback_keeps_both_its_ends() -> None:
    text = b"GET /\n" + b"x" * 2 * TEXT_BYTES + b"ValueError: the end\n"
    short = shortened(text)
    assert len(short) == TEXT_BYTES
    assert short.startswith(b"GET /\n")
    assert short.endswith(b"ValueError: the end\n")
    assert shortened(b"short") == b"short"
