"""worker.topics: a server answers the questions, and has imported what answers only when it was asked."""

from __future__ import annotations

import json

from test_development import found_by
from test_facts import plain, question, window
from vivace import background
from vivace.observe import own
from vivace.observe.asking import workers
from vivace.observe.desk import ask
from wire import TIMEOUT_S, until

ASKED = ("vivace.connection.facts", "vivace.connection.route_facts", "vivace.worker.circumstances", "zlib")
PROGRAM = f"""
import json, sys
from vivace import background
from vivace.observe import own
from vivace.observe.asking import workers
from vivace.observe.desk import ask
def app(environ, start_response): return []
asked = {ASKED!r}
with background(app):
    page = own.current()
    while not workers(page): pass
    before = [name for name in asked if name in sys.modules]
    for question in ({{"ask": "facts", "for_s": 1}}, {{"ask": "settings"}}):
        ask(page, question, 10)
    print(json.dumps([before, [name for name in asked if name in sys.modules]]))
"""


def test_settings_are_told_aside() -> None:
    with background(plain, threads=5):
        page = own.current()
        assert page is not None
        until(lambda: workers(page))
        (answer,) = ask(page, {"ask": "settings"}, TIMEOUT_S).values()
    assert answer is not None
    assert answer["vivace"]["settings"]["threads"] == 5
    assert answer["application"]["chain"] == ["test_facts:plain"]


def test_a_window_outlives_its_question() -> None:
    with window(plain):
        assert question()["open"]
        assert question(for_s=0)["until_s"] > 0
        assert not question()["open"]


def test_nobody_pays_for_what_nobody_asks() -> None:
    before, after = json.loads(" ".join(found_by(PROGRAM)))
    assert before == []
    assert after == list(ASKED)
