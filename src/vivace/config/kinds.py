"""The kinds of value a setting can have: from text, from a typed value, and back to TOML.

Rules:

* `from_text` reads what stands on a command line or in the environment; `from_value` reads what TOML or a
  Python caller gives, already typed. Both return the value or raise ValueError whose message says what was
  wrong and what to give instead; *where* it stood is the caller's to say.
* Pure: no file, no environment, no clock. Nothing here knows which settings exist, nor where one came from.
* difflib is imported only once something is already wrong: a good start never pays for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from vivace.config.row import Row

# Longest suffix first: "ms" must be seen before "s", "KiB" before "B".
SECONDS = (("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0))
# IEC 80000-13 for the binary multiples, SI for the decimal ones. A bare "k" or "m" means 1024 to nginx and
# Apache and 1000 to others, so it is not read at all.
BYTES = (
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1000**2),
    ("GB", 1000**3),
    ("B", 1),
)
TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
TYPE_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def nearest(name: str, names: Iterable[str]) -> str:
    """The known name closest to `name`, or "" when none is close."""
    import difflib

    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return found[0] if found else ""


def from_text(row: Row, text: str) -> Any:
    """The value of `row` that `text` spells, inside the row's limits. Raises ValueError."""
    if row.kind in ("str", "dir", "number"):
        return checked(row, text.strip() if row.kind == "number" else text)
    if row.kind == "list":
        return checked(row, tuple(part.strip() for part in text.split(",") if part.strip()))
    if not text.strip():
        raise ValueError(f"the value is empty; give {expected(row)}")
    return checked(row, _READERS[row.kind](row, text.strip()))


def from_value(row: Row, value: object) -> Any:
    """The value of `row` that a typed `value` stands for, inside the row's limits. Raises ValueError."""
    kind = row.kind
    if isinstance(value, str) and kind not in ("int", "bool"):
        return from_text(row, value)
    if kind == "list" and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return checked(row, tuple(value))
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind in ("int", "bytes", "mode") and isinstance(value, int) and not isinstance(value, bool):
        return checked(row, value)
    if kind == "seconds" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return checked(row, _rounded(row, value))
    if kind == "number" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return checked(row, str(value))
    if kind in ("str", "dir") and hasattr(value, "__fspath__"):
        return from_text(row, str(value))
    if kind in ("int", "bool") and isinstance(value, str):
        raise ValueError(f"{value!r} is a string; give {expected(row)}, without quotes")
    raise ValueError(f"{value!r} is {TYPE_NAMES.get(type(value), type(value).__name__)}; give {expected(row)}")


def checked(row: Row, value: Any) -> Any:
    """`value` if it is inside the row's limits and passes its own check. Raises ValueError."""
    if row.kind == "choice" and value not in row.choices:
        near = nearest(value, row.choices)
        hint = f"did you mean {near!r}?" if near else f"give {expected(row)}"
        raise ValueError(f"{value!r} is none of {', '.join(row.choices)}; {hint}")
    if row.min is not None and not (row.zero and value == 0):
        # `not >=` instead of `<`, so that a NaN is refused too.
        if not value >= row.min:
            raise ValueError(f"{show(row, value)} is too small; give {expected(row)}")
        if row.max is not None and not value <= row.max:
            raise ValueError(f"{show(row, value)} is too large; give {expected(row)}")
    if row.check is not None:
        row.check(value)
    return value


def _int(row: Row, text: str) -> int:
    digits = text[1:] if text[:1] == "-" else text
    # int() alone would also take "1_000", "+5" and other scripts' digits.
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise ValueError(f"{text!r} is not a whole number; give {expected(row)}")
    return int(text)


def _bool(row: Row, text: str) -> bool:
    lowered = text.lower()
    if lowered in TRUE or lowered in FALSE:
        return lowered in TRUE
    raise ValueError(f"{text!r} is neither true nor false; give {expected(row)}")


