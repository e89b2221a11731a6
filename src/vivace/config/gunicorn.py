"""gunicorn's settings: what each is called here, or why there is no such setting.

One table, TABLE, for the command line (`gunicorn -t 30` is `vivace -t 30`), for GUNICORN_CMD_ARGS, for a
gunicorn.conf.py and for docs/migration.md (`python -m vivace.config.migration` writes that part of the page).

Rules:

* A setting is taken only where it means the same here, or where `note` says what differs.
* Nothing is dropped in silence: what is not taken has a sentence that says why, and what to do instead.
* Imported only when one of gunicorn's names was used: a start without any pays nothing for it.
* Names and options are those of gunicorn 27; a test compares them with the gunicorn that is installed.
"""

from __future__ import annotations

from vivace.config import gunicorn_values as values
from vivace.config import kinds
from vivace.config.settings import ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from vivace.config.row import Row


class Entry:
    """One setting of gunicorn: `kind` is taken, left, refused or hook."""

    def __init__(
        self,
        kind: str,
        options: str,
        *,
        row: str = "",
        read: Callable[[Any], object] | None = None,
        note: str = "",
        say: bool = False,
        collects: bool = False,
        switch: bool = False,
        usual: tuple[object, ...] = (),
    ) -> None:
        self.kind = kind
        self.options = tuple(options.split())
        self.row = row  # of ours, where it is taken
        self.read = read  # gunicorn's value to one that `kinds` understands; raises ValueError
        self.note = note  # what differs, or why it is not taken
        self.say = say  # the note is worth a line at every start
        self.collects = collects  # an option that may be repeated
        self.switch = switch  # an option without a value
        self.usual = usual  # values of a setting that is not taken which need no word


def taken(options: str, row: str, note: str = "", **more: Any) -> Entry:
    return Entry("taken", options, row=row, note=note, **more)


def left(options: str, why: str, **more: Any) -> Entry:
    return Entry("left", options, note=why, **more)


def refused(options: str, why: str, **more: Any) -> Entry:
    """A setting without which the application would not be served as it was: the start ends."""
    return Entry("refused", options, note=why, **more)


def hook(why: str) -> Entry:
    return Entry("hook", "", note=why)


def value_of(entry: Entry, given: Any) -> Any:
    """The value of the entry's row for `given`, text or as a gunicorn.conf.py has it. Raises ValueError."""
    row: Row = ROWS[entry.row]
    value = entry.read(given) if entry.read else given
    return kinds.from_text(row, value) if isinstance(value, str) else kinds.from_value(row, value)


# --- the table --------------------------------------------------------------------------------------------

_ONE_KIND = (
    "there is one kind of worker: routes that wait run on up to `threads` threads, quick ones need none. "
    "An ASGI application needs an ASGI server"
)
_STATSD = "no statsd metrics are sent"
_LOGGERS = "the loggers are vivace.error and vivace.access"
_STRICT = "HTTP is read strictly (docs/conformance.md); there is no switch for it"
_ONE_HTTP = "vivace speaks HTTP/1.1; let a proxy in front speak HTTP/2"
_ASGI = "only for ASGI, which vivace does not serve"
_DIRTY = "there are no dirty workers; give such work to a task queue or a service of its own"
_CONTROL = "no control socket is opened: `vivace ctl` finds the server by its pidfile, its port or its process number"
_COMMAND = "a command here, not a setting: give it on the command line"

