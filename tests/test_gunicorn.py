"""gunicorn's settings: its spellings, its files, GUNICORN_CMD_ARGS, and that the table leaves none of them out."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vivace
from command import Command
from vivace.cli.main import FLAGS, main
from vivace.config import argv, kinds, migration
from vivace.config.gunicorn import OPTIONS, TABLE, WORDS, value_of
from vivace.config.gunicorn_values import PROXY_MODES
from vivace.config.load import load
from vivace.config.settings import ELSEWHERE, ROWS, Settings, meant, names
from vivace.errors import SettingError
from wire import fetch

ROOT = Path(vivace.__file__).parent.parent.parent
PAGE = ROOT / "docs" / "migration.md"
GOOD = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith(("VIVACE_", "GUNICORN_")) or name in ("PORT", "WEB_CONCURRENCY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    assert sys.path == before
    sys.modules.pop("__config__", None)


def conf(directory: Path, text: str, name: str = "gunicorn.conf.py") -> Path:
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return path


def read(directory: Path, text: str, *more: str, **environ: str) -> Settings:
    """The settings with a gunicorn.conf.py of `text`."""
    conf(directory, text)
    return load(["-c", "gunicorn.conf.py", *more], environ, directory)


def problems(directory: Path, text: str, *more: str) -> tuple[str, ...]:
    with pytest.raises(SettingError) as caught:
        read(directory, text, *more)
    return caught.value.problems


# --- the table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_every_entry_is_complete(name: str) -> None:
    entry = TABLE[name]
    assert (entry.kind == "taken") == bool(entry.row)
    assert entry.row in ROWS if entry.row else entry.note
    assert not (entry.say and not entry.note)
    assert not entry.note.endswith(".")
    assert entry.note.count("\n") == 0
    assert "|" not in entry.note


def installed() -> Any:
    """gunicorn's own table."""
    if importlib.util.find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not installed: pip install 'vivace[test]'")
    from gunicorn import config

    return config.KNOWN_SETTINGS


def test_every_setting_of_the_installed_gunicorn_has_an_entry() -> None:
    known = {setting.name for setting in installed()}
    assert known - set(TABLE) == set()
    assert set(TABLE) - known == set(), "gunicorn has it no more, or had it never"


def test_every_option_of_the_installed_gunicorn_is_understood_as_it_is_there() -> None:
    own = argv._options()
    for setting in installed():
        entry = TABLE[setting.name]
        assert set(setting.cli or ()) <= set(entry.options), setting.name
        assert (entry.kind == "hook") == ("Hooks" in setting.section), setting.name
        if setting.cli:
            flag = (setting.action or "").startswith("store_") or setting.nargs == "?"
            assert entry.switch == flag, setting.name
        for option in setting.cli or ():
            row = own[option][0].name if option in own else ""
            assert option in OPTIONS
            assert row in ("", entry.row), f"{option} means something else here"
            assert entry.row or not row
            told = entry.switch and entry.row and value_of(entry, "true")
            assert not entry.switch or not entry.row or row or told, f"{option} has no value and is no switch of ours"


def test_a_row_is_told_once() -> None:
    assert not set(ELSEWHERE) & set(WORDS)
    assert not set(OPTIONS) & set(FLAGS) - {"--check-config", "--print-config"}


def test_words_that_are_only_nearly_gunicorn_s_lead_to_the_row() -> None:
    for word, row in [
        ("graceful_timeout", "shutdown_timeout_s"),
        ("limit-request-feild-size", "field_bytes_max"),
        ("loglevel", "log_level"),
        ("harakiri", "request_timeout_s"),
    ]:
        found = meant(word)
        assert found is not None
        assert found.name == row


# --- the command line -------------------------------------------------------------------------------------

