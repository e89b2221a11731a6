"""The rows on what is served and where, by which threads, and what is said about it. See `settings`."""

from __future__ import annotations

from vivace.config.row import check_bind, check_field_value, check_owner, row


class Serving:
    """Sections application, listen, scheduler and logging."""

    # --- application ------------------------------------------------------------------------------------

    app: str = row(
        "application",
        "str",
        "",
        "What to serve: module:attribute, module:factory(), a file, a directory, or nothing to look for "
        "wsgi.py, app.py, main.py or a Django project.",
        "gunicorn, uvicorn and Flask share module:attribute.",
        unit="module:attribute, a file or a directory",
    )
    app_dir: str = row(
        "application",
        "dir",
        ".",
        "The directory that the application is imported from (put first on sys.path). In a settings file it "
        "is relative to that file.",
        "uvicorn --app-dir, gunicorn --chdir: the current directory.",
        unit="a directory",
    )
    config: str = row(
        "application",
        "dir",
        "",
        "The one settings file to read, instead of vivace.toml and pyproject.toml in the current directory.",
        "gunicorn -c.",
        unit="a TOML file",
        short="c",
        in_files=False,
    )

    # --- listening --------------------------------------------------------------------------------------

    bind: tuple[str, ...] = row(
        "listen",
        "list",
        ("127.0.0.1:8000",),
        "An address to listen on: host:port, [ipv6]:port, unix:path or fd://N. May be repeated. Port 0 takes "
        "a free port and prints it.",
        "gunicorn, uvicorn and Django's runserver: port 8000 of the loopback interface, seen by this machine only.",
        unit="an address, as in 127.0.0.1:8000",
        short="b",
        check=check_bind,
        reloadable=False,
    )
    backlog: int = row(
        "listen",
        "int",
        2048,
        "Connections that may wait to be accepted; the kernel may allow fewer (net.core.somaxconn).",
        "gunicorn and uvicorn: 2048.",
        min=1,
        max=65535,
        unit="connections",
        reloadable=False,
    )
    unix_mode: int = row(
        "listen",
        "mode",
        0o660,
        "The file mode of a Unix socket.",
        "PHP-FPM listen.mode: 0660, so that a proxy in the owning group can connect and no one else.",
        min=0,
        max=0o777,
        reloadable=False,
    )
    unix_owner: str = row(
        "listen",
        "str",
        "",
        "The owner of a Unix socket: user, user:group or :group. Empty leaves it as it was made.",
        "PHP-FPM listen.owner and listen.group: the process's own.",
        unit="user, user:group or :group",
        check=check_owner,
        reloadable=False,
    )

    # --- threads and scheduling -------------------------------------------------------------------------

    threads: int = row(
        "scheduler",
        "int",
        64,
        "The most threads that run the application at once; they start only when needed. 1 is strictly "
        "single-threaded.",
        "Apache's default ThreadLimit: 64. (waitress 4, cheroot 10, mod_wsgi 15 and asgiref 32 start theirs "
        "whether needed or not.)",
        min=1,
        max=4096,
        unit="threads",
    )
    thread_idle_s: float = row(
        "scheduler",
        "seconds",
        30.0,
        "A pooled thread that had nothing to do for this long is retired.",
        "Between PHP-FPM's process_idle_timeout, 10 s, and Tomcat's maxIdleTime, 60 s.",
        min=0.1,
        max=86400,
    )
    lanes: str = row(
        "scheduler",
        "choice",
        "learn",
        "Where a request runs: learn = by what its route was seen to cost; pool = always on a pooled thread; "
        "inline = always on the loop's own thread.",
        "None: no other server learns. pool is what waitress and gthread do, inline what bjoern does.",
        choices=("learn", "pool", "inline"),
    )
    tick_s: float = row(
        "scheduler",
        "seconds",
        0.004,
        "How long a call of unknown length may hold up the others before another thread takes over the loop.",
        "Just under CPython's own switch interval, 5 ms.",
        min=0.0005,
        max=1,
    )
    switch_interval_s: float = row(
        "scheduler",
        "seconds",
        0.0002,
        "How long one thread may keep Python's global lock while others wait (sys.setswitchinterval).",
        "None: CPython's 5 ms let a computing thread starve the others for seconds when measured; 0.2 ms did not.",
        min=0.00001,
        max=1,
        zero="Python's own",
    )
    poller: str = row(
        "scheduler",
        "choice",
        "auto",
        "How the loop waits for sockets: auto takes the best that the system has.",
        "The order of Python's selectors.DefaultSelector.",
        choices=("auto", "epoll", "kqueue", "select"),
        reloadable=False,
    )

    # --- logging and identity ---------------------------------------------------------------------------

    log_level: str = row(
        "logging",
        "choice",
        "info",
        "The least serious messages to log, on stderr.",
        "gunicorn and uvicorn: info.",
        choices=("debug", "info", "warning", "error", "critical"),
    )
    access_log: bool = row(
        "logging",
        "bool",
        False,
        "Write a line for each request in the common log format, on stdout.",
        "gunicorn, waitress and bjoern: off.",
    )
    server_header: str = row(
        "logging",
        "str",
        "vivace",
        "The Server field of each response; empty sends none.",
        "RFC 9110 section 10.2.4 advises against more than the product's name.",
        unit="the value of a field",
        check=check_field_value,
    )
