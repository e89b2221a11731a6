"""The response cache in a running server: whose a response is, where certificates, cookies and variants meet."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from certs import Authority, SecureClient
from test_caching import FRESH, Answer, Origin, ask
from vivace import background
from wire import Client


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.mark.parametrize(("said", "shared"), [(FRESH, False), (f"{FRESH}, public", True)])
def test_a_certificate_is_a_password(tmp_path: Path, origin: Origin, said: str, shared: bool) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("localhost").settings
    mine, other = (authority.client(authority.issue(name)) for name in ("mine", "other"))
    origin.on("/", Cache_Control=said)
    tls = {**own, "tls_ca_file": str(authority.cert), "tls_client": "optional"}
    with background(origin, cache=True, **tls) as server:
        bodies = []
        for context in (mine, other, authority.client()):
            with SecureClient(server, context) as client:
                bodies.append(ask(client, "/").body)
    assert bodies == ([b"1"] * 3 if shared else [b"1", b"2", b"3"])


def test_tls_alone_is_none(tmp_path: Path, origin: Origin) -> None:
    authority = Authority(tmp_path)
    origin.on("/", Cache_Control=FRESH)
    with background(origin, cache=True, **authority.issue("localhost").settings) as server:
        for _ in range(2):
            with SecureClient(server, authority.client()) as client:
                assert ask(client, "/").body == b"1"


def test_a_rule_is_not_for_those_who_carry_something(origin: Origin) -> None:
    origin.on("/")
    with background(origin, cache=True, cache_rule=("/* 60s",)) as server, Client(server) as client:
        assert ask(client, "/").body == b"1"
        for number, line in enumerate(("Cookie: a=1", "Authorization: x", "X-Api-Key: 1", "X-User: a"), 2):
            assert ask(client, "/", line).body == b"%d" % number
        assert ask(client, "/").body == b"1"


def test_by_a_rule_for_cookies_each_has_his_own(origin: Origin) -> None:
    origin.on("/")
    with background(origin, cache=True, cache_rule=("/* 60s cookies",)) as server, Client(server) as client:
        expected = {"Cookie: a=1": b"1", "Cookie: a=2": b"2", "X: 1": b"3"}
        for line, body in expected.items():
            assert ask(client, "/", line).body == body
        for line, body in expected.items():
            assert ask(client, "/", line).body == body


def test_a_response_without_vary_does_not_undo_what_others_said(origin: Origin) -> None:
    def answer(environ: dict[str, Any]) -> Answer:
        language = environ["HTTP_ACCEPT_LANGUAGE"]
        headers = [("Cache-Control", FRESH)]
        if language == "de":
            headers.append(("Vary", "Accept-Language"))
        return "200 OK", headers, [language.encode()]

    origin.answers["/"] = answer
    with background(origin, cache=True) as server, Client(server) as client:
        for language in ("de", "en", "de", "fr", "en"):
            assert ask(client, "/", f"Accept-Language: {language}").body == language.encode()
    assert origin.calls == {"/": 3}


def test_cookies_of_a_304_are_their_client_s(origin: Origin) -> None:
    def answer(environ: dict[str, Any]) -> Answer:
        headers = [("Cache-Control", "max-age=1, public"), ("ETag", '"x"')]
        if environ.get("HTTP_IF_NONE_MATCH") == '"x"':
            return "304 Not Modified", [*headers, ("Cache-Control", FRESH), ("Set-Cookie", "id=1")], []
        return "200 OK", headers, [b"body"]

    origin.answers["/"] = answer
    with background(origin, cache=True) as server, Client(server) as client:
        ask(client, "/", "Cookie: id=0")
        again = ask(client, "/", "Cache-Control: no-cache")
        assert (again.status, again.body, again.field("Set-Cookie")) == (200, b"body", "id=1")
        assert ask(client, "/").field("Set-Cookie") is None
    assert origin.calls == {"/": 2}


def test_one_user_s_response_does_not_keep_others_from_sharing(origin: Origin) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def answer(environ: dict[str, Any]) -> Answer:
        if "HTTP_COOKIE" not in environ:
            begun.set()
            assert go_on.wait(10)
        return "200 OK", [], [b"made"]

    origin.answers["/"] = answer
    with background(origin, cache=True, cache_rule=("/* 60s",), threads=8) as server:
        clients = [Client(server) for _ in range(5)]
        ask(clients[0], "/", "Cookie: a=1")
        clients[0].send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert begun.wait(5)
        for client in clients[1:]:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        origin.on("/other")
        with Client(server) as other:
            ask(other, "/other")
        go_on.set()
        assert [client.read_response().body for client in clients] == [b"made"] * 5
        for client in clients:
            client.socket.close()
    assert origin.calls["/"] == 2


def test_a_head_renews_what_it_confirms_and_ends_what_it_does_not(origin: Origin) -> None:
    fields = {"Cache_Control": FRESH, "ETag": '"1"', "X": "old"}
    origin.on("/", body=b"body", **fields)
    with background(origin, cache=True) as server, Client(server) as client:
        ask(client, "/")
        origin.on("/", body=b"body", **{**fields, "X": "new"})
        assert ask(client, "/", "Cache-Control: no-cache", method="HEAD").field("X") == "new"
        kept = ask(client, "/")
        assert (kept.body, kept.field("X")) == (b"body", "new")
        assert origin.calls == {"/": 2}
        origin.on("/", body=b"other", **{**fields, "ETag": '"2"'})
        ask(client, "/", "Cache-Control: no-cache", method="HEAD")
        assert ask(client, "/").body == b"other"


def test_a_rule_may_let_it_stand_in_for_those_that_it_is_for(origin: Origin) -> None:
    origin.on("/", body=b"fine")
    rule = ("/* 500ms error=1m cookies",)
    with background(origin, cache=True, cache_rule=rule) as server, Client(server) as client:
        ask(client, "/", "Cookie: a=1")
        origin.on("/", "503 Service Unavailable", body=b"down")
        time.sleep(0.6)
        assert ask(client, "/", "Cookie: a=1").body == b"fine"
        assert ask(client, "/", "Cookie: a=2").body == b"down"


def test_users_of_a_flask_site_see_their_own_pages() -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    app.secret_key = "planted"

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask.session["name"] = name
        return "welcome"

    @app.get("/me")
    def me() -> Any:
        response = flask.make_response(flask.session.get("name", "nobody"))
        response.cache_control.max_age = 60
        return response

    @app.get("/about")
    def about() -> Any:
        response = flask.make_response(str(time.monotonic_ns()))
        response.cache_control.max_age = 60
        return response

    with background(app, cache=True, cache_rule=("/login/* 60s",)) as server, Client(server) as client:
        jars = {}
        for name in ("alice", "bob"):
            said = ask(client, f"/login/{name}").field("Set-Cookie")
            assert said
            jars[name] = "Cookie: " + said.partition(";")[0]
        for _ in range(2):
            assert ask(client, "/me").body == b"nobody"
            for name, line in jars.items():
                assert ask(client, "/me", line).body == name.encode()
                assert ask(client, f"/login/{name}").field("Set-Cookie")
        assert "hit" in (ask(client, "/me", jars["bob"]).field("Cache-Status") or "")
        assert len({ask(client, "/about", *line).body for line in ((), (jars["bob"],), (jars["alice"],))}) == 1
