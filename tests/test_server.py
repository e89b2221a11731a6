"""worker.server and worker.process: settings and an application in, a running server out.

How a server stops stands in test_stopping.py, where it listens in test_listening.py.
"""

from __future__ import annotations

import gc
import io
import os
import resource
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import vivace
from apps import app_of
from vivace.config.load import from_keywords
from vivace.config.settings import ROWS
from vivace.connection.plan import Plan
from vivace.errors import SettingError
from vivace.net.listen import close_listener, open_listener, parse_address
from vivace.worker.console import Console
from vivace.worker.planning import PLAIN, make_plan
from vivace.worker.process import raise_descriptor_limit
from vivace.worker.server import SOFTWARE, Server, base_environ, open_listeners
from wire import TIMEOUT_S, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vivace.net.listen import Listener

HELLO = app_of([b"hello"])


# From settings to a plan.

# Settings that something else than the plan wants, and how.
ELSEWHERE = {
    *("chdir", "python_path", "env", "name", "profile"),
    *("app", "app_dir", "config", "bind", "backlog", "unix_mode", "unix_owner"),
    *("log_level", "log_format", "access_log", "access_log_format", "access_log_skip", "access_log_syslog"),
    *("syslog", "syslog_format", "syslog_facility", "syslog_tag", "python_logging", "log_config"),
    *("server_header", "switch_interval_s", "gc_threshold", "lanes", "underscores"),
    *("adaptive", "adaptive_threads_max", "adaptive_wait_s"),
    *("certfile", "keyfile", "tls_ca_file", "tls_client", "tls_min", "tls_ciphers", "tls_self_signed"),
    *("tls_handshake_timeout_s", "https_redirect"),
    *("request_line_bytes_max", "head_bytes_max", "fields_max", "field_bytes_max"),
    # the supervisor's
    *("workers", "preload", "reuse_port", "pin_workers", "boot_timeout_s", "reload", "reload_extra"),
    *("max_requests", "max_requests_jitter", "max_lifetime_s", "memory_soft_bytes", "memory_hard_bytes"),
    # the admin process's
    *("admin", "admin_token", "admin_token_file", "admin_show_queries", "admin_routes_max"),
    "profile",
    # what stands in front
    *("trusted_proxies", "proxy_headers", "forwarded_fields", "root_path"),
    *("proxy_protocol", "proxy_protocol_timeout_s"),
    *("log_file", "access_log_file", "user", "group", "umask", "pidfile"),
    # what is kept, coded, and served as files
    *("cache", "cache_memory_bytes", "cache_entry_bytes_max", "cache_rule", "cache_ignore_params"),
    *("cache_ignore_cookies", "cache_status", "cache_wait_s", "cache_store"),
    *("compress", "compress_types", "compress_bytes_min", "compress_exclude", "compress_level"),
    *("static", "static_index", "static_max_age_s", "static_immutable", "static_follow_symlinks"),
    # what requests carry
    *("request_id", "request_id_from", "server_timing", "server_timing_token", "trace", "trace_from", "trace_sample"),
}

OTHER_VALUES: dict[str, Any] = {"poller": "select", "spill_dir": "/tmp", "body_stream": True}
OTHER_VALUES |= {
    "drain_delay_s": 5.0,
    "livez_path": "/livez",
    "readyz_path": "/readyz",
    "request_timeout_s": 30.0,
    "metrics": False,
    "arrival_stamps": True,
    "slow_request_by_route": True,
}


def test_no_setting_is_without_effect() -> None:
    assert set(PLAIN) | ELSEWHERE == set(ROWS)
    assert set(PLAIN) <= set(Plan.__annotations__)


@pytest.mark.parametrize("name", PLAIN)
def test_every_plain_setting_arrives(name: str) -> None:
    default = ROWS[name].default
    value = OTHER_VALUES.get(name, default if name in OTHER_VALUES else default * 2 if type(default) is int else None)
    if value is None:
        value = default / 2
    plan = make_plan(HELLO, from_keywords(**{name: value}), Console())
    assert getattr(plan, name) == value != default


def test_the_limits_of_a_head_arrive() -> None:
    settings = from_keywords(
        request_line_bytes_max=1000, head_bytes_max=2000, fields_max=30, field_bytes_max=400, underscores="refuse"
    )
    limits = make_plan(HELLO, settings, Console()).limits
    assert (limits.request_line_bytes_max, limits.head_bytes_max, limits.fields_max) == (1000, 2000, 30)
    assert (limits.field_bytes_max, limits.underscores) == (400, "refuse")


@pytest.mark.parametrize(
    ("threads", "lanes", "expected"), [(8, "learn", "learn"), (8, "pool", "pool"), (1, "pool", "inline")]
)
def test_lanes(threads: int, lanes: str, expected: str) -> None:
    """A single thread has no pool to send anything to."""
    assert make_plan(HELLO, from_keywords(threads=threads, lanes=lanes), Console()).policy.lanes == expected


@pytest.mark.parametrize(
    ("server_header", "line"), [("vivace", b"Server: vivace\r\n"), ("mine/2", b"Server: mine/2\r\n"), ("", None)]
)
def test_server_header(server_header: str, line: bytes | None) -> None:
    heads = make_plan(HELLO, from_keywords(server_header=server_header), Console()).heads
    head, _, _ = heads.encode("200 OK", [], 0, 0, b"")
    assert line in head if line else b"Server" not in head


def test_without_an_access_log_nothing_is_logged() -> None:
    plan = make_plan(HELLO, from_keywords(), Console())
    assert (plan.log, plan.on_tick) == (None, None)


