"""Clients and the network: connections, writes, sizes, conditions, slow readers. Pure."""

from __future__ import annotations

from vivace.explain.finding import BYTES, FAIR, HIGH, MINOR, NOTE, SERIOUS, Finding, Gain
from vivace.explain.gain import saving
from vivace.lab.words import number, percent, size, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.explain.case import Case

CONNECT_S = 90e-6
"""Processor time of the server for a connection: accepting, registering, closing, and the first read without a memo."""
WRITE_S = 9e-6
"""... and for a block of a response that is sent by itself."""
ACCEPTS = 0.5
RATE_MIN = 5.0
PART_MIN = 0.3
"""Of the requests of a route, or of its bytes."""
TEXT_BYTES = 8 * 1024
"""Of a response: what is shorter fits into the first packets anyway (RFC 6928: ten)."""
BLOCKS_MIN = 8
HELD = 0.2
"""Of the threads."""


def rule(case: Case) -> list[Finding]:
    found = _connections(case)
    for name, row in (case.evidence.facts or {"routes": {}})["routes"].items():
        if row["requests"]:
            found += [*_writes(case, name, row), *_text(name, row), *_conditions(name, row)]
            found += [*_readers(case, name, row), *_framing(name, row)]
    return found


def _connections(case: Case) -> list[Finding]:
    accepts = case.figures["accept_rate"]
    if case.rate < RATE_MIN or accepts < ACCEPTS * case.rate:
        return []
    evidence = [f"{number(accepts)} connections a second for {number(case.rate)} requests a second"]
    facts = case.evidence.facts or {}
    closed = facts.get("connections", {}).get("closed", {})
    texts = {
        "application": "responses say Connection: close",
        "client": "requests say Connection: close",
        "http10": "requests are of HTTP/1.0 without keep-alive",
        "unframed": "responses have no length, so that closing ends them",
    }
    requests = max(1, facts.get("requests", 1))
    evidence += [f"{percent(closed[key] / requests)} of the {text}" for key, text in texts.items() if closed.get(key)]
    ours = (closed.get("application", 0) + closed.get("unframed", 0)) / requests > ACCEPTS
    return [
        Finding(
            "keep-alive",
            "the application closes the connection after each response" if ours else "clients connect for each request",
            SERIOUS if ours else MINOR,
            evidence,
            "Let connections stay open: take `Connection: close` out of responses; let clients use sessions, and a "
            "proxy in front keep-alive to its upstream (nginx: keepalive, proxy_http_version 1.1). Behind a network "
            "each new connection costs a round trip, with TLS two more.",
            code="session = requests.Session()    # in the client" if not ours else "",
            gain=saving(case.flow, (0.3, 0.8, 1.0), cpu_s=min(CONNECT_S, case.flow.cpu_s * 0.8)),
            confidence=HIGH if ours else FAIR,
            weight=0.2 if ours else 0.1,
        )
    ]


def _writes(case: Case, name: str, row: dict[str, Any]) -> list[Finding]:
    writes = row["writes"]
    if writes["count"] < PART_MIN * row["requests"] or writes["blocks"] < BLOCKS_MIN * max(1, writes["count"]):
        return []
    blocks = writes["blocks"] / row["requests"]
    cost_s = blocks * WRITE_S
    gain = saving(case.flow, (0.5, 0.9, 1.0), cpu_s=min(cost_s * case.of_its_route(name), case.flow.cpu_s * 0.9))
    return [
        Finding(
            "tiny writes",
            f"{name} sends its response in {blocks:.0f} tiny pieces",
            SERIOUS if gain.weight >= 0.2 and cost_s > 3e-4 else MINOR,
            [
                f"{writes['bytes'] / max(1, writes['blocks']):.0f} bytes a piece, on average; each is a system call "
                f"and a packet, about {span(cost_s)} of the processor a request",
            ],
            "Join what is small before it is yielded, or return the whole body: b''.join(pieces) in one element.",
            route=name,
            code="return [b''.join(pieces)]    # rather than: for piece in pieces: yield piece",
            gain=gain,
            confidence=HIGH,
        )
    ]