def _amount(row: Row, text: str, units: tuple[tuple[str, float], ...]) -> float:
    """A decimal number and an optional unit: "30", "0.5", "500ms", "64 KiB". Raises ValueError."""
    number, factor = text, 1.0
    for suffix, size in units:
        if text.lower().endswith(suffix.lower()):
            number, factor = text[: -len(suffix)].rstrip(), size
            break
    whole, _, fraction = number.partition(".")
    digits = whole + fraction
    # float() alone would also take "nan", "inf", "1_0" and "1e9".
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise ValueError(f"{text!r} is not {_NOUNS[row.kind]}; give {expected(row)}")
    return float(number) * factor


def _seconds(row: Row, text: str) -> float:
    return _rounded(row, _amount(row, text, SECONDS))


def _rounded(row: Row, value: float) -> float:
    """To the nanosecond, or "70ms" would be 0.07000000000000001 seconds."""
    try:
        return round(float(value), 9)
    except OverflowError:
        raise ValueError(f"the number is too large; give {expected(row)}") from None


def _bytes(row: Row, text: str) -> int:
    amount = _amount(row, text, BYTES)
    if amount != int(amount):
        raise ValueError(f"{text!r} is not a whole number of bytes; give {expected(row)}")
    return int(amount)


def _mode(row: Row, text: str) -> int:
    digits = text[2:] if text[:2] in ("0o", "0O") else text
    if not (digits.isascii() and 0 < len(digits) <= 5 and all(digit in "01234567" for digit in digits)):
        raise ValueError(f"{text!r} is not an octal file mode; give {expected(row)}")
    return int(digits, 8)


_READERS: dict[str, Callable[[Row, str], Any]] = {
    "int": _int,
    "bool": _bool,
    "seconds": _seconds,
    "bytes": _bytes,
    "mode": _mode,
    "choice": lambda row, text: text.lower() if text.lower() in row.choices else text,
}
_NOUNS = {"seconds": "a length of time", "bytes": "a size"}


def expected(row: Row) -> str:
    """What may stand as the value of `row`, as the end of a sentence that starts with "give"."""
    if row.kind == "choice":
        return " or ".join((", ".join(row.choices[:-1]), row.choices[-1]))
    if row.kind == "bool":
        return "true or false"
    if row.kind == "mode":
        return 'an octal mode from 000 to 777, as in 0o660 or "660"'
    if row.kind in ("str", "list", "dir", "number"):
        return row.unit or "a string"
    nouns = {"int": f"a whole number of {row.unit}", "seconds": 'seconds, "500ms", "30s", "2m" or "1h"'}
    noun = nouns.get(row.kind, 'bytes, "64KiB" or "1MB"')
    zero = f", or 0 for {row.zero}" if row.zero else ""
    return f"{noun}, {limits(row)}{zero}"


def limits(row: Row) -> str:
    """The limits of a row of numbers: "1 to 4096" or "at least 1"."""
    if row.max is None:
        return f"at least {show(row, row.min)}"
    return f"{show(row, row.min)} to {show(row, row.max)}"


def show(row: Row, value: Any) -> str:
    """`value` for a reader: bytes and seconds in their largest whole unit, a mode in octal."""
    if row.kind == "bytes":
        for suffix, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size}{suffix}"
        return f"{value}"
    if row.kind == "seconds":
        number, suffix = (value * 1000, "ms") if 0 < value < 1 else (value, "s")
        return f"{number:.9f}".rstrip("0").rstrip(".") + suffix if value else "0"
    if row.kind == "mode":
        return f"{value:04o}"
    if row.kind == "bool":
        return "true" if value else "false"
    if row.kind == "list":
        return ", ".join(value)
    return str(value)


def to_toml(row: Row, value: Any) -> str:
    """`value` as the right-hand side of a TOML key, such that reading it gives `value` back."""
    if row.kind in ("bool", "int"):
        return show(row, value)
    if row.kind == "mode":
        return f"0o{value:03o}"
    if row.kind == "list":
        return "[" + ", ".join(map(_toml_string, value)) + "]"
    text = show(row, value)
    if row.kind in ("bytes", "seconds") and text.isdecimal():
        return text
    return _toml_string(text)


def _toml_string(text: str) -> str:
    """A TOML basic string (TOML 1.0, "String"): backslash, quote and control characters escaped."""
    quoted = "".join(
        f"\\u{ord(char):04x}" if char < " " or char == "\x7f" else "\\" + char if char in '"\\' else char
        for char in text
    )
    return f'"{quoted}"'
