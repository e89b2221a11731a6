"""Finding and importing the application: every form of a target, and what is said when it cannot be loaded."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vivace
from vivace.errors import SettingError
from vivace.worker.application import load_application

GOOD = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [__name__.encode()]
"""
Project = Callable[..., Path]


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test imports afresh, from its own empty directory, and leaves sys.path and sys.modules as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    importlib.invalidate_caches()
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes files, given by path and content, and returns the directory."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content))
        importlib.invalidate_caches()
        return tmp_path

    return write


def answer(app: Callable[..., Any]) -> bytes:
    return b"".join(app({}, lambda status, headers: None))


def problem(target: str | None, directory: Path) -> str:
    with pytest.raises(SettingError) as caught:
        load_application(target, str(directory))
    (line,) = caught.value.problems
    return line


def cause(target: str | None, directory: Path) -> tuple[str, BaseException]:
    with pytest.raises(SettingError) as caught:
        load_application(target, str(directory))
    (line,) = caught.value.problems
    assert caught.value.__cause__ is not None
    return line, caught.value.__cause__


# --- what a target may be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "name", "said"),
    [
        ("web:app", "web:app", b"web"),
        (" web : app ", "web:app", b"web"),
        ("web", "web:app", b"web"),
        ("web:holder.app", "web:holder.app", b"web"),
        ("web:create()", "web:create()", b"web"),
        ("web:holder.create()", "web:holder.create()", b"web"),
        ("web:create_with('x', size=-1, more={'a': [1, (2,)]})", None, b"'x' -1 {'a': [1, (2,)]}"),
        ("pkg.sub.web", "pkg.sub.web:app", b"pkg.sub.web"),
        ("pkg.sub.web:app", "pkg.sub.web:app", b"pkg.sub.web"),
        ("web.py", "web:app", b"web"),
        ("./web.py:app", "web:app", b"web"),
        ("pkg/sub/web.py", "pkg.sub.web:app", b"pkg.sub.web"),
        ("pkg/sub/web.py:create()", "pkg.sub.web:create()", b"pkg.sub.web"),
        ("pkg/sub/__init__.py", "pkg.sub:application", b"pkg.sub"),
        ("pkg.sub", "pkg.sub:application", b"pkg.sub"),
        ("other/place/web2.py", "web2:app", b"web2"),
        ("web:Class", "web:Class", b"class"),
        ("web:instance", "web:instance", b"instance"),
        ("web:instance.method", "web:instance.method", b"method"),
        ("web:wrapped", "web:wrapped", b"web"),
        ("web:more", "web:more", b"more"),
    ],
)
def test_target(target: str, name: str | None, said: bytes, project: Project) -> None:
    web = (
        GOOD
        + """
import types
holder = types.SimpleNamespace(app=app, create=lambda: app)
def create():
    return app
def create_with(text, *, size=0, more=None):
    return lambda environ, start_response: [f"{text!r} {size} {more}".encode()]
class Class:
    def __init__(self, environ, start_response):
        pass
    def __iter__(self):
        return iter([b"class"])
class Instance:
    def __call__(self, environ, start_response):
        return [b"instance"]
    def method(self, environ, start_response):
        return [b"method"]
instance = Instance()
def wrapped(*args):
    return app(*args)
def more(environ, start_response, extra=None):
    return [b"more"]
"""
    )
    directory = project(
        {
            "web.py": web,
            "other/place/web2.py": GOOD,
            "pkg/__init__.py": "",
            "pkg/sub/__init__.py": GOOD.replace("app(", "application("),
            "pkg/sub/web.py": web,
        }
    )
    app, found = load_application(target, str(directory))
    assert found == (name or target)
    assert answer(app) == said


def test_application_comes_before_app(project: Project) -> None:
    directory = project({"both.py": GOOD + "application = lambda environ, start_response: [b'application']"})
    assert load_application("both", str(directory))[1] == "both:application"