# environ.


@pytest.fixture
def listener() -> Iterator[Listener]:
    opened = open_listener(parse_address("127.0.0.1:0"), backlog=1)
    yield opened
    close_listener(opened)


@pytest.mark.parametrize("threads", [1, 8])
def test_base_environ(listener: Listener, threads: int) -> None:
    environ = base_environ(listener, make_plan(HELLO, from_keywords(threads=threads), Console()))
    assert environ["SERVER_NAME"] == "127.0.0.1"
    assert environ["SERVER_PORT"] == str(listener.socket.getsockname()[1])
    assert (environ["SCRIPT_NAME"], environ["SERVER_SOFTWARE"]) == ("", SOFTWARE)
    assert environ["SERVER_SOFTWARE"] == f"vivace/{vivace.__version__}"
    assert (environ["wsgi.version"], environ["wsgi.url_scheme"]) == ((1, 0), "http")
    assert environ["wsgi.multithread"] is (threads > 1)
    assert environ["wsgi.multiprocess"] is environ["wsgi.run_once"] is False
    assert environ["wsgi.errors"] is sys.stderr
    assert b"".join(environ["wsgi.file_wrapper"](io.BytesIO(b"x"))) == b"x"


def test_base_environ_of_a_unix_socket(tmp_path: Path) -> None:
    """PEP 3333: SERVER_NAME and SERVER_PORT "can never be empty strings"."""
    opened = open_listener(parse_address(f"unix:{tmp_path}/app.sock"), backlog=1)
    environ = base_environ(opened, make_plan(HELLO, from_keywords(), Console()))
    close_listener(opened)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")


def test_base_environ_of_a_process_without_stderr(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    errors = base_environ(listener, make_plan(HELLO, from_keywords(), Console()))["wsgi.errors"]
    errors.write("nowhere")
    errors.flush()
    errors.close()


def test_more_for_every_environ() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.update(environ)
        return HELLO(environ, start_response)

    settings = from_keywords(bind="127.0.0.1:0")
    server = Server(app, settings, open_listeners(settings, {}), base={"my.key": "my value", "SERVER_NAME": "mine"})
    thread = threading.Thread(target=server.run)
    thread.start()
    assert fetch(server.addresses[0]).body == b"hello"
    server.stop()
    thread.join(TIMEOUT_S)
    assert (seen["my.key"], seen["SERVER_NAME"]) == ("my value", "mine")


# Listeners.


def test_all_addresses_or_none(tmp_path: Path) -> None:
    """Every problem is told, and what could be opened is closed again."""
    settings = from_keywords(bind=[f"unix:{tmp_path}/a", f"unix:{tmp_path}/no/b", f"unix:{tmp_path}/no/c"])
    with pytest.raises(SettingError) as raised:
        open_listeners(settings, {})
    assert len(raised.value.problems) == 2
    assert os.listdir(tmp_path) == []


# A server.


def test_stopped_before_it_ran() -> None:
    settings = from_keywords(bind="127.0.0.1:0")
    server = Server(HELLO, settings, open_listeners(settings, {}))
    server.stop()
    server.run()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.listeners[0].server_port)))


@pytest.mark.parametrize(("threads", "given", "expected"), [(8, 0.001, 0.001), (8, 0, None), (1, 0.001, None)])
def test_the_switch_interval_is_set_while_it_serves(threads: int, given: float, expected: float | None) -> None:
    """And is the program's own again afterwards. A single thread needs none."""
    before = sys.getswitchinterval()
    seen: list[float] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(sys.getswitchinterval())
        return HELLO(environ, start_response)

    with vivace.background(app, threads=threads, switch_interval=given) as server:
        fetch(server)
    assert seen == [pytest.approx(expected or before)]
    assert sys.getswitchinterval() == before


def test_the_collector_s_threshold_is_set_while_it_serves() -> None:
    """That of the youngest generation; all are the program's own again afterwards."""
    before = gc.get_threshold()
    seen: list[tuple[int, ...]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(gc.get_threshold())
        return HELLO(environ, start_response)

    for given in (50_000, 0):
        with vivace.background(app, gc_threshold=given) as server:
            fetch(server)
        assert gc.get_threshold() == before
    assert seen == [(50_000, *before[1:]), before]


class Limits:
    """A process's limits of open files, in place of the system's."""

    RLIMIT_NOFILE = resource.RLIMIT_NOFILE
    RLIM_INFINITY = resource.RLIM_INFINITY

    def __init__(self, soft: int, hard: int, may: bool = True) -> None:
        self.limits = (soft, hard)
        self.may = may

    def getrlimit(self, which: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, which: int, limits: tuple[int, int]) -> None:
        if not self.may:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "expected", "said"),
    [
        (1024, 1_000_000, 20_256, False),
        (1024, resource.RLIM_INFINITY, 20_256, False),
        (1024, 4096, 4096, True),
        (50_000, 1_000_000, 50_000, False),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY, False),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_needed(
    soft: int, hard: int, expected: int, said: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setitem(sys.modules, "resource", limits)
    raise_descriptor_limit(20_000, Console("debug"))
    assert limits.limits == (expected, hard)
    assert bool(capsys.readouterr().err) is said


def test_a_limit_that_may_not_be_raised(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    limits = Limits(1024, 1_000_000, may=False)
    monkeypatch.setitem(sys.modules, "resource", limits)
    raise_descriptor_limit(20_000, Console("debug"))
    assert limits.limits == (1024, 1_000_000)
    assert "open files are limited to 1024" in capsys.readouterr().err
