"""What the workers of a server say of their requests and settings, merged: evidence["facts"], evidence["settings"].

Pure but for `gather_facts` and `gather_settings`, which ask. Both return None where no worker answered.

evidence["facts"]: of the requests that reached the application within a window of a few seconds. What a cache of
vivace's own answered is not among them. Counts are sums over the workers.

    {
        "seconds": 10.0,                    # how long the window was; a worker's ends with 20,000 requests, too
        "workers": 2,                       # that answered
        "silent": [4711],                   # processes that did not
        "requests": 1234,
        "cost_s": 0.01,                     # that the looking itself took, of all workers
        "connections": {
            "count": 20,                    # different ones that requests came on
            "requests": 1234,
            "closed": {"client": 0,         # requests that said Connection: close
                       "http10": 0,         # HTTP/1.0 without keep-alive
                       "unframed": 0},      # HTTP/1.0 with keep-alive, but no Content-Length: closing ends it
        },
        "logging": {"records": 99, "lines": [[file, line, logger, level, count, route], ...]},  # most frequent first
        "routes": {"GET /users/{}": {       # as the page names them
            "requests": 600,
            "app_s": 1.5,                   # in the application, all requests; of an iterable with sending its blocks
            "bytes": 120000, "bytes_max": 2100,             # of response bodies, as sent
            "statuses": {"200": 590, "404": 10},
            "types": {"text/html": [590, 118000]},          # media type: [responses, bytes]
            "repeats": {                    # GET without a body; no files
                "looked": 590,              # requests that were followed: all, or those of a share of the targets
                "share": 1.0,               # of the targets; the least of the workers'
                "targets": 12,              # different ones among them (host, path and query)
                "same": 570,                # status and bytes of the one before for the same target, whoever asked
                "changed": 8,               # others
                "shared": {"1": [h, o, s], "10": ..., "60": ..., "all": ...},
                                            # a cache in each worker that keeps so many seconds ("all": the window)
                                            # would have answered h of `looked`, o of them with bytes that the
                                            # application would not have sent; it spent s seconds on the h.
                                            # What is longer than the window is left out.
                "private": {...},           # the same, but nothing is shared by different Cookie or Authorization
                "same_private": 575, "changed_private": 0,
                "cookies": 0, "authorization": 0,           # requests that brought such a field (of all)
                "set_cookie": 0,            # responses that set one (of all)
                "refused": {"no-store": 0, "private": 0, "no-cache": 0, "vary *": 0, "status": 0},
                                            # responses that say that a shared cache may not keep them (of all)
                "fresh": 0,                 # responses that say how long they are fresh (max-age, s-maxage, Expires)
                "vary": {"cookie": 590},    # names in Vary: responses
            },
            "compress": {                   # text of 500 bytes or more, sent as it is ...
                "count": 590, "bytes": 118000,              # ... to clients that take gzip
                "deaf": 0, "deaf_bytes": 0,                 # ... to clients that do not say that they do
                "saved_bytes": 90000,       # of `bytes`, by gzip
                "saved_share": 0.76,        # of each byte, deaf or not
                "looked": 40,               # responses that were tried for that
                "types": ["text/html"],
            },
            "compressed": 0,                # responses that had a Content-Encoding
            "writes": {"count": 0, "blocks": 0, "bytes": 0},        # responses in 4 blocks or more, < 1 KB on average
            "framing": {"length": 590, "chunked": 0, "until_close": 0},
            "conditional": {
                "asked": 0,                 # If-None-Match, If-Modified-Since
                "unchanged": 0,             # answered 304
                "matched": 0, "matched_bytes": 0,           # answered 200 although its own ETag or date matched
                "same": 0, "same_bytes": 0,                 # ... although the bytes were those of the answer before
                "no_validator": 0, "no_validator_bytes": 0, # not asked, 200 with neither ETag nor Last-Modified, and
                                            # the same bytes as the one before for the same client and target
            },
            "sending": {"seconds": 0.0,     # from the end of the application until the system had the last byte
                        "held_s": 0.0,      # that threads waited within the application for clients to read
                        "slow": 0, "slow_bytes": 0,         # responses whose sending took 50 ms or more
                        "longest_s": 0.0},
            "bodies": {"count": 0, "chunked": 0, "bytes": 0},       # requests with a body; those of unknown length
            "records": 0,                   # log records made within its requests
        }},
    }

evidence["settings"]: of the first worker that answers; all have the same.

    {
        "vivace": {"version": "1.0", "workers": 2, "processors": 2, "settings": {name: value, ...},
                   "origins": {name: "command line", ...}},         # of those that are not the default
        "python": {"version": "3.11.7", "implementation": "CPython", "gil": True, "flags": ["-X dev", ...],
                   "tracemalloc": 0,        # frames; 0: off
                   "tracing": ["coverage", ...],    # what traces, profiles or watches (sys.monitoring) every call
                   "gc": {"enabled": True, "threshold": [700, 10, 10], "frozen": 12345, "debug": 0}},
        "application": {"target": "app:app", "file": "/srv/app.py", "framework": "flask", "version": "3.0.3",
                        "chain": ["werkzeug.debug:DebuggedApplication", "flask.app:Flask"],     # outermost first
                        "versions": {"werkzeug": "3.0.1", ...}},
        "development": [{"id": "debug", "what": "Flask's debug mode is on", "where": "app.debug",
                         "change": "leave app.debug and FLASK_DEBUG off"}, ...],
                        # id: debug | reload | debugger | toolbar | profiler | validator | tracing | dev_mode |
                        #     templates | tracemalloc | gc | queries
        "logging": {"root": "WARNING", "handlers": [[logger, class, level, file or stream], ...],
                    "loud": [[logger, level], ...]},        # that are on DEBUG or INFO, and have a handler to go to
        "database": {"default": {"engine": "django.db.backends.sqlite3", "conn_max_age": 0}},   # Django's
    }
"""

