"""`vivace --check-config`: are the settings right, and does the application import?"""

from __future__ import annotations

import os

from vivace.cli.main import EXIT_FAILED, EXIT_OK, complain, tell
from vivace.config.load import load
from vivace.errors import SettingError
from vivace.worker.application import load_application
from vivace.worker.console import Console
from vivace.worker.server import make_tls
from vivace.worker.surroundings import prepare


def run(argv: list[str]) -> int:
    """Says "ok" and returns 0, or says what is wrong and returns 1. Binds nothing."""
    try:
        settings = load(argv, os.environ, os.getcwd())
        tell(settings.notes)
        prepare(settings)
        make_tls(settings, Console(settings.log_level))
        _app, name = load_application(settings.app, settings.app_dir, settings.python_path)
    except SettingError as error:
        complain(error)
        return EXIT_FAILED
    print(f"ok: the settings are valid and {name} can be served on {', '.join(settings.bind)}")
    return EXIT_OK
