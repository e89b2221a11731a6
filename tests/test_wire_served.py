"""The wire corpus, fed to a real server: whole, byte by byte, cut at every offset, and with a request behind.

Invariant: what becomes of a request depends neither on how its bytes arrive nor on what else the server does.
test_wire.py holds http1 alone to the same corpus. A Unix socket is used, because so many connections use up the ports.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import wire_corpus
from wire import CLOSED, Client, Response, WireError, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    import vivace
    from wire_corpus import Case

    Serve = Callable[..., vivace.background]

CASES = wire_corpus.load()
NEXT = request("/next", host="next")
CUTS_MAX = 150
"""A longer request is cut at so many offsets, evenly spread."""
ATTACK_CUTS_MAX = 8
"""The attacks are many, and alike: test_wire.py cuts them at every offset, without a server."""
SLOW_BYTES_MAX = 3000
BATCH = 100
"""Connections that are open at once."""


def tell(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Says in a header what it got, so that HEAD is answered in full as well."""
    body = environ["wsgi.input"].read()
    got = {key: value for key, value in environ.items() if type(value) is str}
    got["body"] = hashlib.sha256(body).hexdigest()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Got", json.dumps(got))])
    return [b"served"]


@pytest.fixture
def server(serve_bare: Serve, tmp_path: Path) -> Iterator[vivace.background]:
    with serve_bare(tell, bind=f"unix:{tmp_path}/socket", body_bytes_max=wire_corpus.BODY_BYTES_MAX) as server:
        yield server


def send(client: Client, *pieces: bytes) -> None:
    """Sends until the server has had enough of it."""
    try:
        for piece in pieces:
            client.send(piece)
    except OSError:
        pass  # it has refused, and closed, before the last piece


def final(client: Client, method: str) -> Response:
    """The next response that is not an interim one."""
    while (response := client.read_response(method)).status == 100:
        pass
    return response


def check(case: Case, client: Client, *, behind: bool = False) -> None:
    """The answer to `case`, and what follows it; `behind`: NEXT was sent behind it already."""
    method = case.request.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1")
    response = final(client, method)
    assert response.status == (case.status or 200), case.name
    assert response.whole
    if not case.status:
        got = json.loads(response.field("X-Got") or "")
        expected = dict(case.environ)
        if expected.pop("HTTP_TRANSFER_ENCODING", None):
            expected["CONTENT_LENGTH"] = str(len(case.body))  # the body was collected: nothing else tells its length
        assert {key: got.get(key) for key in expected} == expected, case.name
        assert not set(case.absent) - {"CONTENT_LENGTH"} & set(got), case.name
        assert got["body"] == hashlib.sha256(case.body).hexdigest(), case.name
    assert response.closes == bool(case.status or case.closes), case.name
    if response.closes:
        client.finish_sending()
        assert client.rest() == (b"", CLOSED), case.name
        return
    if not behind:
        client.send(NEXT)
    following = client.read_response()
    assert json.loads(following.field("X-Got") or "")["PATH_INFO"] == "/next", case.name


def batches(items: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def all_at_once(server: vivace.background, plan: list[tuple[Case, list[bytes]]], *, behind: bool = False) -> None:
    """Feeds many connections the first pieces, then the second, and so on; then looks at every answer."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server)) for _ in plan]
        for turn in range(max(len(pieces) for _, pieces in plan)):
            for client, (_, pieces) in zip(clients, plan, strict=True):
                send(client, *pieces[turn : turn + 1])
            # Accepted, read and answered after those before it: the pieces do not run together.
            with Client(server) as barrier:
                barrier.send(NEXT).read_response()
        for client, (case, pieces) in zip(clients, plan, strict=True):
            try:
                check(case, client, behind=behind)
            except (WireError, OSError) as error:
                raise AssertionError(f"{case.name}, as {[len(piece) for piece in pieces][:5]}: {error!r}") from error


def test_whole(server: vivace.background) -> None:
    """Three times: unknown, seen before, and remembered."""
    for _ in range(3):
        for cases in batches(CASES):
            all_at_once(server, [(case, [case.request]) for case in cases])


def test_with_a_request_behind(server: vivace.background) -> None:
    """In the same segment: it is answered, or, behind what is refused or closes, it is not."""
    for cases in batches(CASES):
        all_at_once(server, [(case, [case.request + NEXT]) for case in cases], behind=True)


def test_with_requests_in_front(server: vivace.background) -> None:
    for case in CASES:
        with Client(server) as client:
            send(client, NEXT * 3 + case.request)
            for _ in range(3):
                assert client.read_response().status == 200
            check(case, client)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_in_small_pieces(server: vivace.background, size: int) -> None:
    for case in CASES:
        if len(case.request) <= SLOW_BYTES_MAX and (size == 1 or not case.name.startswith("attack_")):
            with Client(server) as client:
                send(client, *(case.request[at : at + size] for at in range(0, len(case.request), size)))
                check(case, client)


def test_cut_at_every_offset(server: vivace.background) -> None:
    cuts = []
    for case in CASES:
        most = ATTACK_CUTS_MAX if case.name.startswith("attack_") else CUTS_MAX
        step = max(1, len(case.request) // most)
        cuts += [(case, [case.request[:at], case.request[at:]]) for at in range(1, len(case.request), step)]
    for batch in batches(cuts):
        all_at_once(server, batch)


def test_the_rest_and_the_next_request_in_one_piece(server: vivace.background) -> None:
    """Cut in the middle, the second half together with the request behind it."""
    cuts = []
    for case in CASES:
        parts = 2 if case.name.startswith("attack_") else 6
        offsets = {len(case.request) * part // parts for part in range(1, parts)} - {0}
        cuts += [(case, [case.request[:at], case.request[at:] + NEXT]) for at in sorted(offsets)]
    for batch in batches(cuts):
        all_at_once(server, batch, behind=True)
