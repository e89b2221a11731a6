"""explain.facts: answers of several workers become one, and a running server with two of them is asked."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from command import Command
from vivace.connection.route_facts import RouteFacts
from vivace.explain.facts import gather_facts, gather_settings, merge_facts, merge_settings
from vivace.observe.asking import workers
from vivace.observe.page import page_of
from wire import Client, request, until

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the same for everybody " * 50]
"""


def answer(requests: int, lines: list[list[Any]], tried: list[int]) -> dict[str, Any]:
    facts = RouteFacts()
    facts.counts["requests"] = facts.counts["text"] = requests
    facts.counts["text_bytes"] = requests * 1000
    facts.trials = tried
    return {
        "seconds": float(requests),
        "open": False,
        "requests": requests,
        "cost_s": 0.5,
        "connections": {"count": 1, "requests": requests, "closed": {"client": 1}},
        "logging": {"records": requests, "lines": lines},
        "routes": {"GET /": facts.told(60.0, 1.0), f"GET /{requests}": facts.told(60.0, 1.0)},
    }


def test_workers_are_added_up() -> None:
    first = answer(10, [["a.py", 1, "shop", "INFO", 10, "GET /"]], [1, 1000, 500])
    second = answer(30, [["b.py", 1, "shop", "INFO", 20, ""], ["a.py", 1, "shop", "INFO", 25, "GET /"]], [3, 3000, 500])
    merged = merge_facts({1: first, 2: None, 3: second, 4: {"error": "planted"}})
    assert merged is not None
    assert (merged["requests"], merged["seconds"], merged["workers"], merged["silent"]) == (40, 30.0, 2, [2, 4])
    assert merged["logging"]["lines"] == [
        ["a.py", 1, "shop", "INFO", 35, "GET /"],
        ["b.py", 1, "shop", "INFO", 20, ""],
    ]
    assert set(merged["routes"]) == {"GET /", "GET /10", "GET /30"}
    compress = merged["routes"]["GET /"]["compress"]
    assert (compress["bytes"], compress["looked"], compress["saved_share"]) == (40_000, 4, 0.75)
    assert compress["saved_bytes"] == 30_000
    assert merged["routes"]["GET /10"]["compress"]["saved_share"] == 0.5


def test_nobody_answers() -> None:
    assert merge_facts({}) is None
    assert merge_facts({1: None, 2: {"error": "planted"}}) is None
    assert merge_settings({1: None}) is None


def test_a_server_with_two_workers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Command("app:app", "--bind", "127.0.0.1:0", "--workers", "2", cwd=tmp_path) as command:
        url = command.url
        page = page_of(command.process.pid)
        assert page is not None
        until(lambda: len(workers(page)) == 2)
        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(gather_facts(page, 0.5)))
        asking.start()
        while asking.is_alive():
            with Client(url) as client:
                assert client.send(request("/")).read_response().status == 200
        asking.join()
        (facts,) = found
        settings = gather_settings(page)
        page.close()
    assert facts["workers"] == 2
    assert facts["requests"] == facts["connections"]["count"] > 0
    repeats = facts["routes"]["GET /"]["repeats"]
    assert repeats["same"] == facts["requests"] - repeats["targets"]
    assert settings is not None
    assert settings["vivace"]["workers"] == 2
    assert settings["vivace"]["settings"]["workers"] == "2"
    assert settings["application"]["file"] == str(tmp_path / "app.py")
    assert settings["application"]["chain"] == ["app:app"]
