"""What must hold for every stream of bytes, whoever made it. `check` and its neighbours raise Broken where it does not.

1. Nothing but Refused is raised, with a status of its own and a sentence that repeats nothing of the message.
2. How the bytes are cut changes nothing: the same requests, the same bodies, the same rest, the same refusal
   (its status may differ where a request breaks two rules; what is refused early would be refused as a whole).
3. The fast parser, with what it remembers of everything before, agrees with its clean twin, which remembers nothing
   (tests/plain_http1.py). So nothing of an earlier request is in a later one.
4. What is accepted means the same when it is written down again: the same environ and body come back.
5. h11 reads the same request, or the difference is on the list with its reason (tests/h11_oracle.py).
6. A connection (connection.reading) makes the same requests of it: one that comes alone and whole by the short way,
   with its memos and its blocks; all of them, pipelined and in pieces, by the long way.
7. CPU time and what is remembered are bounded.

Each function returns a signature: in which way the stream was served or refused. Streams with a new one are kept.
"""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING

import plain_http1
from h11_oracle import agree
from rigs import BASE, Rig, new_site
from vivace.connection.reading import MEMO_HEADS_MAX, SEEN_MAX
from vivace.errors import Refused
from vivace.http1 import fields, head, target
from vivace.http1.chunked import ChunkedDecoder
from vivace.http1.flags import CLOSE, EXPECTS, PRIVATE
from vivace.http1.head import CHUNKED, HeadLimits, incomplete_head, parse_head
from wire_corpus import BODY_BYTES_MAX, Outcome, exchange

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Signature = tuple[str, ...]

REQUESTS_MAX = 4
"""As many requests of a stream are looked at."""

CPU_S_MAX = 0.5
"""For all the readings of one stream of at most 64 KiB: some 30 in the worst case, of milliseconds each."""

METHODS = ("GET", "HEAD", "POST", "OPTIONS")
KEPT_MAX = 4096
"""Entries of anything that a module of http1 remembers."""

STATUSES = frozenset((400, 413, 414, 417, 431, 501, 505))
LIMITS = HeadLimits()
SITE = new_site()
"""Its memo lives on from stream to stream."""


class Broken(AssertionError):
    """An invariant does not hold."""


