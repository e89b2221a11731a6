"""What the keys of `vivace top` do: a key and a view become another view. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SORTS: Final[dict[str, str]] = {
    "p99": "p99_s",
    "p50": "p50_s",
    "rate": "rate",
    "time": "time_share",
    "errors": "error_rate",
    "queue": "queued_s",
    "bytes": "bytes_out_rate",
    "name": "name",
}
"""What --sort takes and the key s goes through, and the figure that it stands for."""

WINDOWS: Final = (1.0, 10.0, 60.0, 0.0)
"""Seconds that rates and percentiles are of; 0: since the start."""

HELP: Final = (
    "vivace top: what the server does now, read from its shared page.",
    "",
    "  q, Ctrl-C      quit",
    "  p, space       pause, go on",
    "  s, S           sort the routes by the next, the previous figure:",
    "                 " + ", ".join(SORTS),
    "  w              figures of the last 1 s, 10 s, 60 s, or since the start",
    "  j k, arrows    choose a route",
    "  Enter, right   what the chosen route spends its time on; j k: the next one",
    "  Esc, left      back",
    "  h, ?           this text",
    "",
    "busy     threads in the application, and the most there may be",
    "queue    workers: requests that wait for a thread; routes: time until they began",
    "GIL      how much later than due a thread got to run",
    "lag      how long what was ready waited for the loop",
    "loop     what the loop's own thread runs now",
    "time     the route's part of all response time",
    "inline   on the loop's own thread; pool: waits, on a thread; heavy: computes",
    "STUCK    the process is stopped, or its loop does not turn",
)


class View:
    """What is looked at, and how."""

    __slots__ = ("chosen", "help", "paused", "route", "sort", "window_s")

    def __init__(self, sort: str = "p99", route: str = "", window_s: float = 10.0) -> None:
        self.sort = sort
        self.route = route
        """The one that is looked into; "": all are shown."""
        self.chosen = route
        self.window_s = window_s
        self.paused = False
        self.help = False


def press(view: View, key: str, routes: list[str]) -> bool:
    """Changes the view as `key` says, where `routes` are shown in this order; False: the user wants to quit."""
    if key == "q":
        return False
    if view.help:
        view.help = False  # any key
    elif key in ("h", "?"):
        view.help = True
    elif key in ("p", " "):
        view.paused = not view.paused
    elif key in ("s", "S"):
        names = list(SORTS)
        view.sort = names[(names.index(view.sort) + (1 if key == "s" else -1)) % len(names)]
    elif key == "w":
        at = WINDOWS.index(view.window_s) if view.window_s in WINDOWS else -1
        view.window_s = WINDOWS[(at + 1) % len(WINDOWS)]
    elif key in ("j", "down", "k", "up") and routes:
        _choose(view, routes, 1 if key in ("j", "down") else -1)
    elif key in ("enter", "right", "l") and (view.chosen or routes):
        view.route = view.chosen = view.chosen or routes[0]
    elif key in ("esc", "left", "backspace"):
        view.route = ""
    return True


def _choose(view: View, routes: list[str], step: int) -> None:
    at = routes.index(view.chosen) + step if view.chosen in routes else 0
    view.chosen = routes[max(0, min(len(routes) - 1, at))]
    if view.route:
        view.route = view.chosen
