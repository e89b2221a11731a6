"""Metrics as text: Prometheus's format 0.0.4 and OpenMetrics 1.0. Pure.

Names, kinds and help come from the table (`observe.metrics`); samples are (metric, rest of the name, labels, value).
A metric without samples is left out, with its help.
"""

from __future__ import annotations

from vivace.observe.metrics import COUNTER, METRICS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Labels = tuple[tuple[str, str], ...]
    Sample = tuple[str, str, Labels, float]

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


class Format:
    """One of the two."""

    __slots__ = ("content_type", "open")

    def __init__(self, content_type: str, *, open: bool) -> None:  # noqa: A002
        self.content_type = content_type
        self.open = open
        """OpenMetrics."""


PROMETHEUS = Format("text/plain; version=0.0.4; charset=utf-8", open=False)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", open=True)


def negotiate(accept: str) -> Format:
    """The format that `accept` (RFC 9110 section 12.5.1) likes better; Prometheus's where it does not care."""
    open_q = plain_q = 0.0
    for part in accept.split(",") if accept.strip() else ("*/*",):
        kind, *parameters = [word.strip().lower() for word in part.split(";")]
        values = {key.strip(): value.strip() for key, _, value in (word.partition("=") for word in parameters)}
        try:
            weight = float(values.get("q", "1"))
        except ValueError:
            continue
        if kind == "application/openmetrics-text" and values.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
            open_q = max(open_q, weight)
        elif kind in ("text/plain", "text/*", "*/*"):
            plain_q = max(plain_q, weight)
    return OPENMETRICS if open_q and open_q >= plain_q else PROMETHEUS


def render(samples: Iterable[Sample], form: Format) -> str:
    """The whole text. `samples` of a metric need not stand together."""
    lines: dict[str, list[str]] = {}
    for name, suffix, labels, value in samples:
        if suffix == "_created" and not form.open:
            continue
        shown = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels)
        line = f"{name}{suffix}{{{shown}}} {number(value)}\n" if shown else f"{name}{suffix} {number(value)}\n"
        lines.setdefault(name, []).append(line)
    parts: list[str] = []
    for name, metric in METRICS.items():
        if name not in lines:
            continue
        family = f"{name}_total" if metric.kind == COUNTER and not form.open else name
        parts.append(f"# HELP {family} {escaped(metric.help, form)}\n# TYPE {family} {metric.kind}\n")
        if form.open and metric.unit:
            parts.append(f"# UNIT {family} {metric.unit}\n")
        parts += lines[name]
    if form.open:
        parts.append("# EOF\n")
    return "".join(parts)


def escaped(text: str, form: Format) -> str:
    """A help text: quotes are escaped by OpenMetrics alone."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if form.open else text


def number(value: float) -> str:
    """A whole number without a point, any other in as many digits as it takes."""
    return str(value) if isinstance(value, int) else repr(float(value)).replace("inf", "Inf")
