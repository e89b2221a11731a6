"""The wire corpus, fed to http1 whole, byte by byte, cut at every offset, and with other bytes behind.

Invariant: how a stream is cut changes nothing. Only the status of what is refused may depend on it, where a
request breaks two rules.
"""

from __future__ import annotations

from collections import Counter

import pytest

import wire_corpus
from wire_corpus import Case, Outcome, exchange

CASES = wire_corpus.load()
NEXT = b"GET /next HTTP/1.1\r\nHost: next\r\n\r\n"
# Cutting these at each offset would take long and show no more.
CUTS_MAX = 400
# A longer one comes in pieces of a few bytes: `exchange` looks at all of a growing head each time.
SLOW_BYTES_MAX = 8000


def check(case: Case, outcome: Outcome, rest: bytes = b"") -> None:
    assert outcome.status == case.status
    if case.status:
        return
    assert {key: outcome.environ.get(key) for key in case.environ} == case.environ
    assert not set(case.absent) & set(outcome.environ)
    assert all(type(value) is str for value in outcome.environ.values())
    assert outcome.body == case.body
    assert (outcome.closes, outcome.expects) == (case.closes, case.expects)
    assert outcome.rest == rest


def test_the_corpus_is_what_it_should_be() -> None:
    assert len(CASES) >= 520
    assert not [name for name, times in Counter(case.name for case in CASES).items() if times > 1]
    assert not [request for request, times in Counter(case.request for case in CASES).items() if times > 1]
    assert {case.status for case in CASES} == {0, 400, 413, 414, 417, 431, 501, 505}


def test_every_attack_says_where_it_was_described() -> None:
    for path in wire_corpus.FOLDER.glob("attack_*.wire"):
        sections = path.read_text("ascii").split("\n=== ")[1:]
        assert [section.partition("\n")[0] for section in sections if "\n# source: " not in section] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whole(case: Case) -> None:
    check(case, exchange([case.request]))
    # ... and again, now that its lines may be kept.
    check(case, exchange([case.request]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_byte_by_byte(case: Case) -> None:
    size = 1 + len(case.request) // SLOW_BYTES_MAX
    check(case, exchange(case.request[at : at + size] for at in range(0, len(case.request), size)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cut_at_every_offset(case: Case) -> None:
    step = max(1, len(case.request) // CUTS_MAX)
    for at in range(1, len(case.request), step):
        check(case, exchange([case.request[:at], case.request[at:]]))


@pytest.mark.parametrize("case", [case for case in CASES if not case.status], ids=lambda case: case.name)
def test_with_a_request_behind(case: Case) -> None:
    stream = case.request + NEXT
    check(case, exchange([stream]), rest=NEXT)
    check(case, exchange(stream[at : at + 1] for at in range(len(stream))), rest=NEXT)


PLACES = {
    "before the name": "{}Transfer-Encoding: chunked",
    "behind the name": "Transfer-Encoding{}: chunked",
    "before the value": "Transfer-Encoding:{}chunked",
    "behind the value": "Transfer-Encoding: chunked{}",
}
TCHARS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("place", PLACES)
def test_every_byte_around_a_transfer_coding(place: str) -> None:
    """White space around the value changes nothing, a letter of the name makes another field; all else is refused."""
    for byte in map(chr, range(256)):
        line = PLACES[place].format(byte).encode("latin-1")
        head = b"POST / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n"
        for length, body in ((b"", b"0\r\n\r\n"), (b"Content-Length: 5\r\n", b"0\r\n\r\n")):
            outcome = exchange([head + length + b"\r\n" + body])
            if place.endswith("value") and byte in " \t":
                assert outcome.status == (400 if length else 0), (byte, length)
                assert length or outcome.environ["HTTP_TRANSFER_ENCODING"] == "chunked"
            elif place.endswith("name") and byte in TCHARS:
                assert outcome.status == 0, (byte, length)
                assert "HTTP_TRANSFER_ENCODING" not in outcome.environ
                assert (outcome.body, outcome.rest) == ((body, b"") if length else (b"", body))
            else:
                assert outcome.status in (400, 501), (byte, length, outcome)


@pytest.mark.parametrize("case", [case for case in CASES if case.status], ids=lambda case: case.name)
def test_what_is_refused_stays_refused(case: Case) -> None:
    """Nothing that follows can make a refused request a good one."""
    assert exchange([case.request + NEXT]).status == case.status


@pytest.mark.parametrize("case", [case for case in CASES if not case.status], ids=lambda case: case.name)
def test_a_part_is_neither_served_nor_refused(case: Case) -> None:
    step = max(1, len(case.request) // CUTS_MAX)
    for at in range(0, len(case.request), step):
        assert exchange([case.request[:at]]).status == -1
