"""What stands on one side of a comparison, read from a word of the command line to a `server.Command`.

A side is one of, in this order:

* `git:REV [SERVER]`: a revision of the repository around the working directory, checked out in a directory of its
  own; SERVER is a preset with options, or a command, and vivace without it;
* `http://...`: a server that runs already;
* a preset with its options: `gunicorn --threads 8`;
* a command with {port} in it;
* a settings file, `fast.toml`: vivace with it;
* an application, `app:app` or `path/app.py`: vivace with it;
* what git knows as a revision: `main`, `HEAD~3`.

Rules: a check-out is of tracked files only. What is on PYTHONPATH within the repository is taken from the check-out, so
that a revision of vivace itself, too, is what runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile

from vivace.errors import SettingError
from vivace.lab.plan import read_url
from vivace.lab.presets import PRESETS
from vivace.lab.server import Command, from_preset, from_words, is_preset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

GIT = "git:"


class Sides:
    """Reads sides, and removes what was checked out for them: a context manager."""

    def __init__(self, app: str = "") -> None:
        """`app`: the application of presets, settings files and revisions."""
        self._app = app
        self._checkouts: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for root, folder in self._checkouts:
            _git(root, "worktree", "remove", "--force", folder + "/tree")
            shutil.rmtree(folder, ignore_errors=True)
            _git(root, "worktree", "prune")
        self._checkouts = []

    def read(self, text: str) -> Command:
        """Raises SettingError: it is nothing that can be started."""
        text = text.strip()
        if not text:
            raise SettingError("compare: a side is empty; give a server, a command, an application or a revision")
        if text.startswith(GIT):
            revision, _, server = text[len(GIT) :].partition(" ")
            return self._at(revision, server.strip())
        if text.startswith(("http://", "https://")):
            place, _ = read_url(text)
            if place.tls:
                raise SettingError(f"{text}: a server that runs already is compared over http:// only")
            return Command(text, [], address=(place.host, place.port))
        if is_preset(text) or "{port}" in text:
            return self._server(text, os.getcwd())
        if text.endswith(".toml"):
            if not os.path.isfile(text):
                raise SettingError(f"{text}: no such settings file")
            return self._labelled(text, ["--config", os.path.abspath(text)])
        if ":" in text or text.endswith(".py"):
            return _named(from_preset("vivace", text), text)
        if _revision(os.getcwd(), text):
            return self._at(text, "")
        raise SettingError(
            f"{text!r} is no server to compare: give a preset ({', '.join(PRESETS)}) with options in quotes, a command "
            "with {port} in it, a settings file (.toml), an application (module:name) or a git revision"
        )

    def _server(self, text: str, folder: str) -> Command:
        """A preset with options, or a command with {port}."""
        if is_preset(text) and "{port}" not in text:
            try:
                name, *options = shlex.split(text)
            except ValueError as error:
                raise SettingError(f"{text!r}: {error}") from None
            return _named(from_preset(name, self._app, options, folder), text)
        return from_words(text, folder)

    def _labelled(self, text: str, options: list[str]) -> Command:
        return _named(from_preset("vivace", self._app, options), text)

    def _at(self, revision: str, server: str) -> Command:
        here = os.getcwd()
        commit = _revision(here, revision)
        if not commit:
            raise SettingError(f"{revision!r} is no revision of the git repository around {here}")
        root = os.path.realpath(_git(here, "rev-parse", "--show-toplevel"))
        within = os.path.relpath(os.path.realpath(here), root)
        folder = tempfile.mkdtemp(prefix="vivace-compare-")
        self._checkouts.append((root, folder))
        tree = os.path.join(folder, "tree")
        if not _git(root, "worktree", "add", "--detach", tree, commit, out=False) and not os.path.isdir(tree):
            raise SettingError(f"{revision}: git could not check it out; see git worktree add --detach {tree} {commit}")
        place = os.path.normpath(os.path.join(tree, within))
        if not os.path.isdir(place):
            raise SettingError(f"{revision}: it has no directory {within}, where this comparison was started")
        command = self._server(server or "vivace", place)
        paths = command.environ.get("PYTHONPATH") or os.environ.get("PYTHONPATH", "")
        command.environ["PYTHONPATH"] = os.pathsep.join(_moved(path, root, tree) for path in paths.split(os.pathsep))
        return _named(command, f"{revision} ({commit[:10]})" + (f" {server}" if server else ""))


def _named(command: Command, label: str) -> Command:
    command.label = label
    return command


def _moved(path: str, root: str, tree: str) -> str:
    """A path within the repository, in the check-out."""
    if not path:
        return path
    real = os.path.realpath(path)
    return (
        os.path.normpath(os.path.join(tree, os.path.relpath(real, root)))
        if (real + "/").startswith(root + "/")
        else path
    )


def _revision(folder: str, text: str) -> str:
    """The commit, or "" if git does not know it."""
    if text.startswith("-"):
        return ""
    return _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", text + "^{commit}")


def _git(folder: str, *words: str, out: bool = True) -> str:
    """What git says, "" if it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.strip() if out else "done") if not done.returncode else ""
