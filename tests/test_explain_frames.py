"""explain/frames.py, spots.py and sources.py: whose code it is, what it does there, and the loops around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examined import APP, lines, profile
from vivace.explain import sources
from vivace.explain.frames import is_theirs, kind_of, own_frame
from vivace.explain.spots import loop_around, spots_of, where_of

if TYPE_CHECKING:
    from pathlib import Path

LIB = "/usr/lib/python3.11/"
SITE = "/venv/lib/python3.12/site-packages/"
VIEW = ("view", APP, 12)


@pytest.mark.parametrize(
    ("file", "theirs"),
    [
        (APP, True),
        ("/srv/lib/helpers.py", True),
        (LIB + "json/encoder.py", False),
        (SITE + "flask/app.py", False),
        ("/usr/local/lib/python3.13t/re/_parser.py", False),
        ("<frozen importlib._bootstrap>", False),
        ("<string>", False),
    ],
)
def test_whose_file_it_is(file: str, theirs: bool) -> None:
    assert is_theirs(file) is theirs


@pytest.mark.parametrize(
    ("below", "kind"),
    [
        ([], ""),
        ([("iterencode", LIB + "json/encoder.py", 200)], "encoding"),
        (
            [
                ("JSONEncoder.iterencode", LIB + "json/encoder.py", 200),
                ("_make_iterencode.<locals>._iterencode_dict", LIB + "json/encoder.py", 400),
            ],
            "serialisation",
        ),
        ([("compile", LIB + "re/_compiler.py", 1)], "regex compile"),
        ([("sub", LIB + "re/__init__.py", 1), ("_compile", LIB + "re/__init__.py", 1)], "regex"),
        ([("_find_and_load", "<frozen importlib._bootstrap>", 1)], "import"),
        ([("from_string", SITE + "jinja2/environment.py", 1), ("tokeniter", SITE + "jinja2/lexer.py", 1)], "template"),
        ([("render", SITE + "jinja2/environment.py", 1)], "template use"),
        ([("render", SITE + "django/template/base.py", 1), ("execute", SITE + "django/db/x.py", 1)], "database"),
        ([("debug", LIB + "logging/__init__.py", 1), ("flush", LIB + "logging/__init__.py", 1)], "logging"),
        ([("urlopen", LIB + "urllib/request.py", 1), ("readinto", LIB + "socket.py", 1)], "http client"),
        ([("get", LIB + "queue.py", 1), ("wait", LIB + "threading.py", 1)], "pool"),
        ([("format_exc", LIB + "traceback.py", 1)], "exceptions"),
        ([("Environment._parse", SITE + "jinja2/environment.py", 1)], "template"),  # as the profiler names it
    ],
)
def test_what_a_library_is_there_for(below: list[tuple[str, str, int]], kind: str) -> None:
    stack = [("wsgi_app", SITE + "flask/app.py", 1), VIEW, *below]
    assert own_frame(stack) == 1
    assert kind_of(stack, 1) == kind


def test_what_is_written_in_c_is_told_by_the_line() -> None:
    assert kind_of([VIEW], 0, "time.sleep(0.1)") == "sleep"
    assert kind_of([VIEW], 0, "rows = cursor.execute(sql).fetchall()") == "database"
    assert kind_of([VIEW], 0, "total += 1") == ""


def test_what_a_module_does_while_it_is_imported_is_the_importing_lines_doing() -> None:
    stack = [VIEW, ("_find_and_load", "<frozen importlib._bootstrap>", 1), ("<module>", "/srv/other.py", 3)]
    assert own_frame(stack) == 0
    assert kind_of(stack, 0) == "import"


def test_computing_and_waiting_at_one_place_are_two_spots() -> None:
    samples = [
        ("GET /", "running", [VIEW], 3.0),
        ("GET /", "running", [("view", APP, 13)], 1.0),
        ("GET /", "io", [VIEW], 2.0),
        ("GET /x", "running", [VIEW], 1.0),
        ("GET /", "running", [("run", SITE + "flask/app.py", 1)], 9.0),
    ]
    spots = spots_of(profile(samples), {}, "GET /")
    assert [(spot.state, spot.seconds, spot.line) for spot in spots] == [("running", 4.0, 12), ("io", 2.0, 12)]
    assert where_of(spots[0], lines(l12={"text": "work()"})).text == "work()"


def test_the_loop_around_a_call_is_its_own_or_a_callers() -> None:
    inner = ("load", APP, 40)
    spots = spots_of(profile([("GET /", "io", [VIEW, inner], 2.0)]), {})
    assert loop_around(spots[0], {}) is None
    around = loop_around(spots[0], lines(l12={"loop": 11, "text": "x = load(y)"}, l11={"text": "for y in ys:"}))
    assert around is not None
    assert (around.line, around.text) == (11, "for y in ys:")


def test_loops_and_locks_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        "def view(rows):\n"  # 1
        "    for row in rows():\n"
        "        ask(row)\n"
        "    with LOCK:\n"
        "        found = work()\n"  # 5
        "    while more():\n"
        "        work()\n"
        "    return [ask(row)\n"
        "            for row in rows]\n"
    )
    read = sources.read({"frames": [["view", str(file), number] for number in range(1, 10)]})[str(file)]
    assert {line: row["loop"] for line, row in read.items() if row["loop"]} == {"3": 2, "6": 6, "7": 6, "8": 8, "9": 8}
    assert {line: row["outer"] for line, row in read.items() if row["outer"]} == {"3": 2, "6": 6, "7": 6}
    assert [line for line, row in read.items() if row["with"]] == ["4", "5"]
    assert read["5"]["text"] == "found = work()"


def test_what_a_comprehension_goes_through_is_asked_for_once() -> None:
    told = lines(l12={"loop": 12, "outer": 0, "text": "return [book.title for book in books]"})
    rows, one = (
        ("QuerySet.__iter__", SITE + "django/db/models/query.py", 1),
        ("Deferred.__get__", SITE + "django/db/x.py", 1),
    )
    once, often = (spots_of(profile([("GET /", "running", [VIEW, below], 2.0)]), told)[0] for below in (rows, one))
    assert loop_around(once, told) is None
    assert loop_around(often, told) is not None
    told = lines(l12={"loop": 12, "outer": 10, "text": "return [tag.name for tag in book.tags]"})
    around = loop_around(once, told)
    assert around is not None
    assert around.line == 10


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    broken = tmp_path / "page.html"
    broken.write_text("<p>{{ x }}</p>\n")
    read = sources.read(
        {"frames": [["root", str(broken), 1], ["view", "/nowhere/app.py", 1], ["dumps", LIB + "x.py", 1]]}
    )
    assert read == {str(broken): {"1": {"text": "<p>{{ x }}</p>", "loop": 0, "outer": 0, "with": 0}}}