SPELLINGS = [
    ("-w 4", "workers", "4"),
    ("--workers=4", "workers", "4"),
    ("-b :1 --bind=:2", "bind", (":1", ":2")),
    ("--threads 8", "threads", 8),
    ("-t 30", "request_timeout_s", 30.0),
    ("-t30", "request_timeout_s", 30.0),
    ("--timeout=0", "request_timeout_s", 0.0),
    ("--graceful-timeout 9", "shutdown_timeout_s", 9.0),
    ("--keep-alive 5", "keepalive_timeout_s", 5.0),
    ("--keep-alive 0", "keepalive_timeout_s", 0.1),
    ("--max-requests 1000", "max_requests", 1000),
    ("--max-requests-jitter 50", "max_requests_jitter", 50),
    ("--preload", "preload", True),
    ("--reload", "reload", True),
    ("--reload-extra-file a.html --reload-extra-file=b/**/*.html", "reload_extra", ("a.html", "b")),
    ("--reload-extra-file *.html", "reload_extra", (".",)),
    ("--reload-extra-file /*.html", "reload_extra", ("/",)),
    ("--chdir sub", "chdir", "{here}/sub"),
    ("-p run/app.pid", "pidfile", "{here}/run/app.pid"),
    ("--pid=/run/app.pid", "pidfile", "/run/app.pid"),
    ("-u www-data", "user", "www-data"),
    ("--user=33", "user", "33"),
    ("-g 33", "group", "33"),
    ("--group www-data", "group", "www-data"),
    ("-m 0027", "umask", 0o027),
    ("-m 0", "umask", 0),
    ("--umask 027", "umask", 0o027),
    ("--certfile a.pem", "certfile", ("a.pem",)),
    ("--keyfile a.key", "keyfile", ("a.key",)),
    ("--ca-certs ca.pem", "tls_ca_file", "{here}/ca.pem"),
    ("--cert-reqs 0", "tls_client", "none"),
    ("--cert-reqs 1", "tls_client", "optional"),
    ("--cert-reqs 2", "tls_client", "required"),
    ("--ciphers ECDHE+AESGCM", "tls_ciphers", "ECDHE+AESGCM"),
    ("--forwarded-allow-ips 10.0.0.1,10.1.0.0/16", "trusted_proxies", ("10.0.0.1", "10.1.0.0/16", "unix")),
    ("--forwarded-allow-ips *", "trusted_proxies", ("0.0.0.0/0", "::/0", "unix")),
    ("--proxy-allow-from ::1", "trusted_proxies", ("::1", "unix")),
    ("--proxy-allow-from ::1 --forwarded-allow-ips ::1", "trusted_proxies", ("::1", "unix")),
    ("--proxy-protocol --proxy-allow-from ::1", "proxy_protocol", True),
    ("--proxy-protocol v2 --proxy-allow-from ::1", "proxy_protocol", True),
    ("--proxy-protocol=auto --proxy-allow-from ::1", "proxy_protocol", True),
    ("--proxy-protocol off", "proxy_protocol", False),
    ("--limit-request-line 4094", "request_line_bytes_max", 4094),
    ("--limit-request-line 0", "request_line_bytes_max", 1 << 20),
    ("--limit-request-fields 50", "fields_max", 50),
    ("--limit-request-fields 0", "fields_max", 10000),
    ("--limit-request-field_size 8190", "field_bytes_max", 8190),
    ("--limit-request-field-size 0", "field_bytes_max", 16 << 20),
    ("--backlog 64", "backlog", 64),
    ("--reuse-port", "reuse_port", True),
    ("--worker-connections 500", "connections_max", 500),
    ("--access-logfile -", "access_log", True),
    ("--access-logfile -", "access_log_file", ""),
    ("--access-logfile a.log", "access_log_file", "{here}/a.log"),
    ("--access-logformat %(h)s", "access_log_format", "%(h)s"),
    ("--log-config a.ini", "log_config", "{here}/a.ini"),
    ("--log-config-json a.json", "log_config", "{here}/a.json"),
    ("--log-syslog", "syslog", "udp://localhost:514"),
    ("--log-syslog-to udp://log:5514", "syslog", "udp://log:5514"),
    ("--log-syslog-to unix:///dev/log#dgram --log-syslog", "syslog", "unix:///dev/log#dgram"),
    ("--log-syslog --log-syslog-to unix:///dev/log", "syslog", "unix:///dev/log"),
    ("--log-syslog-prefix shop", "syslog_tag", "shop"),
    ("--log-syslog-facility local3", "syslog_facility", "local3"),
    ("--error-logfile e.log", "log_file", "{here}/e.log"),
    ("--log-file -", "log_file", ""),
    ("--log-file=e.log", "log_file", "{here}/e.log"),
    ("--log-level DEBUG", "log_level", "debug"),
    ("--pythonpath /a,/b", "python_path", ("/a", "/b")),
    ("-e A=1 --env=B=2,3 -e C=", "env", ("A=1", "B=2,3", "C=")),
    ("-n shop", "name", "shop"),
    ("--name=shop", "name", "shop"),
    ("-n the-name-of-the-shop", "name", "the-name-of-the"),
    ("--header-map dangerous", "underscores", "keep"),
    ("--header-map refuse", "underscores", "refuse"),
    ("--root-path /shop", "root_path", "/shop"),
]