TABLE: Final[dict[str, Entry]] = {
    # Config file
    "config": taken("-c --config", "config", "only on the command line and in a variable"),
    "wsgi_app": taken("", "app"),
    # Server socket
    "bind": taken("-b --bind", "bind", read=values.several, collects=True),
    "backlog": taken("--backlog", "backlog"),
    # Worker processes
    "workers": taken("-w --workers", "workers", "`auto` counts the processors, `2:8` follows the load"),
    "worker_class": left("-k --worker-class", _ONE_KIND),
    "threads": taken("--threads", "threads", "64 unless given, started when needed; gunicorn's default is 1"),
    "worker_connections": taken("--worker-connections", "connections_max", "also in effect with one thread"),
    "max_requests": taken("--max-requests", "max_requests"),
    "max_requests_jitter": taken("--max-requests-jitter", "max_requests_jitter", "a tenth unless given"),
    "timeout": taken(
        "-t --timeout",
        "request_timeout_s",
        "it bounds each request, on whatever thread: 504, and its stack in the log. gunicorn bounds a worker's silence",
        say=True,
    ),
    "graceful_timeout": taken("--graceful-timeout", "shutdown_timeout_s"),
    "keepalive": taken(
        "--keep-alive",
        "keepalive_timeout_s",
        "idle connections hold no thread here, so 75 s are no burden. 0 becomes 0.1 s, the least",
        read=values.zero_is(0.1),
    ),
    "asgi_loop": left("--asgi-loop", _ASGI, usual=("auto",)),
    "asgi_lifespan": left("--asgi-lifespan", _ASGI, usual=("auto",)),
    "asgi_disconnect_grace_period": left("--asgi-disconnect-grace-period", _ASGI),
    "websocket_max_message_size": left("--websocket-max-message-size", _ASGI),
    "http_parser": left("--http-parser", "there is one parser, in Python"),
    # Security
    "limit_request_line": taken(
        "--limit-request-line",
        "request_line_bytes_max",
        "8190 unless given. 0 becomes the most, 1 MiB",
        read=values.zero_is(1 << 20),
    ),
    "limit_request_fields": taken(
        "--limit-request-fields", "fields_max", "0 becomes the most, 10000", read=values.zero_is(10000)
    ),
    "limit_request_field_size": taken(
        "--limit-request-field_size --limit-request-field-size",
        "field_bytes_max",
        "16 KiB unless given. 0 becomes the most, 16 MiB; head_bytes_max, 64 KiB, bounds them all together",
        read=values.zero_is(16 << 20),
    ),
    # Debugging
    "reload": taken("--reload", "reload", switch=True),
    "reload_engine": left("--reload-engine", "the best one that is installed is taken"),
    "reload_extra_files": taken(
        "--reload-extra-file",
        "reload_extra",
        "of a pattern, the directory before it is watched",
        read=values.without_pattern,
        collects=True,
    ),
    "spew": left("--spew", "use python -m trace --trace, on one request", switch=True),
    "check_config": left("--check-config", _COMMAND, switch=True),
    "print_config": left("--print-config", _COMMAND, switch=True),
    # Server mechanics
    "preload_app": taken("--preload", "preload", switch=True),
    "sendfile": left(
        "--no-sendfile",
        "a file in wsgi.file_wrapper is sent by the system; return it unwrapped where that is wrong",
        switch=True,
    ),
    "reuse_port": taken("--reuse-port", "reuse_port", switch=True),
    "chdir": taken("--chdir", "chdir"),
    "daemon": refused(
        "-D --daemon", "vivace stays in the foreground: let systemd start it (docs/deployment.md)", switch=True
    ),
    "raw_env": taken("-e --env", "env", "SCRIPT_NAME among them is root_path here", read=values.several, collects=True),
    "pidfile": taken("-p --pid", "pidfile"),
    "worker_tmp_dir": left("--worker-tmp-dir", "no heartbeat file is written"),
    "user": taken("-u --user", "user", read=values.number_or_name),
    "group": taken("-g --group", "group", "the user's own unless given", read=values.number_or_name),
    "umask": taken("-m --umask", "umask", "left as it is unless given; gunicorn's default is 0", read=values.umask),
    "initgroups": left("--initgroups", "the workers get the groups of their user", switch=True),
    "tmp_upload_dir": taken("", "spill_dir"),
    "secure_scheme_headers": left(
        "", "a trusted proxy says https in X-Forwarded-Proto, or in Forwarded with proxy_headers = forwarded"
    ),
    "forwarded_allow_ips": taken(
        "--forwarded-allow-ips",
        "trusted_proxies",
        "X-Forwarded-For is believed, too, not only -Proto: it becomes REMOTE_ADDR. Nobody unless given; gunicorn's "
        "default is 127.0.0.1. `*` is everybody who can connect",
        read=values.proxies,
    ),
    "pythonpath": taken("--pythonpath", "python_path", "after app_dir, not before it", read=values.commas),
    "paste": refused("--paste --paster", "name a module with app = paste.deploy.loadapp('config:/path/to/file.ini')"),
    "raw_paste_global_conf": left("--paste-global", "give it to loadapp(..., global_conf={...})"),
    "proxy_protocol": taken(
        "--proxy-protocol",
        "proxy_protocol",
        "versions 1 and 2 alike, from trusted_proxies only",
        read=values.proxy_protocol,
        switch=True,
    ),
    "proxy_allow_ips": taken(
        "--proxy-allow-from",
        "trusted_proxies",
        "one list for both; forwarded_allow_ips goes before it",
        read=values.proxies,
    ),
    "protocol": refused(
        "--protocol", "vivace speaks HTTP only: proxy_pass http://... in nginx, not uwsgi_pass", usual=("http",)
    ),
    "uwsgi_allow_ips": left("--uwsgi-allow-from", "vivace speaks HTTP only"),
    "permit_obsolete_folding": left("--permit-obsolete-folding", _STRICT, switch=True),
    "strip_header_spaces": left("--strip-header-spaces", _STRICT, switch=True),
    "permit_unconventional_http_method": left(
        "--permit-unconventional-http-method", "any method that is a token is passed on", switch=True
    ),
    "permit_unconventional_http_version": left("--permit-unconventional-http-version", _STRICT, switch=True),
    "casefold_http_method": left("--casefold-http-method", _STRICT, switch=True),
    "forwarder_headers": left(
        "--forwarder-headers",
        "X-Forwarded-Prefix sets SCRIPT_NAME, with prefix in forwarded_fields; no field sets PATH_INFO or REMOTE_USER",
    ),
    "header_map": taken("--header-map", "underscores", "`dangerous` is called keep", read=values.header_map),
    "root_path": taken("--root-path", "root_path", "gunicorn has it for ASGI only"),
    # Logging
    "accesslog": taken("--access-logfile", "access_log_file", "`-` is access_log"),
    "disable_redirect_access_to_syslog": left(
        "--disable-redirect-access-to-syslog", "the access log goes to syslog with access_log_syslog only", switch=True
    ),
    "access_log_format": taken(
        "--access-logformat",
        "access_log_format",
        "common unless given; gunicorn's default is combined. %(T)s and its like are the time in the application, "
        "%(U)s begins with SCRIPT_NAME",
    ),
    "errorlog": taken("--error-logfile --log-file", "log_file", "`-` is stderr, as without it"),
    "loglevel": taken("--log-level", "log_level"),
    "capture_output": left(
        "--capture-output", "what the application prints stays on stdout and stderr; redirect these", switch=True
    ),
    "logger_class": left("--logger-class", "python_logging gives both logs to Python's logging; configure that"),
    "logconfig": taken("--log-config", "log_config", _LOGGERS, say=True),
    "logconfig_dict": left("", f"write it to a JSON or TOML file and name that with log_config; {_LOGGERS}"),
    "logconfig_json": taken("--log-config-json", "log_config", f"one file only; {_LOGGERS}", say=True),
    "syslog_addr": taken(
        "--log-syslog-to",
        "syslog",
        "it is enough to turn it on; /dev/log or udp only. The access log: access_log_syslog",
        read=values.syslog,
    ),
    "syslog": taken(
        "--log-syslog",
        "syslog",
        "to udp://localhost:514, as in gunicorn, unless syslog_addr is given",
        read=values.syslog,
        switch=True,
    ),
    "syslog_prefix": taken("--log-syslog-prefix", "syslog_tag", "it is the whole tag"),
    "syslog_facility": taken("--log-syslog-facility", "syslog_facility"),
    "enable_stdio_inheritance": left(
        "-R --enable-stdio-inheritance",
        "vivace stays in the foreground, with its stdout and stderr",
        switch=True,
    ),
    "statsd_host": left("--statsd-host", _STATSD),
    "dogstatsd_tags": left("--dogstatsd-tags", _STATSD),
    "statsd_prefix": left("--statsd-prefix", _STATSD),
    "enable_backlog_metric": left("--enable-backlog-metric", _STATSD, switch=True),
    # Process naming
    "proc_name": taken("-n --name", "name", "the first 15 letters, without setproctitle", read=values.process_name),
    "default_proc_name": left("", "gunicorn's own; proc_name is taken"),
    # TLS
    "keyfile": taken("--keyfile", "keyfile", read=values.several),
    "certfile": taken("--certfile", "certfile", read=values.several),
    "ssl_version": left("--ssl-version", "gunicorn does not look at it either; tls_min is 1.2 or 1.3"),
    "cert_reqs": taken("--cert-reqs", "tls_client", "0, 1, 2 are none, optional, required", read=values.cert_reqs),
    "ca_certs": taken("--ca-certs", "tls_ca_file"),
    "suppress_ragged_eofs": left(
        "--suppress-ragged-eofs", "a client that leaves without a close is no error", switch=True
    ),
    "do_handshake_on_connect": left("--do-handshake-on-connect", "a handshake holds no thread", switch=True),
    "ciphers": taken("--ciphers", "tls_ciphers", "of TLS 1.2; those of 1.3 cannot be chosen"),
    # HTTP/2
    "http_protocols": left("--http-protocols", _ONE_HTTP, usual=("h1",)),
    "http2_cleartext": left("--http2-cleartext", _ONE_HTTP, usual=("off",)),
    "http2_max_concurrent_streams": left("--http2-max-concurrent-streams", _ONE_HTTP),
    "http2_initial_window_size": left("--http2-initial-window-size", _ONE_HTTP),
    "http2_max_frame_size": left("--http2-max-frame-size", _ONE_HTTP),
    "http2_max_header_list_size": left("--http2-max-header-list-size", _ONE_HTTP),
    # Dirty arbiters, control
    "dirty_apps": left("--dirty-app", _DIRTY),
    "dirty_workers": left("--dirty-workers", _DIRTY),
    "dirty_timeout": left("--dirty-timeout", _DIRTY),
    "dirty_threads": left("--dirty-threads", _DIRTY),
    "dirty_graceful_timeout": left("--dirty-graceful-timeout", _DIRTY),
    "control_socket": left("--control-socket", _CONTROL),
    "control_socket_mode": left("--control-socket-mode", _CONTROL),
    "control_socket_disable": left("--no-control-socket", _CONTROL, switch=True),
    # Hooks. Their arguments are gunicorn's Arbiter and Worker, which do not exist here: none is called.
    "on_starting": hook("put it at the top of the application's module; with preload that runs once"),
    "on_reload": hook("a reload imports the application anew: its module runs then"),
    "when_ready": hook("systemd is told when the server is ready, and readyz_path says it to whoever asks"),
    "pre_fork": hook("os.register_at_fork(before=...) in the application, with preload"),
    "post_fork": hook(
        "each worker imports the application after the fork: put it into its module; with preload, "
        "os.register_at_fork(after_in_child=...)"
    ),
    "post_worker_init": hook("put it at the end of the application's module, which each worker imports"),
    "worker_int": hook("atexit.register(...) in the application's module"),
    "worker_abort": hook("the log has the stack of a request that took too long, without a hook"),
    "pre_exec": hook("nothing runs before the server replaces itself"),
    "pre_request": hook("wrap the application: WSGI middleware"),
    "post_request": hook("wrap the application: WSGI middleware; the access log has each request"),
    "child_exit": hook("the log names a worker that died; atexit.register(...) runs in one that ends in order"),
    "worker_exit": hook("atexit.register(...) in the application's module"),
    "nworkers_changed": hook("the log says how many workers there are"),
    "on_exit": hook("ExecStopPost= of systemd, or the next line of the script that starts vivace"),
    "ssl_context": hook("tls_min, tls_ciphers, tls_client and tls_ca_file say what it is mostly for"),
    "on_dirty_starting": hook(_DIRTY),
    "dirty_post_fork": hook(_DIRTY),
    "dirty_worker_init": hook(_DIRTY),
    "dirty_worker_exit": hook(_DIRTY),
}

OPTIONS: Final[dict[str, str]] = {option: name for name, entry in TABLE.items() for option in entry.options}

# Each name and each option of what is taken, in snake_case, and its row: for "did you mean".
WORDS: Final[dict[str, str]] = {
    word.strip("-").replace("-", "_"): entry.row
    for name, entry in TABLE.items()
    if entry.row
    for word in (name, *entry.options)
    if len(word) > 2
}


def warning(entry: Entry, given: object) -> str:
    """What is to be said of this very value, beside the note; "" if nothing."""
    if entry.row == "trusted_proxies" and "*" in str(given):
        return "everybody who can connect may name any address as the client's; give the proxy's network"
    return ""


def from_option(option: str, text: str, before: Any) -> Any:
    """The value of `option`'s row for `text`, after the value that the command line gave it `before`, or None.

    Raises ValueError.
    """
    entry = TABLE[OPTIONS[option]]
    value = value_of(entry, text)
    if OPTIONS[option] == "syslog" and before:
        return before  # the address was given, which is more than the switch says
    if entry.collects:
        return (*(before or ()), *value)
    if isinstance(value, tuple) and before is not None and before != value:
        raise ValueError(f"{', '.join(before)} was given already; give one list for both")
    return value
