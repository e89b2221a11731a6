"""The rows on what requests carry besides: ids, timings, traces. See `settings`."""

from __future__ import annotations

from vivace.config.row import row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings

# Fields that mean something to the server or to HTTP itself.
RESERVED = ("connection", "cookie", "date", "host", "keep-alive", "server", "set-cookie", "te", "trailer", "upgrade")
RESERVED_BEGINNINGS = ("content-", "proxy-", "sec-", "transfer-", "access-control-")


def check_request_id(name: str) -> None:
    """off, on or the name of a field: a token (RFC 9110 section 5.1) that does not mean anything else. Raises
    ValueError."""
    lower = name.lower()
    if not (name.isascii() and name.replace("-", "").isalnum() and name[0].isalpha()):
        raise ValueError(f"{name!r} is no name of a field; give off, on, or a name such as X-Request-ID")
    if lower in RESERVED or lower.startswith(RESERVED_BEGINNINGS):
        raise ValueError(f"{name!r} is a field of HTTP with another meaning; give a name such as X-Request-ID")


def check_fraction(text: str) -> None:
    """A number from 0 to 1. Raises ValueError."""
    try:
        wrong = not (text.isascii() and "_" not in text and 0 <= float(text) <= 1)
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError(f"{text!r} is no fraction; give a number from 0 to 1, as in 0.01")


def check_server_timing(text: str) -> None:
    """off, on, demand or a fraction. Raises ValueError."""
    if text not in ("off", "on", "demand"):
        try:
            check_fraction(text)
        except ValueError:
            raise ValueError(f"{text!r} is none of off, on, demand, and no fraction such as 0.01") from None


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with these settings together, a sentence each."""
    problems = []
    if settings.server_timing == "demand" and not settings.server_timing_token:
        problems.append(
            "server_timing: with demand a client shows a token in X-Server-Timing; give one in server_timing_token"
        )
    for name, whose, wish in (
        ("request_id", settings.request_id_from, "anyone"),
        ("trace", settings.trace_from, "proxies"),
    ):
        if whose == wish and getattr(settings, name) == "off":
            problems.append(f"{name}_from: {name} is off, so nothing is taken over from anybody; turn it on as well")
    return problems


class Tracing:
    """Section tracing."""

    request_id: str = row(
        "tracing",
        "str",
        "off",
        "Give each request an id, in the environ, the response and the logs: on takes the field X-Request-ID, or give "
        "the name of another.",
        "gunicorn and uvicorn: none. Rails and Envoy call the field X-Request-ID.",
        unit="off, on or the name of a field, as in X-Request-ID",
        check=check_request_id,
    )
    request_id_from: str = row(
        "tracing",
        "choice",
        "proxies",
        "Whose request id is taken over: proxies = that of trusted_proxies alone; anyone = every client's. All others "
        "get a new one.",
        "Envoy: ids that come from outside are replaced.",
        choices=("proxies", "anyone"),
    )
    server_timing: str = row(
        "tracing",
        "number",
        "off",
        "Tell in the response (Server-Timing) how long it waited and what the application took: on = always; demand = "
        "to clients that send server_timing_token in the field X-Server-Timing; a fraction = to so many, at random.",
        "None: W3C Server Timing section 6 warns that timings tell strangers about the inside.",
        unit="off, on, demand or a fraction, as in 0.01",
        check=check_server_timing,
    )
    server_timing_token: str = row(
        "tracing",
        "str",
        "",
        "What a client that wants Server-Timing sends in the field X-Server-Timing.",
        "None.",
        unit="a secret word",
    )
    trace: str = row(
        "tracing",
        "choice",
        "off",
        "Traces (W3C traceparent): pass = go on with the client's or begin one, for the application and the logs; "
        "otel = also record a span for each request, by the OpenTelemetry SDK and its OTEL_ variables.",
        "gunicorn and uvicorn: none.",
        choices=("off", "pass", "otel"),
    )
    trace_from: str = row(
        "tracing",
        "choice",
        "anyone",
        "Whose traces are gone on with: anyone = every client's; proxies = that of trusted_proxies alone. All others "
        "begin a new one.",
        "OpenTelemetry's instrumentations: anyone.",
        choices=("anyone", "proxies"),
    )
    trace_sample: str = row(
        "tracing",
        "number",
        "1",
        "The fraction of the traces that begin here which are recorded. With otel, OTEL_TRACES_SAMPLER goes before it.",
        "OpenTelemetry's OTEL_TRACES_SAMPLER_ARG: 1.",
        unit="a number from 0 to 1",
        check=check_fraction,
    )