@pytest.mark.parametrize(("line", "row", "value"), SPELLINGS, ids=[line for line, _, _ in SPELLINGS])
def test_a_spelling_of_gunicorn_s_is_taken(line: str, row: str, value: object, tmp_path: Path) -> None:
    settings = load([*line.split(), "web:app"], {}, tmp_path)
    expected = value.replace("{here}", str(tmp_path)) if isinstance(value, str) else value
    assert getattr(settings, row) == expected
    assert settings.app == "web:app"


def test_each_option_that_is_taken_is_among_those_spellings() -> None:
    tried = {word.partition("=")[0] for line, _, _ in SPELLINGS for word in line.split()}
    tried |= {word[:2] for word in tried if not word.startswith("--")}
    taken = {option for entry in TABLE.values() if entry.row for option in entry.options}
    assert taken - tried == {"-c", "--config"}


def test_the_option_is_named_as_the_origin(tmp_path: Path) -> None:
    assert load(["-t", "30"], {}, tmp_path).origin("request_timeout_s") == "-t"
    assert load(["--access-logfile=-"], {}, tmp_path).origin("access_log") == "--access-logfile"


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("-t 30", "-t: taken as --request-timeout: it bounds each request"),
        ("-k gthread", "-k: not taken: there is one kind of worker"),
        ("-kgevent", "-k: not taken: there is one kind of worker"),
        ("--worker-class=uvicorn.workers.UvicornWorker", "--worker-class: not taken: there is one kind of worker"),
        ("--worker-tmp-dir /dev/shm", "--worker-tmp-dir: not taken: no heartbeat file"),
        ("--no-sendfile", "--no-sendfile: not taken: a file"),
        ("--statsd-host localhost:8125", "--statsd-host: not taken: no statsd"),
        ("-R", "-R: not taken: vivace stays in the foreground"),
        ("--forwarded-allow-ips=*", "--forwarded-allow-ips: everybody who can connect"),
        ("-e SCRIPT_NAME=/shop", "-e: SCRIPT_NAME is gunicorn's way"),
        ("--env SCRIPT_NAME=/shop", "--env: SCRIPT_NAME is gunicorn's way"),
    ],
)
def test_what_differs_or_is_left_is_said_in_one_line(line: str, note: str, tmp_path: Path) -> None:
    settings = load([*line.split(), "web:app"], {}, tmp_path)
    (said,) = settings.notes
    assert said.startswith(note)
    assert settings.app == "web:app", "the value of an option is no application"


