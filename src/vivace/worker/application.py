"""Find the user's application and import it.

A target is `location[:expression]`:

* location: a dotted module, a file (`path/to/app.py`) or a directory; nothing at all means the current
  directory;
* expression: a dotted attribute, which may end in a call with literal arguments: `create_app("prod",
  debug=True)`. Without one, `application` and then `app` are looked for.

In a directory: `wsgi.py`; then a Django project by its `manage.py`; then `app.py`, `main.py`; then a Django
project by DJANGO_SETTINGS_MODULE. A file counts only if it visibly binds `application` or `app`: nothing is
executed to find out.

Rules: every failure is a SettingError of one sentence or two that say what to do. Where user code raised,
that exception is its `__cause__`, its traceback cut down to the user's own frames; showing it is the caller's
part. Knows no settings, no socket and no framework but Django, whose projects say by themselves where their
application is.
"""

from __future__ import annotations

import os
import sys

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType, TracebackType
    from typing import Any, NoReturn

    Application = Callable[..., Any]

ATTRIBUTES = ("application", "app")
DEMO = "to see the server at work: vivace vivace.demo:app"
CO_VARARGS = 0x04  # inspect.CO_*
CO_COROUTINE = 0x80


def load_application(target: str | None, app_dir: str, python_path: Sequence[str] = ()) -> tuple[Application, str]:
    """The WSGI application that `target` names, and its name as `module:expression`.

    Puts `app_dir` (absolute), or the directory that a file's package lies in, first on sys.path, and `python_path`
    behind it. Raises SettingError.
    """
    more = [os.path.abspath(os.path.expanduser(directory)) for directory in python_path]
    sys.path[:0] = [directory for directory in more if directory not in sys.path]
    location, colon, expression = (part.strip() for part in (target or "").partition(":"))
    if not os.path.isdir(app_dir):
        raise SettingError(f"{app_dir}: no such directory; --app-dir names where the application is imported from")
    if not location:
        if colon:
            raise SettingError(f"{target!r} names no module; write it as module:attribute")
        return _search(app_dir)
    path = _existing(location, app_dir)
    if path and os.path.isdir(path) and _is_directory(path, location, expression):
        if expression:
            raise SettingError(f"{location!r} is a directory and has no {expression!r}; name the file in it")
        return _search(path)
    if "/" in location or location.endswith(".py"):
        if not path:
            here = os.getcwd()
            where = f"in {here}" if here == app_dir else f"neither in {here} nor in {app_dir}"
            raise SettingError(f"{location}: no such file, {where}")
        module, name = _import_file(path)
    else:
        _put_first(app_dir)
        module, name = _import_module(location), location
    return _from_module(module, name, expression)


def _existing(location: str, app_dir: str) -> str:
    """The path of `location` in the current directory, or else in `app_dir`; "" if in neither."""
    for base in (os.getcwd(), app_dir):
        path = os.path.normpath(os.path.join(base, os.path.expanduser(location)))
        if os.path.exists(path):
            return path
    return ""


def _is_directory(path: str, location: str, expression: str) -> bool:
    """Whether the directory at `path` is meant as one: `./name` always, `name` unless it can be a module."""
    if "/" in location or location in (".", ".."):
        return True
    return not (expression or os.path.isfile(os.path.join(path, "__init__.py")) or os.path.isfile(path + ".py"))


def _from_module(module: ModuleType, name: str, expression: str) -> tuple[Application, str]:
    expression = expression or _default_attribute(module, name)
    return _evaluate(module, name, expression), f"{name}:{expression}"


# --- importing --------------------------------------------------------------------------------------------


