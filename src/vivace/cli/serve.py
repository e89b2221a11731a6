"""`vivace [serve] [APP]`: load the settings and the application, and serve until a signal."""

from __future__ import annotations

import os

from vivace.cli.main import EXIT_FAILED, complain, tell
from vivace.config.load import load
from vivace.errors import SettingError
from vivace.worker.application import load_application
from vivace.worker.surroundings import prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vivace.config.settings import Settings
    from vivace.worker.process import Application


def run(argv: list[str]) -> int:
    """Serve; returns the exit code. Raises SettingError if the settings are wrong."""
    directory = os.getcwd()
    settings = load(argv, os.environ, directory)
    tell(settings.notes)
    # After the settings, so that a mistake in them is told at once; before the application's directory comes first on
    # sys.path, so that a file of it called socket.py or resource.py is not taken for the standard library's.
    try:
        prepare(settings)
        if settings.workers == "0":
            return _serve_here(settings)
        return _supervise(settings, argv, directory)
    except SettingError as error:
        # The application cannot be loaded, or an address cannot be bound: the settings were right in themselves.
        complain(error)
        return EXIT_FAILED


def _supervise(settings: Settings, argv: list[str], directory: str) -> int:
    """Keeps workers; returns the exit code, of the supervisor or, in a child, of that."""
    from vivace.supervisor.process import HANDOVER, Supervisor
    from vivace.worker.child import Assignment, work
    from vivace.worker.process import prepare as prepare_ground

    inheritance = None
    if HANDOVER in os.environ:
        from vivace.supervisor.upgrade import Inheritance

        inheritance = Inheritance.take(os.environ)
    ground = prepare_ground(settings, inheritance.listeners if inheritance else None)
    outcome = Supervisor(
        settings,
        _load,
        lambda: load(argv, os.environ, directory),
        ground,
        inheritance,
    ).run()
    if isinstance(outcome, int):
        return outcome
    return work(outcome, complain) if isinstance(outcome, Assignment) else outcome.run()


def _load(settings: Settings) -> tuple[Application, str]:
    return load_application(settings.app, settings.app_dir, settings.python_path)


def _serve_here(settings: Settings) -> int:
    """Serves in this process, without a supervisor; what shows the admin address does so from a thread."""
    from vivace.embed import beside
    from vivace.worker.process import run as run_process

    return run_process(settings, lambda: _load(settings), beside=beside(settings))
