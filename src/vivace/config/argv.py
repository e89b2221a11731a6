"""Read a command line by the settings table: argv in, pairs of row and text out.

Why not argparse: importing it, declaring these options and reading a line took 12 ms, this module 1.1 ms (CPython
3.11, bytecode cached), of 80 ms for the whole start; and argparse stops at the first mistake. The grammar is the
usual one (POSIX utility conventions, GNU long options):

    --option VALUE   --option=VALUE   --switch   --no-switch   -b VALUE   -bVALUE   --   APP

Rules: pure; all mistakes are returned, none raised; abbreviations are not taken, so that a new option never
changes what an old script means. An option given twice: the last one counts, except for a list, which
collects. gunicorn's spellings are understood, too: an option that is not in the settings table is looked for in
that of `gunicorn`, which is imported only then.
"""

from __future__ import annotations

from vivace.config import kinds
from vivace.config.settings import ROWS, meant, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from vivace.config.row import Row


def read(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, str], list[str], list[str]]:
    """The values on the command line, by row name; the option that gave each; the problems; and the notes."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[str] = []
    notes: list[str] = []
    options = _options()
    words = list(argv)
    words.reverse()  # so that pop() takes the next one
    only_positions = False
    while words:
        word = words.pop()
        if word == "--" and not only_positions:
            only_positions = True
            continue
        if only_positions or word == "-" or not word.startswith("-"):
            row, spelled, text = ROWS["app"], "APP", word
            if "app" in values:
                problems.append(f"{word}: a second application after {values['app']!r}; give one")
                continue
        else:
            found = _option(word, words, options, problems, notes)
            if found is None:
                continue
            row, spelled, text = found
        try:
            if spelled != "APP" and spelled not in options:
                from vivace.config import gunicorn

                values[row.name] = gunicorn.from_option(spelled, text, values.get(row.name))
            elif row.kind == "list":
                values[row.name] = kinds.checked(row, (*values.get(row.name, ()), text))
            else:
                values[row.name] = kinds.from_text(row, text)
        except ValueError as error:
            problems.append(f"{spelled}: {error}")
        else:
            origins[row.name] = spelled
    return values, origins, problems, notes


def _options() -> dict[str, tuple[Row, str]]:
    """Each spelling of each option, with its row and, for a switch, the text that it stands for."""
    options: dict[str, tuple[Row, str]] = {}
    for name, row in names().items():
        if row.option == "APP":
            continue
        dashed = name.replace("_", "-")
        options["--" + dashed] = (row, "true" if row.kind == "bool" else "")
        if row.kind == "bool":
            options["--no-" + dashed] = (row, "false")
        if row.short:
            options["-" + row.short] = (row, "")
    return options


def _option(
    word: str, words: list[str], options: dict[str, tuple[Row, str]], problems: list[str], notes: list[str]
) -> tuple[Row, str, str] | None:
    """The row that option `word` sets, its spelling and its text, taken from `words` if it stands apart."""
    name, equals, text = word.partition("=")
    if name not in options and not name.startswith("--") and name[:2] in options:
        name, equals, text = word[:2], "=", word[2:]
    if name not in options:
        return _gunicorns(word, words, problems, notes)
    row, switch = options[name]
    if name == "--proxy-protocol":
        equals, text, switch = _mode(equals, text, words, switch)
    if switch:
        if not equals:
            return row, name, switch
        problems.append(f"{name}: takes no value; give --{row.option[2:]} or --no-{row.option[2:]}")
        return None
    if equals:
        return row, name, text
    return _with_value(row, name, words, problems)


def _with_value(row: Row, name: str, words: list[str], problems: list[str]) -> tuple[Row, str, str] | None:
    """An option whose value is the next word."""
    if not words or (words[-1].startswith("-") and words[-1] != "-"):
        problems.append(f"{name}: the value is missing; give {kinds.expected(row)}")
        return None
    return row, name, words.pop()


def _mode(equals: str, text: str, words: list[str], switch: str) -> tuple[str, str, str]:
    """`--proxy-protocol`, a switch, may have gunicorn's value: the version of the header."""
    from vivace.config.gunicorn_values import PROXY_MODES

    if not equals and words and words[-1] in PROXY_MODES:
        equals, text = "=", words.pop()
    return ("=", PROXY_MODES[text], "") if equals and text in PROXY_MODES else (equals, text, switch)


def _gunicorns(word: str, words: list[str], problems: list[str], notes: list[str]) -> tuple[Row, str, str] | None:
    """As `_option`, for what the settings table does not have: a spelling of gunicorn's, or a mistake."""
    from vivace.config import gunicorn

    name, equals, text = word.partition("=")
    if name not in gunicorn.OPTIONS and not name.startswith("--") and name[:2] in gunicorn.OPTIONS:
        name, equals, text = word[:2], "=" if word[2:] else "", word[2:].removeprefix("=")
    if name not in gunicorn.OPTIONS:
        _unknown(word, words, problems)
        return None
    entry = gunicorn.TABLE[gunicorn.OPTIONS[name]]
    if entry.row:
        if entry.say:
            notes.append(f"{name}: taken as {ROWS[entry.row].option}: {entry.note}")
        if entry.switch and not equals:
            equals, text = "=", "true"  # of a row that is no switch
        found = _with_value(ROWS[entry.row], name, words, problems) if not equals else (ROWS[entry.row], name, text)
        warned = gunicorn.warning(entry, found[2]) if found else ""
        notes += [f"{name}: {warned}"] if warned else []
        return found
    if not (equals or entry.switch) and words and not words[-1].startswith("-"):
        text = words.pop()
    if entry.kind == "refused" and text not in entry.usual:
        problems.append(f"{name}: {entry.note}")
    elif text not in entry.usual:
        notes.append(f"{name}: not taken: {entry.note}")
    return None


def _unknown(word: str, words: list[str], problems: list[str]) -> None:
    name, equals, _ = word.partition("=")
    near = meant(name)
    spelled = f"--no-{near.option[2:]}" if near and near.kind == "bool" and name[:5] == "--no-" else ""
    hint = f"did you mean {spelled or near.option}?" if near else "see vivace --help"
    problems.append(f"{name}: no such option; {hint}")
    # What follows is most likely its value: it must not be taken for the application.
    if not equals and words and not words[-1].startswith("-") and not (near and near.kind == "bool"):
        words.pop()
