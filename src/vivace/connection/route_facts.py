"""What the requests of one route have in common: counts of a window (`facts`), which end up as plain data.

What they mean stands in explain/facts.py, which adds them up. Looks at heads and sizes; must not know
connections, threads or clocks. One thread at a time.
"""

from __future__ import annotations

from vivace.http1.cache_control import directives
from vivace.http1.dates import read_date
from vivace.http1.preconditions import evaluate
from vivace.http1.response import UNTIL_CLOSE
from vivace.observe.repeats import Views

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.connection.look import Look
    from vivace.connection.rows import Row

TYPES_MAX = 16
STATUSES_MAX = 16
NAMES_MAX = 32

TEXT_BYTES_MIN = 500
"""Shorter text is not worth compressing (compress_bytes_min has about the same)."""
TRIALS_MAX = 24
TRIAL_BYTES_MAX = 65536
"""How many responses of a route are compressed to see what that would save, and how much of each."""

BLOCKS_MIN, BLOCK_BYTES = 4, 1024
"""Tiny writes: at least so many blocks, of less than so many bytes on average."""

SLOW_SENDING_S = 0.05

# RFC 9110 section 15.1: those that a cache may keep without being told so, as far as an application answers them.
KEEPABLE = frozenset(("200", "203", "204", "300", "301", "308", "404", "405", "410", "414", "501"))

HTTP10 = "HTTP/1.0"


