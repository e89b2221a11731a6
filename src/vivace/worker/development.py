"""What of development is on in a running application, and what it is made of: found by looking at its objects.

Rules: nothing of the application is called, imported or made; only what it has imported already is looked at
(sys.modules), and an attribute that is computed is left alone. What cannot be read says nothing.

`found` and `chain` never raise. A note has `id`, `what`, `where` and `change`: see explain/facts.py.
"""

from __future__ import annotations

import gc
import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType
    from typing import Any

    Note = dict[str, str]

CHAIN_MAX = 32
INNER = ("app", "application", "wsgi_app", "_app", "_application", "wrapped", "_wrapped", "wrapped_app", "wsgi")
"""Where middleware keeps what it stands in front of."""

# Module, and name in it or "" -> id, what it is, what to do.
KNOWN: dict[tuple[str, str], tuple[str, str, str]] = {
    ("werkzeug.debug", "DebuggedApplication"): (
        "debugger",
        "Werkzeug's debugger stands in front of the application, and runs what its page is told to",
        "serve the application without DebuggedApplication",
    ),
    ("werkzeug.middleware.profiler", ""): (
        "profiler",
        "Werkzeug's ProfilerMiddleware profiles every request",
        "take ProfilerMiddleware out; `vivace profile` looks for a while and costs next to nothing",
    ),
    ("werkzeug.middleware.lint", ""): ("validator", "Werkzeug's LintMiddleware checks every call", "take it out"),
    ("wsgiref.validate", ""): ("validator", "wsgiref.validate checks every call", "take the validator out"),
    ("flask_debugtoolbar", ""): ("toolbar", "Flask-DebugToolbar takes part in every request", "leave it out"),
    ("pyramid_debugtoolbar", ""): ("toolbar", "pyramid_debugtoolbar takes part in every request", "leave it out"),
    ("debug_toolbar", ""): (
        "toolbar",
        "django-debug-toolbar takes part in every request",
        "take it out of MIDDLEWARE and INSTALLED_APPS",
    ),
    ("silk", ""): ("profiler", "django-silk records every request in the database", "take it out of MIDDLEWARE"),
    ("pyinstrument", ""): ("profiler", "pyinstrument's middleware stands in front", "take it out of MIDDLEWARE"),
    ("django_cprofile_middleware", ""): ("profiler", "a cProfile middleware stands in front", "take it out"),
    ("flask_profiler", ""): ("profiler", "flask-profiler records every request", "leave it out"),
    ("django_browser_reload", ""): ("reload", "django-browser-reload is on", "take it out of MIDDLEWARE"),
    ("nplusone", ""): ("profiler", "nplusone watches every query", "take it out of MIDDLEWARE"),
}


def note(kind: str, what: str, where: str, change: str) -> Note:
    """One thing that is for development."""
    return {"id": kind, "what": what, "where": where, "change": change}


def chain(app: Any) -> list[Any]:
    """`app` and what it stands in front of, as far as that can be seen, outermost first."""
    found: list[Any] = []
    todo = [app]
    while todo and len(found) < CHAIN_MAX:
        each = todo.pop(0)
        if any(each is other for other in found):
            continue
        found.append(each)
        todo += _inner(each)
    return found


