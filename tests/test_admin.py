"""The admin address of a real server: what it shows, to whom, and that it outlives whatever happens to the workers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

import vivace
from admin import Clients, Shown
from listeners import quiet_port
from vivace.observe.layout import H_ADMIN
from vivace.observe.metrics import METRICS
from vivace.observe.page import page_of
from wire import fetch, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(vivace.__file__).parent.parent.parent
TOKEN = "0123456789abcdef-token"
Series = dict[tuple[Any, ...], float]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A server that most tests look at."""
    with Shown(tmp_path_factory.mktemp("shown"), "-w2", "--slow-request", "10ms", "--lanes", "pool") as server:
        for path in ("/", "/sleep?secret=1", "/none", "/fail?secret=2"):
            server.get(path)
        until(lambda: series(server.see("/metrics")[2]).get(ANSWERED("GET /fail", "5xx")))
        yield server


def series(text: str, read: Any = read_plain) -> Series:
    """Every series that counts, and its value."""
    families: Iterable[Any] = read(text)
    return Series(
        {
            (row.name, *sorted(row.labels.items())): row.value
            for family in families
            if family.type in ("counter", "histogram", "summary")
            for row in family.samples
            if not row.name.endswith("_created")
        }
    )


def ANSWERED(route: str, status: str = "2xx") -> tuple[Any, ...]:  # noqa: N802
    return ("vivace_requests_total", ("route", route), ("status", status))


class Monotone:
    """Reads /metrics again and again; nothing that counts may go back or vanish."""

    def __init__(self, server: Shown) -> None:
        self._server = server
        self._last: Series = Series()

    def look(self) -> Series:
        now = series(self._server.see("/metrics")[2])
        back = {key: (value, now.get(key)) for key, value in self._last.items() if now.get(key, -1) < value}
        assert back == {}
        self._last = now
        return now


# Counters.


def test_no_counter_goes_back_over_a_reload_and_the_death_of_a_worker_and_all_is_counted(tmp_path: Path) -> None:
    with Shown(tmp_path, "-w2") as server:
        watch = Monotone(server)
        with Clients(server.port, "/", "/sleep", "/none") as clients:
            until(lambda: watch.look().get(ANSWERED("GET /sleep"), 0) > 20)
            server.send_signal(signal.SIGHUP)
            until(lambda: watch.look() and len(re.findall("goes: it is of an older|goes: .*", server.log)) >= 2)
            until(lambda: watch.look() and server.json("/snapshot.json")["server"]["generation"] == 2)
        assert clients.lost == 0

        def all_counted(answers: dict[str, int]) -> bool:
            now = watch.look()
            found = [
                now.get(ANSWERED("GET /")),
                now.get(ANSWERED("GET /sleep")),
                now.get(ANSWERED("(not found)", "4xx"), 0),
            ]
            return found == [answers["/"], answers["/sleep"], answers["/none"]]

        until(lambda: all_counted(clients.answers), what=f"{clients.answers}")
        count = ("vivace_response_seconds_count", ("route", "GET /"))
        assert watch.look()[count] == clients.answers["/"]
        # A worker that is killed takes with it what it has not written yet, a second at most, and nothing else.
        before = dict(clients.answers)
        with Clients(server.port, "/", "/sleep") as more:
            until(lambda: more.answers["/"] > 20)
            victim = server.json("/snapshot.json")["workers"][0]["pid"]
            os.kill(victim, signal.SIGKILL)
            until(lambda: watch.look() and f"worker {victim} was ended by SIGKILL" in server.log)
            until(lambda: len([row for row in watch_workers(server) if row["pid"] != victim]) == 2)
        now = watch.look()
        assert now[("vivace_worker_deaths_total",)] == 1
        until(lambda: watch.look()[ANSWERED("GET /")] > before["/"])
        assert watch.look()[ANSWERED("GET /")] <= before["/"] + more.answers["/"] + more.lost


def watch_workers(server: Shown) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.json("/snapshot.json")["workers"]
    return [row for row in found if row["state"] == "serving"]


