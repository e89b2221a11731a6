"""Attacks on the cache, by real sockets: poisoning, deception, confusion of keys, splitting and smuggling.

Each has an attacker, who sends what he likes, and a victim, who sends an ordinary request afterwards; the application
falls for everything. The invariant: nothing that the attacker wrote reaches the victim, and nothing of the victim's
the attacker. Exceptions stand in THREAT_MODEL.md: what an application repeats of a field that nobody names as
an input (`test_what_is_no_part_of_the_key_is_the_application_s_to_name`).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from vivace import background
from wire import Client, Response, request

if TYPE_CHECKING:
    from collections.abc import Iterator

EVIL = "evil.example"


class Gullible:
    """Repeats all that it is asked, in a response that anybody may keep."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = [("Cache-Control", "public, max-age=60")]
        self.status = "200 OK"
        self.calls = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls += 1
        told = {key: value for key, value in environ.items() if type(value) is str and "REMOTE" not in key}
        start_response(self.status, [*self.headers, ("Content-Type", "text/plain")])
        return [repr(sorted(told.items())).encode()]


@pytest.fixture
def app() -> Gullible:
    return Gullible()


@pytest.fixture
def server(app: Gullible) -> Iterator[background]:
    with background(app, cache=True, threads=4) as running:
        yield running


def ask(server: background, data: bytes, method: str = "GET") -> Response:
    """One request on a connection of its own."""
    with Client(server) as client:
        return client.send(data).read_response(method)


def get(target: str = "/", *lines: str, host: str = "shop.example", method: str = "GET") -> bytes:
    return request(target, *lines, host=host, method=method)


# Poisoning by what is no part of the URL.


@pytest.mark.parametrize(
    "line",
    [
        f"X-Forwarded-Host: {EVIL}",
        f"X-Forwarded-Server: {EVIL}",
        f"X-Host: {EVIL}",
        f"X-Original-Host: {EVIL}",
        f"Forwarded: for=192.0.2.1;host={EVIL}",
        f'Forwarded: host="{EVIL};x"',
        f"X-Forwarded-Prefix: /{EVIL}",
        f"X-Script-Name: /{EVIL}",
        "X-Forwarded-Proto: nothttps",
        "X-Forwarded-Scheme: nothttps",
        "X-Forwarded-Port: 6666",
        f"X-Original-URL: /{EVIL}",
        f"X-Rewrite-URL: /{EVIL}",
        "X-HTTP-Method-Override: POST",
        "X-HTTP-Method: HEAD",
        "X-Method-Override: DELETE",
        f"Cookie: x={EVIL}",
        f"Authorization: Basic {EVIL}",
        f"X-Auth-User: {EVIL}",
        f"X-Forwarded-Email: {EVIL}",
    ],
)
@pytest.mark.parametrize("says", ["public, max-age=60", "max-age=60", ""])
def test_fields_that_change_what_is_asked_for(app: Gullible, server: background, line: str, says: str) -> None:
    """`says` nothing: it would be kept by a guess."""
    app.headers = [("Cache-Control", says)] if says else [("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")]
    if says and line.startswith(("Cookie", "Authorization", "X-Auth", "X-Forwarded-Email")):
        app.headers.append(("Vary", line.partition(":")[0]))  # what an application must say that uses them
    for _ in range(3):
        ask(server, get("/", line))
    value = line.partition(": ")[2].rpartition("=")[2].strip('"').partition(";")[0]
    for _ in range(3):
        assert value not in ask(server, get()).body.decode()


def test_what_a_proxy_says_is_shared_by_those_of_whom_it_says_the_same(app: Gullible, server: background) -> None:
    for number in range(4):
        lines = (
            "X-Forwarded-Proto: https",
            f"X-Forwarded-For: 192.0.2.{number}",
            f"Forwarded: for=_{number};proto=https",
        )
        ask(server, get("/", *lines))
        ask(server, get("/", "X-Forwarded-Proto: http"))
    assert app.calls == 2


def test_a_change_ends_it_whatever_the_proxy_says(app: Gullible, server: background) -> None:
    for proto in ("https", "http"):
        ask(server, get("/", f"X-Forwarded-Proto: {proto}"))
    ask(server, get("/", "X-Forwarded-Proto: https", "Content-Length: 0", method="POST"), "POST")
    for proto in ("https", "http"):
        ask(server, get("/", f"X-Forwarded-Proto: {proto}"))
    assert app.calls == 5


def test_what_is_no_part_of_the_key_is_the_application_s_to_name(app: Gullible, server: background) -> None:
    """Whoever makes pages by a field says so in Vary; without it nobody can know."""
    ask(server, get("/a", f"X-Theme: {EVIL}"))
    assert EVIL in ask(server, get("/a")).body.decode()
    app.headers.append(("Vary", "X-Theme"))
    ask(server, get("/b", f"X-Theme: {EVIL}"))
    assert EVIL not in ask(server, get("/b")).body.decode()


