"""The rows of what a server measures of itself and shows. See `settings`."""

from __future__ import annotations

from vivace.config.row import row
from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings

TOKEN_CHARS_MIN = 16
"""96 bits in base64: nobody guesses it, so that wrong ones need not be counted."""


def check_admin(text: str) -> None:
    """ "", host:port or unix:path. Raises ValueError."""
    from vivace.net.listen import parse_address

    if not text:
        return
    try:
        address = parse_address(text)
    except SettingError as error:
        raise ValueError(str(error).removeprefix("bind ")) from None
    if address.kind == "fd":
        raise ValueError(f"{text!r}: give host:port or unix:path")


def check_token(token: str) -> None:
    """ "" or long enough, of what a field value can carry (RFC 6750 section 2.1). Raises ValueError."""
    if token and len(token) < TOKEN_CHARS_MIN:
        raise ValueError(
            f"the token is too short, and could be guessed; give at least {TOKEN_CHARS_MIN} characters, "
            "such as those of: openssl rand -base64 24"
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("the token has characters that a header field cannot carry; give ASCII without spaces")


def is_local(text: str) -> bool:
    """Whether only this machine can reach the address: loopback or a Unix socket."""
    from vivace.net.listen import parse_address

    address = parse_address(text)
    return address.kind == "unix" or address.host in ("localhost", "::1") or _is_loopback(address.host)


def _is_loopback(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdecimal() for part in parts)


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with these settings together, a sentence each."""
    if settings.adaptive and not settings.metrics:
        return ["adaptive: it follows what is measured, which is nothing without metrics; leave out --no-metrics"]
    if not settings.admin:
        return []
    if not (settings.admin_token or settings.admin_token_file or is_local(settings.admin)):
        return [
            f"admin {settings.admin!r}: other machines can reach this address, so it needs a token; set "
            "VIVACE_ADMIN_TOKEN or admin_token_file, or give 127.0.0.1:PORT or unix:PATH"
        ]
    if settings.admin_token and settings.admin_token_file:
        return ["admin_token: admin_token_file says the same; give one"]
    if not settings.metrics:
        return ["admin: there is nothing to show without metrics; leave out --no-metrics"]
    return []


class Observing:
    """Section observing."""

    metrics: bool = row(
        "observing",
        "bool",
        True,
        "Count and time requests, by route, for `vivace top` and the admin address.",
        "uWSGI --stats and mod_wsgi's telemetry are off by default; this costs less than 3% of a hello.",
    )
    arrival_stamps: bool = row(
        "observing",
        "bool",
        False,
        "Ask the kernel when requests arrived, for the exact time that they wait for the loop, instead of an "
        "estimate. It costs each packet of the machine a clock.",
        "None: nobody else asks. 1 us of 15 a hello, where it was measured.",
    )
    slow_request_s: float = row(
        "observing",
        "seconds",
        1.0,
        "Keep the last requests whose response took this long, with what they spent it on.",
        "nginx and gunicorn have none; PHP-FPM request_slowlog_timeout is off, MySQL long_query_time 10.",
        min=0.001,
        max=3600,
        zero="none",
    )
    slow_request_by_route: bool = row(
        "observing",
        "bool",
        False,
        "Also keep requests that took longer than 99 of 100 of their route did, at most one a second of each route, "
        "for `vivace slow`.",
        "None: APM services keep traces of outliers by rules of their own.",
    )
    profile: bool = row(
        "observing",
        "bool",
        True,
        "Look at the threads that run requests some 15 times a second, so that `vivace profile` can say where the time "
        "of the last minutes went. It takes less than 1% of a core.",
        "No other WSGI server has a profiler; continuous profilers such as Pyroscope's look 100 times a second.",
    )
    admin: str = row(
        "observing",
        "str",
        "",
        "An address of its own for the dashboard, /metrics for Prometheus, /livez and /readyz, which a process of its "
        "own answers. Anything but loopback and Unix sockets needs a token.",
        "gunicorn and uWSGI --stats: off. Prometheus and Go programs listen on every interface, without a password.",
        unit="an address, as in 127.0.0.1:8001 or unix:/run/app-admin.sock",
        check=check_admin,
        reloadable=False,
    )
    admin_token: str = row(
        "observing",
        "str",
        "",
        "What must be shown at the admin address, as Authorization: Bearer or in the browser's login form. Give it by "
        "the variable or a file: a command line can be read by every user of the machine.",
        "Prometheus exporters: none.",
        unit="a token of 16 characters or more",
        check=check_token,
        reloadable=False,
        secret=True,
    )
    admin_token_file: str = row(
        "observing",
        "dir",
        "",
        "A file whose first line is the admin token; read once, before rights are given up.",
        "The usual way to hand over a secret of Docker, Kubernetes and systemd (LoadCredential).",
        unit="a file",
        reloadable=False,
    )
    admin_show_queries: bool = row(
        "observing",
        "bool",
        False,
        "Show request lines at the admin address with their query strings, which may hold secrets.",
        "None; Apache's server-status shows them.",
        reloadable=False,
    )
    admin_routes_max: int = row(
        "observing",
        "int",
        100,
        "So many routes have series of their own in /metrics; the others are summed as (others).",
        "Prometheus advises fewer than 100 values of a label, as a rule fewer than 10.",
        min=1,
        max=1000,
        unit="routes",
        reloadable=False,
    )