class RouteFacts:
    """Of one route."""

    __slots__ = (
        "conditional",
        "counts",
        "framing",
        "refused",
        "statuses",
        "trials",
        "types",
        "vary",
        "views",
        "zipped",
    )

    def __init__(self) -> None:
        self.counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
        self.framing = {"length": 0, "chunked": 0, "until_close": 0}
        self.conditional = dict.fromkeys(CONDITIONAL, 0)
        self.refused = {"no-store": 0, "private": 0, "no-cache": 0, "vary *": 0, "status": 0}
        self.statuses: dict[str, int] = {}
        self.types: dict[str, list[int]] = {}
        self.vary: dict[str, int] = {}
        self.zipped: dict[str, int] = {}
        """Types of the text that was sent as it is."""
        self.trials = [0, 0, 0]
        """Responses that were compressed to see, their bytes, and what was left of those."""
        self.views = Views()

    def note(self, look: Look) -> None:
        """A response has been made."""
        counts = self.counts
        counts["requests"] += 1
        counts["app_s"] += look.seconds
        counts["bytes"] += look.size
        counts["bytes_max"] = max(counts["bytes_max"], look.size)
        code = look.code
        if code in self.statuses or len(self.statuses) < STATUSES_MAX:
            self.statuses[code] = self.statuses.get(code, 0) + 1
        kind = media_type(look.head.get("content-type", ""))
        if kind in self.types or len(self.types) < TYPES_MAX:
            pair = self.types.setdefault(kind, [0, 0])
            pair[0] += 1
            pair[1] += look.size
        if look.blocks >= BLOCKS_MIN and look.block_bytes < look.blocks * BLOCK_BYTES:
            counts["tiny"] += 1
            counts["tiny_blocks"] += look.blocks
            counts["tiny_bytes"] += look.block_bytes
        framing = look.framing
        self.framing["length" if framing >= 0 else "until_close" if framing == UNTIL_CLOSE else "chunked"] += 1
        counts["held_s"] += look.held_s
        environ = look.environ
        counts["cookies"] += "HTTP_COOKIE" in environ
        counts["authorization"] += "HTTP_AUTHORIZATION" in environ
        self._note_keeping(look)
        if "content-encoding" in look.head:
            counts["compressed"] += 1

    def _note_keeping(self, look: Look) -> None:
        """What the response says to caches."""
        head = look.head
        self.counts["set_cookie"] += "set-cookie" in head
        said = directives(head["cache-control"]) if "cache-control" in head else {}
        for word in ("no-store", "private", "no-cache"):
            self.refused[word] += word in said
        self.refused["status"] += look.code not in KEEPABLE and look.code != "304"
        self.counts["fresh"] += "max-age" in said or "s-maxage" in said or "expires" in head
        if "vary" in head:
            for name in head["vary"].lower().split(","):
                name = name.strip(" \t")
                if name == "*":
                    self.refused["vary *"] += 1
                elif name in self.vary or len(self.vary) < NAMES_MAX:
                    self.vary[name] = self.vary.get(name, 0) + 1

    def note_again(self, look: Look, same: bool) -> None:
        """A response to a GET whose target is followed; `same`: as the one before for this client."""
        conditional = self.conditional
        if look.asked:
            conditional["asked"] += 1
            if look.code == "304":
                conditional["unchanged"] += 1
            elif look.code == "200":
                modified = look.head.get("last-modified")
                if evaluate(look.asked, look.head.get("etag", ""), read_date(modified) if modified else None) == 304:
                    conditional["matched"] += 1
                    conditional["matched_bytes"] += look.size
                elif same:
                    conditional["same"] += 1
                    conditional["same_bytes"] += look.size
        if same and look.code == "200" and "etag" not in look.head and "last-modified" not in look.head:
            conditional["no_validator"] += 1
            conditional["no_validator_bytes"] += look.size

    def note_text(self, size: int, kind: str, accepted: bool) -> None:
        """Text that was sent as it is; `accepted`: to a client that takes gzip."""
        if accepted:
            self.counts["text"] += 1
            self.counts["text_bytes"] += size
            self.zipped[kind] = self.zipped.get(kind, 0) + 1
        else:
            self.counts["deaf"] += 1
            self.counts["deaf_bytes"] += size

    def note_trial(self, size: int, left: int) -> None:
        """So many bytes of a response were compressed, and so many were left."""
        self.trials[0] += 1
        self.trials[1] += size
        self.trials[2] += left

    def note_sent(self, row: Row) -> None:
        """A response is out."""
        seconds = max(0.0, row.done - row.started - row.wall_s)
        counts = self.counts
        counts["send_s"] += seconds
        counts["send_longest_s"] = max(counts["send_longest_s"], seconds)
        if seconds >= SLOW_SENDING_S:
            counts["slow"] += 1
            counts["slow_bytes"] += row.bytes_out

    def told(self, window_s: float, share: float) -> dict[str, Any]:
        """As plain data."""
        counts = self.counts
        tried, before, after = self.trials
        return {
            **{name: counts[name] for name in ("requests", "app_s", "bytes", "bytes_max", "compressed", "records")},
            "statuses": self.statuses,
            "types": self.types,
            "repeats": {
                **self.views.told(window_s),
                **{name: counts[name] for name in ("cookies", "authorization", "set_cookie", "fresh")},
                "share": share,
                "refused": self.refused,
                "vary": self.vary,
            },
            "compress": {
                "count": counts["text"],
                "bytes": counts["text_bytes"],
                "looked": tried,
                "tried_bytes": before,
                "left_bytes": after,
                "types": sorted(self.zipped),
                "deaf": counts["deaf"],
                "deaf_bytes": counts["deaf_bytes"],
            },
            "writes": {"count": counts["tiny"], "blocks": counts["tiny_blocks"], "bytes": counts["tiny_bytes"]},
            "framing": self.framing,
            "conditional": self.conditional,
            "sending": {
                "seconds": counts["send_s"],
                "held_s": counts["held_s"],
                "slow": counts["slow"],
                "slow_bytes": counts["slow_bytes"],
                "longest_s": counts["send_longest_s"],
            },
            "bodies": {"count": counts["bodies"], "chunked": counts["chunked"], "bytes": counts["body_bytes"]},
        }


COUNTS = (
    *("requests", "app_s", "bytes", "bytes_max", "compressed", "records", "cookies", "authorization", "set_cookie"),
    *("fresh", "text", "text_bytes", "deaf", "deaf_bytes", "tiny", "tiny_blocks", "tiny_bytes", "send_s", "held_s"),
    *("slow", "slow_bytes", "send_longest_s", "bodies", "chunked", "body_bytes"),
)
CONDITIONAL = (
    *("asked", "unchanged", "matched", "matched_bytes", "same", "same_bytes", "no_validator", "no_validator_bytes"),
)


def media_type(content_type: str) -> str:
    """ "text/html" of "text/html; charset=utf-8"."""
    return content_type.partition(";")[0].strip(" \t").lower()[:80]


def read_head(headers: Any) -> dict[str, str]:
    """Lower-case name -> value; several lines of one are joined (RFC 9110 section 5.3). What is no head is empty."""
    found: dict[str, str] = {}
    try:
        for name, value in headers or ():
            key = name.lower()
            found[key] = f"{found[key]}, {value}" if key in found else value + ""
    except (TypeError, ValueError, AttributeError):
        return {}
    return found
