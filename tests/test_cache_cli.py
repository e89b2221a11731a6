"""`vivace cache`: asks and purges a real process; several workers are shown as one server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command import Command, program
from vivace.cli.cache import Options
from vivace.cli.cache_view import entries_text, merged_entries, merged_lines, merged_stats, stats_text
from vivace.cli.main import main
from vivace.errors import SettingError
from wire import fetch, until

# A server as far as its cache can be seen from outside: a page, the control file, and workers that look at both.
SERVER = """
import os, sys, time
from vivace.cache.control import Control
from vivace.observe.desk import Desk, aside
from vivace.observe.layout import S_PID
from vivace.observe.page import Page

page = Page.create(2)
control = Control.create() if sys.argv[1] != "0" else None
parent = os.getpid()

def say(line):
    os.write(1, line.encode() + b"\\n")  # a whole line, whoever else writes

def answer(question):
    ask = question["ask"]
    if ask == "cache_stats":
        return {"counters": {"hits": 30, "missed": 10, "stored": 8, "unstored": 2}, "missed": {"expired": 4},
                "unstored": {"Set-Cookie": 2}, "entries": 5, "bytes": 5000, "bytes_max": 1 << 20, "evictions": 1,
                "shared": {"entries": 9, "bytes": 4096, "bytes_max": 65536, "hits": 3}}
    if ask == "cache_ls":
        row = {"bytes": 700, "age_s": 3.0, "ttl_s": 57.0, "tags": ["news"], "status": 200, "vary": ["accept"]}
        rows = [{**row, "key": f"GET http://a/{n}", "hits": 2 * n} for n in range(3)]
        return {"entries": rows[: question["limit"]], "count": 3}
    if question["url"] == "http://a/fail":
        raise ValueError("no such thing")
    return {"lines": [f"{question['method']} {question['url']} {question['headers']}", "it would be a hit"]}

for worker in range(int(sys.argv[1])):
    if not os.fork():
        control.join()
        page.section_words(worker)[S_PID] = os.getpid()
        desk = Desk(page, worker)
        desk.open(dict.fromkeys(("cache_stats", "cache_ls", "cache_why"), aside(answer)), None)
        seen = 0
        say("ready")
        while os.getppid() == parent:
            number = control.number
            if number != seen:
                for purge in control.read():
                    say(f"{purge.kind} {purge.pattern} {purge.soft}")
                control.applied(seen := number)
            time.sleep(0.002)
        os._exit(0)
say("ready")
sys.stdin.read()
"""


@contextmanager
def server(workers: int) -> Iterator[subprocess.Popen[str]]:
    with program(SERVER, str(workers)) as process:
        assert process.stdout is not None
        for _ in range(workers + 1):
            assert process.stdout.readline() == "ready\n"
        yield process


@pytest.fixture(scope="module")
def running() -> Iterator[subprocess.Popen[str]]:
    with server(2) as process:
        yield process


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["cache", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def test_purges_are_seen_by_every_worker(running: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, running.pid, "purge", "/news/*") == (0, "/news/* is purged; seen by 2 of 2 workers\n", "")
    assert lines_of(running, 2) == ["path /news/* False"] * 2
    assert call(capsys, "purge", "--tag", "a b", "--soft", running.pid)[:2] == (
        0,
        "a b is stale now; seen by 2 of 2 workers\n",
    )
    assert lines_of(running, 2) == ["tag a b True"] * 2
    code, out, _ = call(capsys, running.pid, "purge", "--all", "--json")
    assert code == 0
    assert json.loads(out) == {
        "server": running.pid,
        "purged": "everything",
        "soft": False,
        "workers": 2,
        "late": [],
    }
    assert lines_of(running, 2) == ["all  False"] * 2
    assert call(capsys, running.pid, "purge", "https://a.example/x?y=1", "/z")[0] == 0
    assert sorted(lines_of(running, 4)) == ["path /x?y=1 False"] * 2 + ["path /z False"] * 2


def test_stats_are_added_up(running: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, running.pid, "stats")
    assert (code, err) == (0, "")
    rows = {line[:44].strip(): line[44:].split() for line in out.splitlines()}
    assert rows["fresh"] == ["60", "30", "30"]
    assert rows["answered without another call"] == ["75%"] * 3
    assert rows["asked because: expired"] == ["8", "4", "4"]
    assert rows["because: Set-Cookie"] == ["4", "2", "2"]
    assert rows["kept now"] == ["10", "5", "5"]
    assert "shared by the workers: 9 entries, 4.00 kB of 64.0 kB" in out
    code, out, _ = call(capsys, running.pid, "stats", "--json")
    found = json.loads(out)
    assert found["total"]["counters"]["hits"] == 60
    assert found["total"]["shared"] == {"entries": 9, "bytes": 4096, "bytes_max": 65536, "hits": 6}
    assert len(found["workers"]) == 2


def test_entries_are_listed_once(running: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, running.pid, "ls")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[-6] for line in lines[1:]] == [f"http://a/{number}" for number in (2, 1, 0)], "by hits"
    assert lines[1].split()[:9] == ["700", "B", "3.00", "s", "57.0", "s", "8", "200", "2"]
    assert lines[1].endswith("GET http://a/2  varies by accept  tags news")
    code, out, _ = call(capsys, running.pid, "ls", "--sort", "key", "--limit", "2")
    assert "http://a/0" in out.splitlines()[1]
    assert out.splitlines()[-1] == "and 2 more; see --limit"


def test_why_is_said_once_by_all_who_say_the_same(
    running: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, running.pid, "why", "http://a/b?c", "-H", "Cookie: d=e", "-X", "head")
    assert (code, out) == (0, "HEAD http://a/b?c [['Cookie', 'd=e']]\nit would be a hit\n")
    code, out, err = call(capsys, running.pid, "why", "http://a/fail")
    assert (code, out) == (1, "")
    assert err.count("ValueError: no such thing") == 2


APP = """
def app(environ, start_response):
    start_response("200 OK", [("Cache-Control", "max-age=100"), ("Surrogate-Key", "news"), ("Content-Length", "2")])
    return [b"ok"]
