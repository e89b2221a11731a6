"""Keys of what is kept: two requests share one only if the application would be asked for the same."""

from __future__ import annotations

import pytest

from caches import environ_of
from vivace.cache import keys
from vivace.cache.entry import VaryRecord
from vivace.cache.rules import Rules, read_rule

RULES = Rules([read_rule("/me 5s cookies authorization"), read_rule("/c 5s cookies")], ("utm_*",), ("_ga",))


def test_the_primary_key_is_the_url() -> None:
    assert keys.primary(environ_of("/a%20b?x=1")) == "GET https://a.test/a%20b?x=1"
    assert keys.primary(environ_of("/", "HEAD")) == "GET https://a.test/"


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({"HTTP_HOST": "A.Test:443"}, "https://a.test"),
        ({"HTTP_HOST": "a.test:80"}, "https://a.test:80"),
        ({"HTTP_HOST": "a.test:80", "wsgi.url_scheme": "http"}, "http://a.test"),
        ({"HTTP_HOST": "a.test:"}, "https://a.test:"),
        ({"HTTP_HOST": "[::1]:8000"}, "https://[::1]:8000"),
        ({"HTTP_HOST": "", "SERVER_NAME": "b.test", "SERVER_PORT": "443"}, "https://b.test"),
    ],
)
def test_the_origin(changes: dict[str, str], origin: str) -> None:
    assert keys.origin(environ_of("/") | changes) == origin


def test_a_path_is_compared_as_it_was_sent() -> None:
    paths = ["/a/b", "/a%2Fb", "/a//b", "/a/./b", "/A/b", "/a/b/", "/a/b?", "/a/b?c"]
    made = {keys.primary(environ_of(path)) for path in paths}
    assert len(made) == len(paths) - 1  # an empty query is none


def test_script_name_is_a_part_of_the_path_once() -> None:
    assert keys.target_of(environ_of("/x?y") | {"SCRIPT_NAME": "/app"}) == "/app/x?y"
    assert keys.target_of(environ_of("/app/x?y") | {"SCRIPT_NAME": "/app"}) == "/app/x?y"


def test_ignored_parameters_do_not_count() -> None:
    assert keys.primary(environ_of("/?utm_source=x&a=1"), RULES) == keys.primary(environ_of("/?a=1"), RULES)
    assert keys.primary(environ_of("/?utm_source=x"), RULES) == keys.primary(environ_of("/"), RULES)


def test_a_rule_for_cookies_makes_a_key_for_each_set_of_them() -> None:
    def key(path: str, **fields: str) -> str:
        return keys.primary(environ_of(path, **fields), RULES)

    nobody = key("/me")
    assert nobody == key("/me", COOKIE="_ga=1") == "GET https://a.test/me"
    own = [
        key("/me", COOKIE="session=secret"),
        key("/me", COOKIE="session=other"),
        key("/me", AUTHORIZATION="session=secret"),
        key("/me", AUTHORIZATION="a", COOKIE="b"),
        key("/me", AUTHORIZATION="b", COOKIE="a"),
    ]
    assert len({nobody, *own}) == 6
    assert not [one for one in own if "secret" in one]
    assert key("/me", COOKIE="session=secret; _ga=2") == own[0]
    assert key("/c", AUTHORIZATION="a") == "GET https://a.test/c"
    assert key("/other", COOKIE="a") == "GET https://a.test/other"


def test_the_secondary_key_holds_the_values_of_the_fields() -> None:
    record = VaryRecord("k", ("accept-language", "x-kind"), 10, 0.0)

    def key(**fields: str) -> str:
        return keys.secondary("k", record, environ_of("/", **fields), RULES)

    assert key(ACCEPT_LANGUAGE="de, en;q=0.5", X_KIND="1") == "k\na:accept-language,x-kind\nde,en;q=0.5\n1"
    assert key(ACCEPT_LANGUAGE="DE ,en; q=0.5", X_KIND="1") == key(ACCEPT_LANGUAGE="de, en;q=0.5", X_KIND="1")
    different = [key(), key(X_KIND=""), key(X_KIND="a"), key(X_KIND="A"), key(ACCEPT_LANGUAGE="a"), key(X_KIND="a b")]
    assert len(set(different)) == len(different)