# Hosts.


@pytest.mark.parametrize(
    "host", [EVIL, "shop.example:6666", "shop.example.", f"shop.example.{EVIL}", f"{EVIL}:80", "www.shop.example"]
)
def test_another_host_is_another_site(server: background, host: str) -> None:
    ask(server, get(host=host))
    told = ask(server, get()).body.decode()
    assert f"('HTTP_HOST', '{host}')" not in told
    assert "('HTTP_HOST', 'shop.example')" in told


@pytest.mark.parametrize(
    "lines",
    [
        b"Host: shop.example\r\nHost: evil.example\r\n",
        b"Host: evil.example\r\nHost: shop.example\r\n",
        b"Host: shop.example, evil.example\r\n",
        b"Host: shop.example@evil.example\r\n",
        b"Host: evil.example/shop.example\r\n",
        b"Host : shop.example\r\nHost: evil.example\r\n",
        b" Host: evil.example\r\nHost: shop.example\r\n",
        b"Host: shop.example\r\n evil.example\r\n",
        b"Host: shop.example\x00.evil.example\r\n",
        b"",
    ],
)
def test_a_host_that_is_none_or_two_makes_no_entry(app: Gullible, server: background, lines: bytes) -> None:
    assert ask(server, b"GET / HTTP/1.1\r\n" + lines + b"\r\n").status == 400
    assert app.calls == 0
    assert EVIL not in ask(server, get()).body.decode()


def test_an_absolute_target_has_its_own_host(server: background) -> None:
    """RFC 9112 section 3.2.2: it goes before Host."""
    ask(server, b"GET http://evil.example/ HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert EVIL not in ask(server, get()).body.decode()
    ask(server, b"GET http://shop.example/x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert EVIL not in ask(server, get("/x")).body.decode()


def test_the_host_s_case_and_the_scheme_s_port_make_no_difference(app: Gullible, server: background) -> None:
    for host in ("shop.example", "SHOP.Example", "shop.example:80"):
        ask(server, get(host=host))
    assert app.calls == 1


# Paths.

# All but "/account?": PEP 3333 has no place in which it differs from "/account".
PATHS = (
    *("/account", "//account", "/./account", "/x/../account", "/account/", "/Account", "/%61ccount", "/account%2F"),
    *(
        "/account;x.css",
        "/account%3Bx.css",
        "/account/x.css",
        "/account%2Fx.css",
        "/account%23x.css",
    ),
    *("/account?x.css", "/account?a=1&b=2", "/account?b=2&a=1", "/account?a=1;b=2", "/account%3Fa=1"),
)


def test_no_two_paths_are_taken_for_one(server: background) -> None:
    """What the application gets is what its entry was made for, whichever came first."""
    for targets in (PATHS, PATHS[::-1], PATHS):
        for target in targets:
            told = ask(server, get(target)).body.decode()
            assert f"('REQUEST_URI', '{target}')" in told


@pytest.mark.parametrize(
    "target", ["/account/x.css", "/account%2Fx.css", "/account;x.css", "/account.css", "/account%0Ax.css"]
)
def test_an_extension_makes_nothing_public(app: Gullible, target: str) -> None:
    """Web cache deception: the victim is led to /account/x.css, the attacker fetches what was kept."""
    app.headers = []  # what says nothing, as many pages do
    with background(app, cache=True, cache_rule=["/static/* 60s"]) as server:
        ask(server, get(target, "Cookie: session=victim"))
        for _ in range(2):
            assert "victim" not in ask(server, get(target)).body.decode()


def test_nor_does_a_rule_for_extensions_give_away_who_is_logged_in(app: Gullible) -> None:
    app.headers = []
    with background(app, cache=True, cache_rule=["*.css 60s"]) as server:
        for credentials in ("Cookie: session=victim", "Authorization: Bearer victim", "X-Session-Token: victim"):
            ask(server, get("/account/x.css", credentials))
            assert "victim" not in ask(server, get("/account/x.css")).body.decode()


@pytest.mark.parametrize("target", ["/\u00e9", "/a b", "/a\tb", "/a#b", "a", "*", "/a\\b\x00"])
def test_targets_that_are_none_make_no_entry(app: Gullible, server: background, target: str) -> None:
    response = ask(server, b"GET " + target.encode("latin-1") + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert response.status == 400
    assert app.calls == 0


def test_a_parameter_that_does_not_count_hides_no_other(app: Gullible, server: background) -> None:
    """Parameter cloaking (CVE-2021-23336): ";" ends a parameter for some readers."""
    ask(server, get(f"/?a=1&utm_source=x;a={EVIL}"))
    assert EVIL not in ask(server, get("/?a=1")).body.decode()
    ask(server, get(f"/?a=1&utm_source=x%26a={EVIL}"))
    assert app.calls >= 2


# Errors and oversized requests (cache-poisoned denial of service, CPDoS).


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/", "X-Oversized: " + "x" * 20000), 431),
        (get("/", *[f"X-{number}: x" for number in range(200)]), 431),
        (get("/", "X-Meta: a\x07b"), 400),
        (get("/", "Content-Length: -1"), 400),
        (get("/", "Transfer-Encoding: gzip"), 501),
        (get("/", "Expect: nothing"), 417),
        (b"GET / HTTP/9.9\r\nHost: shop.example\r\n\r\n", 505),
    ],
)
def test_a_refusal_is_never_kept(app: Gullible, server: background, data: bytes, status: int) -> None:
    assert ask(server, data).status in (status, 400)
    for _ in range(2):
        assert ask(server, get()).status == 200
    assert app.calls == 1


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "403 Forbidden", "404 Not Found", "500 Oh", "503 Busy", "302 Found"]
)
def test_an_error_that_says_nothing_is_not_kept(app: Gullible, server: background, status: str) -> None:
    app.headers, app.status = [], status
    assert ask(server, get()).status == int(status[:3])
    app.status = "200 OK"
    assert ask(server, get()).status == 200


