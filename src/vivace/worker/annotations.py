"""Request ids, Server-Timing and traces: what the settings say about them, made into an `Annotator`.

Made in the process that serves, because random numbers that are shared by forked workers are none. Imported only where
one of these settings is given.
"""

from __future__ import annotations

import random
from _operator import _compare_digest as same  # hmac's own, without importing hashlib

from vivace.connection.annotating import DEMAND, Annotator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.http1.response import ResponseHeads
    from vivace.worker.console import Console
    from vivace.worker.open_telemetry import OpenTelemetry

FIELD = "X-Request-ID"


def make_annotator(
    settings: Settings, heads: ResponseHeads, console: Console
) -> tuple[Annotator, OpenTelemetry | None]:
    """What `settings` want, and the tracer in it. Raises SettingError where OpenTelemetry is wanted and not there."""
    bits = random.Random().getrandbits  # of a seed from os.urandom
    tracer = None
    if settings.trace == "otel":
        from vivace.worker.open_telemetry import OpenTelemetry

        tracer = OpenTelemetry(float(settings.trace_sample), console.warn)
    name = settings.request_id
    annotator = Annotator(
        heads,
        bits=bits,
        id_field=FIELD if name == "on" else "" if name == "off" else name,
        believes_id=_believed(settings, settings.request_id_from),
        timed=_timed(settings, bits),
        trace=settings.trace == "pass",
        believes_trace=_believed(settings, settings.trace_from),
        trace_sample=float(settings.trace_sample),
        tracer=tracer,
    )
    return annotator, tracer


def _believed(settings: Settings, whose: str) -> Callable[[str], bool]:
    """Takes a peer's address; whether what it says is taken over."""
    if whose == "anyone":
        return lambda host: True
    if not settings.trusted_proxies:
        return lambda host: False
    from vivace.http1.trusted import Trusted

    return Trusted(settings.trusted_proxies).peer


def _timed(settings: Settings, bits: Callable[[int], int]) -> Callable[[dict[str, Any]], bool] | None:
    """Whose responses have Server-Timing; None: nobody's."""
    wish = settings.server_timing
    if wish == "off":
        return None
    if wish == "on":
        return lambda environ: True
    if wish == "demand":
        token = settings.server_timing_token.encode("utf-8")

        def demanded(environ: dict[str, Any]) -> bool:
            shown = environ.pop(DEMAND, None)  # a secret: none of the application's business
            return shown is not None and same(shown.encode("latin-1"), token)

        return demanded
    part = int(float(wish) * (1 << 32))
    return lambda environ: bits(32) < part
