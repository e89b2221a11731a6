"""What a server is to do, in plain values and closures: all that this room and those below it learn of settings."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.http1.head import HeadLimits
    from vivace.http1.response import ResponseHeads
    from vivace.schedule.policy import Policy


class Plan:
    """Filled in by `worker`; frozen by custom once the loop runs. Times in seconds, sizes in bytes."""

    app: Callable[..., Iterable[bytes]]
    heads: ResponseHeads
    limits: HeadLimits
    policy: Policy
    poller: str = "auto"

    threads: int = 64
    """Threads that may run the application at once. 1: the thread that called `run`, and no other."""
    thread_idle_s: float = 30.0
    tick_s: float = 0.004
    queue_timeout_s: float = 60.0

    connections_max: int = 20000
    body_bytes_max: int = 1 << 30
    body_memory_bytes: int = 1 << 20
    body_rate_bytes_min: int = 500
    body_stream: bool = False
    spill_dir: str = ""
    response_buffer_bytes: int = 1 << 20

    head_timeout_s: float = 30.0
    body_timeout_s: float = 60.0
    keepalive_timeout_s: float = 75.0
    write_timeout_s: float = 60.0
    shutdown_timeout_s: float = 30.0

    # What the shell wants to know or to change; None costs nothing.
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Takes the environ that the application would get and returns the one it does get."""
    log: Callable[[dict[str, Any], str | None, int, float], None] | None = None
    """After each response: environ, status, bytes of body, seconds in the application."""
    refused: Callable[[dict[str, Any], int, str], None] | None = None
    """After a refusal: environ (REMOTE_ADDR and REMOTE_PORT alone, where the head was not read), status, detail."""
    accept: Callable[..., tuple[int, Any]] | None = None
    """Takes a listening socket, returns (descriptor, peer's address); raises OSError where there is none."""
    report: Callable[[dict[str, Any], BaseException], None]
    """The application failed."""
    on_error: Callable[[BaseException], None]
    """vivace failed."""
    on_disk_error: Callable[[OSError], None]
    """A request body could not be kept."""
    on_tick: Callable[[], None] | None = None
    """Called every `LOG_PERIOD_S` while there are connections, and when the last one has gone."""
    idle_s: float = -1.0
    """How long the loop may wait while there is no connection, and `on_tick` with it; -1: for ever."""
    warn: Callable[[str], None]
    """One line for the operator."""
