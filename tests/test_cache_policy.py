"""What is kept, for whom, and when it is reused: `cache.policy`, `cache.wish`, `cache.storing`, `cache.answering`."""

from __future__ import annotations

import itertools

import pytest

from caches import TinyCache, environ_of
from vivace.cache import policy
from vivace.cache.rules import Rules, read_rule

NOW = 1_800_000_000.0


def rules(*texts: str, cookies: tuple[str, ...] = ()) -> Rules:
    return Rules(map(read_rule, texts), (), cookies)


# The first law: a response must never reach a user that it was not for.

WHO = {
    "nobody": {},
    "a session": {"COOKIE": "session=alice"},
    "another session": {"COOKIE": "session=bob"},
    "a password": {"AUTHORIZATION": "Basic YWxpY2U6"},
    "another password": {"AUTHORIZATION": "Basic Ym9iOg=="},
    "an API key": {"X_API_KEY": "1"},
    "another API key": {"X_API_KEY": "2"},
    "a proxy's user": {"X_FORWARDED_USER": "alice"},
    "another proxy's user": {"X_FORWARDED_USER": "bob"},
}

PERSONAL = [
    ("Cache-Control: private",),
    ("Cache-Control: no-store",),
    ("Cache-Control: private, max-age=60",),
    ("Cache-Control: private; max-age=60",),
    ("Cache-Control: max-age=60; private",),
    ("Cache-Control: max-age=60", "Cache-Control: private"),
    ("Cache-Control: max-age=60", "Set-Cookie: session=alice"),
    ("Cache-Control: public, s-maxage=60", "Set-Cookie: session=alice"),
    ("CDN-Cache-Control: private", "Cache-Control: max-age=60"),
    ("CDN-Cache-Control: max-age=60", "Set-Cookie: session=alice"),
    ("Cache-Control: max-age=60", "Vary: *"),
    ("Cache-Control: max-age=60", "Vary: Cookie, *"),
]


@pytest.mark.parametrize("headers", PERSONAL, ids=" | ".join)
@pytest.mark.parametrize("rule", [None, "/* 10s", "/* 10s cookies authorization"])
def test_what_is_for_one_reaches_no_other(headers: tuple[str, ...], rule: str | None) -> None:
    for one, other in itertools.product(WHO.values(), repeat=2):
        cache = TinyCache(rules(rule) if rule else rules())
        cache.request(environ_of("/", **one), NOW, "200 OK", *headers, body=b"for one")
        assert cache.store == {}
        assert cache.request(environ_of("/", **other), NOW + 1, body=b"for the other").body == b"for the other"


@pytest.mark.parametrize(
    "rule", [None, "/* 10s", "/* 10s cookies", "/* 10s authorization", "/* 10s cookies authorization"]
)
@pytest.mark.parametrize("validator", [(), ('ETag: "1"',), ("Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",)])
def test_what_no_response_declares_to_be_everybody_s_reaches_nobody_with_credentials_and_comes_from_nobody_with_them(
    rule: str | None, validator: tuple[str, ...]
) -> None:
    for (who, one), (whom, other) in itertools.product(WHO.items(), repeat=2):
        if who == whom:
            continue
        cache = TinyCache(rules(rule) if rule else rules())
        cache.request(environ_of("/", **one), NOW, "200 OK", *validator, body=b"for one")
        answer = cache.request(environ_of("/", **other), NOW + 1, "304 Not Modified", body=b"for the other")
        assert answer.body == b"for the other", (who, whom)


@pytest.mark.parametrize("text", ["Cache-Control: max-age=60", "Expires: Fri, 15 Jan 2027 09:00:00 GMT"])
def test_what_a_response_to_a_password_says_is_everybody_s_only_if_it_says_so(text: str) -> None:
    for more, shared in [("", False), ("public", True), ("s-maxage=60", True), ("must-revalidate", True)]:
        for cdn in (False, True):
            cache = TinyCache()
            headers = (
                (f"CDN-Cache-Control: max-age=60, {more}".rstrip(", "),) if cdn else (text, f"Cache-Control: {more}")
            )
            cache.request(environ_of("/", AUTHORIZATION="Basic YWxpY2U6"), NOW, "200 OK", *headers, body=b"hers")
            assert (cache.request(environ_of("/"), NOW + 1).body == b"hers") is shared, (more, cdn)


