"""What is said of a worker that died: how, and the requests that it took with it.

Reads the worker's section of the shared page, which outlives it.
"""

from __future__ import annotations

import os
import signal
import time

from vivace.observe.layout import S_CONNECTIONS, S_NOW

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.observe.section import Section

HINTS: dict[int, str] = {
    signal.SIGKILL: "somebody, or the kernel for want of memory, killed it (dmesg tells)",
    signal.SIGSEGV: "a fault in C code; the stacks of its threads stand above",
    signal.SIGBUS: "a fault in C code, or a mapped file that became shorter; the stacks of its threads stand above",
    signal.SIGABRT: "it was aborted; the stacks of its threads stand above",
    signal.SIGFPE: "a fault in C code; the stacks of its threads stand above",
    signal.SIGILL: "a fault in C code; the stacks of its threads stand above",
}

NAMED_MAX = 20
"""Requests named one by one; of the others the number."""


def cause(status: int) -> str:
    """How a process ended, from what waitpid(2) says."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}" if code else "ended by itself"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = HINTS.get(-code)
    return f"was ended by {name}" + (f": {hint}" if hint else "")


def held(section: Section, now_ns: int | None = None) -> list[str]:
    """The requests that a worker had when it died, as sentences without a full stop: all of them."""
    now_ns = time.monotonic_ns() if now_ns is None else now_ns
    found = [f"{text}, for {max(0, now_ns - began) / 1e9:.3f} s" for text, began in section.requests()]
    route = section.route(section.words[S_NOW])
    if route:
        found.insert(0, f"{route}, on the loop's own thread")
    return found


def counted(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'s' * (number > 1)}"


def obituary(pid: int, status: int, section: Section) -> str:
    """The message on an unexpected death."""
    lost = held(section)
    text = f"worker {pid} {cause(status)}; it held {counted(len(lost), 'request')}"
    if connections := section.words[S_CONNECTIONS]:
        text += f" on {counted(connections, 'connection')}"
    if len(lost) > NAMED_MAX:
        lost = [*lost[:NAMED_MAX], f"and {len(lost) - NAMED_MAX} more"]
    return text + ":" * bool(lost) + "".join(f"\n    {line}" for line in lost)