def _text(name: str, row: dict[str, Any]) -> list[Finding]:
    told = row["compress"]
    if not told["count"] or told["saved_bytes"] < PART_MIN * max(1, row["bytes"]):
        return []
    each = told["bytes"] / told["count"]
    left = 1.0 - told["saved_bytes"] / max(1, row["bytes"])
    return [
        Finding(
            "uncompressed",
            f"{name} sends text uncompressed: {size(each)} that gzip makes {size(each * (1 - told['saved_share']))}",
            SERIOUS if each >= TEXT_BYTES else MINOR,
            [
                f"{told['count']} of {row['requests']} responses are {', '.join(told['types'][:3])} for clients that "
                "take gzip",
                f"{told['looked']} of them were tried: {percent(told['saved_share'])} smaller",
            ],
            "Let the server compress: --compress. What its cache keeps is compressed once.",
            route=name,
            code="compress = true    # vivace.toml",
            options=("--compress",),
            gain=Gain(BYTES, max(0.0, left - 0.05), left, min(1.0, left + 0.05), "gzip of a sample of the responses"),
            confidence=HIGH,
            weight=0.25,
        )
    ]


def _conditions(name: str, row: dict[str, Any]) -> list[Finding]:
    told = row["conditional"]
    in_full = told["matched"] + told["same"]
    if told["asked"] >= 10 and in_full > PART_MIN * told["asked"]:
        wasted = told["matched_bytes"] + told["same_bytes"]
        left = 1.0 - wasted / max(1, row["bytes"])
        evidence = [
            f"{told['asked']} requests asked whether it has changed (If-None-Match, If-Modified-Since); "
            f"{told['unchanged']} were answered 304, {in_full} in full with what the client had: {size(wasted)}"
        ]
        severity, weight = SERIOUS, 0.25
    elif (
        told["no_validator"] > PART_MIN * row["requests"]
        and told["no_validator_bytes"] > TEXT_BYTES * told["no_validator"]
    ):
        left = 1.0 - told["no_validator_bytes"] / max(1, row["bytes"])
        evidence = [
            f"{told['no_validator']} responses had the bytes that the same client had got before, and neither ETag nor "
            "Last-Modified to ask by"
        ]
        severity, weight = NOTE, 0.05
    else:
        return []
    return [
        Finding(
            "conditional",
            f"{name} sends in full what clients have already",
            severity,
            evidence,
            "Give responses an ETag (a hash of the body, or the version of the data) and answer 304 where it is the "
            "one that the client names: Flask's response.make_conditional(request), Django's "
            "ConditionalGetMiddleware; or a cache rule: what vivace keeps is answered so.",
            route=name,
            code="response.add_etag()\nreturn response.make_conditional(request)",
            gain=Gain(BYTES, max(0.0, left - 0.05), max(left, 0.01), 1.0, "the bytes of responses that were the same"),
            confidence=HIGH,
            weight=weight,
        )
    ]


def _readers(case: Case, name: str, row: dict[str, Any]) -> list[Finding]:
    told = row["sending"]
    seconds = max(1e-9, (case.evidence.facts or {})["seconds"])
    held = told["held_s"] / seconds / (case.threads_max * case.workers)
    if told["slow"] < 0.05 * row["requests"] and held < 0.05:
        return []
    return [
        Finding(
            "slow readers",
            f"clients read the responses of {name} slowly",
            SERIOUS if held >= HELD else MINOR,
            [
                f"sending took 50 ms or more for {told['slow']} of {row['requests']} responses "
                f"({size(told['slow_bytes'] / max(1, told['slow']))} each), {span(told['longest_s'])} at most",
                f"threads of the application waited for them {percent(held)} of the time",
            ],
            "Return a body as a whole or as a file: the server's loop then sends it, and no thread waits. Send less "
            "(--compress, pages), or put a proxy in front that takes in responses.",
            route=name,
            code="return wsgi.file_wrapper(file)    # environ['wsgi.file_wrapper']",
            weight=held,
            confidence=HIGH,
        )
    ]


def _framing(name: str, row: dict[str, Any]) -> list[Finding]:
    framing, bodies = row["framing"], row["bodies"]
    found = []
    without = framing["chunked"] + framing["until_close"]
    small = row["bytes"] / max(1, row["requests"]) < 64 * 1024
    if without > 0.5 * row["requests"] and small:
        found.append(
            Finding(
                "no length",
                f"{name} does not say how long its responses are",
                NOTE,
                [f"{framing['chunked']} were sent in chunks, {framing['until_close']} ended by closing the connection"],
                "Return the body as one element, or set Content-Length: sent in one piece, and clients can show how "
                "much is still to come.",
                route=name,
                code="headers.append(('Content-Length', str(len(body))))",
            )
        )
    if bodies["count"] and bodies["chunked"] > 0.5 * bodies["count"]:
        found.append(
            Finding(
                "no length",
                f"clients send bodies of unknown length to {name}",
                NOTE,
                [f"{bodies['chunked']} of {bodies['count']} came in chunks"],
                "Let clients send Content-Length where they know it: the body can be refused before it is read.",
                route=name,
            )
        )
    return found
