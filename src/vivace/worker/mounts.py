"""The directories that are served without the application, as applications. Imported only where there is one."""

from __future__ import annotations

from vivace.config.caching import read_mount
from vivace.content.static import StaticFiles
from vivace.errors import SettingError
from vivace.wsgi.files import FileParts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings


def make_mounts(settings: Settings) -> list[tuple[str, StaticFiles]]:
    """(path as in PATH_INFO, application) of each. Raises SettingError, all at once."""
    mounts: list[tuple[str, StaticFiles]] = []
    problems: list[str] = []
    for text in settings.static:
        path, directory = read_mount(text)
        try:
            app = StaticFiles(
                path,
                directory,
                FileParts,
                index=settings.static_index,
                max_age_s=settings.static_max_age_s,
                immutable=settings.static_immutable,
                follow_symlinks=settings.static_follow_symlinks,
            )
            mounts.append((app.prefix, app))
        except ValueError as error:
            problems.append(f"static: {error}")
        except OSError as error:
            problems.append(f"static: {directory} cannot be served at {path}: {error.strerror}; is it a directory?")
    if problems:
        raise SettingError(*problems)
    return mounts