def test_app_dir_comes_first_on_the_path_and_a_file_may_lie_in_it(project: Project, monkeypatch: Any) -> None:
    directory = project({"src/inner.py": GOOD, "elsewhere/x": ""})
    monkeypatch.chdir(directory / "elsewhere")
    app, name = load_application("inner.py", str(directory / "src"))
    assert (answer(app), name) == (b"inner", "inner:app")
    load_application("inner:app", str(directory / "src"))
    assert sys.path.count(str(directory / "src")) == 1
    assert sys.path[0] == str(directory / "src")


# --- nothing said, or a directory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"wsgi.py": GOOD, "app.py": GOOD, "main.py": GOOD}, "wsgi:app"),
        ({"wsgi.py": "x = 1", "app.py": GOOD, "main.py": GOOD}, "app:app"),
        ({"app.py": "raise SystemExit('not to be run')", "main.py": GOOD}, "main:app"),
        ({"app.py": "application = lambda environ, start_response: [b'app']"}, "app:application"),
        ({"app.py": "from web import app", "web.py": GOOD}, "app:app"),
        ({"app.py": "import web as application", "web.py": GOOD, "main.py": GOOD}, None),
        ({"app.py": "try:\n    from web import app\nexcept ImportError:\n    raise", "web.py": GOOD}, "app:app"),
        ({"app.py": "if True:\n    from web import app", "web.py": GOOD}, "app:app"),
        ({"app.py": "if __name__ == '__main__':\n    app = 1", "main.py": GOOD}, "main:app"),
        ({"app.py": "app: object", "main.py": GOOD}, "main:app"),
        ({"manage.py": "print('no Django here')", "app.py": GOOD}, "app:app"),
    ],
)
def test_search(files: dict[str, str], name: str | None, project: Project) -> None:
    directory = project(files)
    if name is None:
        assert "has no callable application or app" in problem(None, directory)
    else:
        app, found = load_application(None, str(directory))
        assert found == name
        assert callable(app)


@pytest.mark.parametrize("target", ["sub", "sub/", "./sub", "."])
def test_directory(target: str, project: Project) -> None:
    directory = project({"sub/app.py": GOOD, "app.py": GOOD})
    assert load_application(target, str(directory))[1] == "app:app"
    if target != "sub":
        assert "name the file in it" in problem(target + ":app", directory)


def test_directory_does_not_hide_a_module_of_the_same_name(project: Project) -> None:
    directory = project({"sub/readme": "", "lib/sub.py": GOOD})
    sys.path.append(str(directory / "lib"))
    assert load_application("sub:app", str(directory))[1] == "sub:app"


def test_package_is_a_module_not_a_directory(project: Project) -> None:
    directory = project({"pack/__init__.py": GOOD, "pack/app.py": GOOD})
    assert load_application("pack", str(directory))[1] == "pack:app"


def test_nothing_found_lists_what_was_looked_for(project: Project) -> None:
    directory = project({"app.py": "def create_app(): ...", "main.py": "x = 1"})
    line = problem(None, directory)
    assert line == (
        f"no application found in {directory}; looked for wsgi.py (not there), manage.py (not there), app.py (binds "
        "neither application nor app; for its factory: vivace 'app:create_app()'), main.py (binds neither application "
        "nor app) and DJANGO_SETTINGS_MODULE (not set). Name it, as in vivace module:attribute; or to see the server "
        "at work: vivace vivace.demo:app"
    )


