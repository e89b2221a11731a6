"""`vivace --check-config`: are the settings right, and does the application import?"""

from __future__ import annotations

import os

from vivace.cli.main import EXIT_FAILED, EXIT_OK, complain
from vivace.config.load import load
from vivace.errors import SettingError
from vivace.worker.application import load_application


def run(argv: list[str]) -> int:
    """Says "ok" and returns 0, or says what is wrong and returns 1. Binds nothing."""
    try:
        settings = load(argv, os.environ, os.getcwd())
        _app, name = load_application(settings.app, settings.app_dir)
    except SettingError as error:
        complain(error)
        return EXIT_FAILED
    print(f"ok: the settings are valid and {name} can be served on {', '.join(settings.bind)}")
    return EXIT_OK
