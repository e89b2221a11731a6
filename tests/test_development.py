"""worker.development: what is for development is found in the objects, and what is not there is not."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import wsgiref.validate
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest
from werkzeug.debug import DebuggedApplication
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.middleware.profiler import ProfilerMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

import vivace
from vivace.worker import development


def plain(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


def kinds(app: Any, **more: Any) -> list[str]:
    """Of what is found beside what this test run itself has on (coverage, Django of another test)."""
    return [note["id"] for note in development.found(app, **more) if note["id"] not in ("tracing", "dev_mode")]


def test_nothing_is_found_where_nothing_is() -> None:
    assert kinds(plain) == []
    assert kinds(flask.Flask("shop")) == []


def test_flask_in_debug_mode() -> None:
    app = flask.Flask("shop")
    app.debug = True
    (found,) = [note for note in development.found(app) if note["id"] == "debug"]
    assert found["where"] == "shop: app.debug"
    assert "FLASK_DEBUG" in found["change"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TEMPLATES_AUTO_RELOAD", "templates"),
        ("EXPLAIN_TEMPLATE_LOADING", "templates"),
        ("SQLALCHEMY_ECHO", "queries"),
        ("SQLALCHEMY_RECORD_QUERIES", "queries"),
    ],
)
def test_flask_settings(name: str, kind: str) -> None:
    app = flask.Flask("shop")
    app.config[name] = True
    assert kinds(app) == [kind]


def test_flask_hooks_of_a_toolbar() -> None:
    app = flask.Flask("shop")

    def look() -> None:
        """As flask_debugtoolbar has one."""

    look.__module__ = "flask_debugtoolbar"
    app.before_request(look)
    assert kinds(app) == ["toolbar"]


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda app: DebuggedApplication(app, pin_security=False), "debugger"),
        (lambda app: ProfilerMiddleware(app), "profiler"),
        (lambda app: LintMiddleware(app), "validator"),
        (wsgiref.validate.validator, "validator"),
    ],
    ids=["debugger", "profiler", "lint", "validator"],
)
def test_what_stands_in_front(wrap: Callable[[Any], Any], kind: str) -> None:
    assert kinds(wrap(plain)) == [kind]
    app = flask.Flask("shop")
    app.wsgi_app = ProxyFix(wrap(app.wsgi_app))  # type: ignore[method-assign]
    assert kinds(app) == [kind]
    assert development.framework_of(app) == "flask"
    assert kinds(ProxyFix(app)) == [kind]


def test_the_chain_is_bounded_and_survives_circles() -> None:
    class Circle:
        def __init__(self) -> None:
            self.app = self

        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
            return []

    assert len(development.chain(Circle())) == 1
    app: Any = plain
    for _ in range(100):
        app = ProxyFix(app)
    assert len(development.chain(app)) == development.CHAIN_MAX


def test_an_object_that_bites_is_left_alone() -> None:
    class Biting:
        def __init__(self) -> None:
            self.registry = self

        @property
        def settings(self) -> None:
            raise RuntimeError("planted")

        def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
            return []

    assert kinds(Biting()) == []
    assert kinds(LintMiddleware(Biting())) == ["validator"], "what was found before it stays"


def test_vivace_that_watches_the_files() -> None:
    assert kinds(plain, reload=True) == ["reload"]


def test_tracemalloc_is_seen() -> None:
    assert development.traced_frames() == 0
    tracemalloc.start(3)
    try:
        assert kinds(plain) == ["tracemalloc"]
        assert development.traced_frames() == 3
        asked: dict[str, Any] = {"__name__": "vivace.observe.allocations", "frames": development.traced_frames}
        assert eval("frames()", asked) == 0, "it is an inquiry of ours"
    finally:
        tracemalloc.stop()


def found_by(program: str, *flags: str) -> list[str]:
    """What a Python of its own prints."""
    source = str(Path(vivace.__file__).parent.parent)
    start = f"import sys; sys.path.insert(0, {source!r})\n"
    done = subprocess.run(
        [sys.executable, *flags, "-c", start + program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


PRINTED = """
from vivace.worker import development
def app(environ, start_response): return []
print(*sorted({note["id"] for note in development.found(app)}))
"""


def test_python_itself() -> None:
    assert found_by(PRINTED, "-X", "dev") == ["dev_mode"]
    hooked = "import threading\ndef hook(*a): return hook\nthreading.setprofile(hook)"
    collecting = "\nimport gc; gc.set_debug(1)"
    assert found_by(hooked + collecting + PRINTED) == ["gc", "tracing"]


DJANGO = """
import sys
from django.conf import settings
settings.configure(
    DEBUG={debug},
    MIDDLEWARE={middleware!r},
    TEMPLATES=[{{"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {{"loaders": {loaders!r}}}}}],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "secret", "CONN_MAX_AGE": 60}}}},
)
"""
BARE, CACHED = ["django.template.loaders.filesystem.Loader"], "django.template.loaders.cached.Loader"


def test_django() -> None:
    toolbar = ["debug_toolbar.middleware.DebugToolbarMiddleware", "silk.middleware.SilkyMiddleware"]
    program = DJANGO.format(debug=True, middleware=toolbar, loaders=BARE) + PRINTED
    assert found_by(program) == ["debug", "profiler", "templates", "toolbar"]
    program = DJANGO.format(debug=False, middleware=["a.b"], loaders=[(CACHED, BARE)]) + PRINTED
    assert found_by(program) == []
