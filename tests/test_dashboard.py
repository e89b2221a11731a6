"""The dashboard in a real browser: it loads cleanly under load, shows what happens, and can be used by keyboard."""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import pytest

from admin import Clients, Shown
from browser import CHROMIUM, Browser
from wire import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (apt-get install chromium)")

TOKEN = "0123456789abcdef-token"
TAB, ENTER = ("Tab", 9), ("Enter", 13)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    arguments = ("-w2", "--lanes", "pool", "--slow-request", "10ms")
    paths = ("/", "/sleep?secret=1", "/items/7", "/fail")
    with Shown(tmp_path_factory.mktemp("dashboard"), *arguments) as shown, Clients(shown.port, *paths, count=2):
        yield shown


@pytest.fixture(scope="module")
def caching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    arguments = ("--cache", "--cache-rule", "/ 60s")
    with Shown(tmp_path_factory.mktemp("caching"), *arguments) as shown, Clients(shown.port, "/", count=1):
        yield shown


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def browser(one_browser: Browser) -> Browser:
    one_browser.open("about:blank")
    one_browser.look(1440, 900)
    one_browser.problems.clear()
    return one_browser


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.js(f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)")
    return found


def loaded(browser: Browser, server: Shown) -> None:
    browser.open(f"{server.admin}/")
    until(lambda: len(texts(browser, "#routes tbody tr")) >= 4, 20)
    until(lambda: browser.js("document.querySelectorAll('#charts .series').length") >= 12)


def test_it_shows_what_happens_without_a_complaint(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    drawn = "(one) => one.getAttribute('d').includes('L')"
    until(lambda: browser.js(f"[...document.querySelectorAll('#charts .series')].filter({drawn}).length") >= 9)
    until(lambda: float(texts(browser, "#figures dd")[0].split("/")[0]) > 10)
    assert "GET /items/{}" in texts(browser, "#routes td.name")
    assert "ValueError: it failed as it should" in until(lambda: texts(browser, "#errors summary"))[0]
    until(lambda: "GET /sleep" in texts(browser, "#slow .what"))
    assert "secret" not in browser.js("document.documentElement.outerHTML")
    assert len(texts(browser, "#workers tbody tr")) == 2
    assert texts(browser, "#verdict .text")[0]
    # The heat map has been painted.
    assert browser.js(
        "(() => { const one = document.querySelector('canvas'); "
        "return one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some((part) => part) })()"
    )
    first = browser.js("document.querySelectorAll('#charts .series')[0].getAttribute('d')")
    until(lambda: browser.js("document.querySelectorAll('#charts .series')[0].getAttribute('d')") != first)
    assert browser.problems == []


def test_what_clients_write_stays_text(browser: Browser, server: Shown) -> None:
    attack = "/<img src=x onerror=alert(1)>/<script>alert(1)</script>"
    assert server.get(urllib.parse.quote(attack)) == 200
    loaded(browser, server)
    assert "GET /<img src=x onerror=alert(1)>/<script>alert(1)</script>" in until(
        lambda: [name for name in texts(browser, "#routes td.name") if "onerror" in name]
    )
    assert browser.js("document.querySelectorAll('td img, td script').length") == 0
    assert browser.problems == []


def test_routes_are_sorted_by_keyboard(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    browser.js("document.querySelector('#filter').focus()")
    browser.press(*TAB)
    assert browser.js("document.activeElement.textContent") == "Route"
    browser.press(*ENTER, text="\r")
    names = texts(browser, "#routes td.name")
    assert names == sorted(names)
    assert browser.js("document.querySelector('#routes th[data-key=name]').getAttribute('aria-sort')") == "ascending"
    browser.press(*ENTER, text="\r")
    assert texts(browser, "#routes td.name") == sorted(names, reverse=True)
    browser.js("document.querySelector('#filter').focus()")
    browser.type("items")
    assert texts(browser, "#routes td.name") == ["GET /items/{}"]
    # A chart's cursor.
    browser.js("document.querySelector('.plot').focus()")
    browser.press("ArrowLeft", 37)
    assert browser.js("document.querySelectorAll('#charts .cursor').length") == 8
    assert browser.problems == []


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (800, False), (1440, True)])
def test_it_fits_every_screen_in_light_and_dark(browser: Browser, server: Shown, width: int, dark: bool) -> None:
    browser.look(width, 740, dark=dark, phone=width < 500)
    loaded(browser, server)
    assert browser.js("document.documentElement.scrollWidth") <= width
    outside = "(one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('svg, .hidden')"
    assert browser.js(f"[...document.querySelectorAll('body *')].filter({outside}).map((one) => one.outerHTML)") == []
    shade = "getComputedStyle(document.documentElement).backgroundColor.match(/[0-9]+/g).map(Number)[0]"
    assert (browser.js(shade) < 60) is dark
    browser.js("document.querySelector('#theme').click()")
    assert (browser.js(shade) < 60) is not dark
    browser.js("localStorage.clear()")
    assert browser.problems == []


