"""The house: what no single module's tests can see. Marks, sizes, imports, and that the documents point somewhere."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import vivace
from command import Command
from wire import fetch

SOURCE = Path(vivace.__file__).parent
ROOT = SOURCE.parent.parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent.name != "files")
"""What lies in `files` is sent elsewhere, and no module."""
DOCUMENTS = sorted([path for folder in (".", "docs", "benchmarks", "fuzz") for path in (ROOT / folder).glob("*.md")])

if not (ROOT / "pyproject.toml").is_file():
    pytest.skip("vivace is installed without its repository", allow_module_level=True)


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


EACH = pytest.mark.parametrize("path", MODULES, ids=name_of)


# HOT modules.

HOT = [path for path in MODULES if "# HOT" in path.read_text(encoding="utf-8")]
MARK = re.compile(r"# HOT  bench: (benchmarks/bench_[a-z_]+\.py)  budget: [0-9.]+ us[^(]*\(.+\)")


def test_the_modules_of_the_request_path_are_marked() -> None:
    assert {name_of(path) for path in HOT} >= {
        "vivace.connection.loop",
        "vivace.http1.head",
        "vivace.http1.response",
        "vivace.schedule.routes",
        "vivace.wsgi.exchange",
    }


@pytest.mark.parametrize("path", HOT, ids=name_of)
def test_a_hot_module_names_its_benchmark_and_budget_on_line_one(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    mark = MARK.fullmatch(first)
    assert mark, first
    bench = ROOT / mark[1]
    assert bench.is_file(), f"{bench.relative_to(ROOT)} does not exist"
    room = name_of(path).rpartition(".")[0]
    assert [name for name in imports(tree_of(bench)) if name.startswith(room)], "it measures something else"


# What a HOT module may not do (ARCHITECTURE.md): the first three words of an import count.
NOT_HOT = ("logging", "contextlib", "dataclasses", "enum", "inspect", "vivace.config", "vivace.worker", "vivace.cli")


def imports(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in `tree`, names that may be modules included."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", HOT, ids=name_of)
def test_a_hot_module_has_no_logging_no_settings_and_no_context_manager_of_its_own(path: Path) -> None:
    tree = tree_of(path)
    assert not [name for name in imports(tree) if name.startswith(NOT_HOT)]
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            # The lock of the turnover is taken only where a call was overtaken.
            assert [ast.unparse(item.context_expr) for item in node.items] == ["monitor.turnover"], ast.unparse(node)


# Sizes.

LINES_MAX = 400
FUNCTION_LINES_MAX = 70

LONG_FUNCTIONS = {
    ("vivace.connection.loop", "turn"): "the path of every request: one function, in numbered sections",
}


@EACH
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_MAX


def long_functions(path: Path) -> set[str]:
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX}


@EACH
def test_no_function_is_too_long(path: Path) -> None:
    allowed = {name for module, name in LONG_FUNCTIONS if module == name_of(path)}
    assert long_functions(path) == allowed, "too long, or no exception any more"


@EACH
def test_every_module_says_what_it_is(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body):
        assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


# Imports.

ALONE = """
import json, os, sys
failed = {}
for name in json.load(sys.stdin):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            __import__(name)
            os._exit(0)
        except BaseException as error:
            os.write(writer, repr(error).encode()[:1000])
            os._exit(1)
    os.close(writer)
    if os.waitpid(child, 0)[1]:
        failed[name] = os.read(reader, 1000).decode()
    os.close(reader)
