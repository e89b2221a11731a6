"""How the body of a request is delimited (RFC 9112 section 6), and what Expect asks (RFC 9110 section 10.1.1).

Rules:

1. One of Content-Length and Transfer-Encoding, never both: two readers of one message could
   disagree about where it ends, which is how requests are smuggled (RFC 9112 section 11.2).
2. A length is digits; a list of lengths is refused even if all are the same (RFC 9110 section 8.6 allows it).
3. The only transfer coding is `chunked`, once, without parameters.

Must not know: limits on bodies. The connection compares the length with its own.
"""

from __future__ import annotations

from vivace.errors import Refused
from vivace.http1.fields import is_token

CHUNKED = -1

LENGTH_DIGITS_MAX = 18  # fits any file offset; int() of long strings is quadratic (CVE-2020-10735)


def body_length(content_length: str | None, transfer_encoding: str | None = None, http10: bool = False) -> int:
    """Length in bytes, 0 for no body, or CHUNKED. Raises Refused 400, 413 or 501."""
    if transfer_encoding is not None:
        if content_length is not None:
            raise Refused(400, "both Content-Length and Transfer-Encoding (RFC 9112 section 6.1)")
        _check_coding(transfer_encoding, http10)
        return CHUNKED
    if content_length is None:
        return 0
    if not (content_length.isascii() and content_length.isdigit()):
        raise Refused(400, "Content-Length is not a number (RFC 9110 section 8.6)")
    if len(content_length) > LENGTH_DIGITS_MAX:
        raise Refused(413, "Content-Length is larger than any body")
    return int(content_length)


def _check_coding(value: str, http10: bool) -> None:
    if http10:
        raise Refused(400, "Transfer-Encoding in an HTTP/1.0 request (RFC 9112 section 6.1)")
    coding = value.lower()
    if coding == "chunked":
        return
    codings = [part.strip(" \t") for part in coding.split(",")]
    # RFC 9112 section 6.1: chunked is applied once; section 6.3: it comes last, or the length is unknown;
    # section 7.1: it has no parameters.
    if not all(map(is_token, codings)) or "chunked" in codings[:-1]:
        raise Refused(400, "Transfer-Encoding is malformed, or chunked is not its last coding")
    raise Refused(501, "chunked is the only transfer coding of this server")


def expects_continue(value: str) -> bool:
    """Whether the client waits for 100 (Continue). Raises Refused 417 for any other expectation."""
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    if any(member.lower() != "100-continue" for member in members):
        raise Refused(417, "100-continue is the only expectation of this server")
    return bool(members)
