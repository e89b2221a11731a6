"""The doctor as a whole: the command line, real examinations (subject, gathering, trying), and the reports."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command import Command
from examined import evidence
from vivace.cli import doctor
from vivace.cli.main import main
from vivace.explain import trying
from vivace.explain.examining import examine
from vivace.explain.finding import RATE, SERIOUS, Finding, Gain, Report, Where
from vivace.explain.report_page import page
from vivace.explain.report_text import lines
from vivace.explain.subject import Subject
from vivace.explain.table import KINDS, markdown
from vivace.lab.plan import Shot

if TYPE_CHECKING:
    from typing import Any

APP = """
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.03)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ILL = Finding(
    "lock",
    "GET /<x> waits for a lock",
    SERIOUS,
    ["threads wait 87% of their time"],
    "Hold it for a shorter time.",
    route="GET /<x>",
    where=Where("/srv/app.py", 12, "view", "with LOCK:"),
    code="with lock:\n    pass",
    options=("--threads", "4"),
    gain=Gain(RATE, 2.0, 4.2, 4.3),
)


def options(*words: str) -> doctor.Options:
    return doctor.Options(list(words))


def test_the_command_line() -> None:
    given = options("app:app", "--url", "/a", "--url=/b", "-c", "16", "--seconds", "5s", "--", "--threads", "4")
    assert given.is_app
    assert [(shot.target, shot.headers[1]) for shot in given.shots()] == [
        ("/a", ("Accept-Encoding", "gzip, deflate")),
        ("/b", ("Accept-Encoding", "gzip, deflate")),
    ]
    assert (given.clients, given.seconds, given.server_options) == (16, 5.0, ["--threads", "4"])
    for server in ("", "8000", "127.0.0.1:8000", "/run/app.pid"):
        assert not options(server).is_app
    assert options("site/app.py").is_app


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a:b", "c:d"], "'c:d' is not understood"),
        (["--nothing"], "'--nothing' is not understood"),
        (["app:app", "--url"], "lacks its value"),
        (["8000", "--url", "/"], "8000 runs already"),
        (["--try"], "the server runs already"),
        (["app:app", "--seconds", "0"], "--seconds 0: give a number from 1 to 3600"),
        (["app:app", "--fail-on", "serious,nothing"], "--fail-on nothing: give serious, minor, or one of cpu,"),
        (["app:app", "--url", "/", "--requests", "x.toml"], "not both"),
        (["app:app", "--url", "books"], "give a path of the application"),
    ],
)
def test_what_makes_no_sense(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *words]) == 2
    assert message in capsys.readouterr().err


def test_what_fails_a_gate() -> None:
    report = Report([ILL], [], [])
    assert (
        doctor.failing(report, ["serious"])
        == doctor.failing(report, ["minor"])
        == doctor.failing(report, ["lock"])
        == [ILL]
    )
    assert doctor.failing(report, ["cpu"]) == doctor.failing(report, []) == []


def test_the_report_as_text() -> None:
    text = "\n".join(lines(Report([ILL], [("gc", "1%")], [("cpu", "no profile"), ("io", "no profile")]), evidence()))
    assert text.startswith("100 requests/s for 10.0 s: mean 80.0 ms")
    assert "1. SERIOUS: GET /<x> waits for a lock\n   /srv/app.py:12, in view\n       with LOCK:" in text
    assert "Gain: 4.2 times the requests/s (2.0 to 4.3)" in text
    assert "   - pauses of the garbage collector: 1%" in text
    assert "   - code that computes for long, waits for input and output (no profile)" in text
    assert "Nothing was found." in "\n".join(lines(Report([], [], []), evidence()))
    assert all(len(line) <= 100 for line in text.splitlines())


def test_the_report_as_a_page() -> None:
    text = page(Report([ILL], [("gc", "1%")], []), evidence(), "vivace doctor <app>", "vivace")
    assert "<title>vivace doctor &lt;app&gt;</title>" in text
    assert "GET /&lt;x&gt; waits for a lock" in text
    assert "<script" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "default-src 'none'" in text


def test_the_documents_have_the_table() -> None:
    path = Path(__file__).parent.parent / "docs" / "doctor.md"
    if not path.is_file():
        pytest.skip("vivace is installed without its repository")
    assert path.read_text(encoding="utf-8").endswith(markdown())
    assert all(row.id == one for one, row in KINDS.items())


def test_settings_are_tried_in_mirrored_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def rate(subject: Subject, more: tuple[str, ...], seconds: float) -> float:
        asked.append(more)
        return 300.0 if more else 100.0

    monkeypatch.setattr(trying, "_rate", rate)
    report = trying.try_out(Report([ILL], [], []), Subject("app:app", [Shot()]), 1.0, lambda text: None)
    assert asked == [(), ("--threads", "4"), ("--threads", "4"), ()]
    assert report.findings[0].gain is not None
    assert report.findings[0].gain.measured == 3.0
    assert "tried: 3.00 times, so the estimate was 40% above" in "\n".join(lines(report, evidence()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_application_is_started_loaded_and_examined(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["app:app", "--url", "/slow", "--seconds", "1", "--json", "--quiet", "--evidence", "e.json", "-o", "r.html"]
    assert main(["doctor", *words, "--fail-on", "sleep"]) == 3
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    first = told["findings"][0]
    assert (first["id"], first["route"], first["severity"]) == ("sleep", "GET /slow", SERIOUS)
    assert (os.path.basename(first["where"]["file"]), first["where"]["text"]) == ("app.py", "time.sleep(0.03)")
    assert {row["id"] for row in told["ruled_out"]} >= {"lock", "gc", "debug", "keep-alive"}
    assert "GET /slow sleeps" in (folder / "r.html").read_text()
    assert json.loads((folder / "e.json").read_text())["load"]["clients"] == doctor.CLIENTS


def test_a_server_that_runs_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Command("app:app", "--bind", "127.0.0.1:0", cwd=folder) as server:
        port = server.url.rpartition(":")[2]
        assert main(["doctor", port, "--seconds", "1", "--quiet"]) == 1
    assert "0 requests were answered meanwhile" in capsys.readouterr().out.replace("\n     ", " ")


def test_nothing_is_found_where_nothing_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "1", "--seconds", "1"]) == 2
    assert "vivace" in capsys.readouterr().err


def test_examining_what_was_written_before() -> None:
    assert examine(evidence()).ruled_out