def _put_first(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import_module(name: str) -> ModuleType:
    """The module called `name`, imported. Raises SettingError, with the user's own exception as its cause."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise SettingError(f"{name!r} is no module's name; write module:attribute, or a file's path that ends in .py")
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        # The target itself is missing, or something that it imports? The name tells, and so do the user's
        # frames.
        missing = error.name or ""
        if (name + ".").startswith(missing + ".") and _users_frames(error.__traceback__) is None:
            raise SettingError(_missing_module(name, missing)) from None
        _fail(
            error,
            f"{name} imports {missing!r}, which this Python ({sys.executable}) does not have: install it, or "
            f"start vivace with the Python of the application's virtual environment",
        )
    except (Exception, SystemExit) as error:
        _fail(error, _import_failure(name, error))
    return sys.modules[name]


def _import_failure(name: str, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"{name} called sys.exit() while it was imported; keep that under if __name__ == '__main__'"
    return f"{name} raised {type(error).__name__} while it was imported; the traceback is the application's own"


def _missing_module(name: str, missing: str) -> str:
    """The one line for a target that cannot be found, with the nearest name that could."""
    parent, _, last = missing.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and hasattr(package, last):
        return f"{parent} is no package and has no module {last!r}; did you mean {parent}:{last}?"
    places = list(getattr(package, "__path__", ())) if package is not None else sys.path[:1]
    near = _nearest(last, _modules_in(places))
    hint = f"did you mean {parent + '.' if parent else ''}{near}?" if near else f"is the name right? {DEMO}"
    return f"no module named {missing!r} in {' or '.join(places) or name}; {hint}"


def _modules_in(places: list[str]) -> list[str]:
    found = []
    for place in places:
        entries = os.listdir(place) if os.path.isdir(place) else []
        found += [entry.removesuffix(".py") for entry in entries if entry.removesuffix(".py").isidentifier()]
    return found


def _import_file(path: str) -> tuple[ModuleType, str]:
    """The module in the file at `path`, imported under the name that its packages give it, and that name."""
    directory, filename = os.path.split(path)
    if not filename.endswith(".py") or not os.path.isfile(path):
        raise SettingError(f"{path} is no Python file; name one that ends in .py, or a directory")
    parts = [filename.removesuffix(".py")]
    if parts == ["__init__"]:
        directory, parent = os.path.split(directory)
        parts = [parent]
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, parent = os.path.split(directory)
        parts.insert(0, parent)
    name = ".".join(parts)
    _put_first(directory)
    if not all(part.isidentifier() for part in parts):
        raise SettingError(f"{path} cannot be imported: {name!r} is no module's name; rename it, with _ for -")
    module = _import_module(name)
    found = getattr(module, "__file__", None)
    if found is None or not os.path.samefile(found, path):
        raise SettingError(f"{path} cannot be imported: {name!r} is already {found or 'built in'}; rename the file")
    return module, name


def _users_frames(traceback: TracebackType | None) -> TracebackType | None:
    """The same traceback without this module's frames and those of the import system."""
    if traceback is None:
        return None
    rest = _users_frames(traceback.tb_next)
    filename = traceback.tb_frame.f_code.co_filename
    if filename == __file__ or filename.startswith("<frozen importlib"):
        return rest
    return type(traceback)(rest, traceback.tb_frame, traceback.tb_lasti, traceback.tb_lineno)


def _fail(error: BaseException, sentence: str) -> NoReturn:
    """Raise SettingError with the user's exception, cut down to the user's frames, as its cause."""
    raise SettingError(sentence) from error.with_traceback(_users_frames(error.__traceback__))


# --- the application in a module --------------------------------------------------------------------------


def _default_attribute(module: ModuleType, name: str) -> str:
    """The attribute to serve when the target names none. Raises SettingError."""
    for attribute in ATTRIBUTES:
        if callable(getattr(module, attribute, None)):
            return attribute
    raise SettingError(f"{name} has no callable {' or '.join(ATTRIBUTES)}; {_suggestion(module, name, 'app')}")


def _suggestion(module: ModuleType, name: str, wanted: str) -> str:
    """What to write instead: a factory, a near name, or else the general form."""
    public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    for factory in ("create_app", "make_app", "get_wsgi_application"):
        if factory in public and wanted in ATTRIBUTES:
            return f"did you mean {name}:{factory}()?"
    near = _nearest(wanted, public)
    return f"did you mean {name}:{near}?" if near else f"write {name}:attribute with the application's name"


def _nearest(name: str, names: list[str]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(name, names, n=1)), "")


def _evaluate(module: ModuleType, name: str, expression: str) -> Application:
    """The application that `expression` stands for in `module`. Raises SettingError."""
    dotted, parenthesis, _ = expression.partition("(")
    value: Any = module
    for part in dotted.strip().split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            owner = name if value is module else f"{name}:{dotted}"
            hint = _suggestion(module, name, part) if value is module else "check the name"
            raise SettingError(f"{owner} has no attribute {part!r}; {hint}") from None
        except Exception as error:
            _fail(error, f"{name}:{dotted} raised {type(error).__name__} when it was looked up")
    spelled = f"{name}:{expression}"
    if parenthesis:
        value = _call(value, expression, spelled)
    _check_application(value, name, expression)
    return value  # type: ignore[no-any-return]


def _call(factory: Any, expression: str, spelled: str) -> Any:
    """What the factory returns for the literal arguments in `expression`. Raises SettingError."""
    import ast

    try:
        call = ast.parse(expression, mode="eval").body
        if not isinstance(call, ast.Call) or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError
        arguments = [ast.literal_eval(argument) for argument in call.args]
        keywords = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise SettingError(
            f"{spelled} cannot be read; a factory takes literal arguments only, as in create_app('prod', debug=True)"
        ) from None
    if not callable(factory):
        raise SettingError(
            f"{spelled}: that is of type {type(factory).__name__} and cannot be called; leave the parentheses off"
        )
    try:
        return factory(*arguments, **keywords)
    except (Exception, SystemExit) as error:
        if isinstance(error, TypeError) and _users_frames(error.__traceback__) is None:
            raise SettingError(f"{spelled} does not fit the factory: {error}") from None
        _fail(error, f"{spelled} raised {type(error).__name__}; the traceback is the application's own")