def _inner(each: Any) -> Iterator[Any]:
    held = getattr(each, "__dict__", None)
    if isinstance(held, dict):
        for name in INNER:
            if callable(held.get(name)):
                yield held[name]
        if callable(held.get("__wrapped__")):
            yield held["__wrapped__"]
    owner = getattr(each, "__self__", None)  # of a bound method
    if owner is not None and callable(owner):
        yield owner
    for cell in getattr(each, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if callable(value) and not isinstance(value, type):
            yield value


def name_of(each: Any) -> str:
    """ "flask.app:Flask" of an instance, "app:application" of a function."""
    if type(each).__name__ in ("function", "method"):
        function: FunctionType = getattr(each, "__func__", each)
        return f"{function.__module__}:{function.__qualname__}"
    return f"{type(each).__module__}:{type(each).__qualname__}"


def framework_of(app: Any) -> str:
    """The framework that it is made with; "" for none that is known."""
    for each in chain(app):
        for kind in type(each).__mro__:
            name = FRAMEWORKS.get(kind.__module__.partition(".")[0])
            if name:
                return name
    return ""


FRAMEWORKS = {name: name for name in ("flask", "django", "bottle", "falcon", "pyramid", "webpy", "cherrypy", "pecan")}


def found(app: Any, *, reload: bool = False) -> list[Note]:
    """The notes on `app` and this process; `reload`: vivace watches the files."""
    notes: list[Note] = []
    for look in (_of_chain, _of_flask, _of_django, _of_others, _of_python):
        try:
            notes += look(app)
        except Exception:  # an object that is not what it seems says nothing
            continue
    if reload:
        notes.append(
            note(
                "reload",
                "vivace watches the files and reloads",
                "the setting reload",
                "leave --reload off in production",
            )
        )
    return notes


def _of_chain(app: Any) -> Iterator[Note]:
    for each in chain(app):
        module, _, name = name_of(each).partition(":")
        if known := _known(module, name):
            yield note(known[0], known[1], name_of(each), known[2])


def _known(module: str, name: str) -> tuple[str, str, str] | None:
    for (prefix, wanted), known in KNOWN.items():
        if (module == prefix or module.startswith(prefix + ".")) and (not wanted or name.partition(".")[0] == wanted):
            return known
    return None


def _of_flask(app: Any) -> Iterator[Note]:
    flask = sys.modules.get("flask")
    kind: Any = getattr(flask, "Flask", None)
    for each in chain(app) if kind is not None else ():
        if not isinstance(each, kind):
            continue
        config: Any = each.__dict__.get("config", {})
        if config.get("DEBUG"):
            yield note(
                "debug",
                "Flask's debug mode is on: templates are looked after at each use, and errors show their code",
                f"{each.__dict__.get('import_name', 'app')}: app.debug",
                "leave app.debug, DEBUG in app.config and FLASK_DEBUG off",
            )
        if config.get("TEMPLATES_AUTO_RELOAD") and not config.get("DEBUG"):
            yield note(
                "templates",
                "Jinja looks at the file of a template each time that it is used",
                "TEMPLATES_AUTO_RELOAD",
                'leave app.config["TEMPLATES_AUTO_RELOAD"] off',
            )
        if config.get("EXPLAIN_TEMPLATE_LOADING"):
            yield note("templates", "Flask logs how it finds each template", "EXPLAIN_TEMPLATE_LOADING", "leave it off")
        if config.get("SQLALCHEMY_ECHO"):
            yield note("queries", "SQLAlchemy logs each query", "SQLALCHEMY_ECHO", "leave it off")
        if config.get("SQLALCHEMY_RECORD_QUERIES"):
            yield note("queries", "Flask-SQLAlchemy keeps each query", "SQLALCHEMY_RECORD_QUERIES", "leave it off")
        hooks = [*each.__dict__.get("before_request_funcs", {}).values()]
        hooks += each.__dict__.get("after_request_funcs", {}).values()
        for module in sorted({str(getattr(hook, "__module__", "")) for group in hooks for hook in group}):
            if known := _known(module, ""):
                yield note(known[0], known[1], module, known[2])


def _of_django(app: Any) -> Iterator[Note]:
    settings = django_settings()
    if settings is None:
        return
    where = str(getattr(settings, "SETTINGS_MODULE", "settings"))
    if settings.DEBUG:
        yield note(
            "debug",
            "Django's DEBUG is on: each query is kept, and errors show the settings",
            f"{where}: DEBUG",
            "DEBUG = False, with ALLOWED_HOSTS",
        )
    for dotted in settings.MIDDLEWARE:
        if known := _known(str(dotted).rpartition(".")[0], ""):
            yield note(known[0], known[1], f"{where}: MIDDLEWARE, {dotted}", known[2])
    for engine in settings.TEMPLATES:
        options = engine.get("OPTIONS", {})
        loaders = [each if isinstance(each, str) else each[0] for each in options.get("loaders", ())]
        if loaders and "django.template.loaders.cached.Loader" not in loaders:
            yield note(
                "templates",
                "Django reads and compiles a template each time that it is used",
                f"{where}: TEMPLATES, loaders",
                "leave `loaders` out, or put them into django.template.loaders.cached.Loader",
            )
        elif options.get("debug") and not settings.DEBUG:
            yield note("templates", "templates are in debug mode", f"{where}: TEMPLATES, debug", "leave it off")


def _of_others(app: Any) -> Iterator[Note]:
    bottle = sys.modules.get("bottle")
    if bottle is not None and getattr(bottle, "DEBUG", False) is True:
        yield note(
            "debug",
            "Bottle's debug mode is on: templates are compiled at each use",
            "bottle.debug",
            "bottle.debug(False)",
        )
    for each in chain(app):
        settings = getattr(each.__dict__.get("registry"), "settings", None) if hasattr(each, "__dict__") else None
        for name in ("debug_all", "debug_authorization", "debug_routematch", "reload_all", "reload_templates"):
            if isinstance(settings, dict) and settings.get(f"pyramid.{name}"):
                kind = "templates" if name.startswith("reload") else "debug"
                yield note(kind, f"Pyramid's {name} is on", f"pyramid.{name}", "leave it off")


def _of_python(app: Any) -> Iterator[Note]:
    if sys.flags.dev_mode:
        yield note("dev_mode", "Python runs in development mode", "-X dev or PYTHONDEVMODE", "leave it off")
    elif os.environ.get("PYTHONMALLOC", "").endswith("debug"):
        yield note("dev_mode", "Python's memory allocator checks itself", "PYTHONMALLOC", "leave it off")
    frames = traced_frames()
    if frames:
        yield note(
            "tracemalloc",
            f"tracemalloc notes where each block of memory was allocated ({frames} frames)",
            "PYTHONTRACEMALLOC, -X tracemalloc or tracemalloc.start()",
            "leave it off: `vivace doctor` turns it on in one worker for seconds",
        )
    for what in tracing():
        yield note("tracing", f"{what} hears of every call, or every line", what, "serve without it")
    if gc.get_debug():
        yield note("gc", "collections of garbage are reported", f"gc.set_debug({gc.get_debug()})", "gc.set_debug(0)")


# What others tell as well.


def traced_frames() -> int:
    """Frames that tracemalloc keeps of each block; 0: it is off, or on for an inquiry of vivace's own alone."""
    tracemalloc: Any = sys.modules.get("tracemalloc")
    if tracemalloc is None or not tracemalloc.is_tracing() or _inquiring():
        return 0
    return int(tracemalloc.get_traceback_limit())


def _inquiring() -> bool:
    """Whether a thread answers the question "tracemalloc"."""
    for frame in sys._current_frames().values():
        inner: Any = frame
        while inner is not None:
            if inner.f_globals.get("__name__") == "vivace.observe.allocations":
                return True
            inner = inner.f_back
    return False


def tracing() -> list[str]:
    """What traces or profiles each call of this process."""
    found = {_package(hook) for hook in (threading.gettrace(), threading.getprofile()) if hook is not None}
    for frame in sys._current_frames().values():
        if frame.f_trace is not None:
            found.add(_package(frame.f_trace))
    monitoring: Any = getattr(sys, "monitoring", None)
    for number in range(6) if monitoring is not None else ():
        name = monitoring.get_tool(number)
        if name is not None and monitoring.get_events(number):
            found.add(str(name))
    return sorted(found)


def _package(hook: Any) -> str:
    owner = getattr(hook, "__self__", hook)
    module = getattr(owner, "__module__", None) or type(owner).__module__
    return str(module).partition(".")[0]


def django_settings() -> Any:
    """Django's, if they are in use; None if not."""
    conf = sys.modules.get("django.conf")
    settings = getattr(conf, "settings", None)
    return settings if settings is not None and settings.configured else None
