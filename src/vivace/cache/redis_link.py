"""The way to a Redis or Valkey: its connections, the thread that listens there, and what happens while there is none.

Rules:

* Nobody waits for a store that is known to be away. The first failure opens the circuit; from then on `call` returns
  at once, and only the listening thread asks, at growing intervals, whether the store is back.
* Every command has a time limit, tens of milliseconds unless the URL says otherwise (socket_timeout,
  socket_connect_timeout), and is never repeated by the client library.
* One warning when the store goes, one when it is back, and not more than such a pair a minute.
* Must not know what is stored: `redis_store` does.

One server: neither Cluster nor Sentinel, whose keys and messages would be spread or move. Threads are made by `start`,
in the process that serves: no fork would keep them. `redis` is imported when a link is made, and not before.
"""

from __future__ import annotations

import threading
import time
from importlib import import_module

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")

SOCKET_TIMEOUT_S = 0.05
"""For an answer, and for a connection. Within a data centre both take less than a millisecond; the application that
would be asked instead takes tens."""

CONNECTIONS_MAX = 4096
"""More than there are threads: a pool that is exhausted would look like a store that is away."""

TICK_S = 0.5
"""So often the listening thread looks whether all is well, and whether it has missed a message."""

PROBE_S_MIN = 0.1
PROBE_S_MAX = 5.0

STEADY_S = 30.0
"""Back for so long, the next failure is a new one: probing starts again at PROBE_S_MIN."""

WARN_S_MIN = 60.0

SCHEMES = {"valkey://": "redis://", "valkeys://": "rediss://"}

MISSING = "cache_store: the client library redis cannot be imported ({error}); pip install 'vivace[redis]'"


