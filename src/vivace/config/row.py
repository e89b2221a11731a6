"""Row: what is known about one setting, and the names that follow from its own.

A row is a descriptor. Read from the class (`Settings.threads`) it is the row; read from an instance it is the
value. So the table, the attributes and their types are one text and cannot differ.

Rules: a row is data. It reads no file, variable or argument, and does not know the other rows.
"""

from __future__ import annotations

from vivace.errors import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Row:
    """One setting. As an attribute of `Settings` it is the row on the class and the value on an instance."""

    def __init__(
        self,
        section: str,
        kind: str,
        default: Any,
        help: str,  # noqa: A002
        precedent: str,
        *,
        min: float | None = None,  # noqa: A002
        max: float | None = None,  # noqa: A002
        zero: str = "",
        unit: str = "",
        choices: tuple[str, ...] = (),
        short: str = "",
        check: Callable[[Any], None] | None = None,
        reloadable: bool = True,
        in_files: bool = True,
        secret: bool = False,
    ) -> None:
        self.name = ""
        self.section = section
        self.kind = kind
        self.default = default
        self.help = help
        self.precedent = precedent
        self.min = min
        self.max = max
        self.zero = zero  # what 0 means, where it is allowed outside min..max
        self.unit = unit
        self.choices = choices
        self.short = short  # a one-letter option, without the dash
        self.check = check  # raises ValueError for what the kind cannot see
        self.reloadable = reloadable  # False: only a new process, with new listeners, takes it
        self.in_files = in_files  # False: makes no sense inside a settings file
        self.secret = secret  # never shown

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, settings: Any, owner: type | None = None) -> Any:
        return self if settings is None else settings._values[self.name]

    @property
    def public(self) -> str:
        """The name users write, in snake_case: the unit stands in the value instead."""
        if self.kind in ("seconds", "bytes"):
            return self.name.removesuffix("_s").removesuffix("_bytes")
        return self.name

    @property
    def option(self) -> str:
        """The command-line spelling; the application is the one setting given by position."""
        return "APP" if self.name == "app" else "--" + self.public.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "VIVACE_" + self.public.upper()


def row(section: str, kind: str, default: Any, help: str, precedent: str, **more: Any) -> Any:  # noqa: A002
    """A Row, typed as the value it yields on an instance, as `dataclasses.field` is."""
    return Row(section, kind, default, help, precedent, **more)


def check_bind(addresses: tuple[str, ...]) -> None:
    """The shape of each address, as `net.listen` reads it; only binding tells the rest. Raises ValueError."""
    from vivace.net.listen import parse_address

    if not addresses:
        raise ValueError("no address to listen on; give at least one, as in 127.0.0.1:8000")
    for address in addresses:
        try:
            parse_address(address)
        except SettingError as error:
            raise ValueError(str(error).removeprefix("bind ")) from None


def check_owner(owner: str) -> None:
    """`user`, `user:group` or `:group`. Raises ValueError."""
    if owner and (owner == ":" or owner.count(":") > 1 or any(char.isspace() for char in owner)):
        raise ValueError(f"{owner!r} names no owner; give user, user:group or :group")


def check_field_value(value: str) -> None:
    """A field value that may be sent (RFC 9110 section 5.5): printable latin-1. Raises ValueError."""
    if not (value.isprintable() and value == value.strip() and all(char <= "\xff" for char in value)):
        raise ValueError(f"{value!r} cannot be sent as a field value; give printable latin-1, no space at its ends")


def check_env(variables: tuple[str, ...]) -> None:
    """KEY=VALUE each. Raises ValueError."""
    for variable in variables:
        key, equals, value = variable.partition("=")
        if not (key and equals) or "\0" in key + value:
            raise ValueError(f"{key!r} is no variable with its value; give KEY=VALUE")


def check_name(name: str) -> None:
    """What the system takes whole: 15 bytes (prctl(2), PR_SET_NAME). Raises ValueError."""
    if name and not (len(name) <= 15 and name.isascii() and name.isprintable()):
        raise ValueError(f"{name!r} is no name of a process; give 1 to 15 ASCII letters")
