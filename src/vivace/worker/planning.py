"""The plan that `connection` follows, made from the settings: every setting becomes a plain value or a closure."""

from __future__ import annotations

import sys

from vivace.connection.plan import Plan
from vivace.http1.head import HeadLimits
from vivace.http1.response import ResponseHeads
from vivace.observe.processors import processors
from vivace.schedule.policy import Policy
from vivace.worker.log_file import pieces
from vivace.wsgi.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.content.compressor import Compressor
    from vivace.worker.console import Console
    from vivace.worker.log_file import Logs
    from vivace.worker.open_telemetry import OpenTelemetry

PLAIN = (
    "threads",
    "thread_idle_s",
    "tick_s",
    "queue_timeout_s",
    "request_timeout_s",
    "poller",
    "connections_max",
    "body_bytes_max",
    "body_memory_bytes",
    "body_rate_bytes_min",
    "body_stream",
    "spill_dir",
    "response_buffer_bytes",
    "head_timeout_s",
    "body_timeout_s",
    "keepalive_timeout_s",
    "write_timeout_s",
    "shutdown_timeout_s",
    "drain_delay_s",
    "livez_path",
    "readyz_path",
    "metrics",
    "arrival_stamps",
    "slow_request_s",
    "slow_request_by_route",
)
"""Settings that the plan takes as they are."""


def make_plan(
    app: Callable[..., Iterable[bytes]],
    settings: Settings,
    console: Console,
    logs: Logs | None = None,
    *,
    gil: bool = True,
) -> Plan:
    """The plan that follows from `settings`. The access log goes where `logs` say, or else to stdout."""
    plan = Plan()
    for name in PLAIN:
        setattr(plan, name, getattr(settings, name))
    plan.app = app
    if settings.compress:
        plan.compressor = make_compressor(settings)
    plan.heads = ResponseHeads(settings.server_header)
    plan.limits = HeadLimits(
        settings.request_line_bytes_max,
        settings.head_bytes_max,
        settings.fields_max,
        settings.field_bytes_max,
        settings.underscores,
    )
    lanes = settings.lanes if settings.threads > 1 else "inline"
    plan.policy = Policy(tick_s=settings.tick_s, gil=gil, lanes=lanes, cores=processors(), metered=settings.metrics)
    plan.report = console.report
    plan.on_error = console.on_error
    plan.on_disk_error = console.on_disk_error
    plan.warn = console.warn
    plan.complain = lambda message, request_id: console.say("error", message, request_id=request_id)
    plan.log_health = settings.log_level == "debug"
    if settings.static:
        from vivace.worker.mounts import make_mounts

        plan.mounts = make_mounts(settings)
    if settings.access_log or (logs is not None and (logs.access is not None or logs.outlets)):
        from vivace.worker.access_log import AccessLog, Outlet

        outlets = [] if logs is None else list(logs.outlets)
        if logs is not None and logs.access is not None:
            outlets.append(Outlet(logs.access.write, console.warn))
        elif settings.access_log and not console.mute:
            outlets.append(Outlet(_write_stdout, console.warn))
        access_log = AccessLog(outlets, settings.access_log_format, settings.access_log_skip)
        plan.log = access_log.log
        plan.refused = access_log.refused
        plan.on_tick = access_log.flush
    return plan


def make_compressor(settings: Settings) -> Compressor:
    """What compresses responses, where the settings want that."""
    from vivace.content.compressor import Compressor

    return Compressor(
        [kind.lower() for kind in settings.compress_types],
        settings.compress_bytes_min,
        excluded=settings.compress_exclude,
        level=settings.compress_level,
        step_aside=_step_aside,
    )


def annotate(plan: Plan, settings: Settings, console: Console) -> OpenTelemetry | None:
    """Has `plan` give requests what they are to carry; returns the tracer, if there is one. Raises SettingError."""
    if settings.request_id == settings.server_timing == settings.trace == "off":
        return None
    from vivace.worker.annotations import make_annotator

    plan.annotator, tracer = make_annotator(settings, plan.heads, console)
    if tracer is not None:
        report = plan.report

        def remember(environ: dict[str, Any], error: BaseException) -> None:
            tracer.note(environ, error)
            report(environ, error)

        plan.report = remember
    return tracer


def _step_aside(start_response: Any) -> None:
    """What follows takes long: if it runs on the loop's thread, another one is to lead."""
    exchange = getattr(start_response, "__self__", None)
    if type(exchange) is Exchange:
        conn = exchange.sink
        conn.site.step_aside(conn)


def _write_stdout(text: str) -> None:
    """Whole lines, in pieces that a pipe takes whole: several workers may share it."""
    stream = sys.stdout
    if stream is not None:
        for piece in pieces(text):
            stream.write(piece)
            stream.flush()
