"""The rows on processes: how many, what replaces them, what they may do. See `settings`."""

from __future__ import annotations

from vivace.config.row import row

MiB = 1 << 20


def check_workers(text: str) -> None:
    """N, auto or MIN:MAX, either of which may be auto. Raises ValueError."""
    low, colon, high = text.partition(":")
    for part in (low, high) if colon else (low,):
        if part != "auto" and not (part.isascii() and part.isdecimal() and int(part) <= 1024):
            raise ValueError(f"{text!r} is no number of workers; give 4, auto or 2:8, at most 1024")
    if colon and (low == "0" or (low.isdecimal() and high.isdecimal() and int(low) > int(high))):
        raise ValueError(f"{text!r}: give the smaller number first, and at least 1")


class Process:
    """Sections processes, privileges, health and a part of logging."""

    # --- workers ----------------------------------------------------------------------------------------

    workers: str = row(
        "processes",
        "number",
        "1",
        "Worker processes: a number, auto (one for each processor that this process may use) or MIN:MAX (as many as "
        "the load needs). 0 serves in this very process, with nobody to replace it.",
        "gunicorn, Granian and uWSGI: 1.",
        unit="a number, auto or MIN:MAX",
        short="w",
        check=check_workers,
    )
    preload: bool = row(
        "processes",
        "bool",
        False,
        "Import the application once, before the workers are forked: less memory, faster starts. A reload then "
        "replaces the supervisor, too.",
        "gunicorn preload_app: off.",
    )
    reuse_port: bool = row(
        "processes",
        "bool",
        False,
        "Give each worker a listening socket of its own (SO_REUSEPORT): the kernel chooses who gets a connection.",
        "gunicorn reuse_port: off.",
        reloadable=False,
    )
    pin_workers: bool = row(
        "processes",
        "bool",
        False,
        "Keep each worker on one processor.",
        "nginx worker_cpu_affinity: off.",
    )
    boot_timeout_s: float = row(
        "processes",
        "seconds",
        60.0,
        "A new worker that does not serve after this long is ended.",
        "None: gunicorn ends a worker that has not begun after timeout, 30 s, which is too short for some imports.",
        min=0.1,
        max=86400,
    )
    max_requests: int = row(
        "processes",
        "int",
        0,
        "A worker is replaced after about so many requests.",
        "gunicorn max_requests: 0, never.",
        min=1,
        max=1_000_000_000,
        zero="never",
        unit="requests",
    )
    max_requests_jitter: int = row(
        "processes",
        "int",
        -1,
        "At most so many more, at random, so that workers are not replaced together; -1 takes a tenth.",
        "None: gunicorn's default, 0, replaces all of them at once.",
        min=-1,
        max=1_000_000_000,
        unit="requests",
    )
    max_lifetime_s: float = row(
        "processes",
        "seconds",
        0.0,
        "A worker is replaced when it is this old, give or take a tenth.",
        "uWSGI max-worker-lifetime: off.",
        min=1,
        max=31_536_000,
        zero="never",
    )
    memory_soft_bytes: int = row(
        "processes",
        "bytes",
        0,
        "A worker with more resident memory than this is replaced, once its requests are answered.",
        "uWSGI reload-on-rss: off.",
        min=16 * MiB,
        max=1 << 50,
        zero="no limit",
    )
    memory_hard_bytes: int = row(
        "processes",
        "bytes",
        0,
        "A worker with more resident memory than this is killed at once, and its requests are named in the log.",
        "uWSGI evil-reload-on-rss: off.",
        min=16 * MiB,
        max=1 << 50,
        zero="no limit",
    )
    reload: bool = row(
        "processes",
        "bool",
        False,
        "For development: load the application anew whenever one of its files changes.",
        "gunicorn and uvicorn: off.",
    )
    reload_extra: tuple[str, ...] = row(
        "processes",
        "list",
        (),
        "More files or directories to watch with reload.",
        "gunicorn reload_extra_files: none.",
        unit="a file or a directory",
    )

    # --- process ----------------------------------------------------------------------------------------

    user: str = row(
        "privileges",
        "str",
        "",
        "The user that serves, by name or number, with the user's groups. Needs to be started as root.",
        "gunicorn user: the one that started it.",
        unit="a user",
        reloadable=False,
    )
    group: str = row(
        "privileges",
        "str",
        "",
        "The group that serves; empty takes the user's own.",
        "gunicorn group: the one that started it.",
        unit="a group",
        reloadable=False,
    )
    umask: int = row(
        "privileges",
        "mode",
        0o1000,
        "The file mode bits that the application's new files do not get; 1000 leaves it as it is.",
        "None: gunicorn's 0 makes files that anybody may write.",
        min=0,
        max=0o1000,
        reloadable=False,
    )
    pidfile: str = row(
        "privileges",
        "dir",
        "",
        "A file to keep the number of the main process in; it is locked while that lives.",
        "gunicorn pidfile: none.",
        unit="a file",
        reloadable=False,
    )
    log_file: str = row(
        "logging",
        "dir",
        "",
        "A file for the messages, and for wsgi.errors, instead of stderr, which is -. USR1 opens it anew.",
        "gunicorn errorlog: stderr.",
        unit="a file",
        reloadable=False,
    )
    access_log_file: str = row(
        "logging",
        "dir",
        "",
        "A file for the access log, instead of stdout, which is -; it turns the log on. USR1 opens it anew.",
        "gunicorn accesslog: none.",
        unit="a file",
        reloadable=False,
    )

    # --- health -----------------------------------------------------------------------------------------

    livez_path: str = row(
        "health",
        "str",
        "",
        "A path that the server itself answers 200 to GET and HEAD while its loop turns, for a liveness probe.",
        "Kubernetes calls it /livez; none by default, since paths are the application's.",
        unit="a path, as in /livez",
    )
    readyz_path: str = row(
        "health",
        "str",
        "",
        "A path that the server itself answers 200 while it takes requests and 503 while it stops, for a readiness "
        "probe.",
        "Kubernetes calls it /readyz; none by default, since paths are the application's.",
        unit="a path, as in /readyz",
    )
    drain_delay_s: float = row(
        "health",
        "seconds",
        0.0,
        "After the signal to stop, serve on for this long, not ready, until the load balancer has noticed.",
        "Kubernetes advises a preStop sleep for this; none is needed where nobody balances.",
        min=0.1,
        max=3600,
        zero="none",
    )