def test_a_password_gets_what_is_declared_to_be_everybody_s_and_nothing_else() -> None:
    for text, shared in [("max-age=60", False), ("max-age=60, public", True), ("s-maxage=60", True)]:
        cache = TinyCache()
        cache.request(environ_of("/"), NOW, "200 OK", f"Cache-Control: {text}", body=b"of nobody")
        answer = cache.request(environ_of("/", AUTHORIZATION="x"), NOW + 1, "200 OK", "Cache-Control: no-store")
        assert (answer.verdict == policy.FRESH) is shared
        assert cache.request(environ_of("/"), NOW + 2).body == b"of nobody"


def test_a_certificate_is_as_good_as_a_password_and_cannot_be_made_a_part_of_the_key() -> None:
    some = rules("/* 10s authorization cookies")
    wish = policy.read_request(environ_of("/"), some, identified=True)
    for text, kept in [("max-age=60", False), ("max-age=60, public", True), ("", False)]:
        made, _ = policy.make_entry("k", wish, environ_of("/"), "200 OK", [("Cache-Control", text)], NOW, NOW, some)
        assert (made is not None) is kept
    assert not policy.shares(None, wish)


def test_cookies_do_not_keep_from_what_is_explicitly_fresh() -> None:
    cache = TinyCache()
    cache.request(environ_of("/", COOKIE="a=1"), NOW, "200 OK", "Cache-Control: max-age=60", body=b"everybody's")
    assert cache.request(environ_of("/", COOKIE="a=2"), NOW + 1).verdict == policy.FRESH


@pytest.mark.parametrize(
    ("said", "differing", "rule", "ignored"),
    [
        ("max-age=60", ["HTTP_COOKIE", "HTTP_TRACEPARENT"], None, True),
        ("max-age=60", ["HTTP_COOKIE"], "/* 1s", True),
        ("max-age=60", ["HTTP_COOKIE"], "/* 1s cookies", False),
        ("max-age=60", ["HTTP_TRACEPARENT"], "/* 1s authorization", False),
        ("max-age=60", ["HTTP_AUTHORIZATION"], None, False),
        ("max-age=60", ["HTTP_X_API_KEY"], None, False),
        ("max-age=60", ["HTTP_IF_NONE_MATCH"], None, False),
        ("max-age=60", ["HTTP_CACHE_CONTROL"], None, False),
        ("max-age=60", ["HTTP_ACCEPT_ENCODING"], None, False),
        ("max-age=60", ["HTTP_ACCEPT_LANGUAGE"], None, False),  # it varies by that
        ("max-age=60", ["HTTP_NEVER_SEEN"], None, False),
        ("", ["HTTP_COOKIE"], "/* 1s", False),
    ],
)
def test_what_differs_between_requests_without_a_difference_to_the_answer(
    said: str, differing: list[str], rule: str | None, ignored: bool
) -> None:
    some = rules(rule) if rule else rules()
    fields = {key[5:]: "1" for key in differing if key != "HTTP_NEVER_SEEN"}
    policy.read_request(environ_of("/", **fields), some)
    headers = [("Cache-Control", said), ("Vary", "Accept-Language")]
    entry, why = policy.make_entry(
        "k", policy.read_request(environ_of("/")), environ_of("/"), "200 OK", headers, NOW, NOW, some
    )
    assert entry is not None, why
    varying = (("accept-language", "HTTP_ACCEPT_LANGUAGE"),)
    assert policy.ignores(entry, differing, varying, some.find("/")) is ignored


def test_with_vary_cookie_each_set_of_cookies_has_its_own() -> None:
    cache = TinyCache(rules(cookies=("_ga",)))
    varies = ("Cache-Control: max-age=60", "Vary: Cookie")
    cache.request(environ_of("/", COOKIE="a=1; _ga=1"), NOW, "200 OK", *varies, body=b"1")
    assert cache.request(environ_of("/", COOKIE="a=2"), NOW + 1, "200 OK", *varies, body=b"2").body == b"2"
    assert cache.request(environ_of("/", COOKIE="_ga=7; a=1"), NOW + 1).body == b"1"
    assert cache.request(environ_of("/", COOKIE="a=2"), NOW + 1).body == b"2"
    assert cache.request(environ_of("/"), NOW + 1, body=b"3").body == b"3"


