"""Reason phrases and refusals."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPResponse
from io import BytesIO

import pytest

from vivace.http1.status import REASONS, refusal

DATE = b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"


class Wire:
    """The two methods of a socket that http.client needs."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self.raw)


def test_every_status_the_library_knows_has_a_reason() -> None:
    obsolete = {418, 510}
    assert {int(status) for status in HTTPStatus} - obsolete <= set(REASONS)
    assert all(100 <= status <= 599 and reason.isascii() for status, reason in REASONS.items())


@pytest.mark.parametrize("status", [*REASONS, 599])
def test_a_refusal_is_a_whole_response(status: int) -> None:
    if status < 200 or status in (204, 304):
        return
    response = HTTPResponse(Wire(refusal(status, "the caf\xe9 \u2603 is closed", DATE)))  # type: ignore[arg-type]
    response.begin()
    assert (response.status, response.reason) == (status, REASONS.get(status, "Error"))
    assert response.getheader("Connection") == "close"
    assert response.getheader("Date") == "Tue, 24 Nov 2026 10:00:00 GMT"
    assert response.read().decode() == f"{status} {REASONS.get(status, 'Error')}: the caf\xe9 \u2603 is closed\n"


def test_a_refusal_of_head_has_the_length_and_no_body() -> None:
    whole = refusal(400, "no", DATE)
    assert refusal(400, "no", DATE, head_only=True) == whole[: whole.index(b"\r\n\r\n") + 4]


def test_without_a_date() -> None:
    assert b"Date" not in refusal(400, "no", b"")
