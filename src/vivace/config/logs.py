"""The rows on the two logs beyond their level and their files: formats, syslog, Python's logging. See `settings`."""

from __future__ import annotations

from vivace.config.row import row

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"),
)
"""RFC 5424 section 6.2.1, table 1; of 12 to 15, which systems call differently, there are none."""

SYSLOG_PORT = 514


def check_format(text: str) -> None:
    """A name or a format string. Raises ValueError."""
    if text not in ("common", "combined", "json"):
        from vivace.config.access_format import parse

        parse(text)


def check_skip(patterns: tuple[str, ...]) -> None:
    """Paths, in which * stands for anything. Raises ValueError."""
    for pattern in patterns:
        if not pattern.startswith(("/", "*")):
            raise ValueError(f"{pattern!r} is no path; begin it with / or *, as in /static/*")


def read_syslog(text: str) -> tuple[str, int]:
    """(path, 0) of a Unix socket or (host, port). Raises ValueError."""
    address = text.removesuffix("#dgram")
    scheme, colon, rest = address.partition(":")
    if address.startswith("/"):
        scheme, colon, rest = "unix", ":", address
    if colon and scheme == "unix" and (path := rest.removeprefix("//")) and "#" not in path:
        return path, 0
    if colon and scheme == "udp" and rest.startswith("//"):
        host, _, port = rest[2:].partition("]")
        if rest.startswith("//["):
            host, port = host[1:], port.removeprefix(":")
        else:
            host, _, port = rest[2:].partition(":")
        if host and (not port or (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)):
            return host, int(port or SYSLOG_PORT)
    hint = "; the syslog of this machine, /dev/log, can pass it on by TCP" if scheme == "tcp" or "#" in text else ""
    raise ValueError(f"{text!r} is no address of a syslog; give /dev/log, unix:path or udp://host:port{hint}")


def check_syslog(text: str) -> None:
    if text:
        read_syslog(text)


def check_facility(text: str) -> None:
    if text not in FACILITIES:
        raise ValueError(f"{text!r} is no facility; give one of {', '.join(FACILITIES)}")


def check_tag(text: str) -> None:
    """RFC 5424 section 6.2.5, APP-NAME: 1 to 48 characters; RFC 3164 section 4.1.3 ends a tag at : and [."""
    if not (0 < len(text) <= 48 and text.isascii() and text.isprintable() and not set(" :[]") & set(text)):
        raise ValueError(f"{text!r} is no tag; give 1 to 48 ASCII characters without spaces, colons and brackets")


class Logging:
    """A part of section logging."""

    log_format: str = row(
        "logging",
        "choice",
        "text",
        "How messages are written: text, in colours on a terminal, unless NO_COLOR is set; or json, an object a line, "
        "in which a traceback is one string.",
        "gunicorn and uvicorn: text.",
        choices=("text", "json"),
    )
    access_log_format: str = row(
        "logging",
        "str",
        "common",
        "What a line of the access log says: common, combined, json, or a format string with Apache's or gunicorn's "
        "atoms, as in '%h %t \"%r\" %>s %b %D'. docs/logging.md lists them.",
        "Apache's common log format, as waitress's translogger and others have it.",
        unit="common, combined, json or a format string",
        check=check_format,
    )
    access_log_skip: tuple[str, ...] = row(
        "logging",
        "list",
        (),
        "Paths that have no line in the access log, as in /static/*; * stands for anything. May be repeated.",
        "nginx access_log off in a location: none.",
        unit="a path, as in /static/*",
        check=check_skip,
    )
    access_log_syslog: str = row(
        "logging",
        "str",
        "",
        "Send the access log to this syslog: /dev/log, unix:path or udp://host:port; it turns the log on.",
        "nginx access_log syslog: none.",
        unit="the address of a syslog",
        check=check_syslog,
        reloadable=False,
    )
    syslog: str = row(
        "logging",
        "str",
        "",
        "Send the messages to this syslog, too: /dev/log, unix:path or udp://host:port.",
        "gunicorn log-syslog-to: none.",
        unit="the address of a syslog",
        check=check_syslog,
        reloadable=False,
    )
    syslog_format: str = row(
        "logging",
        "choice",
        "rfc3164",
        "How syslog gets a line.",
        "RFC 3164, as syslog(3) writes it and each receiver reads it.",
        choices=("rfc3164", "rfc5424"),
        reloadable=False,
    )
    syslog_facility: str = row(
        "logging",
        "str",
        "user",
        "The facility that syslog files the lines under.",
        "gunicorn syslog_facility and syslog(3): user.",
        unit="user, daemon, local0 to local7 or another of RFC 5424",
        check=check_facility,
        reloadable=False,
    )
    syslog_tag: str = row(
        "logging",
        "str",
        "vivace",
        "The program's name for syslog.",
        "nginx tag: nginx.",
        unit="1 to 48 ASCII characters",
        check=check_tag,
        reloadable=False,
    )
    python_logging: bool = row(
        "logging",
        "bool",
        False,
        "Give messages and access log to Python's logging, as the loggers vivace.error and vivace.access, instead of "
        "stderr and stdout. What becomes of them is for the application's own configuration of logging to say.",
        "gunicorn always does, from the request's own thread: gunicorn.error and gunicorn.access.",
        reloadable=False,
    )
    log_config: str = row(
        "logging",
        "dir",
        "",
        "A file that configures Python's logging, for dictConfig (JSON or TOML) or fileConfig (INI); it turns "
        "python_logging on.",
        "gunicorn log-config and log-config-json: none.",
        unit="a file",
        reloadable=False,
    )