def test_records_with_other_names_or_numbers_share_no_key() -> None:
    environ = environ_of("/", A="1", B="1")
    records = [VaryRecord("k", names, number, 0.0) for names in ("a", "b", "ab") for number in (1, 2)]
    assert len({keys.secondary("k", record, environ) for record in records}) == len(records)


def test_secrets_and_long_values_enter_as_a_digest() -> None:
    by_cookie = VaryRecord("k", ("cookie",), 1, 0.0)
    one = keys.secondary("k", by_cookie, environ_of("/", COOKIE="session=secret; _ga=1"), RULES)
    assert "secret" not in one
    assert one == keys.secondary("k", by_cookie, environ_of("/", COOKIE="_ga=2; session=secret"), RULES)
    assert one != keys.secondary("k", by_cookie, environ_of("/", COOKIE="session=other"), RULES)
    by_agent = VaryRecord("k", ("user-agent",), 1, 0.0)
    assert len(keys.secondary("k", by_agent, environ_of("/", USER_AGENT="x" * 1000))) < 100


def test_values_are_made_alike_only_where_their_syntax_allows_it() -> None:
    assert keys.normal("accept-encoding", "GZIP;q = 1 ,\tbr,,") == "gzip;q=1,br"
    assert keys.normal("accept", "text/HTML; q=1, */*") == "text/HTML;q=1,*/*"
    assert keys.normal("x-any", "a , B") == "a,B"
    assert keys.normal("x-any", '"a , b"') == '"a , b"'
    assert keys.normal("x-any", "a  b") == "a  b"


def test_names_of_a_vary_record_add_up() -> None:
    first = keys.vary_record("k", ("a",), 1.0, None)
    assert first is not None
    assert keys.vary_record("k", (), 2.0, first) is first
    second = keys.vary_record("k", ("b",), 3.0, first)
    assert second is not None
    assert second.names == {"a", "b"}
    assert second.number != first.number
    assert keys.vary_record("k", tuple(map(str, range(100))), 3.0, second) is None


def test_the_path_of_a_key() -> None:
    assert keys.path_of("GET https://a.test/b/c?d\nfor 1\n2:x\ny") == "/b/c?d"


BASE = "https://a.test/b/c/d?q"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        *[("/x?y#z", "https://a.test/x?y"), ("x", "https://a.test/b/c/x"), ("../x", "https://a.test/b/x")],
        *[("./..", "https://a.test/b/"), ("../../../x", "https://a.test/x"), ("?y", "https://a.test/b/c/d?y")],
        *[("https://A.test:443/x", "https://a.test/x"), ("//a.test/x", "https://a.test/x"), ("", BASE), ("#z", BASE)],
        *[("https://a.test", "https://a.test/"), ("https://a.test?x", "https://a.test/?x"), ("x:y", None)],
        *[("http://a.test/x", None), ("https://b.test/x", None), ("//b.test/x", None), ("mailto:x@a.test", None)],
        *[("https://a.test.b/x", None), ("https://a.test@b/x", None), ("HTTPS://a.test/x", "https://a.test/x")],
        ("x?y=://z", "https://a.test/b/c/x?y=://z"),
    ],
)
def test_references_are_resolved_within_the_origin(reference: str, expected: str | None) -> None:
    assert keys.resolve(BASE, reference) == expected


def test_what_is_remembered_of_values_is_bounded_and_holds_no_secret() -> None:
    for number in range(keys.KEPT_MAX + 10):
        keys.normal("x", str(number))
    keys.normal("x-api-key", "secret")
    assert len(keys._known) <= keys.KEPT_MAX
    assert ("x-api-key", "secret") not in keys._known
