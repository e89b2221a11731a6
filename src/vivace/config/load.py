"""Load the settings, once, from everywhere they may stand, and report all that is wrong with them at once.

Precedence, the first that gives a setting wins:

1. the command line;
2. `VIVACE_*` variables;
3. GUNICORN_CMD_ARGS;
4. `vivace.toml` in the current directory;
5. `[tool.vivace]` of `pyproject.toml` in the current directory;
6. the default.

`--config FILE` (or `VIVACE_CONFIG`) names the one file to read instead of 4 and 5: TOML, or a gunicorn.conf.py, which
is run. One that merely lies in the current directory is not.

Rules: reads files, but neither `sys.argv` nor `os.environ`: both are arguments. Nothing is guessed: an unknown name
is an error, with the nearest right one. tomllib (10 to 13 ms to import) is left alone where there is no file to read,
and what knows gunicorn where nothing of it is used.
"""

from __future__ import annotations

import os

from vivace.config import argv as command_line
from vivace.config import caching, kinds, network, observing, tracing
from vivace.config.settings import ROWS, SECTIONS, Settings, meant, names
from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from vivace.config.row import Row

    Source = tuple[dict[str, Any], dict[str, str]]  # the values by row name, and where each stood

PREFIX = "VIVACE_"
GUNICORN_CONF = "gunicorn.conf.py"
# A Kubernetes Service that is called "vivace" puts these variables into every pod of its namespace
# (Kubernetes documentation, "Discovering services"); they are no one's settings.
SERVICE_LINKS = ("VIVACE_PORT_", "VIVACE_SERVICE_")


def load(argv: Sequence[str], environ: Mapping[str, str], directory: str | os.PathLike[str]) -> Settings:
    """The settings that `argv` (without the program's name), `environ` and the files in `directory` give.

    Relative directories are taken from `directory`, or from the file that they stand in. Raises SettingError
    with one line for each problem.
    """
    here = os.path.abspath(os.fspath(directory))
    values, origins, problems, notes = command_line.read(argv)
    sources = [(values, origins), _from_environ(environ, problems)]
    if "GUNICORN_CMD_ARGS" in environ:
        from vivace.config import gunicorn_sources

        sources.append(gunicorn_sources.from_variable(environ["GUNICORN_CMD_ARGS"], problems, notes))
    for given, where in sources:
        _settle(given, where, here)
    chosen = next((given["config"] for given, _ in sources if given.get("config")), "")
    cause = None
    try:
        if chosen.endswith(".py") or chosen.startswith("python:"):
            sources.append(_from_gunicorn(chosen, sources, here, environ, problems, notes))
        else:
            sources += _from_files(here, chosen, problems, notes)
    except SettingError as error:
        problems += error.problems
        cause = error.__cause__  # a gunicorn.conf.py raised that
    if problems:
        raise SettingError(*problems) from cause
    merged: dict[str, Any] = {}
    merged_origins: dict[str, str] = {}
    for given, where in reversed(sources):
        merged |= given
        merged_origins |= where
    if any(pair.startswith("SCRIPT_NAME=") for pair in merged.get("env", ())) and not merged.get("root_path"):
        notes.append(
            f"{merged_origins['env']}: SCRIPT_NAME is gunicorn's way to say where the application lives; "
            "here it is --root-path"
        )
    return _settings(merged, merged_origins, here, notes)


def from_keywords(**keywords: Any) -> Settings:
    """The settings that the keywords of an embedded server give, in the same spelling as in a file.

    Neither files nor variables are read: a script says what it means. Raises SettingError with one line for
    each problem.
    """
    problems: list[str] = []
    values, origins = _from_mapping(keywords, "", problems)
    if problems:
        raise SettingError(*problems)
    here = os.getcwd()
    origins = dict.fromkeys(origins, "keyword argument")
    _settle(values, origins, here)
    return _settings(values, origins, here)


def _settings(values: dict[str, Any], origins: dict[str, str], here: str, notes: Sequence[str] = ()) -> Settings:
    values.setdefault("app_dir", values.get("chdir") or here)
    settings = Settings(values, origins, here, notes)
    if problems := [
        problem for part in (network, tracing, observing, caching) for problem in part.contradictions(settings)
    ]:
        raise SettingError(*problems)
    return settings


def _settle(values: dict[str, Any], origins: dict[str, str], base: str) -> None:
    """Paths among `values` made absolute, from `base`, or from the `chdir` beside them; an empty one stays empty.

    `-` as a log is the stream that it goes to anyway.
    """
    inner = os.path.join(base, os.path.expanduser(values.get("chdir", "")))
    if "static" in values:
        values["static"] = caching.settled_mounts(values["static"], inner)
    for name, value in values.items():
        if ROWS[name].kind != "dir" or not value or (name == "config" and value.startswith("python:")):
            continue
        outer = name in ("chdir", "config")
        path = os.path.expanduser(value.removeprefix("file:") if name == "config" else value)
        values[name] = os.path.normpath(os.path.join(base if outer else inner, path)) if value != "-" else value
    if values.get("log_file") == "-":
        values["log_file"] = ""
    if values.get("access_log_file") == "-":
        values["access_log_file"] = ""
        if values.setdefault("access_log", True):
            origins.setdefault("access_log", origins["access_log_file"])