class Link:
    """Connections to one server. `call` is for any thread; what `start` starts calls back on its own."""

    def __init__(
        self,
        url: str,
        on_join: Callable[[Any], object],
        on_message: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        """Connects nowhere yet. Raises SettingError.

        `on_join(client)` is called when the server answers, before anybody else may ask: what it raises of the client's
        errors means that it does not. `on_message()`: something was published on a channel that nobody waits for, or
        might have been: it is called each TICK_S and after `wake`, too.
        """
        try:
            redis: Any = import_module("redis")
        except ImportError as error:
            raise SettingError(MISSING.format(error=error)) from None
        self._pool, self.where = _make_pool(redis, url)
        self._client = redis.Redis(connection_pool=self._pool)
        self._refusals = redis.ResponseError
        self._errors = (redis.RedisError, OSError)
        self._on_join = on_join
        self._on_message = on_message
        self._warn = warn
        self.up = False
        self.failures = 0
        self._stopping = threading.Event()
        self._joined = threading.Event()
        self._thread: threading.Thread | None = None
        # Under the lock: the circuit and its warnings.
        self._lock = threading.Lock()
        self._told_gone = False
        self._told_at = -WARN_S_MIN
        self._refused: set[str] = set()
        # Under `_sending`: what goes out on the listening connection.
        self._sending = threading.Lock()
        self._listening: Any = None
        self._channels: dict[bytes, list[threading.Event]] = {}

    # Any thread.

    def call(self, command: Callable[[Any], T]) -> T | None:
        """What `command(client)` returns; None where the store is away, fails or refuses."""
        if not self.up:
            return None
        try:
            return command(self._client)
        except self._refusals as error:
            self.refuse(error)
        except self._errors as error:
            self.fail(error)
        return None

    def refuse(self, error: Exception) -> None:
        """The store answers, and will not do what it was asked: out of memory, read-only, no permission."""
        self.failures += 1
        kind = str(error).partition(" ")[0]
        with self._lock:
            if kind in self._refused or len(self._refused) > 20:
                return
            self._refused.add(kind)
        self._warn(f"cache_store refuses what it is asked ({self.where}: {error}); said once")

    def fail(self, error: BaseException) -> None:
        """The store does not answer: nobody asks it until it does."""
        self.failures += 1
        with self._lock:
            self.up = False
            self._joined.clear()
            now = time.monotonic()
            if self._told_gone or self._stopping.is_set() or now - self._told_at < WARN_S_MIN:
                return
            self._told_gone, self._told_at = True, now
        self._warn(
            f"cache_store does not answer ({self.where}: {error}); "
            "this machine serves from its own memory until it does"
        )

    def wait_joined(self, timeout_s: float) -> bool:
        """Whether the store answers, within that time."""
        return self._joined.wait(timeout_s)

    def wake(self) -> None:
        """Has the listening thread call `on_message`."""
        with self._sending:
            self._send("PING")

    def expect(self, channel: bytes) -> threading.Event:
        """An event that is set when the server has begun to listen on `channel`, and at each message there."""
        told = threading.Event()
        with self._sending:
            events = self._channels.setdefault(channel, [])
            events.append(told)
            if len(events) == 1:
                self._send("SUBSCRIBE", channel)
            else:
                told.set()  # who came before has asked; should that be under way still, the tick covers it
        return told

    def forget(self, channel: bytes, told: threading.Event) -> None:
        """No longer waits for what `expect` returned."""
        with self._sending:
            events = self._channels[channel]
            events.remove(told)
            if not events:
                del self._channels[channel]
                self._send("UNSUBSCRIBE", channel)

    def _send(self, *command: Any) -> None:
        if self._listening is not None:
            try:
                self._listening.send_command(*command, check_health=False)
            except self._errors as error:
                self._listening = None
                self.fail(error)

    # The owner.

    def start(self, *channels: bytes) -> None:
        """Connects, listens on `channels`, and reconnects for as long as the process lives."""
        self._thread = threading.Thread(target=self._run, args=(channels,), name="vivace-store", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and closes the connections."""
        self._stopping.set()
        if self._thread is not None:
            self.wake()
            self._thread.join(TICK_S * 4)
        self.up = False
        self._pool.disconnect()

    # The listening thread.

    def _run(self, channels: tuple[bytes, ...]) -> None:
        pause_s = PROBE_S_MIN
        while not self._stopping.is_set():
            began = time.monotonic()
            connection = self._pool.make_connection()
            try:
                self._listen(connection, channels)
            except self._errors as error:
                self.fail(error)
            except Exception as error:  # ours, or one of the library's own: either way no reason to stop serving
                self.fail(error)
            finally:
                with self._sending:
                    self._listening = None
                connection.disconnect()
            # What lies in the pool may lead to a machine that is gone, which only its time limit would tell.
            self._pool.disconnect(inuse_connections=False)
            if time.monotonic() - began > STEADY_S:
                pause_s = PROBE_S_MIN
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, PROBE_S_MAX)

    def _listen(self, connection: Any, channels: tuple[bytes, ...]) -> None:
        """Until the store fails, for whoever notices first, or all is over."""
        connection.connect()
        with self._sending:
            self._listening = connection
            connection.send_command("SUBSCRIBE", *channels, *self._channels, check_health=False)
        for _ in channels:
            connection.read_response()
        self._on_join(self._client)
        self._rejoin()
        next_tick = time.monotonic() + TICK_S
        while self.up and not self._stopping.is_set():
            if connection.can_read(max(0.0, next_tick - time.monotonic())):
                kind, channel, *_ = connection.read_response()
                self._on_told(kind, channel)
            if time.monotonic() >= next_tick:
                self._on_message()
                next_tick = time.monotonic() + TICK_S

    def _on_told(self, kind: bytes, channel: bytes) -> None:
        with self._sending:
            events = self._channels.get(channel)
            if events is not None:
                for told in events:
                    told.set()
                return
        if kind in (b"message", b"pong"):
            self._on_message()

    def _rejoin(self) -> None:
        with self._lock:
            told, self._told_gone = self._told_gone, False
            self._refused.clear()
            self.up = True
            self._joined.set()
        if told:
            self._warn(f"cache_store is back ({self.where})")


def _make_pool(redis: Any, url: str) -> tuple[Any, str]:
    """The pool, and where it leads: without name and password. Raises SettingError."""
    for scheme, known in SCHEMES.items():
        if url.startswith(scheme):
            url = known + url[len(scheme) :]
    retry = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0)
    try:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            max_connections=CONNECTIONS_MAX,
            protocol=2,  # what a subscription sends is then an answer like any other
            retry=retry,
        )
        pool.make_connection()  # refuses what the URL names and nobody knows; connects nowhere
    except (ValueError, TypeError, redis.RedisError) as error:
        raise SettingError(
            f"cache_store: the URL cannot be used ({error}); give redis://HOST:PORT/NUMBER, "
            "with ?socket_timeout=SECONDS if need be"
        ) from None
    known = pool.connection_kwargs
    where = known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
    return pool, where
