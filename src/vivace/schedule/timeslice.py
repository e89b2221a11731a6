"""How long the kernel lets a thread run on before another one that is ready gets the processor (sched_setattr(2)).

Since Linux 6.12 an ordinary thread may say so, and one with a longer slice gives way as soon as one with a shorter
slice wakes (EEVDF). Its share of the processor stays the same, and so do its niceness and its policy. Older kernels
do not look at the number, other systems have no such call: there nothing is asked for.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CALLS_S = 0.010
"""For threads that run calls of the application. The kernel's own slice is 1.4 ms with two cores, 2.8 ms with eight: a
thread that computes kept the loop's waiting for that long, although the loop needs the processor for 0.05 ms."""
NUMBERS = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "loongarch64": 274, "ppc64le": 355, "s390x": 345}
"""sched_setattr, by os.uname().machine; the C library has no name for it before glibc 2.41."""
ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""struct sched_attr: size, policy, flags, nice, priority, runtime (the slice, ns), deadline, period."""


def ask_for(seconds: float) -> bool:
    """The slice of the calling thread from now on, 0.0001 to 0.1 s; 0: the kernel's own. False: it cannot be had."""
    if not seconds and not _call.cache_info().currsize:
        return True  # nobody has asked for anything else, so all have it
    call = _call()
    if call is None:
        return False
    try:
        policy = os.sched_getscheduler(0)
    except OSError:  # musl has it in name only
        return False
    if policy not in {os.SCHED_OTHER, os.SCHED_BATCH}:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread, on Linux
    return call(ATTRIBUTES.pack(ATTRIBUTES.size, policy, 0, nice, 0, round(seconds * 1e9), 0, 0))


@cache
def _call() -> Callable[[bytes], bool] | None:
    number = NUMBERS.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 1 << 32 else None
    if number is None:
        return None
    try:
        import ctypes  # 3 ms, and some builds of Python have none

        syscall = ctypes.CDLL(None).syscall
    except (ImportError, OSError, AttributeError):
        return None
    return lambda attributes: syscall(number, 0, attributes, 0) == 0