def test_a_response_without_vary_does_not_undo_what_others_of_its_url_said() -> None:
    cache = TinyCache()
    fresh = "Cache-Control: max-age=60"
    cache.request(environ_of("/", ACCEPT_LANGUAGE="de"), NOW, "200 OK", fresh, "Vary: Accept-Language", body=b"de")
    cache.request(environ_of("/", ACCEPT_LANGUAGE="en"), NOW, "302 Found", fresh, body=b"en")
    assert cache.request(environ_of("/", ACCEPT_LANGUAGE="de"), NOW + 1).body == b"de"
    assert cache.request(environ_of("/", ACCEPT_LANGUAGE="fr"), NOW + 1, body=b"fr").body == b"fr"


# How long: (headers, seconds of freshness; None: not kept)

FRESHNESS = [
    (("Cache-Control: max-age=60",), 60),
    (("Cache-Control: max-age=60, s-maxage=10",), 10),
    (("Cache-Control: max-age=60", "Expires: Fri, 15 Jan 2027 09:00:00 GMT"), 60),
    (("Expires: Fri, 15 Jan 2027 09:00:00 GMT",), 3600),
    (("Expires: Fri, 15 Jan 2027 09:00:00 GMT", "Date: Fri, 15 Jan 2027 08:30:00 GMT"), 1800),
    (("Expires: 0",), None),
    (("Expires: Fri, 15 Jan 2027 09:00:00 GMT", "Expires: Fri, 15 Jan 2027 09:00:00 GMT"), None),
    (("Cache-Control: max-age=0",), None),
    (("Cache-Control: max-age=x", "Expires: Fri, 15 Jan 2027 09:00:00 GMT"), None),
    (("Cache-Control: max-age=60", "Age: 20"), 40),
    (("Cache-Control: max-age=60", "Age: 20, 0"), 40),
    (("Cache-Control: max-age=60", "Age: -20"), 60),
    (("Cache-Control: max-age=60", "Age: 20.5"), 60),
    (("Cache-Control: max-age=60", "Date: Fri, 15 Jan 2027 07:59:30 GMT"), 30),
    (("Cache-Control: max-age=60", "Date: Fri, 15 Jan 2027 07:59:30 GMT", "Age: 45"), 15),
    (("Cache-Control: max-age=60", "Date: Fri, 15 Jan 2027 09:00:00 GMT"), 60),
    (("Cache-Control: max-age=60", "Date: yesterday"), 60),
    (("Cache-Control: max-age=99999999999",), 2**31),
    (("Cache-Control: public",), None),
    (("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT",), 360),
    (("Last-Modified: Tue, 15 Jan 1980 08:00:00 GMT",), 86400),
    (("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT", "Pragma: no-cache"), 0),
    (("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT", "Cache-Control: must-revalidate"), 360),
    (("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT", "Cache-Control: no-cache"), 0),
    (('ETag: "1"',), 0),
    ((), None),
    (("CDN-Cache-Control: max-age=10", "Cache-Control: max-age=60"), 10),
    (("CDN-Cache-Control: max-age=60", "Cache-Control: no-store", "Expires: 0"), 60),
    (("CDN-Cache-Control: max-age=60, &", "Cache-Control: max-age=10"), 10),
    (("CDN-Cache-Control: max-age=60", "CDN-Cache-Control: s-maxage=10"), 10),
    (("CDN-Cache-Control: foo", "Cache-Control: max-age=60"), None),
    (("Cache-Control: no-store, must-understand, max-age=60",), 60),
]


@pytest.mark.parametrize(("headers", "seconds"), FRESHNESS)
def test_freshness(headers: tuple[str, ...], seconds: int | None) -> None:
    cache = TinyCache()
    answer = cache.request(environ_of("/"), NOW, "200 OK", *headers, body=b"1")
    if seconds is None:
        assert cache.store == {}
        assert answer.reason
        return
    assert answer.reason == ""
    if seconds:
        assert cache.request(environ_of("/"), NOW + seconds - 0.01).verdict == policy.FRESH
    assert (
        cache.request(environ_of("/"), NOW + seconds, "200 OK", "Cache-Control: no-store").verdict == policy.REVALIDATE
    )


