"""THE metrics table: one row a metric - name, kind, unit, labels, help. /metrics and docs/metrics.md come from it.

Names follow Prometheus's conventions and OpenMetrics 1.0: base units, the unit at the end of the name. A counter's
samples are called NAME_total, a histogram's NAME_bucket, NAME_sum and NAME_count.

`python -m vivace.observe.metrics > docs/metrics.md`; a test holds the page in the repository against the output.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

COUNTER, GAUGE, HISTOGRAM, SUMMARY = "counter", "gauge", "histogram", "summary"


class Metric:
    """One metric. `name` without _total; `created`: since when it counts is known, and said where the format can."""

    __slots__ = ("created", "help", "kind", "labels", "name", "unit")

    def __init__(
        self,
        name: str,
        kind: str,
        unit: str,
        labels: tuple[str, ...],
        help: str,  # noqa: A002
        *,
        created: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.unit = unit
        self.labels = labels
        self.help = help
        self.created = created


_ROWS = (
    # The server.
    Metric("vivace_build_info", GAUGE, "", ("version", "python"), "Always 1; the labels say what runs."),
    Metric("process_start_time_seconds", GAUGE, "seconds", (), "When the server started, Unix time."),
    Metric("vivace_generation", GAUGE, "", (), "The present generation of workers; each reload makes a new one."),
    Metric("vivace_workers", GAUGE, "", ("state",), "Workers by state: starting, serving, draining."),
    Metric("vivace_workers_wanted", GAUGE, "", (), "Workers that there should be."),
    Metric("vivace_worker_deaths", COUNTER, "", (), "Workers that ended by themselves, or were killed.", created=True),
    # Requests.
    Metric(
        "vivace_requests",
        COUNTER,
        "",
        ("route", "status"),
        "Requests answered by the application, by route and class of the status (2xx).",
        created=True,
    ),
    Metric(
        "vivace_response_seconds",
        HISTOGRAM,
        "seconds",
        ("route",),
        "From a request's arrival to the last byte of its response, by route; the time in the kernel's queue included "
        "as far as it is known. Bounds are met to within 0.4%.",
        created=True,
    ),
    Metric(
        "vivace_response_quantile_seconds",
        GAUGE,
        "seconds",
        ("quantile", "route"),
        "Percentiles of the response times of the last minute, within 0.4%: of all requests without the label route, "
        "and by route with it.",
    ),
    Metric(
        "vivace_request_phase_seconds",
        COUNTER,
        "seconds",
        ("route", "phase"),
        "Time that requests spent waiting for their turn (queued), for their body (body), in the application on a "
        "processor (cpu) and off it (blocked), and until the client had the response (send).",
        created=True,
    ),
    Metric("vivace_request_bytes", COUNTER, "bytes", ("route",), "Bytes of request bodies.", created=True),
    Metric("vivace_response_bytes", COUNTER, "bytes", ("route",), "Bytes of response bodies.", created=True),
    Metric(
        "vivace_request_lanes",
        COUNTER,
        "",
        ("route", "lane"),
        "Requests by where they ran: inline (the loop's own thread), pool, heavy.",
        created=True,
    ),
    Metric(
        "vivace_clients_gone",
        COUNTER,
        "",
        ("route",),
        "Requests whose client was gone before it had its whole response.",
        created=True,
    ),
    Metric(
        "vivace_refused_requests",
        COUNTER,
        "",
        ("status",),
        "Requests refused before the application saw them: 4xx, broken or too large; 5xx, too many.",
        created=True,
    ),
    Metric("vivace_requests_in_progress", GAUGE, "", (), "Requests in progress away from the loop's own thread."),
    # The response cache, where there is one.
    Metric(
        "vivace_cache_requests",
        COUNTER,
        "",
        ("result",),
        "Requests that the cache has looked at, each once: hit, answered from what was fresh; stale, from what was "
        "stale while it was renewed; miss, for the application, or for what another machine keeps; bypass, for the "
        "application because a cache does not concern them; unavailable, 504 to who wanted what is kept or nothing.",
        created=True,
    ),
    Metric(
        "vivace_cache_known",
        COUNTER,
        "",
        (),
        "Of the hits those given to requests that were known by their bytes.",
        created=True,
    ),
    Metric("vivace_cache_not_modified", COUNTER, "", (), "Of hits and stale those answered 304.", created=True),
    Metric(
        "vivace_cache_collapsed",
        COUNTER,
        "",
        (),
        "Times that a request waited for another one's response; what became of it then stands in "
        "vivace_cache_requests.",
        created=True,
    ),
    Metric(
        "vivace_cache_responses",
        COUNTER,
        "",
        ("result",),
        "Responses of the application: stored; unstored, not kept; revalidated, a 304 by which what was kept is fresh "
        "again.",
        created=True,
    ),
    Metric(
        "vivace_cache_found",
        COUNTER,
        "",
        ("level",),
        "Entries found in what the workers share (shared), and in what machines share (remote).",
        created=True,
    ),
    Metric(
        "vivace_cache_refreshes", COUNTER, "", (), "Calls of the application to renew what was stale.", created=True
    ),
    Metric(
        "vivace_cache_removed",
        COUNTER,
        "",
        ("reason",),
        "Entries that had to make room (evicted), and that a request has made invalid (invalidated).",
        created=True,
    ),
    Metric("vivace_cache_entries", GAUGE, "", ("worker",), "What lies in a worker's memory of responses and values."),
    Metric("vivace_cache_memory_bytes", GAUGE, "bytes", ("worker",), "What that takes."),
    Metric("vivace_cache_memory_limit_bytes", GAUGE, "bytes", ("worker",), "What it may take."),
    # Connections.
    Metric("vivace_connections", GAUGE, "", (), "Open connections."),
    Metric("vivace_connections_accepted", COUNTER, "", (), "Connections accepted.", created=True),
    Metric("vivace_connections_closed", COUNTER, "", ("reason",), "Connections closed, by reason.", created=True),
    Metric("vivace_listener_queue", GAUGE, "", ("address",), "Connections that wait to be accepted."),
    Metric("vivace_listener_backlog", GAUGE, "", ("address",), "Connections that may wait there."),
    Metric(
        "vivace_listener_overflows",
        COUNTER,
        "",
        (),
        "Times that a connection found the queue of some listener of this machine full (the kernel's ListenOverflows).",
    ),
    Metric(
        "vivace_listener_drops",
        COUNTER,
        "",
        (),
        "Connections that the kernel dropped before any listener of this machine got them (ListenDrops).",
    ),
    # Inside the workers.
    Metric(
        "vivace_loop_lag_seconds",
        HISTOGRAM,
        "seconds",
        (),
        "How long what was ready waited for the loop, sampled.",
        created=True,
    ),
    Metric(
        "vivace_gil_wait_seconds",
        SUMMARY,
        "seconds",
        (),
        "How late the monitor thread came to run, which has nothing to wait for but the GIL and a processor.",
        created=True,
    ),
    Metric(
        "vivace_overtakes",
        COUNTER,
        "",
        (),
        "Calls that held the loop for too long, so that another thread took it over.",
        created=True,
    ),
    Metric("vivace_gc_collections", COUNTER, "", ("generation",), "Collections of garbage.", created=True),
    Metric(
        "vivace_gc_pause_seconds",
        COUNTER,
        "seconds",
        ("generation",),
        "Time that collections of garbage held a worker up.",
        created=True,
    ),
    # Each worker, by its place; a successor takes the place, and its counters go on.
    Metric("vivace_worker_age_seconds", GAUGE, "seconds", ("worker",), "How long the process in this place has run."),
    Metric(
        "vivace_worker_turned_seconds",
        GAUGE,
        "seconds",
        ("worker",),
        "How long ago its loop last said that it turns: a second at most, or it is stuck or idle.",
    ),
    Metric("vivace_worker_connections", GAUGE, "", ("worker",), "Its open connections."),
    Metric("vivace_worker_threads", GAUGE, "", ("worker",), "Its threads for the application, as many as there are."),
    Metric("vivace_worker_threads_max", GAUGE, "", ("worker",), "Its threads for the application, as many as allowed."),
    Metric("vivace_worker_threads_busy", GAUGE, "", ("worker",), "Those that are in the application."),
    Metric("vivace_worker_queued", GAUGE, "", ("worker",), "Requests that wait for a thread or their turn."),
    Metric(
        "vivace_worker_switch_interval_seconds",
        GAUGE,
        "seconds",
        ("worker",),
        "With adaptive: how long a thread of it may keep the GIL while others wait.",
    ),
    Metric(
        "vivace_worker_wait_limit_seconds",
        GAUGE,
        "seconds",
        ("worker",),
        "With adaptive: the longest wait that a request is let in with.",
    ),
    Metric(
        "vivace_adaptive_trials",
        COUNTER,
        "",
        ("result",),
        "With adaptive: changes of settings that were put on trial (tried), and of them those that paid (kept) and "
        "those that were taken back (undone).",
        created=True,
    ),
    Metric("vivace_worker_resident_memory_bytes", GAUGE, "bytes", ("worker",), "Its resident memory."),
    Metric("vivace_worker_open_fds", GAUGE, "", ("worker",), "Its open descriptors."),
    Metric("vivace_worker_cpu_seconds", COUNTER, "seconds", ("worker", "mode"), "CPU time: user, system."),
    Metric("vivace_worker_page_faults", COUNTER, "", ("worker", "kind"), "Page faults: minor; major, from a disk."),
    Metric(
        "vivace_worker_context_switches",
        COUNTER,
        "",
        ("worker", "kind"),
        "Context switches: voluntary, when it waited; involuntary, when another process had the processor.",
    ),
)

METRICS: Final[dict[str, Metric]] = {row.name: row for row in _ROWS}

OPENING = """\
# Metrics

<!-- Generated from the metrics table: python -m vivace.observe.metrics > docs/metrics.md -->

What `/metrics` at the [admin address](observing.md#prometheus) shows. A counter's samples are called NAME_total, a
histogram's NAME_bucket, NAME_sum and NAME_count. Counters go on over reloads, replaced workers and their deaths; they
begin anew when the server is started anew, and those with the label `worker` when the admin process is.

| name | kind | unit | labels | meaning |
|---|---|---|---|---|
"""


def page() -> str:
    """The reference page, in Markdown."""
    rows = [
        f"| `{row.name}` | {row.kind} | {row.unit} | {', '.join(f'`{label}`' for label in row.labels)} | {row.help} |\n"
        for row in METRICS.values()
    ]
    return OPENING + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(page())