@pytest.mark.parametrize("line", ["--threads 4 -w 2 -p x.pid", "--protocol http", "--http-protocols=h1"])
def test_what_means_the_same_is_not_worth_a_line(line: str, tmp_path: Path) -> None:
    assert load(line.split(), {}, tmp_path).notes == ()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("-D", ["-D: vivace stays in the foreground: let systemd start it"]),
        ("--daemon -t x", ["--daemon: vivace stays", "-t: 'x' is not a length of time; give seconds"]),
        ("--paste app.ini", ["--paste: name a module"]),
        ("--protocol uwsgi", ["--protocol: vivace speaks HTTP only"]),
        ("-m 22", ["-m: '22' is a decimal number to gunicorn; give 022"]),
        ("--cert-reqs 3", ["--cert-reqs: '3' is none of 0, 1, 2"]),
        ("--timeout", ["--timeout: the value is missing; give seconds"]),
        ("--timeout --threads=2", ["--timeout: the value is missing; give seconds"]),
        ("--worker-conections 5 app", ["--worker-conections: no such option; did you mean --connections-max?"]),
        ("--forwarded-allow-ips x", ["--forwarded-allow-ips: 'x' is no network"]),
        ("--forwarded-allow-ips ::1 --proxy-allow-from ::2", ["--proxy-allow-from: ::1, unix was given already"]),
        ("--proxy-protocol=v3", ["--proxy-protocol: takes no value"]),
        ("-e NAME", ["-e: 'NAME' is no variable with its value; give KEY=VALUE"]),
    ],
)
def test_mistakes_are_told_all_at_once(line: str, found: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        load(line.split(), {}, tmp_path)
    assert len(caught.value.problems) == len(found)
    for problem, start in zip(caught.value.problems, found, strict=True):
        assert problem.startswith(start)


def test_paths_are_relative_to_the_chdir_beside_them(tmp_path: Path) -> None:
    settings = load(["--chdir=sub", "-p", "a.pid"], {}, tmp_path)
    assert settings.pidfile == str(tmp_path / "sub" / "a.pid")
    assert settings.app_dir == settings.chdir == str(tmp_path / "sub")
    assert load(["--chdir=sub", "--app-dir=lib"], {}, tmp_path).app_dir == str(tmp_path / "sub" / "lib")
    (tmp_path / "x.toml").write_text("threads = 2")
    assert load(["--chdir=sub", "-c", "x.toml"], {}, tmp_path).threads == 2, "the file is named from where we are"


# --- GUNICORN_CMD_ARGS ------------------------------------------------------------------------------------


def test_the_variable_comes_after_ours_and_before_files(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("threads = 1\nbacklog = 1\nfields_max = 1\nconnections_max = 1\n")
    environ = {"GUNICORN_CMD_ARGS": "--threads=2 --backlog 2 --worker-connections '2'", "VIVACE_BACKLOG": "3"}
    settings = load(["--worker-connections=4"], environ, tmp_path)
    assert (settings.fields_max, settings.threads, settings.backlog, settings.connections_max) == (1, 2, 3, 4)
    assert settings.origin("threads") == "GUNICORN_CMD_ARGS: --threads"
    assert settings.notes == (
        "GUNICORN_CMD_ARGS: --threads, --backlog, --worker-connections counted, where neither the command line nor a "
        "VIVACE_* variable says otherwise",
    )


def test_the_variable_may_name_the_file_but_not_the_application(tmp_path: Path) -> None:
    conf(tmp_path, "workers = 3\nwsgi_app = 'a:b'\nthreads = 1\ntimeout = 5\nforwarded_allow_ips = ''\n")
    settings = load([], {"GUNICORN_CMD_ARGS": "-c gunicorn.conf.py other:app"}, tmp_path)
    assert (settings.workers, settings.app) == ("3", "a:b")
    assert "GUNICORN_CMD_ARGS: other:app: the application is not taken from there, as in gunicorn" in settings.notes


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("--bind '127", "GUNICORN_CMD_ARGS: No closing quotation; quote it as in a shell"),
        ("--thraeds 4", "GUNICORN_CMD_ARGS: --thraeds: no such option; did you mean --threads?"),
        ("--daemon", "GUNICORN_CMD_ARGS: --daemon: vivace stays in the foreground"),
    ],
)
def test_mistakes_in_the_variable(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as caught:
        load([], {"GUNICORN_CMD_ARGS": text}, tmp_path)
    assert caught.value.problems[0].startswith(problem)


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert load([], {"GUNICORN_CMD_ARGS": ""}, tmp_path).notes == ()


# --- gunicorn.conf.py -------------------------------------------------------------------------------------

COMPUTED = """
    import multiprocessing
    import os
    from pathlib import Path

    HERE = Path(__file__).parent
    assert __name__ == "__config__"
    cores = multiprocessing.cpu_count()
    workers_per_core = 2

    wsgi_app = "shop.wsgi:application"
    bind = f"0.0.0.0:{os.environ.get('SHOP_PORT', '8080')}"
    workers = cores * workers_per_core + 1
    worker_class = "gthread"
    threads = os.getenv("SHOP_THREADS", "4")
    worker_tmp_dir = "/dev/shm"
    timeout = 120
    graceful_timeout = int("30")
    keepalive = 5
    max_requests = 1000
    max_requests_jitter = 50
    preload_app = True
    accesslog = "-"
    errorlog = str(HERE / "error.log")
    loglevel = "INFO"
    access_log_format = '%(h)s %(t)s "%(r)s" %(s)s'
    raw_env = ["DJANGO_SETTINGS_MODULE=shop.settings", "PASSWORD=hunter2"]
    pidfile = None
    spew = False
    """


def test_a_file_that_computes_its_values(tmp_path: Path) -> None:
    settings = read(tmp_path, COMPUTED)
    assert settings.app == "shop.wsgi:application"
    assert settings.bind == ("0.0.0.0:8080",)
    assert settings.workers == str((os.cpu_count() or 1) * 2 + 1)
    assert (settings.threads, settings.preload, settings.log_level, settings.access_log) == (4, True, "info", True)
    assert (settings.request_timeout_s, settings.shutdown_timeout_s, settings.keepalive_timeout_s) == (120, 30, 5)
    assert (settings.max_requests, settings.max_requests_jitter) == (1000, 50)
    assert settings.log_file == str(tmp_path / "error.log")
    assert settings.env == ("DJANGO_SETTINGS_MODULE=shop.settings", "PASSWORD=hunter2")
    assert settings.pidfile == ""
    assert settings.origin("workers") == "gunicorn.conf.py: workers"
    assert settings.origin("access_log") == "gunicorn.conf.py: accesslog"


def test_all_that_it_set_is_accounted_for(tmp_path: Path) -> None:
    notes = read(tmp_path, COMPUTED).notes
    assert notes[0].startswith("gunicorn.conf.py is read as a file of gunicorn")
    rest = [note.removeprefix("gunicorn.conf.py: ") for note in notes[1:]]
    told = {line.partition(":")[0] for line in rest}
    assert told == {
        *("wsgi_app", "bind", "workers", "threads", "timeout", "graceful_timeout", "keepalive", "max_requests"),
        *("max_requests_jitter", "preload_app", "accesslog", "errorlog", "loglevel", "raw_env", "worker_class"),
        *("worker_tmp_dir", "access_log_format", "forwarded_allow_ips"),
    }
    assert 'timeout: taken as request_timeout = "120s": it bounds each request' in "\n".join(rest)
    assert "accesslog: taken as access_log = true" in rest
    assert 'raw_env: taken as env = ["DJANGO_SETTINGS_MODULE=...", "PASSWORD=..."]' in rest
    assert "hunter2" not in "".join(notes)


HOOKS = """
    import logging.config
    import os

    bind = ["127.0.0.1:8000", "unix:/run/shop.sock"]
    workers = int(os.environ["SHOP_WORKERS"])
    preload_app = True
    forwarded_allow_ips = "127.0.0.1,10.0.0.0/8"
    secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
    logconfig_dict = {"version": 1, "handlers": {}}
    reload_extra_files = "templates/*.html"
    user = 33
    umask = 0o027

    def on_starting(server):
        server.log.info("starting")

    def post_fork(server, worker):
        from shop.db import engine
        engine.dispose()

    def child_exit(server, worker):
        from prometheus_client import multiprocess
        multiprocess.mark_process_dead(worker.pid)

    when_ready = lambda server: None
    """


def test_a_file_with_hooks_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_WORKERS", "3")
    settings = read(tmp_path, HOOKS)
    assert settings.bind == ("127.0.0.1:8000", "unix:/run/shop.sock")
    assert (settings.workers, settings.user, settings.umask) == ("3", "33", 0o027)
    assert settings.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "unix")
    assert settings.reload_extra == ("templates",)
    said = "\n".join(settings.notes)
    for name in ("on_starting", "post_fork", "child_exit", "when_ready"):
        assert f"gunicorn.conf.py: {name}: a hook, which is not called; instead: " in said
    assert "secure_scheme_headers: not taken: " in said
    assert "logconfig_dict: not taken: write it to a JSON or TOML file" in said