STATUSES = [
    ("201 Created", (), None),
    ("201 Created", ("Cache-Control: max-age=60",), 60),
    ("206 Partial Content", ("Cache-Control: max-age=60", "Content-Range: bytes 0-1/2"), None),
    ("304 Not Modified", ("Cache-Control: max-age=60",), None),
    ("302 Found", ("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT",), None),
    ("503 Service Unavailable", ("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT", 'ETag: "1"'), None),
    ("503 Service Unavailable", ("Cache-Control: no-cache", 'ETag: "1"'), 0),
    ("404 Not Found", ("Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT",), 360),
    ("499 What", ("Cache-Control: max-age=60",), 60),
    ("499 What", ("Cache-Control: public", "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT"), 360),
    ("499 What", ("Cache-Control: max-age=60, must-understand",), None),
    ("500 Internal Server Error", ("Cache-Control: max-age=60",), 60),
]


@pytest.mark.parametrize(("status", "headers", "seconds"), STATUSES)
def test_freshness_by_status(status: str, headers: tuple[str, ...], seconds: float | None) -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, status, *headers)
    (entry,) = cache.store.values() or [None]
    assert (entry and entry.fresh_until_s - NOW) == seconds  # type: ignore[union-attr]


def test_rules_say_what_responses_do_not() -> None:
    some = rules("/off/* off", "/api/* 10s stale=5s error=1m 404=2s")
    table = [
        ("/api/", "200 OK", (), 10),
        ("/api/", "302 Found", (), 10),
        ("/api/", "404 Not Found", (), 2),
        ("/api/", "500 Oh", (), None),
        ("/api/", "200 OK", ("Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT",), 10),
        ("/api/", "200 OK", ("Age: 100",), 10),
        ("/api/", "200 OK", ("Date: Fri, 15 Jan 2027 07:00:00 GMT",), 10),
        ("/api/", "200 OK", ("Cache-Control: max-age=3",), 3),
        ("/api/", "200 OK", ("Cache-Control: no-cache",), None),
        ("/api/", "200 OK", ("Pragma: no-cache",), None),
        ("/off/", "200 OK", ("Cache-Control: max-age=3",), None),
        ("/", "200 OK", (), None),
    ]
    for path, status, headers, seconds in table:
        cache = TinyCache(some)
        cache.request(environ_of(path), NOW, status, *headers, body=b"1")
        if seconds is None:
            assert [entry for entry in cache.store.values() if entry.fresh_until_s > NOW] == []  # type: ignore[union-attr]
            continue
        assert cache.request(environ_of(path), NOW + seconds - 0.1).verdict == policy.FRESH
        assert cache.request(environ_of(path), NOW + seconds + 4.9).verdict == policy.STALE
        failed = cache.request(environ_of(path), NOW + seconds + 59, "503 Service Unavailable")
        assert (failed.verdict, failed.body) == (policy.REVALIDATE, b"1")
        assert cache.request(environ_of(path), NOW + seconds + 60, "503 Oh").status == "503 Oh"


def test_set_cookie_by_rule_or_by_name_is_kept_without_the_cookie() -> None:
    fresh = "Cache-Control: max-age=60"
    for some, headers in [
        (rules("/* 1s set-cookie"), (fresh, "Set-Cookie: a=1")),
        (rules(), (fresh + ', no-cache="Set-Cookie"', "Set-Cookie: a=1")),
        (rules(), (fresh + ", private=set-cookie", "Set-Cookie: a=1", "Set-Cookie: b=2")),
    ]:
        cache = TinyCache(some)
        assert cache.request(environ_of("/"), NOW, "200 OK", *headers, body=b"1").field("Set-Cookie") == "a=1"
        answer = cache.request(environ_of("/"), NOW + 1)
        assert (answer.body, answer.field("Set-Cookie")) == (b"1", None)


def test_fields_that_are_not_kept() -> None:
    cache = TinyCache()
    named = 'Cache-Control: max-age=60, no-cache="X-One, x-two", private="X-Three"'
    gone = ["X-One: 1", "X-Two: 1", "X-Three: 1", "X-Hop: 1", "Keep-Alive: 5", "Proxy-Authentication-Info: x", "Age: 3"]
    cache.request(environ_of("/"), NOW, "200 OK", named, "Connection: x-hop", "X-Stays: 1", *gone)
    answer = cache.request(environ_of("/"), NOW + 2)
    assert sorted(name for name, _ in answer.headers) == ["Age", "Cache-Control", "Date", "X-Stays"]
    assert answer.field("Age") == "5"
    assert answer.field("Date") == "Fri, 15 Jan 2027 08:00:00 GMT"


# What a request says

