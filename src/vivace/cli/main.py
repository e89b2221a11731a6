"""vivace on the command line: argv to a command, and its exit code.

Exit codes, the same for every command:

* 0: done; a server: stopped by a signal, in order;
* 1: the application cannot be loaded, or the server could not start or failed;
* 2: the command line, a variable or a settings file is wrong; nothing was started.

Rules: a command is one module here with `run(argv, ...) -> int`, imported only when it is called. A user's
mistake prints lines that begin with "vivace:" on stderr and never a traceback of ours.
"""

from __future__ import annotations

import os
import sys

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

# Both the word and the flag name a module of this room. A module called `serve` is still reached as
# `serve:app`.
WORDS: Final[dict[str, str]] = {
    word: word for word in ("serve", "ctl", "top", "cache", "slow", "profile", "bench", "compare", "tune", "doctor")
}
STARTERS: Final = ("bench", "compare", "tune", "doctor")
"""Commands that start servers. Whoever ends such a command, its servers end, and its check-outs go."""
FLAGS: Final[dict[str, str]] = {
    "-h": "help",
    "--help": "help",
    "-V": "version",
    "-v": "version",
    "--version": "version",
    "--check-config": "check_config",
    "--print-config": "print_config",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command, arguments = _command(arguments)
    if command in STARTERS:
        _end_as_by_ctrl_c()
    module = __import__(f"vivace.cli.{command}", fromlist=["run"])
    try:
        code: int = module.run(arguments)
        sys.stdout.flush()
    except SettingError as error:
        complain(error)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return 128 + 2  # as a shell reports a process that SIGINT ended
    except BrokenPipeError:
        # The reader left (`vivace --help | head`): nothing more to say, not even when Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code


def _end_as_by_ctrl_c() -> None:
    """SIGTERM and SIGHUP raise KeyboardInterrupt."""
    import signal

    def on_end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_end)


def _command(arguments: list[str]) -> tuple[str, list[str]]:
    """The command's module and the arguments left for it. Of several flags the first in FLAGS counts."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = [flag for flag in FLAGS if flag in arguments[:end]]
    if arguments[:1] and arguments[0] in WORDS:
        word, arguments, end = WORDS[arguments[0]], arguments[1:], end - 1
    else:
        word = "serve"
    rest = [argument for argument in arguments[:end] if argument not in FLAGS] + arguments[end:]
    return (FLAGS[given[0]] if given else word), rest


def complain(error: SettingError) -> None:
    """The problems on stderr, one line each, after the user's own traceback if there is one."""
    if error.__cause__ is not None:
        import traceback

        traceback.print_exception(error.__cause__)
    tell(error.problems)


def tell(lines: Sequence[str]) -> None:
    """Each on a line of stderr."""
    for line in lines:
        print(f"vivace: {line}", file=sys.stderr)
