"""`vivace bench` as a user calls it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from loaded import Loaded
from vivace.cli.bench import EXIT_GATE, Options, run
from vivace.cli.main import EXIT_FAILED, EXIT_OK, main
from vivace.errors import SettingError
from vivace.lab.plan import CLOSED, OPEN
from vivace.lab.requests import Requests
from vivace.lab.result import from_json
from vivace.lab.words import size, span

if TYPE_CHECKING:
    from pathlib import Path

APP = """
def app(environ, start_response):
    body = environ["REQUEST_METHOD"].encode() + environ["PATH_INFO"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
QUICK = ("--time", "200ms", "--warmup", "0", "--quiet")


def test_an_application_is_started_loaded_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "app:app", "/hello", "-c", "2", *QUICK, "--json", "--html", "page.html"]) == EXIT_OK
    result = from_json(json.loads(capsys.readouterr().out))
    assert result.total.statuses["2xx"] == result.total.answers > 0
    assert result.server is not None
    assert result.server.processes >= 1
    assert "</html>" in (tmp_path / "page.html").read_text()


def test_a_url_in_open_loop(capsys: pytest.CaptureFixture[str]) -> None:
    with Loaded() as server:
        words = [server.place.url, "--pid", str(os.getpid()), "--rate=100", "--arrivals", "even", *QUICK]
        assert run([*words, "-d", "a=b", "-H", "X: y", "--goal", "p50<1s"]) == EXIT_OK
        assert server.heads[0].startswith(b"POST / HTTP/1.1\r\n")
        assert server.bodies == [b"a=b"] * 20
        assert "open loop, 100 requests/s" in capsys.readouterr().out
        assert run([*words, "--goal", "p50<1us"]) == EXIT_GATE
        assert "MISSED  p50<1us" in capsys.readouterr().out


def test_a_search_that_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Loaded(lambda head, body: None) as server:
        words = [server.place.url, "--goal", "p99<1s", "--time", "0.1s", "--warmup", "0", "-c", "1"]
        assert run(words) == EXIT_FAILED
    said = capsys.readouterr()
    assert "no rate was found" in said.out
    assert "nothing was answered" in said.err


def test_a_replay_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.log"
    row = '192.0.2.1 - - [01/Nov/2026:10:00:0{} +0000] "GET /{} HTTP/1.1" 200 5\n'
    log.write_text("".join(row.format(second, second) for second in range(4)))
    with Loaded() as server:
        assert run([server.place.url, "-r", str(log), "--replay", "--speed", "20", "--json", "--quiet"]) == EXIT_OK
        assert [head.split()[1] for head in server.heads] == [b"/0", b"/1", b"/2", b"/3"]
    assert json.loads(capsys.readouterr().out)["mode"] == OPEN


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--rate", "5"],
        ["http://a", "/b"],
        ["http://a", "--app", "b:c"],
        ["app:app", "b"],
        ["http://a", "--goal", "quick"],
        ["http://a", "--replay"],
        ["http://a", "-r", "x", "-X", "PUT"],
        ["http://a", "-r", "x", "--replay", "--rate", "5"],
        ["http://a", "--loud"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SettingError):
        Options(words)


def test_options_become_a_load() -> None:
    from vivace.lab.plan import Shot

    requests = Requests([Shot()])
    load = Options(["http://a", "--rate", "1_000", "-c", "7", "--time", "2m", "--warmup=500ms"]).load(requests)
    assert (load.mode, load.rate, load.connections, load.seconds, load.warmup_s) == (OPEN, 1000, 7, 120, 0.5)
    load = Options(["http://a"]).load(requests)
    assert (load.mode, load.connections, load.warmup_s) == (CLOSED, 10, None)
    for words in (["-c", "1.5"], ["--time", "soon"], ["--rate", "fast"], ["-c", "x"]):
        with pytest.raises(SettingError):
            Options(["http://a", *words]).load(requests)


def test_figures_have_three_digits_and_a_unit() -> None:
    texts = [span(value) for value in (0.0000005, 0.000123, 0.00999, 0.0456, 0.9999, 1.0, 12.34, 1234.5)]
    assert texts == ["0.50 us", "123 us", "9.99 ms", "45.6 ms", "1.00 s", "1.00 s", "12.3 s", "1,234 s"]
    assert [size(value) for value in (5, 2048, 3 << 20)] == ["5 B", "2.00 KiB", "3.00 MiB"]