# --- what cannot be loaded --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("wbe:app", "no module named 'wbe' in {0}; did you mean web?"),
        ("wbe", "no module named 'wbe' in {0}; did you mean web?"),
        ("zzz:app", "no module named 'zzz' in {0}; is the name right? to see the server at work"),
        ("pkg.wbe:app", "no module named 'pkg.wbe' in {0}/pkg; did you mean pkg.web?"),
        ("web.app", "web is no package and has no module 'app'; did you mean web:app?"),
        ("web:ap", "web has no attribute 'ap'; did you mean web:app?"),
        ("web:zzz", "web has no attribute 'zzz'; write web:attribute"),
        ("web:number.zzz", "web:number.zzz has no attribute 'zzz'; check the name"),
        ("web:number", "web:number is of type int and cannot be called; name the application"),
        ("web:number()", "web:number(): that is of type int and cannot be called; leave the parentheses off"),
        ("web:none()", "web:none() returned None, which is no application; does it end with return?"),
        (
            "web:none",
            "web:none does not take (environ, start_response), so it is no WSGI application; did you mean web:none()?",
        ),
        ("web:three", "web:three does not take (environ, start_response), so it is no WSGI application"),
        ("web:one(1, 2)", "web:one(1, 2) does not fit the factory: one() takes 1 positional argument but 2 were given"),
        ("web:one(x=1)", "web:one(x=1) does not fit the factory: one() got an unexpected keyword argument 'x'"),
        ("web:one(os.environ)", "web:one(os.environ) cannot be read; a factory takes literal arguments only"),
        ("web:one(", "web:one( cannot be read"),
        ("web:one(**{})", "web:one(**{}) cannot be read"),
        ("web:one(1) + 1", "web:one(1) + 1 cannot be read"),
        ("web:asgi", "web:asgi is an ASGI application and vivace serves WSGI; wrap it"),
        ("web:asgi_object", "web:asgi_object is an ASGI application"),
        ("factory", "factory has no callable application or app; did you mean factory:create_app()?"),
        ("empty", "empty has no callable application or app; write empty:attribute"),
        ("empty:app", "empty has no attribute 'app'; write empty:attribute"),
        (":app", "':app' names no module; write it as module:attribute"),
        ("my-app:app", "'my-app' is no module's name; write module:attribute, or a file's path"),
        ("no/such.py", "no/such.py: no such file, in {0}"),
        ("web.txt/x", "web.txt/x: no such file"),
        ("./note.txt", "{0}/note.txt is no Python file"),
        ("my-file.py", "{0}/my-file.py cannot be imported: 'my-file' is no module's name; rename it, with _ for -"),
        ("sys.py", "{0}/sys.py cannot be imported: 'sys' is already built in; rename the file"),
        ("subprocess.py", "{0}/subprocess.py cannot be imported: 'subprocess' is already "),
    ],
)
def test_problem(target: str, said: str, project: Project) -> None:
    directory = project(
        {
            "web.py": GOOD
            + "number = 3\ndef none(): ...\ndef one(a): ...\ndef three(a, b, c): ...\nasync def asgi(a, b, c): ...\n"
            "class A:\n    async def __call__(self, a, b, c): ...\nasgi_object = A()",
            "factory.py": "def create_app(): ...",
            "empty.py": "",
            "pkg/__init__.py": "",
            "pkg/web.py": GOOD,
            "note.txt": "",
            "my-file.py": GOOD,
            "sys.py": GOOD,
            "subprocess.py": GOOD,
        }
    )
    assert problem(target, directory).startswith(said.replace("{0}", str(directory)))


def test_app_dir_must_be_there(tmp_path: Path) -> None:
    assert problem("web:app", tmp_path / "no").startswith(f"{tmp_path}/no: no such directory; --app-dir names")