def test_a_hook_that_mends_what_a_fork_shares_keeps_preload_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WORKERS", "3")
    settings = read(tmp_path, HOOKS)
    assert settings.preload is False
    assert "preload_app: not taken: post_fork may renew what must not be shared" in "\n".join(settings.notes)
    assert read(tmp_path, HOOKS, "--preload").preload is True


def test_sockets_of_systemd_go_before_bind_as_in_gunicorn(tmp_path: Path) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
    settings = read(tmp_path, "bind = ':1'", **environ)
    assert settings.origin("bind") == "default"
    assert "gunicorn.conf.py: bind: not taken: systemd has opened the sockets" in "\n".join(settings.notes)
    assert read(tmp_path, "bind = ':1'", LISTEN_PID="1", LISTEN_FDS="1").bind == (":1",)


def test_defaults_of_gunicorn_that_differ_are_told_unless_settled(tmp_path: Path) -> None:
    environ = {"PORT": "5000", "WEB_CONCURRENCY": "3"}
    told = "\n".join(read(tmp_path, "keepalive = 2", **environ).notes)
    for line in (
        "threads: not set, and one in gunicorn; up to 64 here",
        "timeout: not set, and 30 s in gunicorn",
        "forwarded_allow_ips: not set, and 127.0.0.1 in gunicorn; nobody here",
        "--bind 0.0.0.0:5000",
        "--workers 3",
    ):
        assert line in told
    given = ["-w1", "-b:0", "--threads=1", "-t9", "--forwarded-allow-ips=::1"]
    settled = "\n".join(read(tmp_path, "keepalive = 2", *given, **environ).notes)
    assert "not set" not in settled
    assert "threads" not in "\n".join(read(tmp_path, "worker_class = 'gevent'").notes).replace("`threads` threads", "")


