"""Chosen requests under Python's deterministic profiler, one at a time: the topic "cprofile".

Every call is counted and timed, which makes a request one and a half times to several times as slow; the others go on
without it, but not by the loop's fast path. Before Python 3.12 it is `cProfile`. Since then that counts the calls of
all threads, so it is `call_counter`, which is slower and keeps to its thread.

What is profiled is the call of the application and the iteration over what it returns. Functions of vivace's own, which
the application calls, are among the others.

Threads: `told` on one of the desk's, one at a time; `__call__` on any that runs the application.
"""

from __future__ import annotations

import sys
import threading
import time

from vivace.wsgi.exchange import Exchange
from vivace.wsgi.files import FileParts, FileWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from vivace.connection.loop import Loop

    Told = dict[str, Any]

COUNT_MAX = 1000
FOR_S_MAX = 600.0


class CallProfiles:
    """Takes the place of an application while its requests are to be profiled."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._asked = threading.Lock()
        """Held while somebody has asked: one at a time."""
        self._one = threading.Lock()
        """Held by the request that is profiled."""
        self._enough = threading.Event()
        self._app: Any = None
        self._route = ""
        self._left = 0
        self._seconds: list[float] = []
        self._profile: Any = None

    def told(self, question: Told) -> Told:
        """The answer to {"route": a part of its name, "count", "for_s"}: {"requests": [seconds of each], "functions":
        [[file, line, function, primitive calls, calls, own seconds, seconds, [[file, line, function, primitive calls,
        calls, own seconds, seconds] of each caller]]]}."""
        if not self._asked.acquire(blocking=False):
            return {"error": "requests are profiled already, one at a time; ask again when that is over"}
        try:
            self._route = str(question.get("route") or "")
            self._left = max(1, min(COUNT_MAX, int(question.get("count") or 1)))
            self._seconds = []
            self._profile = make_profile()
            self._enough.clear()
            self._begin()
            try:
                self._enough.wait(min(FOR_S_MAX, float(question.get("for_s") or 10.0)))
            finally:
                self._end()
            with self._one:  # the last one has ended
                self._left = 0
                self._profile.create_stats()
                return {"requests": self._seconds, "functions": functions_of(self._profile.stats)}
        finally:
            self._asked.release()

    def _begin(self) -> None:
        """From now on requests come here; none by the fast path, which knows its application."""
        loop = self._loop
        self._app = loop.plan.app
        loop.call(self)
        if loop.prepare is None:
            loop.prepare = _same
        loop.renew_fast()

    def _end(self) -> None:
        loop = self._loop
        loop.call(self._app)
        loop.prepare = loop.plan.prepare
        loop.renew_fast()
        if loop.closing:  # meanwhile
            loop.usual = loop.fast = False
            loop.known = None

    def __call__(self, environ: Told, start_response: Any) -> Iterable[bytes]:
        app = self._app
        if self._left <= 0 or not self._is_wanted(environ, start_response) or not self._one.acquire(blocking=False):
            return app(environ, start_response)  # type: ignore[no-any-return]
        if self._left <= 0:
            self._one.release()
            return app(environ, start_response)  # type: ignore[no-any-return]
        began = time.perf_counter()
        try:
            result = self._profile.runcall(app, environ, start_response)
        except BaseException:
            self._ended(time.perf_counter() - began)
            raise
        seconds = time.perf_counter() - began
        if type(result) in (list, tuple, FileWrapper, FileParts):
            self._ended(seconds)
            return result  # type: ignore[no-any-return]
        return Followed(self, result, seconds)

    def _is_wanted(self, environ: Told, start_response: Any) -> bool:
        exchange = getattr(start_response, "__self__", None)
        if type(exchange) is Exchange and getattr(exchange.sink, "route", None) is not None:
            return self._route in exchange.sink.route.name
        return self._route in f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"

    def _ended(self, seconds: float) -> None:
        self._seconds.append(seconds)
        self._left -= 1
        if self._left <= 0:
            self._enough.set()
        self._one.release()

    def followed(self, function: Any, *arguments: Any) -> Any:
        """What `function` returns; under the profiler. The request that holds it."""
        return self._profile.runcall(function, *arguments)


class Followed:
    """What an application has returned, whose iteration is profiled as well, to its `close`."""

    def __init__(self, profiles: CallProfiles, result: Iterable[bytes], seconds: float) -> None:
        self._profiles = profiles
        self._result = result
        self._blocks: Iterator[bytes] | None = None
        self._seconds = seconds
        self._closed = False

    def __iter__(self) -> Followed:
        return self

    def __next__(self) -> bytes:
        began = time.perf_counter()
        try:
            if self._blocks is None:
                self._blocks = self._profiles.followed(iter, self._result)
            return self._profiles.followed(next, self._blocks)  # type: ignore[no-any-return]
        finally:
            self._seconds += time.perf_counter() - began

    def close(self) -> None:
        """Once."""
        if self._closed:
            return
        self._closed = True
        began = time.perf_counter()
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                self._profiles.followed(close)
        finally:
            self._profiles._ended(self._seconds + time.perf_counter() - began)


def make_profile() -> Any:
    """A profiler that sees one thread."""
    if sys.version_info < (3, 12):
        import cProfile

        return cProfile.Profile()
    from vivace.worker.call_counter import CallCounter

    return CallCounter()


def functions_of(stats: dict[Any, Any]) -> list[list[Any]]:
    """What `pstats` calls stats, as JSON can carry it."""
    found = []
    for (file, line, name), (primitive, calls, own_s, total_s, callers) in stats.items():
        rows = [[*caller, *times] for caller, times in callers.items()]
        found.append([file, line, name, primitive, calls, own_s, total_s, rows])
    return found


def _same(environ: Told) -> Told:
    return environ
