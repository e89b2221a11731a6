"""What others have written, made fit for a log: no value can end its line, leave its quotes or steer a terminal."""

from __future__ import annotations

ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))}
ESCAPES[ord('"')] = '\\"'
ESCAPES[ord("\\")] = "\\\\"


def escaped(value: object) -> str:
    """`value` in printable ASCII, quotes and backslashes escaped; "" for None. Never raises."""
    if value is None:
        return ""
    text = value if type(value) is str else as_text(value)
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate(ESCAPES).encode("ascii", "backslashreplace").decode("ascii")


def as_text(value: object) -> str:
    """`value` as a str, - if it cannot be one: the application may have put anything into its environ."""
    try:
        return "".join(str(value))  # of a class derived from str, a plain one
    except Exception:
        return "-"
