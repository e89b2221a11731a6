"""What it costs to believe a proxy: requests of many clients through one, in a loop without its system calls.

python -m benchmarks.bench_forwarded    prints us per request: fields left alone, removed, believed; werkzeug's ProxyFix
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench_loop import HEAD, hello, measure
from vivace.config.load import from_keywords
from vivace.worker.proxies import arrange

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.connection.site import Site

CLIENTS = 200
"""Behind one proxy at a time: their addresses are known to the cache of lines, their heads to nobody."""


def heads(fields: str) -> list[bytes]:
    """One of each client; with a cookie, as most have one, so that no head is kept in any of the runs."""
    lines = [fields.format(address=f"192.0.2.{number}").encode() for number in range(CLIENTS)]
    return [HEAD[:-2] + b"Cookie: a=b\r\n" + line + b"\r\n" for line in lines]


def proxied(**settings: Any) -> Callable[[Site], Site]:
    """The site of the peer 127.0.0.1 under these settings."""

    def arranged(site: Site) -> Site:
        arrange(site, from_keywords(**settings), print)
        return site if site.for_client is None else site.for_client("127.0.0.1", False)

    return arranged


def main() -> None:
    """Prints the minimum of several runs, which take turns."""
    x_forwarded = heads("X-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n")
    forwarded = heads("Forwarded: for={address};proto=https\r\n")
    site: Callable[[Site], Site] = lambda site: site  # noqa: E731
    runs: dict[str, tuple[Any, ...]] = {
        "X-Forwarded, off": (x_forwarded, hello, site),
        "X-Forwarded, removed": (x_forwarded, hello, proxied(trusted_proxies="10.0.0.0/8")),
        "X-Forwarded, believed": (x_forwarded, hello, proxied(trusted_proxies="127.0.0.1")),
        "Forwarded, off": (forwarded, hello, site),
        "Forwarded, believed": (forwarded, hello, proxied(trusted_proxies="127.0.0.1", proxy_headers="forwarded")),
    }
    try:
        from werkzeug.middleware.proxy_fix import ProxyFix

        runs["X-Forwarded, off, ProxyFix"] = (x_forwarded, ProxyFix(hello), site)
    except ImportError:
        print("ProxyFix: werkzeug is not installed")
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(9):
        for name, run in runs.items():
            best[name] = min(best[name], measure(*run))
    for name, seconds in best.items():
        print(f"{name:40s} {seconds * 1e6:6.2f} us")


if __name__ == "__main__":
    main()
