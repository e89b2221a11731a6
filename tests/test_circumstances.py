"""worker.circumstances: what a server runs under, as plain data without secrets."""

from __future__ import annotations

import json
import logging
from typing import Any

import flask

from test_development import BARE, DJANGO, found_by, plain
from vivace.config.load import from_keywords
from vivace.worker.circumstances import told


def test_everything_is_plain_data() -> None:
    settings = from_keywords(threads=3, app="shop:app", reload=True)
    found = json.loads(json.dumps(told(plain, settings)))
    assert found["vivace"]["settings"]["threads"] == 3
    assert set(found["vivace"]["origins"]) == {"threads", "app", "reload"}
    assert found["vivace"]["processors"] >= 1
    assert "reload" in [note["id"] for note in found["development"]]
    assert found["python"]["version"].count(".") == 2
    assert found["python"]["gc"]["enabled"] is True
    assert found["application"]["target"] == "shop:app"
    assert found["application"]["framework"] == ""
    assert found["application"]["chain"] == ["test_development:plain"]


def test_secrets_stay() -> None:
    settings = from_keywords(admin_token="s3cret-s3cret-s3cret")
    assert "s3cret" not in json.dumps(told(plain, settings))


def test_the_framework_and_its_version() -> None:
    found = told(flask.Flask("shop"), from_keywords())["application"]
    assert (found["framework"], found["chain"]) == ("flask", ["flask.app:Flask"])
    assert found["version"] == found["versions"]["flask"]
    assert found["versions"]["werkzeug"][0].isdigit()


def test_loggers_that_are_loud(tmp_path: Any) -> None:
    logger = logging.getLogger("tests.loud")
    handler = logging.FileHandler(tmp_path / "log")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        found = told(plain, from_keywords())["logging"]
        assert ["tests.loud", "FileHandler", "NOTSET", str(tmp_path / "log")] in found["handlers"]
        assert ["tests.loud", "DEBUG"] in found["loud"]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        handler.close()
    assert "tests.loud" not in str(told(plain, from_keywords())["logging"])


PRINTED = """
import json
from vivace.config.load import from_keywords
from vivace.worker.circumstances import told
def app(environ, start_response): return []
found = told(app, from_keywords())
print(json.dumps([found["database"], found["logging"], "logging" in sys.modules]))
"""


def test_django_databases_without_their_names() -> None:
    (text,) = [" ".join(found_by(DJANGO.format(debug=False, middleware=[], loaders=BARE) + PRINTED))]
    assert json.loads(text)[0] == {"default": {"engine": "django.db.backends.sqlite3", "conn_max_age": 60}}
    assert "secret" not in text


def test_what_is_not_imported_is_not_imported_for_this() -> None:
    (text,) = [" ".join(found_by(PRINTED))]
    database, found, imported = json.loads(text)
    assert database == {}
    assert found == {"root": "", "handlers": [], "loud": []}
    assert not imported
