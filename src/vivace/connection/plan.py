"""What a server is to do, in plain values and closures: all that this room and those below it learn of settings."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from vivace.cache.levels import Levels
    from vivace.cache.rules import Rules
    from vivace.connection.annotating import Annotator
    from vivace.connection.sharing import Siblings
    from vivace.content.compressor import Compressor
    from vivace.http1.head import HeadLimits
    from vivace.http1.response import ResponseHeads
    from vivace.observe.desk import Aside, Desk, Topic
    from vivace.observe.section import Section
    from vivace.schedule.policy import Policy
    from vivace.wsgi.exchange import Exchange


PARKED = (b"", True)
"""What `Caching.answer` returns for a request that waits for the response to another one."""

CACHE_RESULT = "vivace.cache"
"""Where environ says, if there is a cache, what became of the request there: hit, stale, miss, revalidated, bypass,
unavailable. For the access log and Server-Timing."""


class Answer:
    """What was answered where no exchange tells it: as much of an Exchange as a log looks at."""

    __slots__ = ("body_bytes", "headers", "status")

    def __init__(self, status: str | None, body_bytes: int = 0, headers: list[tuple[str, str]] | None = None) -> None:
        self.status = status
        self.body_bytes = body_bytes
        self.headers = headers


class CachePlan:
    """What the response cache is made of."""

    levels: Levels
    rules: Rules
    entry_bytes_max: int = 4 << 20
    wait_s: float = 60.0
    """So long a request waits for a response that another one has made."""
    on_end: Callable[[], None] | None = None
    """The loop has ended."""
    status_field: bool = True
    """Whether responses say what the cache did (RFC 9211)."""


class Plan:
    """Filled in by `worker`; frozen by custom once the loop runs. Times in seconds, sizes in bytes."""

    app: Callable[..., Iterable[bytes]]
    heads: ResponseHeads
    limits: HeadLimits
    policy: Policy
    poller: str = "auto"
    siblings: Siblings | None = None
    """The other workers of the server, where connections can be passed on to them."""
    section: Section | None = None
    """Of the page that this process shares with its supervisor; None: it has none."""

    desk: Desk | None = None
    """Where questions from outside come in; None: nobody can ask."""
    topics: dict[str, Topic | Aside]
    """What is answered there: see `observe.desk`."""

    threads: int = 64
    """Threads that may run the application at once. 1: the thread that called `run`, and no other. Of more than
    that, `Serving.resize` may change the number."""
    thread_idle_s: float = 30.0
    tick_s: float = 0.004
    queue_timeout_s: float = 60.0
    request_timeout_s: float = 0.0
    """0: requests may take any time."""

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
    drain_delay_s: float = 0.0
    """From `stop` on, everybody is served on for so long before the end begins."""

    metrics: bool = False
    """Whether requests are counted and timed, in `section`."""
    arrival_stamps: bool = False
    """Whether the kernel is asked when requests arrived."""
    slow_request_s: float = 0.0
    """From this response time on a request is remembered as slow; 0: none is."""
    slow_request_by_route: bool = False
    """Also one that took longer than 99 of 100 requests of its route."""

    livez_path: str = ""
    readyz_path: str = ""
    """Paths that the server answers itself (`health`); "" for none."""
    log_health: bool = False
    """Whether `log` hears of those."""
    mounts: Sequence[tuple[str, Callable[..., Iterable[bytes]]]] = ()
    """Paths ("" is all of them) and applications that answer what lies under them, on the loop's thread."""

    cache: CachePlan | None = None
    """None: no response is kept."""
    compressor: Compressor | None = None

    # What the shell wants to know or to change; None costs nothing.
    prepare: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Takes the environ that the application would get and returns the one it does get."""
    annotator: Annotator | None = None
    """Gives each request an id, a trace, timings."""
    log: Callable[[dict[str, Any], Exchange | Answer, float], None] | None = None
    """After each response: environ, what was answered, seconds in the application."""
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
    on_sweep: Callable[[], None] | None = None
    """Called by the leader, as a sign that its loop turns: at least once a second and every `idle_s`."""
    idle_s: float = -1.0
    """How long the loop may wait while there is no connection, and `on_tick` with it; -1: for ever."""
    warn: Callable[[str], None]
    """One line for the operator."""
    complain: Callable[[str, str], None]
    """A message about one request, of several lines, and the request's id or ""; each of them is written."""
    on_stuck: Callable[[str], None] | None = None
    """Asks for another process in place of this one: a thread does not come back, the sentence says which. Called at
    most once. None: nobody can replace it."""

    def __init__(self) -> None:
        self.topics = {}
