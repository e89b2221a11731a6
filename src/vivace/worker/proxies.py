"""Behind a proxy: what the settings say about proxies, put into a listener's site.

Clients of a listener fall into kinds: is the peer a trusted proxy, and is it known by TLS. Each kind has a site of its
own, so that what is remembered of heads for one is never used for another. The kind is decided once a connection, by
`Site.for_client`: when it is accepted, and again when a PROXY header has named somebody else.

Imported only where one of these settings is given.
"""

from __future__ import annotations

from vivace.connection.proxied import HeaderFilter, HeaderRules
from vivace.http1.forwarded import Forwarded, XForwarded, both, read_prefix, rooted, strip
from vivace.http1.trusted import Trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.connection.site import Site

    Adapt = Callable[[dict[str, Any]], int]


def arrange(site: Site, settings: Settings, warn: Callable[[str], None]) -> None:
    """Makes `site` what the settings want. After everything else that changes it (TLS): a filter that is there
    already follows the PROXY header."""
    root = read_prefix(settings.root_path) or ""
    site.base["SCRIPT_NAME"] = root
    under_root = rooted(root) if root else None
    if not settings.trusted_proxies:
        site.adapt = under_root
        return
    trusted = Trusted(settings.trusted_proxies)
    if settings.proxy_protocol:
        _expect_header(site, settings, trusted, warn)
    believing: Adapt | None = under_root
    if settings.proxy_headers == "x-forwarded":
        believing = XForwarded(trusted, settings.forwarded_fields, root)
    elif settings.proxy_headers == "forwarded":
        believing = Forwarded(trusted, root)
    adapts = {True: believing, False: both(strip, under_root)}
    sites: dict[tuple[bool, bool], Site] = {}

    def for_client(host: str, tls: bool) -> Site:
        return sites[trusted.peer(host), tls]

    site.for_client = for_client
    for tls in (False, True):
        for trust in (False, True):
            kind = sites[trust, tls] = site.copy()
            kind.adapt = adapts[trust]
            if tls:
                kind.base["wsgi.url_scheme"] = "https"


def _expect_header(site: Site, settings: Settings, trusted: Trusted, warn: Callable[[str], None]) -> None:
    said = False

    def on_untrusted(host: str) -> None:
        nonlocal said
        if not said:
            said = True
            warn(
                f"a connection from {host or 'a Unix socket'} was closed: proxy_protocol is on, and that is none of "
                "trusted_proxies. (Said once; the close reason untrusted counts them.)"
            )

    rules = HeaderRules(
        trusted.peer,
        on_untrusted,
        head_timeout_s=settings.head_timeout_s,
        then=site.make_filter,
        then_timeout_s=site.opening_timeout_s,
    )
    site.make_filter = lambda conn: HeaderFilter(conn, rules)
    site.opening_timeout_s = settings.proxy_protocol_timeout_s