print(json.dumps(failed))
"""


def clean_environ() -> dict[str, str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("VIVACE_", "PYTHON"))}
    return environ | {"PYTHONPATH": str(SOURCE.parent)}


def test_every_module_can_be_imported_alone() -> None:
    """Each in an interpreter that has imported nothing else: a fork of one that has only os and json."""
    names = [name_of(path) for path in MODULES if name_of(path) != "vivace.__main__"]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environ(),
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {}


APP = """
import sys

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(sorted(sys.modules)).encode()]
"""

# Each costs milliseconds of the start and memory for as long as the worker lives.
NOT_SERVING = {
    *("logging", "argparse", "email", "urllib", "http", "typing", "tempfile", "asyncio", "dataclasses", "inspect"),
    *("ssl", "subprocess", "traceback", "tomllib", "contextlib", "datetime", "decimal", "json", "queue"),
    *("concurrent", "multiprocessing", "importlib.metadata", "wsgiref", "encodings.idna", "unicodedata", "textwrap"),
}


def imported_without_us() -> set[str]:
    """What this Python imports by itself: `site` runs the .pth files of the environment."""
    command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, env=clean_environ(), check=True).stdout.split())


WAYS = [(), ("--threads", "1"), ("--access-log",), ("--bind", "unix:app.sock")]


@pytest.mark.parametrize("arguments", WAYS, ids=" ".join)
def test_a_serving_worker_has_imported_little(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "app.py").write_text(APP)
    bind = () if "--bind" in arguments else ("--bind", "127.0.0.1:0")
    with Command("app:app", *arguments, *bind, cwd=tmp_path) as command:
        url = command.url if command.url.startswith("http") else f"unix:{tmp_path}/app.sock"
        for _ in range(3):
            modules = set(fetch(url).body.decode().split("\n"))
        command.send_signal()
        assert command.wait() == 0
    found = modules - imported_without_us()
    assert "vivace.connection.loop" in found
    assert found & NOT_SERVING == set()


SHADOWS = ("socket", "select", "signal", "resource", "heapq", "struct", "fcntl", "errno", "string", "tomllib", "stat")


def test_the_application_s_files_do_not_stand_in_for_the_server_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory comes first on sys.path: a file of it may be called as a module of the standard library."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # as the command has it: `python -m` alone puts the directory there
    (tmp_path / "app.py").write_text(APP)
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong file')")
    with Command("app:app", "--bind", "127.0.0.1:0", cwd=tmp_path) as command:
        assert fetch(command.url).status == 200


def test_importing_vivace_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import vivace; print(*(set(sys.modules) - before))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environ(), check=True)
    assert set(run.stdout.split()) <= {"vivace", "vivace.version", "__future__"}


# Documents.

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Of the headings of a page, as the usual viewers make them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return [found["target"] or found["image"] for found in LINK.finditer(text)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_points_somewhere(path: Path) -> None:
    missing = []
    for target in links(path):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            missing.append(target)
    assert missing == []


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in links(ROOT / "README.md")}
    assert {page.name for page in (ROOT / "docs").glob("*.md") if page.resolve() not in linked} == set()


TEST_NAME = re.compile(r"`(test_[a-z0-9_]+)\.py(?:::(test_[a-z0-9_]+))?`")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_is_named_exists(path: Path) -> None:
    """docs/conformance.md says for each rule which test shows it."""
    missing = []
    for file, function in TEST_NAME.findall(path.read_text(encoding="utf-8")):
        source = ROOT / "tests" / f"{file}.py"
        text = source.read_text(encoding="utf-8") if source.is_file() else ""
        if not text or (function and f"def {function}(" not in text):
            missing.append(f"{file}::{function}")
    assert missing == []


def test_the_conformance_page_names_tests() -> None:
    assert len(TEST_NAME.findall((ROOT / "docs" / "conformance.md").read_text(encoding="utf-8"))) > 50


def test_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)`", text))
    assert named
    assert [name for name in sorted(named) if not (SOURCE / name).is_file() and not (ROOT / name).is_file()] == []


def test_settings_that_the_documents_name_exist() -> None:
    """`--option` of vivace, VIVACE_VARIABLE."""
    from vivace.cli import bench, cache, compare, doctor, profile, slow, tune
    from vivace.cli.main import FLAGS
    from vivace.cli.top import SWITCHES, VALUES
    from vivace.config.settings import ROWS

    options: set[str] = {*FLAGS, *SWITCHES, *VALUES, *cache.SWITCHES, *cache.VALUES}
    options |= {*slow.SWITCHES, *slow.VALUES, *profile.SWITCHES, *profile.VALUES}
    options |= {*doctor.SWITCHES, *doctor.VALUES}
    options |= {*bench.SWITCHES, *bench.VALUES, *compare.SWITCHES, *compare.VALUES}
    options |= {*tune.SWITCHES, *tune.VALUES}
    variables: set[str] = set()
    for row in ROWS.values():
        options |= {row.option, "--no-" + row.option[2:], "--" + row.name.replace("_", "-")}
        variables |= {row.variable, "VIVACE_" + row.name.upper()}
    wrong: list[Any] = []
    for path in DOCUMENTS:
        if path.parent.name == "benchmarks" or path.name in ("benchmarks.md", "trials.md"):
            continue  # their options are those of `python -m benchmarks`
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"vivace [^\n`]*?--[^\n`]*", text):
            wrong += [(path.name, word) for word in re.findall(r"(?<=\s)--[a-z][a-z-]+", line) if word not in options]
        wrong += [(path.name, word) for word in re.findall(r"VIVACE_[A-Z_]*[A-Z]", text) if word not in variables]
    assert wrong == []