@pytest.mark.parametrize(
    ("line", "status", "then"),
    [("Range: bytes=0-3", 206, 200), ("Range: bytes=900000-", 416, 200), ('If-None-Match: "x"', 304, 200),
     ('If-Match: "y"', 412, 200)],
)  # fmt: skip
def test_a_part_or_a_condition_poisons_nothing(
    app: Gullible, server: background, line: str, status: int, then: int
) -> None:
    app.headers.append(("ETag", '"x"'))
    whole = ask(server, get("/other")).body
    for _ in range(2):
        ask(server, get("/", line))
        full = ask(server, get("/"))
        assert (full.status, full.field("Content-Range")) == (then, None)
        assert len(full.body) > len(whole) // 2
    assert ask(server, get("/", line)).status == status


def test_a_range_that_the_application_answers_itself_is_not_taken_for_the_whole(server: background) -> None:
    calls: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        wanted = environ.get("HTTP_RANGE", "")
        calls.append(wanted)
        fields = [("Cache-Control", "max-age=60"), ("Content-Range", "bytes 0-1/6")] if wanted else []
        start_response("206 Partial Content" if wanted else "200 OK", [*fields, ("Cache-Control", "max-age=60")])
        return [b"ab" if wanted else b"abcdef"]

    with background(app, cache=True) as other:
        assert ask(other, get("/", "Range: bytes=0-1")).body == b"ab"
        assert ask(other, get()).body == b"abcdef"


def test_a_head_is_not_taken_for_an_empty_page(app: Gullible, server: background) -> None:
    assert ask(server, get(method="HEAD"), "HEAD").status == 200
    assert ask(server, get()).body
    length = ask(server, get(method="HEAD"), "HEAD").field("Content-Length")
    assert length == str(len(ask(server, get()).body))


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "TRACE", "FOO", "get"])
def test_what_another_method_is_answered_is_not_given_to_get(app: Gullible, server: background, method: str) -> None:
    with Client(server) as client:
        client.send(get("/", method=method))
        client.read_response()
    assert f"('REQUEST_METHOD', '{method}')" not in ask(server, get()).body.decode()


def test_a_get_with_a_body_makes_no_entry(server: background) -> None:
    """A fat GET: some frameworks read parameters from the body."""
    body = f"name={EVIL}"
    for lines in ((f"Content-Length: {len(body)}",), ("Transfer-Encoding: chunked",)):
        framed = body if "Length" in lines[0] else f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
        ask(server, get("/", *lines, "X-Tried: " + EVIL) + framed.encode())
        assert EVIL not in ask(server, get()).body.decode()


# Vary.


@pytest.mark.parametrize("vary", ["X-Who", "x-WHO , Accept", ",X-Who,,", "Accept,\tX-Who"])
def test_vary_is_read_however_it_is_written(app: Gullible, server: background, vary: str) -> None:
    app.headers.append(("Vary", vary))
    ask(server, get("/", f"X-Who: {EVIL}"))
    for victim in ("", "X-Who:", "X-Who: me"):
        assert EVIL not in ask(server, get("/", *([victim] if victim else ()))).body.decode()


def test_values_cannot_be_moved_from_one_field_into_another(app: Gullible, server: background) -> None:
    app.headers.append(("Vary", "X-One, X-Two"))
    seen = set()
    for one, two in (
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        ("a, b", ""),
        ("a", ", b"),
        ("a\tb", ""),
        ("\xff", "a"),
        ("a", "\xff"),
    ):
        body = ask(server, get("/", f"X-One: {one}", f"X-Two: {two}")).body
        assert body not in seen
        seen.add(body)