def holds(condition: object, what: str, *details: object) -> None:
    if not condition:
        raise Broken(what + "".join(f"\n  {detail!r}" for detail in details))


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data`, cut."""
    at = 0
    found = []
    for cut in cuts:
        found.append(data[at:cut])
        at = cut
    found.append(data[at:])
    return [piece for piece in found if piece]


def check(stream: bytes, cuts: list[int], **more: bool) -> Signature:
    """The invariants that `more` asks for, as of `_check`; and 7, three times: a process may stall."""
    for left in range(2, -1, -1):
        began = process_time()
        signature = _check(stream, cuts, **more)
        took = process_time() - began
        if took < CPU_S_MAX:
            break
        holds(left, f"it took {took:.3f} s of CPU time, three times")
    return signature


def _check(
    stream: bytes, cuts: list[int], *, twin: bool = True, again: bool = True, oracle: bool = False, reader: bool = False
) -> Signature:
    """Invariants 1 and 2; 3 with its `twin`, 4 if written down `again`, 5 with the `oracle`, 6 from a `reader`."""
    signature: list[str] = []
    requests: list[Outcome] = []
    left = stream
    for _ in range(REQUESTS_MAX):
        whole, said = first_request(left, twin)
        same_however_cut(left, whole, [cut for cut in cuts if cut < len(left)] or [len(left) // 2])
        if oracle:
            agree(left)
        same_by_the_short_way(left, whole)
        signature.append(said or kind(whole))
        requests.append(whole)
        if whole.status:
            break
        if again:
            means_the_same_again(whole)
        left = whole.rest
        if not left:
            break
    if reader:
        same_from_a_connection(pieces(stream, cuts), requests)
    return tuple(signature)


def first_request(stream: bytes, twin: bool) -> tuple[Outcome, str]:
    """The first request of `stream`, read as a whole, and what is said where it is refused. Invariants 1 and 3."""
    data = stream[2:] if stream[:2] == b"\r\n" else stream
    environ: dict[str, Any] = {}
    end = data.find(b"\r\n\r\n") + 4
    raw = data[:end] if end > 3 else b""
    try:
        if not raw:
            if data:
                incomplete_head(data, LIMITS)
            return Outcome(-1, environ, b"", False, False, b""), ""
        try:
            length, flags = parse_head(raw, environ, LIMITS)
        except Refused:
            if twin:
                agrees_with_the_twin(raw, None)
            raise
        if twin:
            agrees_with_the_twin(raw, (environ, length, flags))
        if length == CHUNKED:
            decoder = ChunkedDecoder(BODY_BYTES_MAX)
            blocks, used = decoder.feed(data[end:])
            whole, body, rest = decoder.done, b"".join(blocks), data[end + used :]
        else:
            whole, body, rest = len(data) - end >= length, data[end : end + length], data[end + length :]
    except Refused as refused:
        holds(refused.status in STATUSES, "an unknown status", refused.status)
        holds(refused.detail.isascii() and refused.detail.isprintable(), "an odd sentence", refused.detail)
        return Outcome(refused.status, environ, b"", True, False, b""), f"{refused.status} {refused.detail}"
    if not whole:
        return Outcome(-1, environ, b"", False, False, b""), ""
    return Outcome(0, environ, body, bool(flags & CLOSE), bool(flags & EXPECTS), rest), ""


def kind(outcome: Outcome) -> str:
    """In which way a request was served, or is not whole."""
    if outcome.status < 0:
        return "incomplete"
    environ = outcome.environ
    method = environ["REQUEST_METHOD"]
    parts = [environ["SERVER_PROTOCOL"], method if method in METHODS else "OTHER"]
    parts += [key for key in ("HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH", "HTTP_COOKIE") if key in environ]
    parts += ["body"] * bool(outcome.body) + ["closes"] * outcome.closes + ["expects"] * outcome.expects
    return " ".join(parts)


def same_however_cut(stream: bytes, whole: Outcome, cuts: list[int]) -> None:
    """Invariant 2."""
    split = exchange(pieces(stream, cuts))
    if whole.status == 0 or split.status == 0:
        holds(split == whole, "cut, it is another request", cuts, whole, split)
    elif whole.status < 0 and split.status > 0:
        # Refused on the way, from a head that is not complete: then nothing that completes it may be accepted.
        holds(exchange([stream + b"\r\n\r\n"]).status > 0, "refused too early", cuts, split)
    elif whole.status > 0:
        holds(split.status > 0, "cut, it is not refused", cuts, whole, split)


def agrees_with_the_twin(raw: bytes, fast: tuple[dict[str, Any], int, int] | None) -> None:
    """Invariant 3."""
    plain = parsed(plain_http1.parse_head, raw)
    if fast is None or plain is None:
        holds(fast is plain, "the twins differ", fast, plain)
        return
    holds(fast[:2] == plain[:2] and fast[2] | PRIVATE == plain[2] | PRIVATE, "the twins differ", fast, plain)
    holds(not plain[2] & ~fast[2] & PRIVATE, "private, and not known as such", fast[0])


def parsed(parser: Any, raw: bytes) -> tuple[dict[str, Any], int, int] | None:
    """(environ, length, flags); None: refused."""
    environ: dict[str, Any] = {}
    try:
        length, flags = parser(raw, environ, LIMITS)
    except Refused:
        return None
    return environ, length, flags


def written(environ: dict[str, Any], body: bytes) -> bytes:
    """The request that `environ` and `body` say, in the plainest form."""
    lines = [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"]
    for key, value in environ.items():
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            lines.append(f"{key.replace('_', '-')}: {value}")
        elif key.startswith("HTTP_"):
            lines.append(f"{key[5:].replace('_', '-')}: {value}")
    raw = "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"
    if "HTTP_TRANSFER_ENCODING" in environ:
        return raw + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    return raw + body


def means_the_same_again(first: Outcome) -> None:
    """Invariant 4. Joined, fields may pass a limit that they kept apart: such a request is left out."""
    data = written(first.environ, first.body)
    if max(map(len, data.partition(b"\r\n\r\n")[0].split(b"\r\n"))) > 8000:
        return
    again = exchange([data])
    # White space around a value is no part of it; an empty member of a joined list may leave some at its end.
    environ = {key: value.strip(" \t") if key[:5] == "HTTP_" else value for key, value in first.environ.items()}
    wanted = first._replace(environ=environ, rest=b"")
    holds(again == wanted, "written down again, it is another request", wanted, again)


def same_by_the_short_way(stream: bytes, whole: Outcome) -> None:
    """Invariant 6, for a request alone: what the loop's fast path takes is that request, or it takes nothing."""
    global _rig
    _rig = _rig or Rig(SITE, body_bytes_max=BODY_BYTES_MAX)
    alone = stream[: len(stream) - len(whole.rest)] if whole.status == 0 else stream
    for data in (alone, stream) if whole.rest else (alone,):
        taken = _rig.reader.take_whole(_rig.conn, data)
        if taken is None:
            continue
        environ, flags, _ = taken
        holds(data is alone and whole.status == 0, "the short way takes what is not one request", environ, whole)
        same_environ({**environ, "body": environ.pop("wsgi.input").read()}, whole)
        holds(
            (bool(flags & CLOSE), bool(flags & EXPECTS)) == (whole.closes, whole.expects), "other flags", flags, whole
        )


_rig: Rig | None = None
"""For the short way, which leaves nothing in its connection."""


def same_from_a_connection(parts: list[bytes], requests: list[Outcome]) -> None:
    """Invariant 6."""
    found: list[dict[str, Any]] = []
    refused = False
    with Rig(SITE, body_bytes_max=BODY_BYTES_MAX) as rig:
        try:
            rig.requests(*parts, found=found)
        except Refused as error:
            holds(error.status in STATUSES, "an unknown status", error.status)
            refused = True
        served = [outcome for outcome in requests if outcome.status == 0]
        for got, outcome in zip(found, served, strict=False):
            same_environ(got, outcome)
        if len(requests) < REQUESTS_MAX:
            holds(len(found) == len(served), "another number of requests", len(found), len(served))
            if requests[-1].status > 0 and not refused:
                refuses_at_last(rig, requests[-1])


def refuses_at_last(rig: Rig, outcome: Outcome) -> None:
    """A connection looks at a growing head now and then only: when the head is complete it must refuse it."""
    try:
        rig.requests(b"\r\n\r\n")
    except Refused:
        return
    raise Broken(f"a connection does not refuse it ({outcome.status})")


def same_environ(got: dict[str, Any], outcome: Outcome) -> None:
    wanted = {**BASE, **outcome.environ, "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1234", "body": outcome.body}
    if wanted.pop("HTTP_TRANSFER_ENCODING", None) is not None:
        wanted["CONTENT_LENGTH"] = str(len(outcome.body))
    got = {key: value for key, value in got.items() if key not in ("flags", "wsgi.input", "vivace.route")}
    holds(got == wanted, "a connection makes another request of it", got, wanted)


def check_chunks(data: bytes, cuts: list[int]) -> Signature:
    """The chunked decoder alone: the same blocks, end and trailers however cut; encoded again, the same body."""
    whole, split = decoded([data]), decoded(pieces(data, cuts))
    if isinstance(whole, str) or isinstance(split, str):
        holds(isinstance(whole, str) and isinstance(split, str), "cut, it is decoded otherwise", cuts, whole, split)
        return ("chunks", str(whole))
    holds(whole == split, "cut, it is decoded otherwise", cuts, whole, split)
    body, trailers, used, done = whole
    holds(used <= len(data) and (done or used == len(data)), "bytes are left over", used, len(data))
    if done:
        again = b"".join(b"%x\r\n%b\r\n" % (len(body), body) for _ in [0] if body) + b"0\r\n\r\n"
        holds(decoded([again]) == (body, [], len(again), True), "encoded again, it is another body")
    return ("chunks", f"done={done} body={bool(body)} trailers={len(trailers)}")


def decoded(parts: list[bytes]) -> tuple[bytes, list[tuple[str, str]], int, bool] | str:
    """(body, trailers, bytes used, done), or the sentence of the refusal."""
    decoder = ChunkedDecoder(BODY_BYTES_MAX)
    body = b""
    used = 0
    try:
        for part in parts:
            blocks, count = decoder.feed(part)
            body += b"".join(blocks)
            used += count
            if decoder.done:
                break
    except Refused as refused:
        return f"{refused.status} {refused.detail}"
    return body, decoder.trailers, used, decoder.done


COMPLETIONS = (
    b"\r\n\r\n",
    b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b": x\r\nHost: x\r\n\r\n",
    b"\n\r\n",
)


def check_partial(data: bytes) -> Signature:
    """A head that is refused before it is complete could not have become a good one."""
    if not data or b"\r\n\r\n" in data:
        return ("partial", "none")
    try:
        incomplete_head(data, LIMITS)
    except Refused as refused:
        for behind in COMPLETIONS:
            raw, end, _ = (data + behind).partition(b"\r\n\r\n")
            holds(not end or parsed(parse_head, raw + end) is None, "refused too early", refused.detail, raw)
        return ("partial", f"{refused.status} {refused.detail}")
    return ("partial", "waits")


def check_line(data: bytes) -> Signature:
    """A request line: refused, or its parts make the same line again."""
    line = data.replace(b"\r", b"").replace(b"\n", b"")
    target.kept.clear()
    try:
        keys, authority, flags = target.read_request_line(line)
    except Refused as refused:
        return ("line", f"{refused.status} {refused.detail}")
    holds(target.kept.get(line, (keys, authority, flags)) == (keys, authority, flags), "kept otherwise")
    method, sent, version = line.decode("latin-1").split(" ")
    holds((keys["REQUEST_METHOD"], keys["SERVER_PROTOCOL"]) == (method, version), "other words", keys)
    holds(sent == keys["RAW_URI"] or authority, "another target", keys)
    holds(all(0x20 < ord(char) < 0x7F for char in keys["RAW_URI"] + authority), "what no URI holds", keys)
    again = f"{method} {keys['RAW_URI']} {version}".encode("latin-1")
    holds(target.read_request_line(again)[0] == keys, "written down again, it is another line", keys)
    return (
        "line",
        f"{method if method in METHODS else 'OTHER'} {bool(authority)} {version} {'?' in sent} {'%' in sent}",
    )


def check_memory() -> None:
    """Invariant 7: what is remembered is bounded, whatever was sent, and no credential is among it."""
    for module in (fields, head, target):
        for name, kept in vars(module).items():
            if type(kept) in (dict, set) and not name.startswith("__"):
                holds(len(kept) <= KEPT_MAX, f"{module.__name__}.{name} grows", len(kept))
    holds(len(SITE.memo) <= MEMO_HEADS_MAX, "too many heads are kept")
    for memory in (SITE, SITE.blocks):
        for name in memory.__slots__:
            kept = getattr(memory, name)
            if type(kept) in (dict, set):
                holds(len(kept) <= SEEN_MAX, f"{type(memory).__name__}.{name} grows", len(kept))
    for line in fields.lines:
        name = line.partition(b":")[0].decode("latin-1").lower().replace("_", "-")
        holds(not fields.is_private(name), "a credential is kept", line)
