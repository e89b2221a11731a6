"""What stands behind a command, read once for all of them: options with values, switches, and the words that are left.

`--name value` and `--name=value` are the same, and an option may be given more than once. What an option means, and
whether its value makes sense, is the command's to say; what several commands have alike (numbers, times, what is sent,
files that are written) stands here.
"""

from __future__ import annotations

import sys

from vivace.config.kinds import SECONDS
from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from vivace.lab.plan import Place
    from vivace.lab.requests import Requests

OF_A_FILE = ("--replay", "--speed", "--host", "--credentials", "--unsafe")
ONE_REQUEST = ("-X", "-H", "-d", "--path")


class Words:
    """The command line of `command`. `most`: so many words may be left; `usage` stands behind what is refused."""

    def __init__(
        self,
        command: str,
        argv: Sequence[str],
        switches: Collection[str],
        values: Collection[str],
        usage: str,
        most: int = sys.maxsize,
    ) -> None:
        """Raises SettingError for what is no option, lacks its value, or is one word too many."""
        self.command = command
        self.left: list[str] = []
        self.given: list[tuple[str, str]] = []
        """(option, value) in their order; the value of a switch is ""."""
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if name in values and (equals or rest):
                self.given.append((name, value if equals else rest.pop(0)))
            elif word in switches:
                self.given.append((word, ""))
            elif word.startswith("-") or len(self.left) == most:
                raise SettingError(f"{command}: {word!r} is not understood, or lacks its value; {usage}")
            else:
                self.left.append(word)

    def has(self, *names: str) -> bool:
        """Whether one of the options was given."""
        return any(name in names for name, _ in self.given)

    def all(self, *names: str) -> list[str]:
        """The values of these options, in their order."""
        return [value for name, value in self.given if name in names]

    def last(self, *names: str) -> str:
        """The value that counts of an option, by any of its spellings; "": it was not given."""
        return (self.all(*names) or [""])[-1]

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number within bounds. Raises SettingError."""
        text = self.last(name) if self.has(name) else str(default)
        if not text.isdecimal() or not least <= int(text) <= most:
            raise SettingError(f"{name} {text}: give a number from {least} to {most}")
        return int(text)

    def duration(self, name: str, default: float) -> float:
        """Seconds, more than none except of a warm-up. Raises SettingError."""
        if not self.has(name):
            return default
        text = self.last(name)
        seconds = seconds_of(text)
        if seconds is None or not 0 <= seconds < 1e6 or (seconds == 0 and name != "--warmup"):
            raise SettingError(f"{name} {text}: give a time, as 2s, 500ms or 5m")
        return seconds


def seconds_of(text: str) -> float | None:
    """What `2`, `500ms`, `5m` are in seconds; None: it is no time."""
    number, factor = text, 1.0
    for unit, size in SECONDS:
        if text.endswith(unit):
            number, factor = text.removesuffix(unit), size
            break
    try:
        return float(number) * factor
    except ValueError:
        return None


def check_sent(words: Words) -> None:
    """What is said of a file of requests needs one, and what is said of one request has none. Raises SettingError."""
    file = words.last("-r", "--requests")
    wrong = [name for name in (ONE_REQUEST if file else OF_A_FILE) if words.has(name)]
    if wrong and file:
        raise SettingError(f"{words.command}: {wrong[0]} is for one request; those of {file} say theirs themselves")
    if wrong:
        raise SettingError(f"{words.command}: {wrong[0]} is for the requests of a file, -r FILE")


def requests_of(
    words: Words, place: Place, targets: Sequence[str] = ("/",), speed: float = 1.0, seed: int = 1
) -> Requests:
    """What is sent to `place`: of a file, or as curl would send it, to each target alike. Raises SettingError."""
    from vivace.lab.requests import Requests, from_url, read

    check_sent(words)
    file = words.last("-r", "--requests")
    if not file:
        urls = [f"http://{place.authority}{target}" for target in targets]
        found = [from_url(url, words.last("-X"), words.all("-H"), words.all("-d"))[1] for url in urls]
        return Requests([shot for one in found for shot in one.shots])
    return read(
        file,
        place,
        replayed=words.has("--replay"),
        speed=speed,
        host=words.last("--host"),
        credentials=words.has("--credentials"),
        unsafe=words.has("--unsafe"),
        seed=seed,
    )


def paths_of(words: Words) -> list[str]:
    """The targets that `--path` names. Raises SettingError."""
    paths = words.all("--path") or ["/"]
    if astray := [path for path in paths if not path.startswith("/")]:
        raise SettingError(f"--path {astray[0]}: a path begins with /")
    return paths


def save(path: str, content: str | bytes, option: str) -> None:
    """Writes what `option` has asked for. Raises SettingError."""
    try:
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SettingError(f"{option} {path}: {error.strerror}") from None