def test_the_command_line_and_the_variables_go_before_the_file(tmp_path: Path) -> None:
    text = "workers = 2\nthreads = 2\nbacklog = 2\naccesslog = '-'\npidfile = 'a.pid'\nchdir = 'one'\n"
    (tmp_path / "one").mkdir()
    settings = read(tmp_path, text, "-w3", "--no-access-log", VIVACE_THREADS="4")
    assert (settings.workers, settings.threads, settings.backlog) == ("3", 4, 2)
    assert settings.access_log is False
    assert settings.pidfile == str(tmp_path / "one" / "a.pid")
    assert read(tmp_path, text, "--chdir=two").pidfile == str(tmp_path / "two" / "a.pid")


def test_a_module_may_be_named_and_the_directory_is_imported_from(tmp_path: Path) -> None:
    conf(tmp_path, "from shared_by_conf import COUNT\nworkers = COUNT\n", "settings_of_gunicorn.py")
    conf(tmp_path, "COUNT = 7\n", "shared_by_conf.py")
    try:
        settings = load(["-c", "python:settings_of_gunicorn"], {}, tmp_path)
        assert settings.workers == "7"
        assert settings.origin("workers") == "python:settings_of_gunicorn: workers"
        assert load(["-c", "file:settings_of_gunicorn.py"], {}, tmp_path).workers == "7"
        assert load([], {"VIVACE_CONFIG": "settings_of_gunicorn.py"}, tmp_path).workers == "7"
    finally:
        for name in ("settings_of_gunicorn", "shared_by_conf"):
            sys.modules.pop(name, None)


def test_wrong_values_are_told_together_with_everything_else(tmp_path: Path) -> None:
    text = """
        workers = "many"
        threads = 0
        bind = ["127.0.0.1:99999"]
        preload_app = "maybe"
        daemon = True
        umask = "22"
        protocol = "uwsgi"
        forwarded_allow_ips = 5
        """
    found = problems(tmp_path, text, "--backlog=x")
    assert [problem.split(": ")[:2] for problem in found] == [
        ["--backlog", "'x' is not a whole number; give a whole number of connections, 1 to 65535"],
        *(["gunicorn.conf.py", name] for name in ("bind", "workers", "threads", "preload_app", "umask")),
        *(["gunicorn.conf.py", name] for name in ("forwarded_allow_ips", "daemon", "protocol")),
    ]


def test_names_that_gunicorn_would_have_passed_over_are_told(tmp_path: Path) -> None:
    text = """
        worker_conections = 5
        queue_timeout = 5
        graceful_timeout = 5
        graceful_timeout_str = "5"
        env = "production"
        host = "x"
        keep_alive = 5
        """
    notes = "\n".join(read(tmp_path, text).notes)
    assert "worker_conections: no setting of gunicorn; did you mean worker_connections?" in notes
    assert "keep_alive: no setting of gunicorn; did you mean keepalive?" in notes
    assert "queue_timeout: a setting of vivace, not of gunicorn; it belongs in a vivace.toml" in notes
    for name in ("graceful_timeout_str", "env", "host"):
        assert f" {name}:" not in notes