def _check_application(value: Any, name: str, expression: str) -> None:
    """Callable, not ASGI, takes two arguments (PEP 3333): all that shows now. Raises SettingError."""
    spelled = f"{name}:{expression}"
    if not callable(value):
        if expression.endswith(")"):
            raise SettingError(f"{spelled} returned {value!r:.80}, which is no application; does it end with return?")
        raise SettingError(f"{spelled} is of type {type(value).__name__} and cannot be called; name the application")
    code = getattr(value, "__code__", None)
    called = code or getattr(getattr(type(value), "__call__", None), "__code__", None)  # noqa: B004
    if called is not None and called.co_flags & CO_COROUTINE:
        raise SettingError(
            f"{spelled} is an ASGI application and vivace serves WSGI; wrap it (a2wsgi.ASGIMiddleware) or "
            f"serve it with an ASGI server"
        )
    if code is None or code.co_flags & CO_VARARGS or getattr(value, "__self__", None) is not None:
        return
    required = code.co_argcount - len(value.__defaults__ or ())
    if not required <= 2 <= code.co_argcount:
        hint = f"; did you mean {spelled}()?" if required == 0 else ""
        raise SettingError(f"{spelled} does not take (environ, start_response), so it is no WSGI application{hint}")


# --- finding it -------------------------------------------------------------------------------------------


def _search(directory: str) -> tuple[Application, str]:
    """The application in `directory`, by the order at the top of this module. Raises SettingError."""
    looked: list[str] = []
    for filename in ("wsgi.py", "manage.py", "app.py", "main.py"):
        path = os.path.join(directory, filename)
        if not os.path.isfile(path):
            looked.append(f"{filename} (not there)")
        elif filename == "manage.py":
            settings = os.environ.get("DJANGO_SETTINGS_MODULE") or _settings_of_manage(path)
            if settings:
                return _django(directory, settings)
            looked.append("manage.py (names no DJANGO_SETTINGS_MODULE)")
        else:
            bound = _bound_names(path)
            if bound.intersection(ATTRIBUTES):
                return _from_module(*_import_file(path), "")
            factory = "; for its factory: vivace '" + filename[:-3] + ":create_app()'" if "create_app" in bound else ""
            looked.append(f"{filename} (binds neither application nor app{factory})")
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        return _django(directory, os.environ["DJANGO_SETTINGS_MODULE"])
    raise SettingError(
        f"no application found in {directory}; looked for {', '.join(looked)} and DJANGO_SETTINGS_MODULE "
        f"(not set). Name it, as in vivace module:attribute; or {DEMO}"
    )


def _bound_names(path: str) -> set[str]:
    """The names that the file binds at its top level, read without running it.

    A file that is not Python is said to bind `app`: importing it then shows the syntax error. A star import
    binds nothing that can be seen. Uses the compiler's own tree, which spares importing `ast`.
    """
    with open(path, "rb") as file:
        source = file.read()
    try:
        tree: Any = compile(source, path, "exec", flags=0x400, dont_inherit=True)  # ast.PyCF_ONLY_AST
    except (SyntaxError, ValueError):
        return {"app"}
    names: set[str] = set()
    todo: list[Any] = list(tree.body)
    while todo:
        node = todo.pop()
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            names.add(node.name)
        elif kind in ("Import", "ImportFrom"):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif kind in ("Assign", "AnnAssign"):
            targets = node.targets if kind == "Assign" else [node.target] if node.value else []
            names.update(target.id for target in targets if hasattr(target, "id"))
        elif kind == "If" and getattr(getattr(node.test, "left", None), "id", "") == "__name__":
            todo += node.orelse
        else:
            for part in ("body", "handlers", "orelse", "finalbody"):
                todo += getattr(node, part, [])
    return names


def _settings_of_manage(path: str) -> str:
    """The settings module that a Django project's manage.py sets, or ""."""
    import re

    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(r"""DJANGO_SETTINGS_MODULE["']\]?\s*[,=]\s*["']([\w.]+)["']""", file.read())
    return found[1] if found else ""


def _django(directory: str, settings_module: str) -> tuple[Application, str]:
    """The application of the Django project with these settings. Raises SettingError."""
    _put_first(directory)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
    conf = _import_module("django.conf")
    try:
        dotted = conf.settings.WSGI_APPLICATION
    except (Exception, SystemExit) as error:
        _fail(
            error,
            f"the Django settings {settings_module} raised {type(error).__name__}; the traceback is above",
        )
    if dotted:
        name, _, attribute = dotted.rpartition(".")
        return _from_module(_import_module(name), name, attribute)
    return _from_module(_import_module("django.core.wsgi"), "django.core.wsgi", "get_wsgi_application()")
