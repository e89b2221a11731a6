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
    assert len(CASES) >= 230
    assert not [name for name, times in Counter(case.name for case in CASES).items() if times > 1]
    assert not [request for request, times in Counter(case.request for case in CASES).items() if times > 1]
    assert {case.status for case in CASES} == {0, 400, 413, 414, 417, 431, 501, 505}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whole(case: Case) -> None:
    check(case, exchange([case.request]))
    # ... and again, now that its lines may be kept.
    check(case, exchange([case.request]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_byte_by_byte(case: Case) -> None:
    check(case, exchange(case.request[at : at + 1] for at in range(len(case.request))))


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


@pytest.mark.parametrize("case", [case for case in CASES if case.status], ids=lambda case: case.name)
def test_what_is_refused_stays_refused(case: Case) -> None:
    """Nothing that follows can make a refused request a good one."""
    assert exchange([case.request + NEXT]).status == case.status


@pytest.mark.parametrize("case", [case for case in CASES if not case.status], ids=lambda case: case.name)
def test_a_part_is_neither_served_nor_refused(case: Case) -> None:
    step = max(1, len(case.request) // CUTS_MAX)
    for at in range(0, len(case.request), step):
        assert exchange([case.request[:at]]).status == -1