ASKED = [
    ("max-age=0", 5, policy.REVALIDATE),
    ("max-age=5", 4.9, policy.FRESH),
    ("max-age=5", 5.1, policy.REVALIDATE),
    ("min-fresh=10", 49.9, policy.FRESH),
    ("min-fresh=10", 50.1, policy.REVALIDATE),
    ("max-stale", 1000, policy.FRESH),
    ("max-stale=10", 70, policy.FRESH),
    ("max-stale=10", 70.1, policy.REVALIDATE),
    ("no-cache", 1, policy.REVALIDATE),
    ("no-store", 1, policy.PASS),
    ("only-if-cached", 1, policy.FRESH),
    ("only-if-cached", 61, policy.UNAVAILABLE),
    ("only-if-cached, max-stale", 61, policy.FRESH),
    ("only-if-cached, no-cache", 1, policy.UNAVAILABLE),
    ("unknown", 1, policy.FRESH),
    ("max-age=x, min-fresh=y, max-stale=z", 1, policy.FRESH),
]


@pytest.mark.parametrize(("asked", "after_s", "verdict"), ASKED)
def test_request_directives(asked: str, after_s: float, verdict: int) -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=60")
    assert cache.request(environ_of("/", CACHE_CONTROL=asked), NOW + after_s).verdict == verdict


