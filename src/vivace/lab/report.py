"""What a person reads of a Result: lines of text. Pure.

Rules: every figure stands with its unit; where a figure tells of the loader rather than of the server, that is the
first thing that is said.
"""

from __future__ import annotations

from vivace.lab.plan import OPEN
from vivace.lab.result import SHARES
from vivace.lab.words import number, size, span
from vivace.observe.histogram import quantiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.lab.result import Result, Slice
    from vivace.lab.search import Found, Try

NAMES_MAX = 40


def lines(result: Result) -> list[str]:
    """The report of one load."""
    found = []
    if result.loader.bottleneck:
        found += [f"THE LOADER IS THE BOTTLENECK: {result.loader.bottleneck}.", _advice(result), ""]
    law = f"closed loop, {result.connections} connection{'s' * (result.connections != 1)}"
    if result.mode == OPEN:
        wanted = f"{number(result.rate_wanted)} requests/s" if result.rate_wanted else "a replay"
        law = f"open loop, {wanted} over up to {result.connections} connections"
    found.append(f"{result.url}: {law}, {span(result.seconds)} measured")
    found.append(_warmup(result))
    total = result.total
    found.append("")
    found.append(f"answers   {number(result.rate)}/s ({total.answers:,}), {size(result.bytes_rate)}/s")
    found.append(f"failures  {_failures(total)}")
    found += ["", *_latencies(result)]
    if len(total.names) > 1:
        found += ["", *_by_name(result)]
    found.append("")
    if result.server is not None:
        server = result.server
        cpu = f"{number(server.cpu_us_per_request)} us of CPU a request, " if server.cpu_us_per_request else ""
        found.append(
            f"server    {cpu}{size(server.rss_bytes)} of memory (at most {size(server.rss_max_bytes)}), "
            f"{server.processes} process{'es' * (server.processes != 1)} from {server.pid}"
        )
    found.append(_loader(result))
    return found


def _advice(result: Result) -> str:
    more = "these figures are what the loader can do, not what the server can"
    if result.loader.waited_share > 0.2 or result.loader.cpu_share < 0.5:
        return f"The machine has no processor to spare for it: {more}. Load from another machine, or on other cores."
    return f"Give it more processes (--processes {result.loader.processes * 2}) or less to do: {more}."


def _warmup(result: Result) -> str:
    warmup = result.warmup
    if warmup.seconds:
        return f"warm-up: {span(warmup.seconds)} cut off, {warmup.method}"
    if not warmup.steady:
        return f"warm-up: {warmup.method}; load for longer, or look at how it changes over time"
    return f"warm-up: none, {warmup.method}"


def _failures(total: Slice) -> str:
    wrong = {name: count for name, count in sorted(total.statuses.items()) if name != "2xx"}
    parts = [f"{count:,} {name}" for name, count in (*total.errors.items(), *wrong.items())]
    return ", ".join(parts) if parts else "none; all answers are 2xx"


def _latencies(result: Result) -> list[str]:
    opened = result.mode == OPEN
    since = "the time a request was due" if opened else "the send"
    names = [*(f"p{share * 100:g}" for share in SHARES), "max", "mean"]
    rows = [("latency", [*result.percentiles(), result.total.slowest_s, result.mean_s])]
    if opened:
        rows.append(("service", quantiles(result.total.service, SHARES)))
    found = [f"latency, from {since} to the last byte" + ("; service, from its send" if opened else "")]
    found.append(" " * 8 + "".join(f"{name:>10}" for name in names))
    for title, values in rows:
        found.append(f"{title:<8}" + "".join(f"{span(value):>10}" for value in values))
    if not opened:
        found.append(
            "(while the server stands still, nobody else comes: only open loop, --rate, shows what that costs)"
        )
    return found


def _waited_for_connections(result: Result) -> bool:
    """Half of the p90 of the latency is before the send, and that is not the loader's doing."""
    latency, service = result.percentiles((0.9,))[0], quantiles(result.total.service, (0.9,))[0]
    return latency - service > max(latency / 2, 10 * result.loader.late_p99_s)


def _by_name(result: Result) -> list[str]:
    shares = (0.5, 0.9, 0.99, 0.999)
    names = sorted(result.total.names.items(), key=lambda row: -sum(row[1].values()))
    width = min(60, max(len(name) for name, _ in names))
    found = [f"{'':<{width}}{'answers':>10}" + "".join(f"{f'p{share * 100:g}':>10}" for share in shares)]
    for name, histogram in names[:NAMES_MAX]:
        times = "".join(f"{span(value):>10}" for value in quantiles(histogram, shares))
        found.append(f"{name[:width]:<{width}}{sum(histogram.values()):>10,}{times}")
    if len(names) > NAMES_MAX:
        found.append(f"and {len(names) - NAMES_MAX} more; see --json")
    return found


def _loader(result: Result) -> str:
    loader = result.loader
    late = f", 99% sent within {span(loader.late_p99_s)} of their time" if result.mode == OPEN else ""
    waited = f" (and {loader.waited_share:.0%} waiting for a processor)" if loader.waited_share >= 0.05 else ""
    count = f"{loader.processes} process{'es' * (loader.processes != 1)}"
    return f"loader    {count}, the busiest {loader.cpu_share:.0%}{waited}{late}"


def progress_line(at_s: float, one: Slice) -> str:
    """One while it runs."""
    p50, p99 = quantiles(one.latency, (0.5, 0.99))
    failed = sum(one.errors.values())
    return f"{at_s:6.1f} s  {one.answers:>9,} answers  p50 {span(p50):>8}  p99 {span(p99):>8}" + (
        f"  {failed:,} failed" if failed else ""
    )


# Of a search.


def try_line(one: Try) -> str:
    """How one rate went."""
    outcome = "; ".join(one.missed) if one.missed else "holds"
    loader = " (the loader is the bottleneck)" if one.result.loader.bottleneck else ""
    return f"{number(one.rate):>9}/s  p99 {span(one.result.percentiles((0.99,))[0]):>8}  {outcome}{loader}"


def found_lines(found: Found) -> list[str]:
    """What a search came to, and the report of the load that shows it."""
    goals = ", ".join(found.goals)
    best = found.best
    if best is None:
        return [f"no rate was found at which {goals} holds"]
    limit = ""
    if found.loader_limited:
        limit = " The next higher rate is one that the loader could not make: the server may do more."
    return [
        f"highest rate with {goals}: {number(found.rate)} requests/s, of {len(found.tries)} tries.{limit}",
        "",
        *lines(best),
    ]
