"""Values as JSON (RFC 8259), in ASCII and on one line. Imported only where a log is written in it."""

from __future__ import annotations

from json.encoder import encode_basestring_ascii

from vivace.worker.escaping import as_text


def json_string(value: object) -> str:
    """A JSON string, or null for nothing. What is not ASCII is read as UTF-8, if it is that (PEP 3333: latin-1)."""
    if value is None or value == "":
        return "null"
    text = value if type(value) is str else as_text(value)
    if not text.isascii():
        try:
            text = text.encode("latin-1").decode("utf-8")
        except ValueError:
            pass
    return encode_basestring_ascii(text)


def inside_json(value: object) -> str:
    """The same without its quotes, for a format that has them; - for nothing."""
    return "-" if value is None or value == "" else json_string(value)[1:-1]


def query_inside_json(value: object) -> str:
    return "" if value is None or value == "" else json_string(value)[1:-1]


def json_line(record: dict[str, object]) -> str:
    """An object on a line of its own; numbers and strings only, None is left out."""
    members = (
        f"{encode_basestring_ascii(name)}: {value if isinstance(value, int) else encode_basestring_ascii(str(value))}"
        for name, value in record.items()
        if value is not None
    )
    return "{" + ", ".join(members) + "}\n"
