"""docs/guide.md: every program in it runs, every command is understood, every message is one that vivace writes."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vivace
from command import SERVES, Command
from vivace.config.load import load
from wire import Client, fetch, request

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(vivace.__file__).parent
GUIDE = SOURCE.parent.parent / "docs" / "guide.md"

if not GUIDE.is_file():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)

TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def programs() -> Iterator[tuple[str, str, str]]:
    """(file, what it is, source) of every Python block: its first line says."""
    for language, source in BLOCKS:
        if language == "python":
            found = re.match(r"# (\w+\.py): (.+)\n", source)
            assert found, f"a program without a name: {source[:60]!r}"
            yield found[1], found[2], source


PROGRAMS = {what: (file, source) for file, what, source in programs()}


def served(what: str, folder: Path, target: str = "") -> Command:
    """The command that serves the program."""
    file, source = PROGRAMS[what]
    (folder / file).write_text(source)
    return Command(target or f"{file[:-3]}:app", "--bind", "127.0.0.1:0", cwd=folder)


@pytest.mark.parametrize(
    ("what", "target", "expected"),
    [
        ("plain WSGI", "", b"Hello\n"),
        ("plain WSGI", "app", b"Hello\n"),
        ("plain WSGI", "app.py", b"Hello\n"),
        ("plain WSGI", "app.py:app", b"Hello\n"),
        ("plain WSGI", ".", b"Hello\n"),
        ("Flask", "", b'{"hello":"world"}\n'),
        ("a factory", "shop:create_app()", b'{"config":"prod"}\n'),
        ("a factory", 'shop:create_app("test")', b'{"config":"test"}\n'),
        ("Bottle", "", b"Hello\n"),
        ("Falcon", "", b'{"hello": "world"}'),
        ("Pyramid", "", b"Hello\n"),
    ],
)
def test_applications(what: str, target: str, expected: bytes, tmp_path: Path) -> None:
    with served(what, tmp_path, target) as command:
        assert fetch(command.url).body == expected


def test_django(tmp_path: Path) -> None:
    """By nothing at all, by its module, and with its static files."""
    command = [sys.executable, "-m", "django", "startproject", "mysite", "."]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    style = request("/static/admin/css/base.css", host="localhost")
    for target in ("", "mysite.wsgi"):
        with Command(*([target] if target else []), "--bind", "127.0.0.1:0", cwd=tmp_path) as plain:
            assert b"worked successfully" in fetch(plain.url, request("/", host="localhost")).body
            assert fetch(plain.url, style).status == 404
    with served("Django with its static files, for development", tmp_path) as wrapped:
        assert fetch(wrapped.url, style).status == 200


def test_upload(tmp_path: Path) -> None:
    with served("how much arrived", tmp_path) as command:
        assert fetch(command.url, request(method="POST", body=b"x" * 100_000)).body == b"100000 bytes\n"


def test_stream(tmp_path: Path) -> None:
    with served("a line a second", tmp_path) as command, Client(command.url) as client:
        response = client.send(request()).read_response()
        assert response.chunks == [b"line 0\n", b"line 1\n", b"line 2\n"]


def test_download(tmp_path: Path) -> None:
    with served("a file by sendfile", tmp_path) as command:
        response = fetch(command.url)
        assert response.body.decode() == PROGRAMS["a file by sendfile"][1]
        assert response.field("Content-Length") == str(len(response.body))


def test_script(tmp_path: Path) -> None:
    source = PROGRAMS["serve until Ctrl-C"][1].replace("127.0.0.1:8000", "127.0.0.1:0")
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as script:
        assert script.stderr is not None
        try:
            [url] = re.findall(SERVES, script.stderr.readline())
            assert fetch(url).body == b"Hello\n"
            script.send_signal(signal.SIGINT)
            out, _ = script.communicate(timeout=30)
        finally:
            script.kill()
    assert (out, script.returncode) == ("stopped\n", 0)


def test_background(tmp_path: Path) -> None:
    source = PROGRAMS["ask a server from the same program"][1]
    run = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert re.fullmatch(r"http://127\.0\.0\.1:([0-9]+) \1 b'Hello\\n'\n", run.stdout), run.stderr


def test_fixture(tmp_path: Path) -> None:
    file, source = PROGRAMS["a test over a real connection"]
    (tmp_path / file).write_text(source)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert "1 passed" in run.stdout, run.stdout


def test_every_program_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [what for what in PROGRAMS if f'"{what}"' not in source] == []


# Commands and messages.


def commands() -> list[str]:
    lines = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    lines += re.findall(r"^ExecStart=\S*/(vivace .*)$", TEXT, re.MULTILINE)
    return [line for line in lines if line.startswith(("vivace ", "vivace"))]


@pytest.mark.parametrize("line", commands())
def test_every_command_is_understood(line: str, tmp_path: Path) -> None:
    _, *arguments = shlex.split(line, comments=True)
    load(arguments, {}, tmp_path)


def test_every_bind_is_understood(tmp_path: Path) -> None:
    table = TEXT[TEXT.index("| `--bind` | |") :].partition("\n\n")[0]
    addresses = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)[1:]
    assert len(addresses) > 8
    assert load([f"--bind={address}" for address in addresses], {}, tmp_path).bind == tuple(addresses)


def said() -> str:
    """All that vivace's own source says, parts of strings joined."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py")))
    return re.sub(r"\"\s*\n\s*f?\"", "", text).replace('\\"', '"')


def messages() -> list[str]:
    """The messages of the troubleshooting tables."""
    part = TEXT[TEXT.index("## Troubleshooting") :]
    return [code for row in re.findall(r"^\| (.*?) \| ", part, re.MULTILINE) for code in re.findall(r"`([^`]+)`", row)]


# What stands for something else in a message of the guide.
PLACEHOLDER = re.compile(
    r"\.\.\.|'?\b[xyNX]\b'?|\b[0-9]+\b|--[xy]\b|'fd://N'|x\(\)|Content-Length says|Too many open files"
    r"|application or app|None, |did you mean|GET"
)


def test_every_message_is_one_that_is_written() -> None:
    source = said()
    unknown = []
    for message in messages():
        if message.startswith("syntax error near"):  # the shell's
            continue
        pieces = [piece.strip(" :;,?()/") for piece in PLACEHOLDER.split(message)]
        pieces = [piece.removeprefix("ApplicationError: ") for piece in pieces]
        longest = max(pieces, key=len)
        if len(longest) < 6 or longest not in source:
            unknown.append((message, longest))
    assert unknown == []
    assert len(messages()) > 35