from __future__ import annotations

import time

from vivace.observe.adding import added
from vivace.observe.desk import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.observe.page import Page

    Told = dict[str, Any]

ANSWER_S = 10.0
"""A leader that runs the application itself answers when that is done."""

LINES_MAX = 20


def gather_facts(page: Page, seconds: float, pids: list[int] | None = None) -> Told | None:
    """evidence["facts"], of the `seconds` that begin now. Raises SettingError where it cannot ask."""
    begun = ask(page, {"ask": "facts", "for_s": seconds}, ANSWER_S, pids)
    open_at = [pid for pid, answer in begun.items() if answer is not None and "error" not in answer]
    if not open_at:
        return None
    time.sleep(seconds)
    return merge_facts({**dict.fromkeys(begun), **ask(page, {"ask": "facts"}, ANSWER_S, open_at)})


def gather_settings(page: Page) -> Told | None:
    """evidence["settings"]. Raises SettingError where it cannot ask."""
    return merge_settings(ask(page, {"ask": "settings"}, ANSWER_S))


def merge_facts(answers: dict[int, Told | None]) -> Told | None:
    """Process -> its answer, None if it gave none."""
    told = {pid: answer for pid, answer in answers.items() if answer is not None and "error" not in answer}
    if not told:
        return None
    merged: Told = {}
    for answer in told.values():
        merged = added(merged, answer)
    lines: dict[tuple[Any, ...], int] = {}
    for answer in told.values():
        for file, line, logger, level, count, route in answer["logging"]["lines"]:
            key = file, line, logger, level, route
            lines[key] = lines.get(key, 0) + count
    most = sorted(lines.items(), key=lambda item: -item[1])[:LINES_MAX]
    merged["logging"]["lines"] = [[*key[:4], count, key[4]] for key, count in most]
    merged["seconds"] = max(answer["seconds"] for answer in told.values())
    merged["workers"] = len(told)
    merged["silent"] = sorted(pid for pid in answers if pid not in told)
    del merged["open"]
    for route in merged["routes"].values():
        _find_savings(route["compress"])
    return merged


def merge_settings(answers: dict[int, Told | None]) -> Told | None:
    """The same of what they say of their settings."""
    told = [answer for answer in answers.values() if answer is not None and "error" not in answer]
    if not told:
        return None
    return {**told[0], "vivace": {**told[0]["vivace"], "workers": len(told)}}


def _find_savings(compress: Told) -> None:
    """What was left of the responses that were tried stands for the others."""
    before, after = compress.pop("tried_bytes"), compress.pop("left_bytes")
    share = max(0.0, 1 - after / before) if before else 0.0
    compress["saved_share"] = share
    compress["saved_bytes"] = int(compress["bytes"] * share)
