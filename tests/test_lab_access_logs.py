"""Access logs as a weighted mix: what is understood, what is left out, and what they may cost."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_access_line import ENVIRON, written
from vivace.errors import SettingError
from vivace.lab import access_logs
from vivace.lab.access_lines import NO_REQUEST, common_time, is_common, is_json, read_common, read_json
from vivace.lab.access_logs import Log, mix
from vivace.lab.plan import Place, Shot
from vivace.lab.prepared import request_bytes
from vivace.lab.replay import replay

if TYPE_CHECKING:
    from pathlib import Path

COMMON = '10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "{}" 200 23'
COMBINED = COMMON + ' "https://example.org/a [b]" "Mozilla/5.0 (X11; \\"Linux\\")"'
AT_S = 971211336.0


def logged(tmp_path: Path, *lines: str) -> Log:
    path = tmp_path / "access.log"
    path.write_text("".join(line + "\n" for line in lines))
    return Log(str(path))


def weights(shots: list[Shot]) -> dict[str, float]:
    return {f"{shot.method} {shot.target}": shot.weight for shot in shots}


# Lines.


@pytest.mark.parametrize(
    "form", [COMMON, COMBINED, "www.example.org:80 " + COMBINED, COMMON.replace("- -", "- Jo\\x20e")]
)
def test_the_common_formats(form: str) -> None:
    line = form.format("GET /a?b=c HTTP/1.1").encode()
    assert is_common(line)
    assert read_common(line) == (AT_S, "GET", "/a?b=c")


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (r"GET /a\"b\\c HTTP/1.1", '/a"b\\c'),
        (r"GET /\x41 HTTP/2.0", "/A"),
        (r"GET /\t HTTP/1.1", "/\t"),
        (r"GET /a\x0d\x0aX:b HTTP/1.1", "/a\r\nX:b"),
    ],
)
def test_escapes_are_undone(said: str, asked: str) -> None:
    """What comes out may hold anything: it is checked afterwards."""
    assert read_common(COMMON.format(said).encode())[2] == asked


@pytest.mark.parametrize("said", ["-", r"\x16\x03\x01", "GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 x", ""])
def test_a_line_without_a_request(said: str) -> None:
    assert read_common(COMMON.format(said).encode()) is NO_REQUEST


@pytest.mark.parametrize(
    "line", ["", "hello", "[10/Oct/2000:13:55:36 -0700]", COMMON.format("GET / HTTP/1.1")[:-10], "[" * 5000]
)
def test_a_line_of_something_else(line: str) -> None:
    assert not is_common(line.encode())
    with pytest.raises(ValueError, match="form"):
        read_common(line.encode())


@pytest.mark.parametrize(
    "text", [b"31/Feb/2000:13:55:36 -0700", b"10/Okt/2000:13:55:36 -0700", b"10/Oct/2000:25:55:36 -0700", b""]
)
def test_times_that_there_are_not(text: bytes) -> None:
    with pytest.raises(ValueError, match="no time"):
        common_time(text)


@pytest.mark.parametrize("form", ["common", "combined", "json"])
def test_what_vivace_writes_is_understood(tmp_path: Path, form: str) -> None:
    odd = {"REQUEST_URI": '/a"b\\c?d', "HTTP_USER_AGENT": 'x" [y] "GET /evil HTTP/1.1" 200 1', "REMOTE_USER": "a [b] c"}
    shots, notes = mix(logged(tmp_path, written(form), written(form, {**ENVIRON, **odd})))
    assert weights(shots) == {"GET /app/path?query=1": 1, 'GET /a"b\\c?d': 1}
    assert notes == []


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.text(alphabet='/aG "\\\\\r\nx0d[]é', max_size=20).map(str.encode)),
        max_size=20,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_log_holds_each_request_is_one(tmp_path_factory: pytest.TempPathFactory, said: list[bytes]) -> None:
    """Nothing but SettingError is raised, and what is sent is read by h11 as one request without a rest."""
    path = tmp_path_factory.mktemp("log") / "access.log"
    before, after = COMMON.encode().split(b"{}")
    requests = [b"GET / HTTP/1.1", *[b"GET /" + each + b" HTTP/1.1" for each in said], *said]
    path.write_bytes(b"\n".join([before + each + after for each in requests]))
    try:
        shots, _ = mix(Log(str(path), unsafe=True))
        assert {shot.target for shot in replay(Log(str(path), unsafe=True))[0]} == {shot.target for shot in shots}
    except SettingError:
        return
    for shot in shots:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(request_bytes(shot, Place("h", 1)))
        assert isinstance(connection.next_event(), h11.Request)
        assert isinstance(connection.next_event(), h11.EndOfMessage)
        assert connection.trailing_data == (b"", False)


def test_a_zone_in_the_east() -> None:
    assert common_time(b"10/Oct/2000:22:25:36 +0130") == AT_S


def test_json_begins_when_the_request_did() -> None:
    fields = {
        "time": "2000-10-10T20:55:36.500Z",
        "method": "GET",
        "target": "/a",
        "seconds": 0.25,
        "host": "example.org",
    }
    line = json.dumps(fields).encode()
    assert is_json(line)
    assert read_json(line) == ((AT_S + 0.25, "GET", "/a"), "example.org")
    assert read_json(json.dumps(fields | {"method": None}).encode()) == (NO_REQUEST, "")


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        "1",
        '{"time": 1, "method": "GET", "target": "/"}',
        '{"time": "x", "method": "GET", "target": "/"}',
        "[" * 9999,
    ],
)
def test_json_of_something_else(line: str) -> None:
    assert not is_json(line.encode()) or line[0] == "{"
    with pytest.raises(ValueError, match=r"^it"):
        read_json(line.encode())


# The mix.


def test_what_is_asked_for_more_often_weighs_more(tmp_path: Path) -> None:
    lines = [COMBINED.format("GET /a HTTP/1.1")] * 3 + [
        COMMON.format("GET /items/7 HTTP/1.1"),
        COMMON.format("HEAD /a HTTP/1.0"),
    ]
    shots, notes = mix(logged(tmp_path, *lines, COMMON.format(r"GET /q?a=\"x\" HTTP/1.1")))
    assert weights(shots) == {"GET /a": 3, "GET /items/7": 1, "HEAD /a": 1, 'GET /q?a="x"': 1}
    assert {shot.name for shot in shots} == {"GET /a", "GET /items/{}", "HEAD /a", "GET /q"}
    assert notes == []


def test_gzip_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "access.log.2"
    path.write_bytes(
        gzip.compress((COMMON.format("GET /a HTTP/1.1") + "\r\n" + COMMON.format("GET /b HTTP/1.1")).encode())
    )
    assert weights(mix(Log(str(path)))[0]) == {"GET /a": 1, "GET /b": 1}
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(SettingError, match="after line"):
        mix(Log(str(path)))


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    lines = [COMMON.format(f"GET /{number} HTTP/1.1") for number in range(30)]
    lines += [
        COMMON.format("POST /a HTTP/1.1"),
        COMMON.format(r"GET /a\x0d\x0aX-Evil:1 HTTP/1.1"),
        COMMON.format("-"),
        "oops",
        "",
    ]
    log = logged(tmp_path, *lines)
    shots, notes = mix(log)
    assert len(shots) == 30
    told = "\n".join(notes)
    assert "1 lines are not understood and left out; line 34: it does not have the form" in told
    assert "1 lines hold no request" in told
    assert "1 requests cannot be sent" in told
    assert "1 POST; --unsafe" in told
    log.unsafe = True
    assert weights(mix(log)[0])["POST /a"] == 1


def test_a_file_of_something_else_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"access.log: line 1: not understood"):
        mix(logged(tmp_path, *["hello"] * 200))
    with pytest.raises(
        SettingError, match=r"access.log: line 2: it does not have the form .* 10 more of the first 12 lines"
    ):
        mix(logged(tmp_path, COMMON.format("GET / HTTP/1.1"), *["hello"] * 200))
    with pytest.raises(SettingError, match=r"no request of its 1 lines can be sent"):
        mix(logged(tmp_path, COMMON.format("-")))
    with pytest.raises(SettingError, match="cannot be read"):
        mix(Log(str(tmp_path / "none")))


def test_a_line_without_an_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_logs, "BLOCK_BYTES", 4096)
    with pytest.raises(SettingError, match=r"line 2 is longer than 262144 bytes"):
        mix(logged(tmp_path, COMMON.format("GET / HTTP/1.1"), "x" * 400_000))


def test_json_lines_and_their_hosts(tmp_path: Path) -> None:
    fields = {"time": "2000-10-10T20:55:36Z", "method": "GET", "seconds": 0, "target": "/a", "host": "example.org"}
    lines = [
        json.dumps(fields),
        json.dumps(fields | {"host": "other.example", "target": "/b"}),
        json.dumps(fields | {"target": "/\ud800 x"}),
    ]
    log = logged(tmp_path, *lines)
    assert weights(mix(log)[0]) == {"GET /a": 1, "GET /b": 1}
    log.host = "Example.org"
    shots, notes = mix(log)
    assert weights(shots) == {"GET /a": 1}
    assert shots[0].headers == [("Host", "Example.org")]
    assert any("1 requests were for other hosts" in note for note in notes)


def test_with_too_many_different_requests_it_is_an_even_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_logs, "DISTINCT_MAX", 1000)
    monkeypatch.setattr(access_logs, "BLOCK_BYTES", 1 << 16)
    lines = [COMMON.format(f"GET /{'often' if number % 4 else f'id/{number}'} HTTP/1.1") for number in range(40_000)]
    shots, notes = mix(logged(tmp_path, *lines))
    assert 250 < len(shots) <= 1000
    found = weights(shots)
    assert found["GET /often"] / sum(found.values()) == pytest.approx(0.75, abs=0.03)
    assert any("even sample" in note for note in notes)
    assert mix(logged(tmp_path, *lines))[0] == shots, "the same seed, the same sample"


def test_a_big_log_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.log"
    block = "".join(COMBINED.format(f"GET /{number % 500} HTTP/1.1") + "\n" for number in range(10_000))
    with path.open("w") as file:
        for _ in range(10):
            file.write(block)
    tracemalloc.start()
    try:
        shots, _ = mix(Log(str(path)))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(shot.weight for shot in shots) == 100_000
    assert path.stat().st_size > 12 << 20
    assert most < 8 << 20
