"""The server behind the admin address: vivace's own, with limits for a handful of visitors.

It has one thread, so a snapshot is never taken twice at a time, and looks at the page once a second, whether somebody
asks or not, so that there is a past to show.
"""

from __future__ import annotations

import time

from vivace.admin.access import Access
from vivace.admin.app import AdminApp
from vivace.admin.recorder import SWEEP_S, Recorder
from vivace.config.load import from_keywords
from vivace.config.observing import is_local
from vivace.worker.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from vivace.config.settings import Settings
    from vivace.connection.plan import Plan
    from vivace.observe.page import Page
    from vivace.observe.threads import Sampler
    from vivace.worker.admin_address import AdminAddress
    from vivace.worker.log_file import Logs

LIMITS = {
    "threads": 1,
    "metrics": False,
    "profile": False,
    "connections_max": 256,
    "head_bytes_max": "16KiB",
    "body_bytes_max": "16KiB",
    "head_timeout": 10,
    "body_timeout": 10,
    "write_timeout": 10,
    "shutdown_timeout": 1,
}


def make_server(
    settings: Settings,
    address: AdminAddress,
    current_page: Callable[[], Page | None],
    logs: Logs,
    sampler: Sampler | None = None,
) -> Server:
    """A server, not running yet, that shows what `current_page` gives, at `address`. Raises SettingError.

    `sampler` tells what the threads of that page's workers wait for.
    """
    chosen = from_keywords(**LIMITS, log_level=settings.log_level, server_header=settings.server_header)
    recorder = Recorder(
        current_page, settings.admin_routes_max, own_address=address.listener.text.removeprefix("http://")
    )
    recorder.sampler = sampler
    listener = address.listener
    access = Access(
        address.token,
        names_only=is_local(settings.admin) and not listener.is_unix and not address.token,
        cookie=f"vivace_admin_{listener.server_port}",
        warn=logs.console.warn,
    )
    app = AdminApp(recorder, access, show_queries=settings.admin_show_queries)

    def adjust(plan: Plan) -> None:
        plan.on_sweep = lambda: recorder.look_when_due(time.monotonic())
        plan.idle_s = SWEEP_S

    server = Server(app, chosen, [listener], console=logs.console, adjust=adjust)
    logs.console.info(f"the dashboard and /metrics are at {listener.text}" + " (with the token)" * bool(address.token))
    return server
