"""The name of a call: by it what a function returned is found again. Pure.

Rules:

* Two calls have one name only if the function is the same and every argument is equal and of the same type: 1, 1.0 and
  True are three. How an argument was given (by position, by name, by default) makes no difference.
* Only arguments whose text says all of them have a name: None, bool, int, float, complex, str, bytes, classes, what
  the standard library's datetime, decimal, fractions, uuid and pathlib make, members of an enum, and tuples, lists,
  dicts and sets of these. For anything else (`self`, a request, a model) the caller has to say what tells it apart: a
  name made from an address or a default repr would one day find another object's value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

NAME_CHARS_MAX = 200
"""A longer name ends in a digest."""

_PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes))
_LIBRARY = frozenset(("datetime", "decimal", "fractions", "uuid", "pathlib", "zoneinfo"))


class Namer:
    """Names the calls of one function."""

    def __init__(self, function: Callable[..., Any], base: str, key: Callable[..., object] | None) -> None:
        """`base`: of the function; `key(*args, **kwargs)`: what tells its calls apart, in place of the arguments."""
        self.base = base
        self._key = key
        code = getattr(function, "__code__", None)
        self._names: tuple[str, ...] = ()
        self._defaults: dict[str, object] = {}
        if code is not None:
            count = code.co_argcount
            self._names = code.co_varnames[:count]
            defaults = getattr(function, "__defaults__", None) or ()
            self._defaults = dict(zip(self._names[count - len(defaults) :], defaults, strict=True))
            self._defaults.update(getattr(function, "__kwdefaults__", None) or {})

    def name(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Raises TypeError: an argument has no name."""
        if self._key is not None:
            text = spell(self._key(*args, **kwargs))
        else:
            given = {**self._defaults, **dict(zip(self._names, args, strict=False)), **kwargs}
            rest = args[len(self._names) :]
            try:
                text = ", ".join(
                    [f"{name}={spell(given[name])}" for name in sorted(given)] + [spell(one) for one in rest]
                )
            except TypeError as error:
                raise TypeError(
                    f"{self.base}: {error}; give @cached(key=...), a function of the same arguments that returns what "
                    "tells calls apart, as in key=lambda self, page: (self.pk, page)"
                ) from None
        return shorten(f"{self.base}({text})")


def spell(value: object) -> str:
    """A text that no unequal value has. Raises TypeError."""
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if kind.__module__ in _LIBRARY or kind.__module__.partition(".")[0] == "pathlib":
        text = f"{kind.__qualname__}:{value!r}"
        if " object at 0x" not in text:  # of a tzinfo
            return text
    if kind is tuple or kind is list:
        items = ", ".join([spell(item) for item in value])  # type: ignore[attr-defined]
        return f"({items},)" if kind is tuple else f"[{items}]"
    if kind is dict:
        pairs = [f"{spell(name)}: {spell(item)}" for name, item in value.items()]  # type: ignore[attr-defined]
        return f"{{{', '.join(sorted(pairs))}}}"
    if kind is set or kind is frozenset:
        return f"{{{', '.join(sorted([spell(item) for item in value]))},}}"  # type: ignore[attr-defined]
    if hasattr(kind, "__members__") and hasattr(value, "name"):
        return f"{kind.__module__}.{kind.__qualname__}.{value.name}={getattr(value, 'value', None)!r}"
    raise TypeError(f"an argument of type {kind.__qualname__} has no text that says all of it")


def shorten(name: str) -> str:
    """Of a bounded length: 160 bits stand for what is left out."""
    if len(name) <= NAME_CHARS_MAX:
        return name
    from hashlib import blake2b

    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return f"{name[: NAME_CHARS_MAX - 50]}...{digest}"
