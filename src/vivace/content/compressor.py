# HOT  bench: benchmarks/bench_compress.py  budget: 4 us (a short page, besides the exchange)
"""Compresses what an application answers: which responses, with which coding, and what that changes of their head.

`wrap` makes a WSGI application of a WSGI application; `choose`, `encode` and `coded` serve what is kept of responses.

Rules:

* A response is coded if 1. its request says that it can be decoded (`http1.accept`), 2. its path is not excluded, 3.
  its type is in the list, 4. it has a body, all of it (no 204, 205, 206, 304, no Content-Range), 5. it has no
  Content-Encoding and no `Cache-Control: no-transform` (RFC 9111 section 5.2.2.6), 6. its length is not known to be
  below the least.
* Every response that would be coded for another client says so: `Vary: Accept-Encoding` (RFC 9110 section 12.5.5).
* A coded response is another representation: a strong ETag becomes a weak one (RFC 9110 section 8.8.3.3), and what was
  said of the bytes goes: Content-Length, Accept-Ranges, Content-MD5, Digest, Content-Digest, Repr-Digest (RFC 9530). A
  304 tells the ETag that its client has.
* A body that is known whole before the head goes out (a list, one block as long as Content-Length, a short file) is
  coded whole, and left alone if that does not make it shorter. Anything else is coded block by block, and each block
  can be decoded as soon as it is sent (PEP 3333: no block may wait for the next).
* HEAD is told what GET would be as far as it can be known: all but Content-Length, and without knowing whether the
  body would be long enough and become shorter.
* What the application does wrong stays for the exchange to find: heads that make no sense pass as they are.

Must not know: connections, threads, settings. `step_aside(start_response)` is called before what takes a millisecond.
"""

from __future__ import annotations

from vivace.content.coded_response import CodedResponse
from vivace.content.coding import DYNAMIC, STORED, find_codings
from vivace.http1.accept import best_coding
from vivace.http1.coded_head import CODABLE, NEVER, VARIES, read, remember, told_again, varied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from vivace.content.coding import Coding
    from vivace.http1.coded_head import Headers

    Application = Callable[..., Iterable[bytes]]

BODILESS = frozenset(("204", "205"))
KEPT_ORDER = ("br", "zstd", "gzip")
"""The server's order for what is kept: at STORED levels Brotli is 7% shorter than the others, and paid for once."""


