"""Accept-Encoding -> the content coding to answer with (RFC 9110 section 12.5.3).

    Accept-Encoding = [ ( codings [ weight ] ) *( OWS "," OWS ( codings [ weight ] ) ) ]
    codings         = content-coding / "identity" / "*"
    weight          = OWS ";" OWS "q=" qvalue              (section 12.4.2)
    qvalue          = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )

Rules:

1. A client that does not send the field takes anything by the letter, but nothing says that it can decode: no coding.
   One that sends it empty wants none.
2. What is listed counts by its weight; "*" stands for what is not listed. Among equal weights the server's order
   decides, and any coding comes before identity.
3. Identity that is neither listed nor met by "*" is acceptable, and preferred to nothing. One with a greater weight
   than every coding is preferred to them.
4. A coding whose weight cannot be read, or that is listed twice, gets the least that could be meant: nobody is sent
   what may have been refused.
5. "x-gzip" is another name of "gzip" (section 8.4.1.3). Names are case-insensitive.

A client that refuses identity and whatever is offered is still answered without coding: section 12.5.3 allows it, and
406 would help nobody.

Must not know: which codings there are. The caller offers them.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MEMBERS_MAX = 32
"""Members that are read; IANA has 12 codings registered."""

IDENTITY = "identity"

_is_weight = re.compile(r"[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*").fullmatch


def best_coding(accept_encoding: str | None, offered: Sequence[str]) -> str:
    """The best of `offered` (lower case, the server's favourite first) by the field's value; "" for identity."""
    if not accept_encoding:
        return ""
    weights = read_weights(accept_encoding)
    others = weights.get("*", 0)
    best, most = "", 0
    for coding in offered:
        weight = weights.get(coding, others)
        if weight > most:
            best, most = coding, weight
    return best if most >= weights.get(IDENTITY, 0) else ""


def read_weights(accept_encoding: str) -> dict[str, int]:
    """Coding or "*", in lower case -> weight in thousandths."""
    weights: dict[str, int] = {}
    for member in accept_encoding.split(",", MEMBERS_MAX)[:MEMBERS_MAX]:
        name, semicolon, rest = member.partition(";")
        name = name.strip(" \t").lower()
        if not name:
            continue  # RFC 9110 section 5.6.1.2: empty elements are ignored
        if name == "x-gzip":
            name = "gzip"
        weight = 1000
        if semicolon:
            found = _is_weight(rest)
            weight = round(float(found[1]) * 1000) if found else 0
        weights[name] = min(weight, weights.get(name, 1000))
    return weights
