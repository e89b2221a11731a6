"""Parts of a representation (RFC 9110 section 14): reading Range, writing Content-Range and multipart/byteranges. Pure.

Rules:

* Range has a meaning for GET only (section 14.2). What cannot be read is ignored, and so the whole is answered.
* Ranges that overlap, or lie closer together than the head of a part is long, become one (section 15.3.7.2). So an
  answer is never longer than the whole and `PART_BYTES` for each part.
* More than `PARTS_MAX` ranges are ignored: section 17.15, and CVE-2011-3192, where 1,300 ranges in a request cost
  Apache its memory. Its limit since then is 200; readers of PDF files ask for tens at a time.
* Parts come in the order in which they were asked for (section 15.3.7.2).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS_MAX = 100
PART_BYTES = 80
"""What a part costs beside its bytes, at least: section 15.3.7.2 calls it "typically around 80 bytes"."""

# RFC 9110 section 14.1.1: range-spec = int-range / suffix-range, each with as many digits as 2**63 has, or more zeros.
_SPEC = re.compile(r"([0-9]{0,40})-([0-9]{0,40})").fullmatch
_SPEC_CHARS_MAX = 96  # with what may stand around it


def read_ranges(text: str, size: int, parts_max: int = PARTS_MAX) -> list[tuple[int, int]] | None:
    """The parts that a Range asks for of something of `size` bytes, as (first, last) with `last` included.

    None: ignore the field. []: none of them exists, to be answered with 416. Nothing is a part of nothing, so with a
    `size` of 0 the field is ignored: clients that add a Range to everything mean a limit by it.
    """
    if text[:6].lower() != "bytes=" or size <= 0 or len(text) > parts_max * _SPEC_CHARS_MAX:
        return None
    specs = [stripped for spec in text[6:].split(",") if (stripped := spec.strip(" \t"))]
    if not specs or len(specs) > parts_max:
        return None
    parts = []
    for spec in specs:
        match = _SPEC(spec)
        if match is None:
            return None
        if match[1]:
            first, last = int(match[1]), int(match[2] or size)
            if last < first and match[2]:
                return None
        elif match[2]:
            first, last = max(0, size - int(match[2])), size
        else:
            return None
        if first < size:
            parts.append((first, min(last, size - 1)))
    return _joined(parts) if len(parts) > 1 else parts


def _joined(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without overlaps and gaps that do not pay, in the order of the first of each."""
    joined: list[tuple[int, int, int]] = []  # (place in the request, first, last)
    for first, last, place in sorted((first, last, place) for place, (first, last) in enumerate(parts)):
        if joined and first <= joined[-1][2] + 1 + PART_BYTES:
            before = joined[-1]
            joined[-1] = (min(before[0], place), before[1], max(before[2], last))
        else:
            joined.append((place, first, last))
    return [(first, last) for _, first, last in sorted(joined)]


def content_range(first: int, last: int, size: int) -> str:
    """The Content-Range of a 206 (section 14.4)."""
    return f"bytes {first}-{last}/{size}"


def unsatisfied_range(size: int) -> str:
    """The Content-Range of a 416 (section 15.5.17)."""
    return f"bytes */{size}"


def multipart(
    parts: Sequence[tuple[int, int]], size: int, content_type: str, boundary: str
) -> tuple[str, list[bytes], bytes]:
    """What frames several parts of something of `size` bytes (section 14.6): (Content-Type, what goes before each part,
    what goes after the last).

    `content_type`: of the whole, "" where it has none. `boundary`: as yet unused, of letters and digits.
    """
    about = f"Content-Type: {content_type}\r\n" if content_type else ""
    heads = [
        f"\r\n--{boundary}\r\n{about}Content-Range: {content_range(first, last, size)}\r\n\r\n".encode("latin-1")
        for first, last in parts
    ]
    heads[0] = heads[0][2:]
    return f"multipart/byteranges; boundary={boundary}", heads, f"\r\n--{boundary}--\r\n".encode("latin-1")
