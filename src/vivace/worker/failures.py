"""Failures of the application as the shared page keeps them: the last ones, each with its traceback.

Rules: the request line stands there without its query string; of a long traceback the middle is left out, since it ends
with what happened; of failures that come faster than PAUSE_S some are left out, for writing one takes a millisecond.
"""

from __future__ import annotations

import time

from vivace.observe.layout import ERROR
from vivace.schedule.route import Route
from vivace.worker.console import traceback_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.observe.section import Section

    Report = Callable[[dict[str, Any], BaseException], None]

PAUSE_S = 0.05
TEXT_BYTES = ERROR.size - 12
LEFT_OUT = b"\n  ...\n"


def recording(report: Report, section: Section) -> Report:
    """`report`, which also writes what it is told into `section`."""
    last_s = -PAUSE_S

    def report_and_record(environ: dict[str, Any], error: BaseException) -> None:
        nonlocal last_s
        report(environ, error)
        now = time.monotonic()
        if now - last_s < PAUSE_S:
            return
        last_s = now
        route = environ.get("vivace.route")  # the application may have put anything there
        number = (route.became or route).number if isinstance(route, Route) else 0
        target = str(environ.get("REQUEST_URI", "")).partition("?")[0]
        text = f"{environ.get('REQUEST_METHOD')} {target}\n{traceback_of(error)}".encode("utf-8", "replace")
        section.add_error(number, shortened(text))

    return report_and_record


def shortened(text: bytes) -> bytes:
    """The beginning and the end of what is too long."""
    if len(text) <= TEXT_BYTES:
        return text
    head = text[: TEXT_BYTES // 4]
    return head + LEFT_OUT + text[len(head) + len(LEFT_OUT) - TEXT_BYTES :]