"""


def test_a_real_server_whose_workers_have_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", "--cache", "--workers", "2", cwd=tmp_path) as server:
        for path in ("/a", "/b"):
            fetch(server, path)
        until(lambda: server.log.count(" serves") == 3)
        pid = server.process.pid
        rows = json.loads(call(capsys, pid, "ls", "--json")[1])["total"]["entries"]
        assert sorted(row["key"] for row in rows) == ["GET http://h/a", "GET http://h/b"]
        assert rows[0]["tags"] == ["news"]
        code, out, err = call(capsys, pid, "why", "http://h/a")
        assert (code, err) == (0, "")
        assert "is kept" in out
        assert call(capsys, pid, "purge", "/a")[1] == "/a is purged; seen by 2 of 2 workers\n"
        rows = json.loads(call(capsys, pid, "ls", "--json")[1])["total"]["entries"]
        assert [row["key"] for row in rows] == ["GET http://h/b"]
        assert call(capsys, pid, "purge", "--tag", "news")[0] == 0
        assert json.loads(call(capsys, pid, "ls", "--json")[1])["total"]["entries"] == []
        assert json.loads(call(capsys, pid, "stats", "--json")[1])["total"]["counters"]["missed"] == 2


def test_a_worker_that_is_stopped_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivace.cli.cache.WAIT_S", 0.1)
    with server(1) as process:
        [worker] = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        os.kill(worker, 19)
        code, out, err = call(capsys, process.pid, "purge", "--all")
        assert (code, out) == (1, "everything is purged; seen by 0 of 1 worker\n")
        assert f"by: {worker}." in err
        code, out, err = call(capsys, process.pid, "stats")
        assert (code, out) == (1, "")
        assert f"process {worker} has not answered" in err
        os.kill(worker, 18)


def test_a_server_without_a_cache_or_workers_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with server(0) as process:
        code, out, err = call(capsys, process.pid, "stats")
        assert (code, out) == (2, "")
        assert "start it with --cache" in err
    code, _, err = call(capsys, process.pid, "stats")
    assert code == 2
    assert "there is no process" in err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "vivace cache [SERVER]"),
        ("8000", "vivace cache [SERVER]"),
        ("8000 9000 stats", "vivace cache [SERVER]"),
        ("stats 8000 9000", "more was given"),
        ("stats /x", "more was given"),
        ("stats --soft", "--soft means nothing there"),
        ("ls --sort colour", "--sort colour"),
        ("ls --limit 0", "--limit 0"),
        ("ls --limit", "lacks its value"),
        ("purge", "one kind at a time"),
        ("purge /a --all", "one kind at a time"),
        ("purge --tag a --all", "one kind at a time"),
        ("why", "give one URL"),
        ("why /a", "with the host"),
        ("why http://a/a http://a/b", "give one URL"),
        ("why http://a/ -H nothing", "'Name: value'"),
        ("why http://a/ --verbose", "not understood"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, says: str) -> None:
    with pytest.raises(SettingError) as caught:
        Options(line.split())
    assert says in str(caught.value)


def test_the_server_may_stand_before_or_behind() -> None:
    assert Options(["/run/x.pid", "purge", "/a"]).server == "/run/x.pid"
    assert Options(["purge", "/a", "127.0.0.1:80"]).server == "127.0.0.1:80"
    assert Options(["purge", "/a", "/b"]).server == ""
    assert Options(["purge", "/a", "/b"]).targets == ["/a", "/b"]
    assert Options(["ls", "--sort=age", "8000"]).sort == "age"


# The view.


def test_stats_of_no_requests_and_of_many_workers() -> None:
    empty: dict[str, Any] = {"counters": {}, "entries": 0, "bytes": 0, "bytes_max": 1024, "evictions": 0}
    total = merged_stats([empty])
    assert total["hit_rate"] is None
    assert "shared" not in total
    assert any(line.split()[-1] == "?" for line in stats_text(1, total, [(1, empty)]))
    many = [(pid, empty) for pid in range(100, 120)]
    assert {len(line.split()) for line in stats_text(1, merged_stats([empty] * 20), many) if "kept now" in line} == {3}


def test_an_entry_of_several_workers_shows_the_newest() -> None:
    row = {"key": "k", "bytes": 1, "ttl_s": 1.0, "hits": 2, "tags": [], "status": 200, "vary": []}
    answers = [{"entries": [{**row, "age_s": age}], "count": 1} for age in (5.0, 2.0, 9.0)]
    total = merged_entries(answers, "hits", 10)
    assert total["entries"] == [{**row, "age_s": 2.0, "hits": 6, "workers": 3}]
    assert entries_text({"entries": [], "count": 0}) == ["nothing is kept"]


def test_workers_that_say_something_else_are_named() -> None:
    said = [(1, {"lines": ["a hit"]}), (2, {"lines": ["a miss\x1b[0m"]}), (3, {"lines": ["a hit"]})]
    assert merged_lines(said) == ["workers 1, 3:", "  a hit", "worker 2:", "  a miss?[0m"]