def _from_environ(environ: Mapping[str, str], problems: list[str]) -> Source:
    known = {PREFIX + name.upper(): row for name, row in names().items()}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        row = known.get(variable)
        if row is None:
            if not (variable.startswith(SERVICE_LINKS) or (variable == "VIVACE_PORT" and "://" in text)):
                near = meant(variable.removeprefix(PREFIX))
                hint = f"did you mean {near.variable}?" if near else "unset it, or see vivace --help"
                problems.append(f"{variable}: no such variable; {hint}")
            continue
        if row.name in origins:
            problems.append(f"{variable}: {origins[row.name]} says the same; give one")
            continue
        origins[row.name] = variable
        try:
            values[row.name] = kinds.from_text(row, text)
        except ValueError as error:
            problems.append(f"{variable}: {error}")
    return values, origins


def _from_gunicorn(
    chosen: str,
    sources: list[Source],
    here: str,
    environ: Mapping[str, str],
    problems: list[str],
    notes: list[str],
) -> Source:
    """What a gunicorn.conf.py gives, after the `sources` that go before it. Raises SettingError if it cannot be run."""
    from vivace.config import gunicorn_sources

    before = {name for given, _ in sources for name in given}
    shown = _relative(chosen, here)
    values, origins = gunicorn_sources.from_file(chosen, shown, here, before, environ, problems, notes)
    base = here
    if "chdir" in before:  # as in gunicorn, where the last word on chdir counts for every path
        base = next(given["chdir"] for given, _ in sources if "chdir" in given)
        values.pop("chdir", None)
    _settle(values, origins, base)
    return values, origins


def _from_files(here: str, chosen: str, problems: list[str], notes: list[str]) -> list[Source]:
    """What each TOML file gives, in the order of precedence."""
    if chosen:
        if not os.path.isfile(chosen):
            problems.append(
                f"{_relative(chosen, here)}: no such file; --config names a TOML file or a gunicorn.conf.py"
            )
            return []
        paths = [chosen]
    else:
        paths = [os.path.join(here, name) for name in ("vivace.toml", "pyproject.toml")]
        paths = [path for path in paths if os.path.isfile(path)]
    given_files = []
    for path in paths:
        shown = _relative(path, here)
        tree = _read_toml(path, shown, problems)
        if os.path.basename(path) == "pyproject.toml":
            tool = tree.get("tool", {})
            tree = tool.get("vivace", {}) if isinstance(tool, dict) else {}
            if not isinstance(tree, dict):
                problems.append(f"{shown}: tool.vivace is no table; write [tool.vivace]")
                continue
            prefix = f"{shown}: tool.vivace."
        else:
            prefix = f"{shown}: "
        values, origins = _from_mapping(tree, prefix, problems)
        _settle(values, origins, os.path.dirname(path))
        given_files.append((values, origins))
    if (
        not chosen
        and not any(values for values, _ in given_files)
        and os.path.isfile(os.path.join(here, GUNICORN_CONF))
    ):
        notes.append(f"{GUNICORN_CONF} is not read unless it is named: vivace -c {GUNICORN_CONF} takes its settings")
    return given_files


def _relative(path: str, here: str) -> str:
    """`path` as the user would write it: short when it lies under the current directory."""
    return path[len(here) :].lstrip("/") if path.startswith(here.rstrip("/") + "/") else path


def _read_toml(path: str, shown: str, problems: list[str]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        problems.append(f"{shown}: cannot be read: {error.strerror}")
        return {}
    if os.path.basename(path) == "pyproject.toml" and b"vivace" not in content:
        return {}  # the common case of a project that configures its other tools there
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{shown}: is no TOML: {error}")
        return {}


def _from_mapping(tree: Mapping[str, Any], prefix: str, problems: list[str]) -> Source:
    """The settings in a mapping; `prefix` is what stands before a key where it is reported."""
    known = names()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key, row, value in _flattened(tree, prefix, known, problems):
        where = prefix + key
        if row.name in origins:
            problems.append(f"{where}: {origins[row.name]} says the same; give one")
        elif not row.in_files:
            problems.append(f"{where}: has no meaning here; give {row.option} or {row.variable}")
        else:
            origins[row.name] = where
            try:
                values[row.name] = kinds.from_value(row, value)
            except ValueError as error:
                problems.append(f"{where}: {error}")
    return values, origins


def _flattened(
    tree: Mapping[str, Any], prefix: str, known: Mapping[str, Row], problems: list[str]
) -> list[tuple[str, Row, Any]]:
    """Key, row and value of each known setting, also inside the tables named by section."""
    found: list[tuple[str, Row, Any]] = []
    pairs: list[tuple[str, str, Any]] = []  # the table or "", the key in it, its value
    for key, value in tree.items():
        if key in SECTIONS and isinstance(value, dict):
            pairs += [(key, inner, setting) for inner, setting in value.items()]
        else:
            pairs.append(("", key, value))
    for table, key, value in pairs:
        full = f"{table}.{key}" if table else key
        row = known.get(key.replace("-", "_"))
        if row is None:
            near = meant(key)
            name = near.public if near else ""
            if isinstance(value, dict):
                name = kinds.nearest(key, SECTIONS) or name
            hint = f"did you mean {name}?" if name else "see vivace --help"
            problems.append(f"{prefix}{full}: no such setting; {hint}")
        elif table and row.section != table:
            problems.append(f"{prefix}{full}: belongs in [{row.section}], or outside the tables")
        else:
            found.append((full, row, value))
    return found
