"""A result as one HTML file, in a real browser: on a phone and a screen, light and dark, with nothing from outside."""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING

import pytest

from browser import CHROMIUM, Browser
from vivace.lab.compare import judged
from vivace.lab.compare_page import comparison_page
from vivace.lab.gates import read_gate
from vivace.lab.page import RESULTS_MAX, curve, over_time, page
from vivace.lab.result import Loader, Result, Server, Slice, Warmup, added
from vivace.observe.histogram import binned
from wire import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ATTACK = "GET /</script><img src=x onerror=alert(1)>"


def made(mode: str = "open", url: str = "http://127.0.0.1:8000/", seconds: int = 12, slower: float = 1.0) -> Result:
    """As of a load with a stall in its middle."""
    slices = []
    usual = array("f", [slower * (0.002 + 0.0001 * (each * 7 % 50)) for each in range(40)])
    stalled = usual + array("f", [slower * 0.5, slower * 0.9])
    for number in range(seconds * 10):
        times = stalled if number == seconds * 5 else usual
        buckets = dict(binned(times))
        slices.append(
            Slice(
                len(times), 6400, buckets, buckets if mode == "open" else {}, {"GET /": buckets, ATTACK: {3000: 1}},
                {"2xx": len(times) - 1, "5xx": 1}, {"timeout": number % 2}, sum(times), max(times),
            )
        )  # fmt: skip
    total = added(slices[20:])
    return Result(
        url, mode, seconds - 2.0, 50, 400.0 if mode == "open" else 0.0, total, slices, 0.1, 3,
        Loader(2, 0.95, 0.01, 0.0002, 4800, "its processes were busy 95% of the time"),
        Server(4242, 3, 2.5, 520.0, 50 << 20, 60 << 20), Warmup(2.0, "MSER-5", True),
    )  # fmt: skip


# What needs no browser.


def test_a_curve_ends_where_the_answers_end() -> None:
    points = curve(dict(binned(array("f", [0.001] * 90 + [0.01] * 9 + [0.1]))), 0.1)
    assert [share for share, _ in points] == [0.0, 0.9, 0.9, 0.99, 0.99]
    assert [seconds for _, seconds in points] == pytest.approx([0.001, 0.001, 0.01, 0.01, 0.1], rel=0.01)
    assert curve({}, 0.0) == []
    assert curve(dict(binned(array("f", [0.5]))), 0.5)[-1][0] == 0.0


def test_a_long_load_is_shown_in_longer_steps() -> None:
    result = made()
    rows = over_time(result)
    assert len(rows) == 20
    assert sum(row[1] or 0 for row in rows) / len(rows) == pytest.approx(result.rate, rel=0.02)
    assert max(row[4] or 0 for row in rows) == pytest.approx(0.9, rel=0.01)
    result.slices *= 30
    result.seconds = 358.0
    assert 150 < len(over_time(result)) <= 300
    result.slices = []
    assert over_time(result) == []


def test_figures_can_be_read_without_a_script() -> None:
    text = re.sub(r"<(script|style).*?</\1>", "", page([("a", made())], made="vivace 1"), flags=re.DOTALL)
    for part in (
        "p99.99",
        "the loader is the bottleneck",
        "timeout",
        "5xx answers",
        "process 4242, 3 in all",
        "520 us",
    ):
        assert part in text
    assert "http" not in text.replace("http://127.0.0.1:8000/", "").replace("http-equiv", "")
    assert "&lt;/script&gt;" in text


def test_how_many_it_shows() -> None:
    for count in (0, RESULTS_MAX + 1):
        with pytest.raises(ValueError, match="1 to 8"):
            page([("a", made())] * count)


def test_a_load_without_an_answer_and_without_a_server() -> None:
    empty = Result(
        "http://h/", "closed", 1.0, 1, total=Slice(errors={"connect": 7}), slices=[Slice(errors={"connect": 7})]
    )
    text = page([("a", empty)])
    assert "7 requests failed (100.00% of all)" in text
    assert "not on this machine" in text


