"""explain/counting.py: queries and calls of one request, counted in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vivace.explain.counting import count
from vivace.lab.plan import Shot

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

APP = """
import sqlite3, threading

def app(environ, start_response):
    print("a line that is no answer")
    with sqlite3.connect(":memory:") as database:
        for number in range(7):
            database.cursor().execute("select ?", (number,))
    database.close()
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]

threading.Thread(target=threading.Event().wait).start()  # does not end by itself
"""


def test_queries_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    shots = [Shot(target="/books/7?page=2"), Shot("POST", "/books")]
    found = count("app:app", shots)
    assert found is not None
    assert found[""]["database"] == 7
    assert found["GET /books/{}"] == {"database": 7, "http client": 0}
    assert count("app:app", [Shot("POST", "/books")]) is None
    assert count("app:nothing", shots) is None
