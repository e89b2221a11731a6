"""How a body is delimited, and Expect."""

from __future__ import annotations

import pytest

from vivace.errors import Refused
from vivace.http1.framing import CHUNKED, body_length, expects_continue


@pytest.mark.parametrize(
    ("content_length", "transfer_encoding", "http10", "length"),
    [
        (None, None, False, 0),
        (None, None, True, 0),
        ("0", None, False, 0),
        ("007", None, True, 7),
        ("9" * 18, None, False, 10**18 - 1),
        (None, "chunked", False, CHUNKED),
        (None, "CHUNKED", False, CHUNKED),
    ],
)
def test_body_length(content_length: str | None, transfer_encoding: str | None, http10: bool, length: int) -> None:
    assert body_length(content_length, transfer_encoding, http10) == length


@pytest.mark.parametrize(
    ("content_length", "transfer_encoding", "http10", "status"),
    [
        *(
            (length, None, False, 400)
            for length in ("", " ", "+1", "-1", "1_0", "1 0", "0x1", "1.0", "1e3", "1,1", "\xb2")
        ),
        ("1" * 19, None, False, 413),
        ("1" * 5000, None, False, 413),
        ("1", "chunked", False, 400),
        ("x", "gzip", False, 400),
        (None, "chunked", True, 400),
        (None, "gzip", True, 400),
        *(
            (None, coding, False, 400)
            for coding in ("", ",", "chunked,", ",chunked", "chunked;a=b", "chun ked", '"chunked"')
        ),
        *((None, coding, False, 400) for coding in ("chunked, chunked", "chunked, gzip", "gzip, chunked, gzip", "a/b")),
        *(
            (None, coding, False, 501)
            for coding in ("gzip", "identity", "gzip, chunked", "xchunked", "chunkedx", "a,b")
        ),
    ],
)
def test_refused(content_length: str | None, transfer_encoding: str | None, http10: bool, status: int) -> None:
    with pytest.raises(Refused) as caught:
        body_length(content_length, transfer_encoding, http10)
    assert caught.value.status == status


def test_expects_continue() -> None:
    assert expects_continue("100-continue")
    assert expects_continue("100-CONTINUE , 100-continue,")
    assert not expects_continue("")
    assert not expects_continue(" , ")
    for value in ("100", "200-ok", "100-continue; a=b", "100-continue, x", "100-continue=1"):
        with pytest.raises(Refused) as caught:
            expects_continue(value)
        assert caught.value.status == 417