# In a browser.

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def shown(browser: Browser, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    browser.problems.clear()
    browser.open(path.as_uri())
    # Curves are drawn once their places have a size.
    undrawn = "[...document.querySelectorAll('.plot')].some((one) => !one.querySelector('.series'))"
    until(lambda: not browser.js(undrawn), what="curves")


@needs_browser
def test_curves_are_drawn_and_can_be_read_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    browser.look(1280, 900)
    shown(browser, tmp_path / "one.html", page([("a", made())]))
    assert (
        browser.js(
            "[...document.querySelectorAll('.series')].map((one) => one.getAttribute('d').split('L').length > 9)"
        )
        == [True] * 7
    )
    assert browser.js("document.querySelectorAll('.warmup').length") == 2
    browser.js("document.querySelector('#by-percentile .plot').focus()")
    browser.press("ArrowRight", 39)
    assert re.fullmatch(r"9\d(\.\d+)?%", browser.js("document.querySelector('#by-percentile .at').textContent"))
    assert re.fullmatch(r"[\d.]+ ms", browser.js("document.querySelector('#by-percentile .legend b').textContent"))
    before = browser.js("document.querySelector('#by-percentile .series').getAttribute('d')")
    browser.js("document.querySelector('#by-percentile button').click()")
    assert browser.js("document.querySelector('#by-percentile .series').getAttribute('d')") != before
    assert browser.js("document.querySelector('#by-percentile button').textContent") == "Logarithmic"
    assert browser.problems == []


@needs_browser
def test_a_comparison_has_its_verdicts_and_every_run(browser: Browser, tmp_path: Path) -> None:
    def sound(slower: float) -> Result:
        result = made(slower=slower)
        result.total.errors.clear()
        result.total.statuses.clear()
        result.loader.bottleneck = ""
        return result

    rounds = [{"A": (sound(1), sound(1)), "B": (sound(2), sound(2))} for _ in range(8)]
    outcome = judged({"A": "one", "B": f"<b>{ATTACK}"}, rounds, ["ABBA", "BAAB"] * 4, [read_gate("p99 > 1.05x")])
    assert next(row for row in outcome.rows if row.figure.name == "p99").differs
    browser.look(360, 740, phone=True)
    shown(browser, tmp_path / "both.html", comparison_page(outcome, "on <this> machine", "vivace"))
    text = browser.js("document.body.innerText")
    assert "takes 100% longer" in text
    assert "failed: fail if p99 > 1.05x" in text
    assert "on <this> machine" in text
    assert browser.js("document.querySelectorAll('section').length") >= 4
    assert text.count("ABBA") == text.count("BAAB") == 4
    assert browser.js("document.querySelectorAll('.series').length") >= 6
    assert browser.js("document.documentElement.scrollWidth") <= 360
    assert browser.problems == []


@needs_browser
def test_what_a_file_named_stays_text_and_nothing_is_fetched(browser: Browser, tmp_path: Path) -> None:
    results = [
        (f"<img src=x onerror=alert(1)>{number}", made(mode, f"http://{ATTACK}/"))
        for number, mode in enumerate(("open", "closed"))
    ]
    shown(browser, tmp_path / "attack.html", page(results, title="</title><script>alert(1)</script>"))
    assert browser.js("document.querySelectorAll('img').length") == 0
    assert browser.js("document.querySelectorAll('script').length") == 2
    assert browser.js("performance.getEntriesByType('resource').length") == 0
    assert browser.js("document.querySelector('td').textContent") == "<img src=x onerror=alert(1)>0"
    assert browser.problems == []


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1280, True)])
def test_it_fits_every_screen_in_light_and_dark(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    browser.look(width, 740, dark=dark, phone=width < 500)
    results = [(f"side {number}", made(slower=1 + number)) for number in range(RESULTS_MAX)]
    for number in (1, RESULTS_MAX):
        shown(browser, tmp_path / "fits.html", page(results[:number]))
        assert browser.js("document.documentElement.scrollWidth") <= width
        outside = "(one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('svg, .scroll')"
        assert (
            browser.js(f"[...document.querySelectorAll('body *')].filter({outside}).map((one) => one.outerHTML)") == []
        )
        shade = "getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).map(Number)[0]"
        assert (browser.js(shade) < 60) is dark
        browser.js("document.querySelector('#theme').click()")
        assert (browser.js(shade) < 60) is not dark
        assert browser.problems == []