def test_other_requests_that_matter() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=60")
    table = [
        ({"HTTP_PRAGMA": "no-cache"}, policy.REVALIDATE),
        ({"HTTP_PRAGMA": "no-cache", "HTTP_CACHE_CONTROL": "max-age=60"}, policy.FRESH),
        ({"CONTENT_LENGTH": "0"}, policy.FRESH),
        ({"CONTENT_LENGTH": "3"}, policy.PASS),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, policy.PASS),
        ({"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}, policy.PASS),
        ({"HTTP_X_ORIGINAL_URL": "/admin"}, policy.PASS),
        ({"HTTP_UPGRADE": "websocket"}, policy.PASS),
        ({"REQUEST_METHOD": "HEAD"}, policy.FRESH),
        ({"HTTP_SEC_FETCH_USER": "?1", "HTTP_USER_AGENT": "x"}, policy.FRESH),
    ]
    for changes, verdict in table:
        for _ in range(2):  # the second time the names are known
            wish = policy.read_request(environ_of("/") | changes)
            assert policy.judge(cache.find(environ_of("/"))[1], wish, NOW + 1)[0] == verdict, changes
    assert policy.judge(None, policy.read_request(environ_of("/", "PATCH")), NOW) == (policy.PASS, "method")
    oic = policy.read_request(environ_of("/", CACHE_CONTROL="only-if-cached"))
    assert policy.judge(None, oic, NOW)[0] == policy.UNAVAILABLE


def test_plain_requests_share_a_wish_that_nothing_changes() -> None:
    for method in ("GET", "HEAD"):
        first = policy.read_request(environ_of("/", method, USER_AGENT="x"))
        assert policy.read_request(environ_of("/", method, USER_AGENT="y")) is first


def test_who_may_wait_for_whom() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=60")
    cache.request(environ_of("/guess"), NOW, "200 OK", "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT")
    cache.request(environ_of("/ask"), NOW, "200 OK", "Cache-Control: no-cache", 'ETag: "1"')
    known, guessed, asked = (cache.find(environ_of(path))[1] for path in ("/", "/guess", "/ask"))
    plain, cookie = policy.read_request(environ_of("/")), policy.read_request(environ_of("/", COOKIE="a=1"))
    assert [policy.shares(entry, plain) for entry in (None, known, guessed, asked)] == [True, True, True, False]
    assert [policy.shares(entry, cookie) for entry in (None, known, guessed, asked)] == [False, True, False, False]
    part, again = environ_of("/", RANGE="bytes=0-1"), environ_of("/", RANGE="bytes=0-1", IF_RANGE='"1"')
    for ranged in (policy.read_request(part), policy.read_request(again)):
        assert [policy.shares(entry, ranged) for entry in (None, known, guessed)] == [False, True, False]
    assert policy.shares(None, policy.read_request(environ_of("/", IF_NONE_MATCH='"1"')))
    own = [environ_of("/", CACHE_CONTROL=said) for said in ("no-store", "no-cache", "max-age=9", "min-fresh=9")]
    for other in (environ_of("/", "HEAD"), environ_of("/", "POST"), *own):
        assert not policy.shares(known, policy.read_request(other))
        assert not policy.shares(None, policy.read_request(other))


# What is stale

STALE = [
    ("max-age=10, stale-while-revalidate=5", 14.9, policy.STALE),
    ("max-age=10, stale-while-revalidate=5", 15.1, policy.REVALIDATE),
    ("s-maxage=10, stale-while-revalidate=5", 14.9, policy.STALE),
    ("max-age=10, stale-while-revalidate=5, must-revalidate", 11, policy.REVALIDATE),
    ("max-age=10, stale-while-revalidate=5, proxy-revalidate", 11, policy.REVALIDATE),
    ("max-age=10, stale-while-revalidate=5, no-cache", 1, policy.REVALIDATE),
]


@pytest.mark.parametrize(("said", "after_s", "verdict"), STALE)
def test_stale_while_revalidate(said: str, after_s: float, verdict: int) -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", f"Cache-Control: {said}", 'ETag: "1"')
    assert cache.request(environ_of("/"), NOW + after_s).verdict == verdict


@pytest.mark.parametrize("said", ["s-maxage=10", "max-age=10, must-revalidate", "max-age=10, proxy-revalidate"])
def test_what_forbids_stale_holds_against_rules_and_requests(said: str) -> None:
    cache = TinyCache(rules("/* 1s stale=1h error=1h"))
    cache.request(environ_of("/"), NOW, "200 OK", f"Cache-Control: {said}", 'ETag: "1"', body=b"1")
    asking = environ_of("/", CACHE_CONTROL="max-stale, stale-if-error=60")
    wish = policy.read_request(asking)
    entry = cache.find(asking)[1]
    assert entry is not None
    assert policy.judge(entry, wish, NOW + 11)[0] == policy.REVALIDATE
    if "s-maxage" not in said:
        assert not policy.serves_on_error(entry, 503, wish, NOW + 11)


def test_stale_if_error() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=10, stale-if-error=30", body=b"1")
    entry, wish = cache.find(environ_of("/"))[1], policy.read_request(environ_of("/"))
    assert entry is not None
    served = {
        status: policy.serves_on_error(entry, status, wish, NOW + 39.9) for status in (0, 500, 503, 501, 404, 200)
    }
    assert served == {0: True, 500: True, 503: True, 501: False, 404: False, 200: False}
    assert not policy.serves_on_error(entry, 503, wish, NOW + 40)
    patient = policy.read_request(environ_of("/", CACHE_CONTROL="stale-if-error=100"))
    assert policy.serves_on_error(entry, 503, patient, NOW + 109)
    assert not policy.serves_on_error(entry, 503, policy.read_request(environ_of("/", AUTHORIZATION="x")), NOW + 11)
    cache.request(environ_of("/"), NOW, "503 Oh", "Cache-Control: max-age=10, stale-if-error=30", body=b"an error")
    assert cache.request(environ_of("/"), NOW + 51, "503 Again", body=b"another").body == b"another"


def test_a_soft_purge_makes_stale() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=60, stale-while-revalidate=5")
    entry = cache.find(environ_of("/"))[1]
    assert entry is not None
    entry.expire(NOW + 1)
    wish = policy.read_request(environ_of("/"))
    assert [policy.judge(entry, wish, NOW + at)[0] for at in (0.5, 1, 6)] == [
        policy.FRESH,
        policy.STALE,
        policy.REVALIDATE,
    ]


# Asking the application


def test_revalidation_asks_by_what_there_is() -> None:
    cache = TinyCache()
    modified = "Mon, 01 Jan 2024 00:00:00 GMT"
    cache.request(environ_of("/"), NOW, "200 OK", 'ETag: W/"1"', f"Last-Modified: {modified}")
    entry = cache.find(environ_of("/"))[1]
    changes = policy.revalidation(entry, environ_of("/"))
    assert changes == {"HTTP_IF_NONE_MATCH": 'W/"1"', "HTTP_IF_MODIFIED_SINCE": modified}
    assert policy.revalidation(None, environ_of("/")) == {}


def test_a_304_is_about_the_version_that_it_names() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", 'ETag: "1"')
    entry = cache.find(environ_of("/"))[1]
    assert entry is not None
    assert policy.confirms(entry, [("etag", '"1"')])
    assert policy.confirms(entry, [("ETag", 'W/"1"')])
    assert policy.confirms(entry, [])
    assert not policy.confirms(entry, [("ETag", '"2"')])


def test_a_304_makes_fresh_and_changes_fields_but_not_those_of_the_body() -> None:
    cache = TinyCache()
    fields = ["Content-Type: text/html", "Content-Length: 1", "X-Old: 1", "X-New: 1", 'ETag: "1"']
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=10", *fields, body=b"1")
    news = [
        "Content-Type: x/y",
        "Content-Length: 9",
        "Content-Encoding: gzip",
        "X-New: 2",
        "X-New: 3",
        "Set-Cookie: a=1",
    ]
    cache.request(environ_of("/"), NOW + 20, "304 Not Modified", "Cache-Control: max-age=30", *news)
    answer = cache.request(environ_of("/"), NOW + 49.9)
    assert answer.verdict == policy.FRESH
    assert sorted(answer.headers) == [
        ("Age", "29"),
        ("Cache-Control", "max-age=30"),
        ("Content-Length", "1"),
        ("Content-Type", "text/html"),
        ("Date", "Fri, 15 Jan 2027 08:00:20 GMT"),
        ("ETag", '"1"'),
        ("X-New", "2"),
        ("X-New", "3"),
        ("X-Old", "1"),
    ]


@pytest.mark.parametrize("said", ["Cache-Control: private", "Cache-Control: no-store", "Vary: *"])
def test_a_304_may_end_the_keeping(said: str) -> None:
    from vivace.cache.entry import ONCE

    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=10", 'ETag: "1"')
    entry = cache.find(environ_of("/"))[1]
    assert entry is not None
    name, _, value = said.partition(": ")
    assert policy.freshened(entry, [(name, value)], NOW, NOW).flags & ONCE
    wish = policy.read_request(environ_of("/", AUTHORIZATION="x"))
    assert policy.freshened(entry, [], NOW, NOW, None, wish).flags & ONCE
    assert not policy.freshened(entry, [], NOW, NOW).flags & ONCE


def test_a_head_freshens_what_it_confirms() -> None:
    cache = TinyCache()
    cache.request(environ_of("/"), NOW, "200 OK", "Cache-Control: max-age=10", 'ETag: "1"', "X: 1", body=b"123")
    entry = cache.find(environ_of("/"))[1]
    assert entry is not None

    def made(status: str, *headers: tuple[str, str]) -> object:
        return policy.freshened_by_head(entry, status, list(headers), NOW + 20, NOW + 20)

    found = policy.freshened_by_head(
        entry, "200 OK", [("ETag", '"1"'), ("Content-Length", "3"), ("X", "2")], NOW, NOW + 20
    )
    assert found is not None
    assert (found.body, found.fresh_until_s, dict(found.headers)["X"]) == (b"123", NOW + 30, "2")
    assert made("404 Not Found") is None
    assert made("200 OK", ("ETag", '"2"')) is None
    assert made("200 OK", ("Content-Length", "4")) is None
    assert made("200 OK", ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")) is None
    assert made("200 OK", ("Cache-Control", "no-store")) is None
    assert made("200 OK", ("Set-Cookie", "a=1")) is None


# What a request changes


def test_unsafe_methods_invalidate_what_they_name_on_their_own_site() -> None:
    some = rules("/me 5s cookies")
    moved = [("Location", "/b?x"), ("Content-Location", "https://a.test/c"), ("location", "https://b.test/d")]
    asked = environ_of("/a?utm=1", "POST", COOKIE="x=1")
    expected = ["GET https://a.test/a?utm=1", "GET https://a.test/b?x", "GET https://a.test/c"]
    assert policy.invalidates("POST", "201 Created", asked, moved, some) == expected
    assert policy.invalidates("DELETE", "204 No Content", environ_of("/me", COOKIE="a=1"), [], some) == [
        "GET https://a.test/me"
    ]
    assert policy.invalidates("POST", "400 Bad Request", asked, moved) == []
    assert policy.invalidates("PROPFIND", "302 Found", asked, []) == expected[:1]
    for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        assert policy.invalidates(method, "200 OK", asked, moved) == []


# What is told


def test_cache_status() -> None:
    said = policy.cache_status
    assert said(hit=True, ttl=30) == "vivace; hit; ttl=30"
    assert said(fwd="uri-miss", stored=True, collapsed=True) == "vivace; fwd=uri-miss; stored; collapsed"
    assert said(fwd="stale", fwd_status=304) == "vivace; fwd=stale; fwd-status=304"
    assert said(fwd="bypass", detail="Set-Cookie") == 'vivace; fwd=bypass; detail="Set-Cookie"'
    assert said(hit=True, fwd="hit") == "vivace; hit"