def test_two_names_for_one_list(tmp_path: Path) -> None:
    settings = read(tmp_path, "forwarded_allow_ips = '::1'\nproxy_allow_ips = '::2'\nproxy_protocol = True")
    assert settings.trusted_proxies == ("::1", "unix")
    assert settings.proxy_protocol is True
    assert "gunicorn.conf.py: proxy_allow_ips: not taken: one list for both" in "\n".join(settings.notes)
    assert read(tmp_path, "proxy_allow_ips = '*'\nproxy_protocol = 'v1'").trusted_proxies[0] == "0.0.0.0/0"


def test_a_file_that_fails_shows_the_user_s_frames_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = conf(tmp_path, "import os\ndef port():\n    return os.environ['NO_SUCH_PORT']\nbind = ':' + port()\n")
    assert main(["-c", "gunicorn.conf.py", "--thraeds=2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    ours = str(Path(vivace.__file__).parent)
    frames = [line for line in lines if line.startswith("  File")]
    assert frames[0] == f'  File "{path}", line 4, in <module>'
    assert not [frame for frame in frames if ours in frame]
    assert lines[-3:] == [
        "KeyError: 'NO_SUCH_PORT'",
        "vivace: --thraeds: no such option; did you mean --threads?",
        "vivace: gunicorn.conf.py raised KeyError; the traceback is the file's own",
    ]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("bind = = 1\n", "SyntaxError", "bind = = 1"),
        ("import no_such_module_at_all\n", "ModuleNotFoundError", "line 1, in <module>"),
        ("raise SystemExit(1)\n", "SystemExit", "line 1, in <module>"),
    ],
)
def test_other_failures(text: str, name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf(tmp_path, text)
    assert main(["-c", "gunicorn.conf.py"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.splitlines()[-1] == f"vivace: gunicorn.conf.py raised {name}; the traceback is the file's own"


def test_a_file_or_module_that_is_not_there(tmp_path: Path) -> None:
    for chosen, start in [
        ("no.conf.py", "no.conf.py: cannot be read: No such file or directory"),
        ("python:no_such_conf", "python:no_such_conf: cannot be read: No module named 'no_such_conf', in "),
    ]:
        with pytest.raises(SettingError) as caught:
            load(["-c", chosen], {}, tmp_path)
        (problem,) = caught.value.problems
        assert problem.startswith(start)


def test_a_file_that_changes_the_import_path_keeps_its_change(tmp_path: Path) -> None:
    before = list(sys.path)
    try:
        read(tmp_path, "import sys\nsys.path.insert(0, '/somewhere')\n")
        assert sys.path == ["/somewhere", *before]
        read(tmp_path, f"import sys\nsys.path.remove({str(tmp_path)!r})\n")
    finally:
        sys.path[:] = before


# --- as a user does it ------------------------------------------------------------------------------------


def test_a_file_that_is_not_named_is_not_read_but_noticed(tmp_path: Path) -> None:
    conf(tmp_path, "raise RuntimeError\n")
    hint = "gunicorn.conf.py is not read unless it is named: vivace -c gunicorn.conf.py takes its settings"
    assert load([], {}, tmp_path).notes == (hint,)
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert load([], {}, tmp_path).notes == (hint,)
    (tmp_path / "vivace.toml").write_text("threads = 2\n")
    assert load([], {}, tmp_path).notes == ()


def test_migration_is_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_WORKERS", "3")
    for text in (COMPUTED, HOOKS):
        expected = read(tmp_path, text)
        assert main(["-c", "gunicorn.conf.py", "--print-config"]) == 0
        out, err = capsys.readouterr()
        assert tomllib.loads(out)
        assert err.startswith("vivace: gunicorn.conf.py is read as a file of gunicorn")
        (tmp_path / "vivace.toml").write_text(out)
        again = load([], {}, tmp_path)
        assert {name: getattr(again, name) for name in ROWS} == {
            **{name: getattr(expected, name) for name in ROWS},
            "config": "",
        }
        assert again.notes == ()
        (tmp_path / "vivace.toml").unlink()


def test_it_is_served(tmp_path: Path) -> None:
    source = """
        import os
        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{os.environ['GREETING']} {os.getcwd()} {environ['wsgi.multithread']}".encode()]
        """
    (tmp_path / "inner").mkdir()
    conf(tmp_path / "inner", source, "site_of_conf.py")
    text = """
        bind = "127.0.0.1:0"
        chdir = "inner"
        raw_env = ["GREETING=hello"]
        worker_class = "sync"
        threads = 1
        pythonpath = "/nowhere"
        """
    conf(tmp_path, text)
    with Command("-c", "gunicorn.conf.py", "site_of_conf:app", "-w", "0", cwd=tmp_path) as command:
        assert fetch(command.url).body.decode() == f"hello {tmp_path / 'inner'} False"
        command.said("vivace: gunicorn.conf.py: chdir: taken as chdir = ")
        command.send_signal()
        assert command.wait() == 0


def test_the_short_option_for_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v"]) == 0
    assert capsys.readouterr().out.startswith(f"vivace {vivace.__version__} (")


def test_check_config_tells_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "web_of_conf.py").write_text(GOOD)
    conf(tmp_path, "wsgi_app = 'web_of_conf:app'\n")
    before = list(sys.path)
    try:
        assert main(["-c", "gunicorn.conf.py", "--check-config"]) == 0
    finally:
        sys.path[:] = before
        sys.modules.pop("web_of_conf", None)
    out, err = capsys.readouterr()
    assert out.startswith("ok: the settings are valid and web_of_conf:app can be served")
    assert 'vivace: gunicorn.conf.py: wsgi_app: taken as app = "web_of_conf:app"\n' in err


def test_a_start_without_gunicorn_s_names_does_not_import_the_table(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vivace.config.load import load; import vivace.cli.serve\n"
        "load(['app:app', '-w2', '-b:0', '--threads=4', '--preload'], {'VIVACE_BACKLOG': '9'}, sys.argv[2])\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(Path(vivace.__file__).parent.parent), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in found if "gunicorn" in name or name == "shlex"]


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("workers", "4", "4"),
        ("threads", "8", 8),
        ("preload_app", "true", True),
        ("bind", "127.0.0.1:1", ("127.0.0.1:1",)),
        ("raw_env", "A=1,2", ("A=1,2",)),
        ("certfile", "a,b.pem", ("a,b.pem",)),
        ("umask", 18, 0o022),
        ("group", 0, "0"),
        ("cert_reqs", True, "optional"),
        ("loglevel", " Warning ", "warning"),
        ("forwarded_allow_ips", "", ("unix",)),
        ("forwarded_allow_ips", ["::1"], ("::1", "unix")),
        ("proxy_protocol", "None", False),
        ("proc_name", "naïve", "na?ve"),
        ("keepalive", "0", 0.1),
        ("reload_extra_files", ["/a/b", "/a/[xy]/b"], ("/a/b", "/a")),
        ("pythonpath", "/a, /b,", ("/a", "/b")),
    ],
)
def test_values_as_files_have_them(name: str, given: object, value: object) -> None:
    assert value_of(TABLE[name], given) == value


@pytest.mark.parametrize("name", [name for name, entry in TABLE.items() if entry.row])
def test_anything_else_is_a_value_or_a_value_error(name: str) -> None:
    row = ROWS[TABLE[name].row]
    for given in (object(), [1], {"a": 1}, 1.5, b"x", "\0 nonsense", -1, print):
        try:
            value = value_of(TABLE[name], given)
        except ValueError:
            continue
        assert kinds.checked(row, value) == value


def test_modes_of_the_proxy_protocol_are_no_applications() -> None:
    assert set(PROXY_MODES.values()) == {"true", "false"}


# --- the page ---------------------------------------------------------------------------------------------

if PAGE.is_file():
    TEXT = PAGE.read_text(encoding="utf-8")

    def test_the_page_has_the_table_of_the_code() -> None:
        assert migration.renewed(TEXT) == TEXT, "run: python -m vivace.config.migration"

    def test_settings_that_the_page_names_exist() -> None:
        """The third column of each table of another server: names in backquotes are ours."""
        wrong = []
        for line in TEXT.replace(migration.part(), "").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("| `") and len(cells) == 3:
                wrong += [word for word in re.findall(r"`([a-z_]+)`", cells[1]) if word not in names()]
        assert wrong == []
        assert TEXT.count("\n| `") > 150