class Compressor:
    """Compresses responses of one server. May be shared by threads."""

    def __init__(
        self,
        types: Sequence[str],
        bytes_min: int,
        *,
        excluded: Sequence[str] = (),
        level: int = DYNAMIC,
        codings: dict[str, Coding] | None = None,
        step_aside: Callable[[Any], None] | None = None,
    ) -> None:
        """`types`: media types, lower case, * for the beginning or the end of one. `excluded`: paths, * for the end of
        one. `level`: 1 to 9, or DYNAMIC. `codings`: the server's favourite first; None: all that there are."""
        self.codings = find_codings() if codings is None else codings
        self.bytes_min = bytes_min
        self.level = level
        self._step_aside = step_aside
        self._types = frozenset(types)
        self._prefixes = tuple(pattern[:-1] for pattern in types if pattern.endswith("*"))
        self._suffixes = tuple(pattern[1:] for pattern in types if pattern.startswith("*"))
        self._paths = frozenset(excluded)
        self._roots = tuple(pattern[:-1] for pattern in excluded if pattern.endswith("*"))
        self._kept_order = tuple(name for name in KEPT_ORDER if name in self.codings)
        # Accept-Encoding -> what is sent for it, as it is made and of what is kept; Content-Type -> whether it is taken
        self._accepted: dict[str | None, Coding | None] = {}
        self._accepted_kept: dict[str | None, str] = {}
        self._taken: dict[str | None, bool] = {}

    # As a part of the path from the application to the client.

    def wrap(self, app: Application) -> Application:
        """`app`, compressed. Costs nothing by itself: it may be called for each request."""

        def compressed(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            return self.run(app, environ, start_response)

        return compressed

    def run(self, app: Application, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Calls `app`, as a server would."""
        if self.excludes(environ):
            return app(environ, start_response)
        accepted = environ.get("HTTP_ACCEPT_ENCODING")
        try:
            coding = self._accepted[accepted]
        except KeyError:
            coding = self._accept(accepted)
        if coding is None:
            asked = environ.get("HTTP_IF_NONE_MATCH")

            def start(status: str, headers: Headers, exc_info: Any = None) -> Any:
                return start_response(status, self.plain_head(asked, status, headers, read(headers)), exc_info)

            return app(environ, start)
        response = CodedResponse(self, coding, environ, start_response)
        answer: Iterable[bytes] = response.answer(app(environ, response.start_response))
        return answer

    # For a cache: what is kept is not coded, and what is coded of it is kept beside it.

    def takes(self, status: str, headers: Headers, size: int) -> bool:
        """Whether a response with a body of `size` bytes is coded for who accepts it, if its path is not excluded."""
        facts = read(headers)
        return facts is not None and size >= self.bytes_min and self.judge(status, facts) == CODABLE

    def kept_coding(self, environ: dict[str, Any]) -> str:
        """The coding in which a kept response that `takes` holds for is sent to this client; "" for none."""
        accepted = environ.get("HTTP_ACCEPT_ENCODING")
        name = self._accepted_kept.get(accepted)
        if name is None:
            name = best_coding(accepted, self._kept_order)
            remember(self._accepted_kept, accepted, name)
        return "" if not name or self.excludes(environ) else name

    def encode(self, coding: str, body: bytes) -> bytes:
        """The body of a response that is kept. Takes longer than that of one that is sent once."""
        return self.codings[coding].encode(body, STORED)

    # The parts.

    def excludes(self, environ: dict[str, Any]) -> bool:
        """Whether the path of this request is never compressed."""
        if not self._paths:
            return False
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if "//" in path or "/." in path:
            path = _plainly(path)
        return path in self._paths or path.startswith(self._roots)

    def judge(self, status: str, facts: dict[str, str]) -> int:
        """NEVER; VARIES: not, but one like it is for other clients or at other times; or CODABLE."""
        if not isinstance(status, str):
            return NEVER
        code = status[:3]
        kind = facts.get("content-type")
        taken = self._taken.get(kind)
        if taken is None:
            taken = self._takes_type(kind)
        if not taken:
            return VARIES if code == "304" and kind is None else NEVER
        if code in BODILESS or ("cache-control" in facts and "no-transform" in facts["cache-control"].lower()):
            return NEVER
        if code == "206" or code == "304" or "content-range" in facts or "content-encoding" in facts:
            return VARIES
        size = facts.get("content-length")
        if size is not None and not (size.isascii() and size.isdigit() and int(size) >= self.bytes_min):
            return VARIES
        return CODABLE

    def plain_head(self, asked: str | None, status: str, headers: Headers, facts: dict[str, str] | None) -> Headers:
        """The headers of a response that is not coded. `asked`: If-None-Match."""
        if facts is None or self.judge(status, facts) == NEVER:
            return headers
        if status[:3] == "304":
            headers = told_again(headers, facts.get("etag"), asked)
        return varied(headers, facts.get("vary"))

    def make_way(self, coding: Coding, size: int, start_response: Any) -> None:
        """So many bytes are about to be coded."""
        if self._step_aside is not None and size > coding.slow_bytes(self.level):
            self._step_aside(start_response)

    def _accept(self, accepted: str | None) -> Coding | None:
        coding = self.codings.get(best_coding(accepted, tuple(self.codings)))
        remember(self._accepted, accepted, coding)
        return coding

    def _takes_type(self, content_type: str | None) -> bool:
        media_type = (content_type or "").partition(";")[0].strip(" \t").lower()
        taken = bool(media_type) and (
            media_type in self._types or media_type.startswith(self._prefixes) or media_type.endswith(self._suffixes)
        )
        remember(self._taken, content_type, taken)
        return taken


def _plainly(path: str) -> str:
    """`path` without empty and dot segments: an application may take several spellings for one page."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment and segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if path.endswith("/") and kept else "")
