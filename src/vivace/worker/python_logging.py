"""Both logs as records of Python's logging: the loggers vivace.error and vivace.access.

Imported only where a setting asks for it. What becomes of the records is for the user's configuration to say:

Rules:

* No handler, level or logger of anybody's is touched, not even those of vivace.*; `log_config` alone configures, and
  what it says is the user's.
* A handler may take its time, so records are made by the carrier's thread; `logging` itself writes down what a handler
  raises (logging.raiseExceptions).
"""

from __future__ import annotations

import logging

from vivace.errors import SettingError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

ERROR, ACCESS = "vivace.error", "vivace.access"


def write_access(text: str) -> None:
    """A record for each line. Its message is the line, in the format that access_log_format gives."""
    logger = logging.getLogger(ACCESS)
    if logger.isEnabledFor(logging.INFO):
        for line in text.split("\n")[:-1]:
            logger.info("%s", line)


def write_message(level: str, message: str, facts: dict[str, str]) -> None:
    """A record; of `facts`, request_id, method and target become its attributes, a traceback its exc_text."""
    logger = logging.getLogger(ERROR)
    number = LEVELS[level]
    if logger.isEnabledFor(number):
        attributes = {name: facts.get(name, "") for name in ("request_id", "method", "target")}
        record = logger.makeRecord(ERROR, number, "vivace", 0, "%s", (message,), None, extra=attributes)
        # Formatters put it below the message, as they do with the traceback of an exception.
        record.exc_text = facts.get("traceback", "").rstrip("\n") or None
        logger.handle(record)


def configure(path: str) -> None:
    """Does what the file says: JSON or TOML for dictConfig, anything else for fileConfig. Raises SettingError.

    As with gunicorn, loggers that exist already stay in use unless the file disables them.
    """
    import logging.config
    import os

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith((".json", ".toml")) or text.lstrip().startswith("{"):
            logging.config.dictConfig(_tree(path, text))
        else:
            defaults = {"__file__": path, "here": os.path.dirname(path)}
            logging.config.fileConfig(path, defaults=defaults, disable_existing_loggers=False)
    except Exception as error:  # logging.config raises whatever its handlers do
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{error}"
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        raise SettingError(
            f"log_config {path}: {reason}{cause}; give a file for logging.config, as docs/logging.md shows one"
        ) from None


def _tree(path: str, text: str) -> dict[str, object]:
    if path.endswith(".toml"):
        import tomllib

        tree: dict[str, object] = tomllib.loads(text)
    else:
        import json

        tree = json.loads(text)
    tree.setdefault("disable_existing_loggers", False)
    return tree
