"""The rows on what is served and where, by which threads, and what is said about it. See `settings`."""

from __future__ import annotations

from vivace.config.row import check_bind, check_env, check_field_value, check_name, check_owner, row


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
    chdir: str = row(
        "application",
        "dir",
        "",
        "Change to this directory first. Relative paths that are given beside it are taken from it, and app_dir is "
        "this one unless it is given.",
        "gunicorn and uWSGI chdir: stay.",
        unit="a directory",
        reloadable=False,
    )
    python_path: tuple[str, ...] = row(
        "application",
        "list",
        (),
        "More directories to import from, after app_dir.",
        "gunicorn pythonpath and mod_wsgi python-path: none.",
        unit="a directory",
    )
    env: tuple[str, ...] = row(
        "application",
        "list",
        (),
        "A variable to set before the application is imported. May be repeated.",
        "gunicorn raw_env and uWSGI env: none.",
        unit="a variable, as in KEY=VALUE",
        check=check_env,
        reloadable=False,
    )
    config: str = row(
        "application",
        "dir",
        "",
        "The one settings file to read, instead of vivace.toml and pyproject.toml in the current directory: TOML, or "
        "a gunicorn.conf.py.",
        "gunicorn -c.",
        unit="a TOML file or a gunicorn.conf.py",
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
    adaptive: bool = row(
        "scheduler",
        "bool",
        False,
        "Let threads, switch_interval and the longest wait follow what is measured: each change is tried for seconds, "
        "beside the old value, and taken back unless it pays. threads and switch_interval are where it begins.",
        "None: Netflix's and Envoy's limits follow latency alone, and .NET's thread pool climbs without an end to it.",
    )
    adaptive_threads_max: int = row(
        "scheduler",
        "int",
        256,
        "With adaptive, the most threads that a worker may come to; what each of them holds (a connection to the "
        "database) is needed so many times.",
        "None: four times the default of threads.",
        min=1,
        max=4096,
        unit="threads",
    )
    adaptive_wait_s: float = row(
        "scheduler",
        "seconds",
        1.0,
        "With adaptive, while a queue stands and grows: who would wait longer than this, and than two calls take, is "
        "refused at once (503), instead of after queue_timeout.",
        "None: Facebook's controlled delay refuses after 5 ms; a person waits a second.",
        min=0.01,
        max=3600,
    )
    gc_threshold: int = row(
        "scheduler",
        "int",
        0,
        "So many more objects made than freed set off a collection of the youngest generation (gc.set_threshold). "
        "Higher: fewer collections and more memory between them.",
        "None: CPython's own is 700 to 2,000, by version; who raises it uses 10,000 to 50,000. What stands when the "
        "application is loaded is left out of collections anyway (gc.freeze).",
        min=100,
        max=10_000_000,
        zero="Python's own",
        unit="objects",
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
        "Write a line for each request, on stdout.",
        "gunicorn, waitress and bjoern: off.",
    )
    name: str = row(
        "logging",
        "str",
        "",
        "What top and ps -o comm call the processes; empty leaves the Python interpreter's name.",
        "gunicorn proc_name and uWSGI procname: the program's.",
        unit="1 to 15 ASCII letters (Linux PR_SET_NAME)",
        check=check_name,
        reloadable=False,
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
