"""For development: the application to serve while the real one cannot be loaded. It shows why, and looks again."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vivace.errors import SettingError

PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>The application cannot be loaded</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
pre {{ overflow-x: auto; padding: 1rem; border: 1px solid; border-radius: .3rem; }}
</style></head><body>
<h1>The application cannot be loaded</h1>
<p>{problem}</p>
<pre>{trace}</pre>
<p>vivace waits for the next change of a file, and this page for vivace.</p>
</body></html>
"""


def failed_application(error: SettingError) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that answers 500 with the problem and the traceback behind it."""
    from html import escape

    trace = ""
    if error.__cause__ is not None:
        import traceback

        trace = "".join(traceback.format_exception(error.__cause__))
    page = PAGE.format(problem=escape("; ".join(error.problems)), trace=escape(trace)).encode("utf-8", "replace")

    def application(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(page))),
            ("Cache-Control", "no-store"),
        ]
        start_response("500 Internal Server Error", headers)
        return [page]

    return application