def test_every_control_has_a_name_and_every_level_loads(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    nameless = "(one) => !(one.textContent.trim() || one.labels?.length || one.getAttribute('aria-label'))"
    assert browser.js(f"[...document.querySelectorAll('button, input, a, [role=img]')].filter({nameless}).length") == 0
    for level in ("1", "2", "0"):
        browser.js(f"document.querySelector('[data-level=\"{level}\"]').click()")
        assert browser.js("document.querySelector('[data-level][aria-pressed=true]').dataset.level") == level
    until(lambda: browser.js("document.querySelectorAll('#charts .series').length") >= 12)
    assert browser.problems == []


SHOWN_CACHE = (
    "getComputedStyle([...document.querySelectorAll('#charts figure')].at(-1)).display !== 'none'"
    " && getComputedStyle([...document.querySelectorAll('#figures div')].at(-1)).display !== 'none'"
)


@pytest.mark.parametrize("width", [360, 1440])
def test_the_cache_is_shown_where_there_is_one(browser: Browser, caching: Shown, width: int) -> None:
    browser.look(width, 740, phone=width < 500)
    browser.open(f"{caching.admin}/")
    until(lambda: browser.js(SHOWN_CACHE), 20)
    until(lambda: texts(browser, "#figures dd")[-1].startswith(("9", "100")))
    until(
        lambda: browser.js("[...document.querySelectorAll('#charts figure')].at(-1).querySelectorAll('.series').length")
    )
    assert browser.js("document.documentElement.scrollWidth") <= width
    outside = "(one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('svg, .hidden')"
    assert browser.js(f"[...document.querySelectorAll('body *')].filter({outside}).map((one) => one.outerHTML)") == []
    cut = "(one) => one.scrollWidth > one.clientWidth"
    assert (
        browser.js(f"[...document.querySelectorAll('#figures dd')].filter({cut}).map((one) => one.textContent)") == []
    )
    assert browser.problems == []


def test_no_cache_is_shown_where_there_is_none(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    assert not browser.js(SHOWN_CACHE)


def test_logging_in(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "vivace.toml").write_text(f'admin_token = "{TOKEN}"')
    with Shown(tmp_path, admin="0.0.0.0:0") as server:
        browser.open(f"http://127.0.0.1:{server.admin.rpartition(':')[2]}/")
        assert browser.js("document.activeElement.id") == "token"
        browser.type("not the token at all")
        browser.press(*ENTER, text="\r")
        until(lambda: texts(browser, ".wrong") == ["That is not the token."])
        browser.problems.clear()  # the 403 of that
        browser.js("document.querySelector('#token').focus()")
        browser.type(TOKEN)
        browser.press(*ENTER, text="\r")
        until(lambda: browser.js("document.body?.dataset.ready") == "yes", 20)
        assert browser.js("document.cookie") == "", "HttpOnly"
        assert browser.js("document.querySelector('#logout').hidden") is False
        assert browser.problems == []
        browser.js("document.querySelector('#logout').click()")
        until(lambda: browser.js("location.pathname") == "/login")


def test_slow_requests_and_those_in_flight_open_to_what_they_did(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    until(lambda: "GET /sleep" in texts(browser, "#slow summary .what"))
    click = "[...document.querySelectorAll('#slow summary')].find((one) => one.textContent.includes('/sleep')).click()"

    def opened() -> list[str]:
        if not browser.js("document.querySelectorAll('#slow details[open]').length"):
            browser.js(click)  # once more, if it came as the list was being drawn anew
        return [one for one in texts(browser, "#slow details[open] pre") if "process" in one]

    text = until(opened)[0]
    assert "from 127.0.0.1" in text
    until(lambda: texts(browser, "#slow details[open] pre"), what="it stays open when others come")
    browser.js("document.querySelector('#explain').click()")
    with Clients(server.port, "/slow?s=1.5", count=1):
        seen = until(lambda: [one for one in texts(browser, "#flight pre") if "at app (" in one])[0]
    assert "app.py:" in seen
    assert "secret" not in browser.js("document.documentElement.outerHTML")
    browser.js("document.querySelector('#explain').click()")
    assert browser.problems == []


def test_flame_graphs_of_the_last_minute_open(browser: Browser, server: Shown) -> None:
    loaded(browser, server)
    browser.js("document.getElementById('flames-open').click()")
    until(lambda: browser.js("document.querySelectorAll('#flames .flame-box').length") > 2, 20)
    until(lambda: "of a core of each worker" in browser.js("document.getElementById('flames-said').textContent"))
    assert "GET /sleep" in texts(browser, "#flames option")
    assert browser.problems == []
