"""`vivace [serve] [APP]`: load the settings and the application, and serve until a signal."""

from __future__ import annotations

import os

from vivace.cli.main import EXIT_FAILED, complain
from vivace.config.load import load
from vivace.errors import SettingError
from vivace.worker.application import load_application


def run(argv: list[str]) -> int:
    """Serve; returns the exit code. Raises SettingError if the settings are wrong."""
    settings = load(argv, os.environ, os.getcwd())
    # After the settings, so that a mistake in them is told at once; before the application's directory comes first on
    # sys.path, so that a file of it called socket.py or resource.py is not taken for the standard library's.
    from vivace.worker.process import run as run_process

    try:
        app, name = load_application(settings.app, settings.app_dir)
        return run_process(settings, app, name)
    except SettingError as error:
        # The application cannot be loaded, or an address cannot be bound: the settings were right in themselves.
        complain(error)
        return EXIT_FAILED