def test_both_formats_have_every_metric_of_the_table(shown: Shown) -> None:
    plain = shown.see("/metrics")
    assert plain[1]["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    names = {family.name for family in read_plain(plain[2])}
    missing = {"vivace_listener_overflows", "vivace_listener_drops"}  # the kernel of a container may not tell
    missing |= {name for name in METRICS if name.startswith("vivace_cache_")}  # it has no cache
    missing |= {"vivace_adaptive_trials", "vivace_worker_switch_interval_seconds", "vivace_worker_wait_limit_seconds"}
    assert names | missing >= set(METRICS)
    assert names <= set(METRICS)
    opened = shown.see("/metrics", Accept="application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert opened[1]["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in read_open(opened[2])} == names
    assert series(opened[2], read_open)[ANSWERED("GET /fail", "5xx")] == 1


def test_the_cache_is_shown_where_there_is_one(tmp_path: Path) -> None:
    with Shown(tmp_path, "-w2", "--cache", "--cache-rule", "/ 60s") as server:
        for _ in range(12):
            server.get("/")
        server.get("/none")

        def requests() -> dict[str, float]:
            found = series(server.see("/metrics")[2])
            return {key[1][1]: value for key, value in found.items() if key[0] == "vivace_cache_requests_total"}

        until(lambda: sum(requests().values()) == 13)
        assert requests() == {"hit": 11, "stale": 0, "miss": 2, "bypass": 0, "unavailable": 0}
        plain = server.see("/metrics")[2]
        names = {name for name in METRICS if name.startswith("vivace_cache_")}
        assert {family.name for family in read_plain(plain)} >= names
        opened = server.see("/metrics", Accept="application/openmetrics-text;version=1.0.0")[2]
        assert {family.name for family in read_open(opened)} >= names
        values = {row.name + row.labels.get("worker", ""): row.value for f in read_plain(plain) for row in f.samples}
        assert values["vivace_cache_entries0"] + values["vivace_cache_entries1"] >= 1
        assert values["vivace_cache_memory_limit_bytes0"] == 64 << 20
        assert 0 < values["vivace_cache_memory_bytes0"] < 1 << 20
        assert server.json("/snapshot.json")["totals"]["cache"]["hits"] == 11


def test_quantiles_are_of_the_last_minute(shown: Shown) -> None:
    def median(route: str) -> float:
        for family in read_plain(shown.see("/metrics")[2]):
            for row in family.samples:
                if row.labels == {"quantile": "0.5", "route": route}:
                    return float(row.value)
        return 0.0

    shown.get("/sleep")  # those before may be older
    assert 0.02 <= until(lambda: median("GET /sleep")) < 1


def test_routes_are_bounded(tmp_path: Path) -> None:
    with Shown(tmp_path, "--admin-routes-max", "2") as server:
        for path in ("/", "/", "/sleep", "/fail", "/none"):
            server.get(path)

        def routes() -> dict[str, float]:
            found = series(server.see("/metrics")[2])
            return {key[1][1]: value for key, value in found.items() if key[0] == "vivace_response_seconds_count"}

        found = until(lambda: sum(routes().values()) == 5 and routes())
        assert len(found) == 3
        assert "(others)" in found


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here (apt-get install prometheus)")
def test_a_real_prometheus_scrapes_it(shown: Shown, tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    target = shown.admin.removeprefix("http://")
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: vivace, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    port = quiet_port()
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def ask(query: str) -> list[Any]:
            url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    found: list[Any] = json.load(answer)["data"]["result"]
                    return found
            except OSError:
                return []

        [row] = until(lambda: ask('vivace_requests_total{route="GET /fail"}'), 30)
        assert row["value"][1] == "1"
        assert ask("up")[0]["value"][1] == "1"
        [row] = ask("histogram_quantile(0.5, vivace_response_seconds_bucket{route='GET /sleep'})")
        assert 0.01 < float(row["value"][1]) < 1
    finally:
        process.kill()
        process.wait()


# What is shown, and what is not.


def test_no_query_string_is_shown(shown: Shown) -> None:
    for path in ("/snapshot.json", "/history.json", "/in-flight", "/metrics"):
        assert "secret" not in shown.see(path)[2]
    found = until(lambda: (now := shown.json("/history.json")).get("slow") and now["errors"] and now)
    assert "GET /sleep" in {row["request"] for row in found["slow"]}
    assert found["errors"][0]["text"].startswith("GET /fail\nTraceback")
    assert "ValueError: it failed as it should" in found["errors"][0]["text"]
    assert found["errors"][0]["route"] == "GET /fail"


def test_queries_are_shown_to_who_asked_for_it(tmp_path: Path) -> None:
    with Shown(tmp_path, "--admin-show-queries", "--slow-request", "10ms") as server:
        server.get("/slow?s=0.05")
        assert until(lambda: server.json("/snapshot.json")["slow"])[0]["request"] == "GET /slow?s=0.05"


def test_what_is_in_flight(shown: Shown) -> None:
    line = re.compile(r"0\.\d{3} s +[01] +application +GET /slow from 127\.0\.0\.1")

    def running() -> Any:
        rows = json.loads(shown.see("/in-flight", Accept="application/json")[2])
        return [row for row in rows if row["phase"] == "application"]

    with Clients(shown.port, "/slow?s=0.3", count=1):
        until(lambda: line.search(shown.see("/in-flight")[2]))
        [row] = until(running)
    assert (row["request"], row["route"]) == ("GET /slow from 127.0.0.1", "GET /slow")


def test_history_tells_only_what_is_new(shown: Shown) -> None:
    found = until(lambda: (now := shown.json("/history.json")).get("number", 0) > 1 and now)
    assert len(found["points"]) == found["number"]
    later = shown.json(f"/history.json?after={found['number']}&since={found['time_s']}")
    assert len(later["points"]) <= 1
    assert later["slow"] == later["errors"] == []
    assert later["boot"] == found["boot"]
    assert shown.see("/history.json?level=3")[0] == shown.see("/history.json?after=x")[0] == 400


def test_nothing_can_be_changed_framed_kept_or_read_by_another_site(shown: Shown) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        status, fields, _ = shown.see("/", method, Origin="http://evil.example")
        assert (status, fields["allow"]) == (405, "GET, HEAD")
        assert not [name for name in fields if name.startswith("access-control")]
    status, fields, text = shown.see("/", "HEAD")
    assert (status, text) == (200, "")
    assert "default-src 'none'" in fields["content-security-policy"]
    assert "unsafe" not in fields["content-security-policy"]
    assert fields["cache-control"] == "no-store"
    assert shown.see("/nothing")[0] == shown.see("/../app.py")[0] == 404


def test_a_name_that_was_pointed_here_is_turned_away(shown: Shown) -> None:
    assert shown.see("/metrics", Host="evil.example")[0] == 421
    assert shown.see("/metrics", Host="localhost:1")[0] == 200


# Tokens.


@pytest.mark.parametrize("given", ["variable", "file"])
def test_every_interface_needs_a_token(tmp_path: Path, given: str) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    (tmp_path / "vivace.toml").write_text(f'admin_token = "{TOKEN}"\n' if given == "variable" else "")
    more = ("--admin-token-file", str(secret)) if given == "file" else ()
    with Shown(tmp_path, *more, admin="0.0.0.0:0") as server:
        assert server.see("/metrics")[0] == server.see("/snapshot.json", Authorization="Bearer nonsense")[0] == 401
        assert server.see("/metrics", Authorization=f"Bearer {TOKEN}", Host="some.where")[0] == 200
        assert server.see("/")[:1] == (303,)
        assert server.see("/livez")[0] == until(lambda: server.see("/readyz")[0] == 200 and 200)
        status, fields, text = server.see("/login", "POST", "token=wrong")
        assert (status, "That is not the token." in text, "set-cookie" in fields) == (403, True, False)
        status, fields, _ = server.see("/login", "POST", f"token={TOKEN}")
        assert (status, fields["location"]) == (303, "/")
        cookie = fields["set-cookie"].partition(";")[0]
        assert server.see("/", Cookie=cookie)[0] == server.see("/snapshot.json", Cookie=cookie)[0] == 200
        assert "Max-Age=0" in server.see("/logout", Cookie=cookie)[1]["set-cookie"]
        server.said("admin: a wrong token from 127.0.0.1")
        assert TOKEN not in server.log


# Its life.


def test_ready_means_that_a_worker_serves(tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text("drain_delay = 30\nworkers = 1\n")
    with Shown(tmp_path) as server:
        assert server.url
        until(lambda: server.see("/readyz")[0] == 200)
        server.send_signal(signal.SIGTERM)
        until(lambda: server.see("/readyz")[0] == 503)
        assert server.see("/readyz")[2] == "stopping\n"
        assert server.see("/livez")[0] == 200
        server.send_signal(signal.SIGTERM)
        server.wait()


def test_it_survives_a_reload_is_started_again_when_killed_and_ends_last(tmp_path: Path) -> None:
    with Shown(tmp_path) as server:
        first = admin_pid(server)
        server.send_signal(signal.SIGHUP)
        until(lambda: server.json("/snapshot.json")["server"]["generation"] == 2)
        assert admin_pid(server) == first
        os.kill(first, signal.SIGKILL)
        second = until(lambda: (now := admin_pid(server)) not in (0, first) and now)
        server.said(f"the admin process {first} was ended by SIGKILL")
        assert server.see("/readyz")[0] == 200
        server.send_signal(signal.SIGUSR1)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not Path(f"/proc/{second}").exists()
        assert "Traceback" not in server.log


def admin_pid(server: Shown) -> int:
    """The admin process, as the shared page names it."""
    assert server.admin
    page = page_of(server.process.pid)
    assert page is not None
    try:
        return int(page.words[H_ADMIN])
    finally:
        page.close()


def test_the_program_is_replaced_and_the_address_stays(tmp_path: Path) -> None:
    with Shown(tmp_path) as server:
        assert server.get() == 200
        until(lambda: series(server.see("/metrics")[2]).get(ANSWERED("GET /")) == 1)
        first, address = admin_pid(server), server.admin
        server.send_signal(signal.SIGUSR2)
        until(lambda: server.log.count("/metrics are at") == 2, 30)
        assert server.admin == address
        until(lambda: server.json("/snapshot.json")["server"]["generation"] == 2)
        assert admin_pid(server) != first
        assert series(server.see("/metrics")[2])[ANSWERED("GET /")] == 1
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    with Shown(tmp_path) as server:
        pid = admin_pid(server)
        os.kill(server.process.pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{pid}").exists())


def test_at_a_unix_socket(tmp_path: Path) -> None:
    with Shown(tmp_path, admin=f"unix:{tmp_path}/admin.sock") as server:
        response = until(lambda: fetch(server.admin, "/metrics"))
        assert response.status == 200
        assert b"vivace_workers_wanted 1" in response.body
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not (tmp_path / "admin.sock").exists()


# Without a supervisor.


def test_without_workers_a_thread_shows(tmp_path: Path) -> None:
    with Shown(tmp_path, "--workers", "0") as server:
        assert [server.get(), server.get("/fail")] == [200, 500]
        watch = Monotone(server)
        until(lambda: watch.look().get(ANSWERED("GET /fail", "5xx")) == 1)
        assert watch.look()[ANSWERED("GET /")] == 1
        assert server.see("/readyz")[0] == 200
        assert server.see("/")[0] == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert "Traceback (most recent call last):\n  File" in server.log, "that of /fail"
        assert server.log.count("Traceback") == 1


def test_in_a_program(capfd: pytest.CaptureFixture[str]) -> None:
    def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    address = f"127.0.0.1:{quiet_port()}"

    def ask(path: str) -> bytes:
        return fetch(f"http://{address}", f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()).body

    with vivace.background(hello, admin=address) as server:
        assert fetch(server, "/only-here").status == 200
        assert ask("/readyz") == b"ok\n"
        until(lambda: b'vivace_requests_total{route="GET /only-here",status="2xx"} 1' in ask("/metrics"))
    with pytest.raises(ConnectionRefusedError):
        fetch(f"http://{address}")
    assert f"the dashboard and /metrics are at http://{address}" in capfd.readouterr().err


# The package.


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="vivace is installed without its repository")
def test_a_wheel_has_the_files_of_the_page(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    code = "import setuptools.build_meta as build; print(build.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    [wheel] = (tmp_path / "dist").glob("*.whl")
    files = {path.name for path in (ROOT / "src/vivace/admin/files").iterdir()}
    packed = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/admin/files/" in name}
    assert packed == files
