"""What the Django patients share: a library in SQLite, forty books of forty authors, gone with the process.

Called once, by each of them, before its views are defined: `set_up(__name__)`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import Any

BOOKS = 40


def set_up(urls: str, **settings: Any) -> None:
    """Django with one database, and its tables. `urls`: the module that has `urlpatterns`; the rest are settings."""
    import django
    from django.conf import settings as known

    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(folder, "library"), "CONN_MAX_AGE": None}
    known.configure(
        **{
            "ALLOWED_HOSTS": ["*"],
            "DATABASES": {"default": database},
            "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
            "LOGGING_CONFIG": None,
            "ROOT_URLCONF": urls,
            "SECRET_KEY": "of an example",
            **settings,
        }
    )
    django.setup()


def fill(author: Any, book: Any) -> None:
    """Tables and rows of the two models."""
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(author)
        editor.create_model(book)
    numbers = range(1, BOOKS + 1)
    author.objects.bulk_create(author(id=number, name=f"Author {number}") for number in numbers)
    book.objects.bulk_create(book(title=f"Book {number}", author_id=number) for number in numbers)
    connection.close()
