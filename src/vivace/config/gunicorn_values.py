"""What gunicorn's values become before `kinds` reads them: see the table in `gunicorn`.

Rules: each takes text, or whatever a gunicorn.conf.py holds, and returns what `kinds` understands. What it cannot
read it returns as it is, because `kinds` says best what was expected; or it raises ValueError. Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final


def zero_is(least: float) -> Callable[[Any], object]:
    """0 read as `least`."""
    return lambda given: least if str(given).strip() == "0" else given


def several(given: Any) -> object:
    """A list, or the one item that an older gunicorn.conf.py gives; commas stay."""
    return (given,) if isinstance(given, str) else given


def commas(given: Any) -> object:
    return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given


ANYBODY: Final = ("0.0.0.0/0", "::/0", "unix")


def proxies(given: Any) -> object:
    """The networks, and `unix`: gunicorn believes whatever comes by a Unix socket."""
    networks = commas(given)
    if not isinstance(networks, (tuple, list)):
        return networks
    return ANYBODY if "*" in networks else (*networks, "unix")


def without_pattern(given: Any) -> object:
    """The directory before the first part of a path with * ? or [: a directory is watched with all in it."""
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, (tuple, list)) or not all(isinstance(path, str) for path in given):
        return given
    return tuple(_before_pattern(path) for path in given)


def _before_pattern(path: str) -> str:
    parts = path.split("/")
    plain = [index for index, part in enumerate(parts) if set("*?[") & set(part)]
    return "/".join(parts[: plain[0]]) or ("/" if path.startswith("/") else ".") if plain else path


def proxy_protocol(given: Any) -> object:
    return PROXY_MODES.get(given.strip().lower(), given) if isinstance(given, str) else given


# The modes of gunicorn, as the text of a switch. vivace takes both versions of the header.
PROXY_MODES: Final[dict[str, str]] = {"off": "false", "v1": "true", "v2": "true", "auto": "true", "none": "false"}


def header_map(given: Any) -> object:
    return "keep" if given == "dangerous" else given


def syslog(given: Any) -> object:
    """An address, or the switch that means gunicorn's own."""
    if isinstance(given, bool) or str(given).strip().lower() in ("true", "false"):
        return "udp://localhost:514" if str(given).strip().lower() == "true" else ""
    return given


CLIENT_CERTIFICATES: Final = ("none", "optional", "required")  # ssl.CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED


def cert_reqs(given: Any) -> object:
    number = str(int(given)) if isinstance(given, int) else str(given).strip()
    if number not in ("0", "1", "2"):
        raise ValueError(f"{number!r} is none of 0, 1, 2; give 0 for none, 1 for optional or 2 for required")
    return CLIENT_CERTIFICATES[int(number)]


def umask(given: Any) -> object:
    """An int, or octal text with its leading 0: gunicorn reads "22" as the decimal number."""
    if isinstance(given, str) and not given.strip().startswith("0"):
        raise ValueError(f"{given!r} is a decimal number to gunicorn; give 0{given.strip()} for the octal one")
    return given


def number_or_name(given: Any) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def process_name(given: Any) -> object:
    """The first 15 bytes: the system keeps no more."""
    return given.encode("ascii", "replace").decode()[:15] if isinstance(given, str) else given