def test_a_flood_of_variants_stays_within_its_memory(app: Gullible) -> None:
    app.headers.append(("Vary", "User-Agent"))
    with background(app, cache=True, cache_memory_bytes=1 << 20, cache_entry_bytes_max=1 << 16) as server:
        memory = server.server.loop.cache.levels.memory
        with Client(server) as client:
            for number in range(2000):
                client.send(get("/", f"User-Agent: {number:0500d}"))
                assert client.read_response().status == 200
                assert memory.bytes <= 1 << 20
        assert memory.evictions > 0


# Splitting, smuggling, races.


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nSet-Cookie: x=1", "a\r\n\r\nHTTP/1.1 200 OK", "a\x00b"])
def test_a_response_that_is_split_is_neither_sent_nor_kept(app: Gullible, server: background, value: str) -> None:
    app.headers.append(("X-Repeated", value))
    response = ask(server, get())
    assert response.status == 500
    assert response.field("X-Evil") is None
    del app.headers[1:]
    assert ask(server, get()).status == 200


def test_nor_is_what_a_304_would_split(app: Gullible, server: background) -> None:
    app.headers = [("Cache-Control", "max-age=60"), ("ETag", '"x"')]
    ask(server, get())
    app.status = "304 Not Modified"
    app.headers.append(("X-Repeated", "a\r\nX-Evil: 1"))
    assert ask(server, get("/", "Cache-Control: no-cache")).status == 500
    kept = ask(server, get())
    assert (kept.status, kept.values("X-Evil")) == (200, [])


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 43\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\r\nContent-Length: 43",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Content-Length: 0\n\nGET /evil HTTP/1.1\nX: y",
    ],
)
def test_a_request_that_is_smuggled_gives_nobody_its_answer(server: background, head: str) -> None:
    inner = b"0\r\n\r\nGET /evil HTTP/1.1\r\nHost: shop.example\r\n\r\n"
    with Client(server) as attacker:
        attacker.send(f"GET /victim HTTP/1.1\r\nHost: shop.example\r\n{head}\r\n\r\n".encode() + inner)
        assert attacker.read_response().status in (400, 501)
        assert attacker.has_ended()
    assert "('REQUEST_URI', '/victim')" in ask(server, get("/victim")).body.decode()


def test_pipelined_answers_go_to_the_requests_that_they_are_for(server: background) -> None:
    with Client(server) as client:
        targets = [f"/{number % 7}" for number in range(40)]
        client.send(b"".join(get(target) for target in targets))
        for target in targets:
            assert f"('REQUEST_URI', '{target}')" in client.read_response().body.decode()


def test_who_waits_for_another_one_s_response_does_not_get_it_if_it_is_personal() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        who = environ.get("HTTP_X_WHO", "nobody")
        if who == "victim":
            begun.set()
            assert go_on.wait(10)
        start_response("200 OK", [("Cache-Control", "private"), ("Set-Cookie", f"id={who}")])
        return [who.encode()]

    with background(app, cache=True, threads=4) as server, Client(server) as victim, Client(server) as attacker:
        victim.send(get("/", "X-Who: victim"))
        assert begun.wait(5)
        attacker.send(get("/"))
        go_on.set()
        assert victim.read_response().body == b"victim"
        response = attacker.read_response()
        assert (response.body, response.values("Set-Cookie")) == (b"nobody", ["id=nobody"])


def test_a_purge_is_no_request() -> None:
    """Varnish and Squid know methods that purge; here they are the application's."""
    app = Gullible()
    app.status = "405 Method Not Allowed"
    with background(app, cache=True) as server:
        app.status = "200 OK"
        ask(server, get())
        app.status = "405 Method Not Allowed"
        for method in ("PURGE", "BAN", "REFRESH", "PURGEKEY"):
            assert ask(server, get(method=method)).status == 405
        assert ask(server, get()).values("Cache-Status")[0].startswith("vivace; hit")
        assert app.calls == 5


def test_hits_can_be_hidden() -> None:
    """Cache-Status and Age tell a page's visitors whether somebody was there before; the first can be left out."""
    with background(Gullible(), cache=True, cache_status=False) as server:
        for _ in range(2):
            assert ask(server, get()).values("Cache-Status") == []


def test_a_slow_attacker_holds_up_nobody_who_wants_the_same(app: Gullible) -> None:
    """Whoever asks for a page and does not read it is no reason for others to wait."""
    big = b"x" * 3_000_000

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Cache-Control", "max-age=60")])
        return [big]

    with background(slow, cache=True, threads=4) as server, Client(server, receive_bytes=4096) as attacker:
        attacker.send(get())
        began = time.monotonic()
        assert ask(server, get()).body == big
        assert time.monotonic() - began < 5