@pytest.mark.parametrize(
    ("files", "target", "said", "frames"),
    [
        (
            {"a.py": "import nowhere_to_be_found"},
            "a:app",
            "a imports 'nowhere_to_be_found', which this Python",
            ["a.py"],
        ),
        ({"a.py": "import b", "b.py": "import no_such"}, "a:app", "a imports 'no_such', which", ["a.py", "b.py"]),
        ({"p/__init__.py": "import p.no", "p/w.py": ""}, "p.w:app", "p.w imports 'p.no', which", ["__init__.py"]),
        ({"a.py": "1 / 0"}, "a:app", "a raised ZeroDivisionError while it was imported", ["a.py"]),
        ({"a.py": "from os import nothing"}, "a:app", "a raised ImportError while it was imported", ["a.py"]),
        ({"a.py": "raise SystemExit(3)"}, "a:app", "a called sys.exit() while it was imported", ["a.py"]),
        ({"a.py": "app = "}, "a:app", "a raised SyntaxError while it was imported", []),
        ({"app.py": "app = "}, None, "app raised SyntaxError while it was imported", []),
        ({"a.py": "def f():\n    return 1 / 0"}, "a:f()", "a:f() raised ZeroDivisionError; the traceback", ["a.py"]),
        ({"a.py": "def f():\n    None(1)"}, "a:f()", "a:f() raised TypeError; the traceback is", ["a.py"]),
        ({"a.py": "def f():\n    exit()"}, "a:f()", "a:f() raised SystemExit; the traceback is", ["a.py"]),
        (
            {"a.py": "class A:\n    @property\n    def app(self): return 1 / 0\na = A()"},
            "a:a.app",
            "a:a.app raised ZeroDivisionError when it was looked up",
            ["a.py"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_user_s_exception_is_the_cause_and_shows_the_user_s_frames_only(
    files: dict[str, str], target: str | None, said: str, frames: list[str], project: Project
) -> None:
    line, error = cause(target, project(files))
    assert line.startswith(said)
    shown = [Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)]
    assert [name for name in shown if not name.startswith("_sitebuiltins")][: len(frames)] == frames
    assert len(frames) or not shown


def test_keyboard_interrupt_is_not_swallowed(project: Project) -> None:
    directory = project({"a.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        load_application("a:app", str(directory))


# --- Django, in processes of its own, because its settings are global -------------------------------------

MANAGE = """
import os
def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_x.settings")
"""
SETTINGS = "SECRET_KEY = 'x'\nROOT_URLCONF = 'site_x.urls'\n"
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"


def run_check(directory: Path, *argv: str, **environ: str) -> tuple[int, str]:
    source = str(Path(vivace.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "vivace", "--check-config", *argv],
        cwd=directory,
        env={"PYTHONPATH": os.pathsep.join((source, *sys.path)), "PATH": "", **environ},
        capture_output=True,
        text=True,
        timeout=50,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "environ", "name"),
    [
        (SETTINGS + "WSGI_APPLICATION = 'site_x.wsgi.application'", {}, "site_x.wsgi:application"),
        (SETTINGS, {}, "django.core.wsgi:get_wsgi_application()"),
        (SETTINGS, {"DJANGO_SETTINGS_MODULE": "site_x.production"}, "site_x.production_wsgi:application"),
    ],
)
def test_django_project(settings: str, environ: dict[str, str], name: str, project: Project) -> None:
    pytest.importorskip("django")
    directory = project(
        {
            "manage.py": MANAGE,
            "site_x/__init__.py": "",
            "site_x/settings.py": settings,
            "site_x/production.py": SETTINGS + "WSGI_APPLICATION = 'site_x.production_wsgi.application'",
            "site_x/wsgi.py": WSGI,
            "site_x/production_wsgi.py": WSGI,
            "site_x/urls.py": "urlpatterns = []",
        }
    )
    code, said = run_check(directory, **environ)
    assert (code, said.startswith(f"ok: the settings are valid and {name} can be served on")) == (0, True), said


def test_django_by_variable_alone_and_broken_settings(project: Project) -> None:
    pytest.importorskip("django")
    directory = project({"conf.py": SETTINGS, "broken.py": "1 / 0"})
    assert run_check(directory, DJANGO_SETTINGS_MODULE="conf")[0] == 0
    code, said = run_check(directory, DJANGO_SETTINGS_MODULE="broken")
    assert code == 1
    assert "vivace: the Django settings broken raised ZeroDivisionError" in said
    code, said = run_check(directory, DJANGO_SETTINGS_MODULE="missing")
    assert code == 1
    assert "vivace: the Django settings missing raised ModuleNotFoundError" in said
