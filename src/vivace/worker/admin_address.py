"""The admin address: opened, and its token read, while this process has the rights for it.

What is shown there is no concern of a worker's; `vivace.admin` serves it.
"""

from __future__ import annotations

from vivace.config.observing import check_token
from vivace.errors import SettingError
from vivace.net.listen import open_listener, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings
    from vivace.net.listen import Listener

SPEC = "admin:"
"""What the `spec` of the admin address's listener begins with, so that it is not taken for one of the application's."""

BACKLOG = 64


class AdminAddress:
    """Where to show, and to whom."""

    __slots__ = ("listener", "token")

    def __init__(self, listener: Listener, token: str) -> None:
        self.listener = listener
        self.token = token
        """"": whoever can connect may see."""


def open_admin(settings: Settings, inherited: dict[str, Listener], *, owner: str = "") -> AdminAddress | None:
    """The admin address that the settings name; None for none. Raises SettingError.

    It is taken out of `inherited`, the listeners of the program before, if it is there; `owner` as in `open_listeners`.
    """
    if not settings.admin:
        return None
    token = settings.admin_token or read_token(settings.admin_token_file)
    spec = SPEC + settings.admin
    listener = inherited.pop(spec, None)
    if listener is None:
        try:
            listener = open_listener(
                parse_address(settings.admin),
                backlog=BACKLOG,
                unix_mode=settings.unix_mode,
                unix_owner=settings.unix_owner or owner,
            )
        except SettingError as error:
            raise SettingError(str(error).replace("bind ", "admin ", 1)) from None
        listener.spec = spec
    return AdminAddress(listener, token)


def read_token(path: str) -> str:
    """The token in the file at `path`, its first line; "" for no path. Raises SettingError."""
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8") as file:
            token = file.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"admin_token_file {path}: cannot be read: {error}") from None
    try:
        if not token:
            raise ValueError("its first line is empty")
        check_token(token)
    except ValueError as error:
        raise SettingError(f"admin_token_file {path}: {error}") from None
    return token
