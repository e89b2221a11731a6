"""http1.forwarded: the client's view of a request, as trusted proxies tell it; nobody else is ever believed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vivace.errors import Refused
from vivace.http1 import forwarded as module
from vivace.http1.flags import PRIVATE
from vivace.http1.forwarded import (
    FIELDS,
    HOPS_MAX,
    PAIRS_MAX,
    Forwarded,
    XForwarded,
    both,
    elements,
    pick,
    read_prefix,
    rooted,
    strip,
)
from vivace.http1.trusted import Trusted

if TYPE_CHECKING:
    from typing import Any

NETWORKS = ("10.0.0.0/8", "2001:db8:ffff::/48")
TRUSTED = Trusted(NETWORKS)
PEER = ("10.0.0.1", "4000")


def environ_of(**fields: str) -> dict[str, Any]:
    """Of a request that 10.0.0.1 has passed on; fields by their names in lower case."""
    return {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": fields.pop("path", "/"),
        "SCRIPT_NAME": fields.pop("script", ""),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": PEER[0],
        "REMOTE_PORT": PEER[1],
        "wsgi.url_scheme": "http",
        "HTTP_HOST": fields.pop("outer_host", "app.internal"),
        **{"HTTP_" + name.upper(): value for name, value in fields.items()},
    }


def x_forwarded(root: str = "", believed: tuple[str, ...] = FIELDS, **fields: str) -> dict[str, Any]:
    """The environ after X-Forwarded-FIELD of `fields` was believed."""
    known = {f"x_forwarded_{name}" if name in FIELDS else name: value for name, value in fields.items()}
    environ = environ_of(**known)
    assert XForwarded(TRUSTED, believed, root)(environ) == PRIVATE
    return environ


def forwarded(value: str, **more: str) -> dict[str, Any]:
    """The environ after `Forwarded: value` was believed."""
    environ = environ_of(forwarded=value, **more)
    assert Forwarded(TRUSTED)(environ) == PRIVATE
    return environ


def client(environ: dict[str, Any]) -> tuple[str, str]:
    return environ["REMOTE_ADDR"], environ["REMOTE_PORT"]


def url(environ: dict[str, Any]) -> tuple[str, ...]:
    keys = ("wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
    return tuple(environ[key] for key in keys)


# X-Forwarded-For.


@pytest.mark.parametrize(
    ("chain", "wanted"),
    [
        ("192.0.2.1", ("192.0.2.1", "")),
        ("192.0.2.1:5000", ("192.0.2.1", "5000")),
        ("2001:db8::1", ("2001:db8::1", "")),
        ("[2001:db8::1]:5000", ("2001:db8::1", "5000")),
        ("::ffff:192.0.2.1", ("192.0.2.1", "")),
        # Past trusted hops, in either family, to the first that is not.
        ("192.0.2.1, 10.0.0.2", ("192.0.2.1", "")),
        ("192.0.2.1,10.0.0.3 ,\t10.0.0.2", ("192.0.2.1", "")),
        ("192.0.2.1:7, [2001:db8:ffff::1]:8, ::ffff:10.0.0.2", ("192.0.2.1", "7")),
        # What stands further left is hearsay.
        ("127.0.0.1, 192.0.2.1", ("192.0.2.1", "")),
        ("10.0.0.9, 192.0.2.1, 10.0.0.2", ("192.0.2.1", "")),
        ("192.0.2.66, 10.0.0.9, 192.0.2.1", ("192.0.2.1", "")),
        ("rubbish, 192.0.2.1", ("192.0.2.1", "")),
        # Trusted proxies alone: the client is one of them.
        ("10.0.0.7", ("10.0.0.7", "")),
        ("10.0.0.8, 10.0.0.7", ("10.0.0.8", "")),
        # A hop that is no address: the last one that is known.
        ("unknown", PEER),
        ("", PEER),
        ("unix:", PEER),
        ("192.0.2.1,", PEER),
        ("192.0.2.1, unknown", PEER),
        ("192.0.2.1, unknown, 10.0.0.2", ("10.0.0.2", "")),
        ("192.0.2.1, 10.0.0.2:x", PEER),
    ],
)
def test_the_client_of_a_chain(chain: str, wanted: tuple[str, str]) -> None:
    environ = x_forwarded(**{"for": chain})
    assert client(environ) == wanted
    if wanted != PEER:
        assert (environ["vivace.peer"], environ["vivace.peer_port"]) == PEER
    assert environ["HTTP_X_FORWARDED_FOR"] == chain  # stays readable
    assert url(environ) == ("http", "app.internal", "127.0.0.1", "8000")


def test_without_a_field_nothing_changes() -> None:
    environ = environ_of()
    before = dict(environ)
    assert XForwarded(TRUSTED)(environ) == Forwarded(TRUSTED)(environ) == PRIVATE
    assert environ == before


HOP = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["10.0.0.2", "10.9.9.9:80", "[2001:db8:ffff::7]:1", "unknown", "_secret", "", '"', "10.0.0.1"]),
    st.text(st.characters(max_codepoint=255), max_size=30).map(lambda text: text.replace(",", "")),
)


@settings(max_examples=60)
@given(spoofed=st.lists(HOP, max_size=6), hops=st.integers(0, HOPS_MAX - 1))
def test_an_untrusted_hop_is_never_believed(spoofed: list[str], hops: int) -> None:
    """Whatever a client writes, alone or before trusted proxies, it remains the client. No exception is allowed."""
    chain = ", ".join([*spoofed, "192.0.2.1", *[f"10.0.1.{number}" for number in range(hops)]])
    assert client(x_forwarded(**{"for": chain})) == ("192.0.2.1", "")


@settings(max_examples=50)
@given(st.lists(HOP, max_size=8).map(",".join))
def test_the_client_is_an_address_of_the_chain_or_the_peer(chain: str) -> None:
    address, _ = client(x_forwarded(**{"for": chain}))
    assert address in {PEER[0]} | {TRUSTED.node(hop)[0] for hop in chain.split(",")}


def test_a_chain_is_walked_so_far_and_no_further() -> None:
    """A trusted proxy whose chain leads through more of them is in a circle."""
    chain = ", ".join(f"10.0.{number}.1" for number in range(1000, 0, -1) if number < 250)
    assert client(x_forwarded(**{"for": chain})) == (f"10.0.{HOPS_MAX + 1}.1", "")


def test_a_huge_chain_costs_little() -> None:
    """64 KiB, the most that a head can hold."""
    for chain in ("10.0.0.1," * 7000 + "10.0.0.1", "," * 65536, "1" * 65536, "[" * 65536):
        started = time.thread_time()
        x_forwarded(**{"for": chain, "proto": "https, " * 9000 + "http", "host": "a," * 30000 + "a"})
        assert time.thread_time() - started < 0.05


# The other X-Forwarded fields.


@pytest.mark.parametrize(
    ("proto", "wanted"),
    [
        *(("https", "https"), ("http", "http"), ("HTTPS", "https"), ("wss", "https"), ("ws", "http")),
        *((" https ", "https"), ("http, https", "https"), ("https,http", "http")),
    ],
)
def test_the_scheme(proto: str, wanted: str) -> None:
    environ = x_forwarded(proto=proto)
    port = {"http": "80", "https": "443"}[wanted]
    assert url(environ) == (wanted, "app.internal", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"host": "shop.example"}, ("http", "shop.example", "shop.example", "80")),
        ({"host": "shop.example:81"}, ("http", "shop.example:81", "shop.example", "81")),
        ({"host": "[::1]"}, ("http", "[::1]", "[::1]", "80")),
        ({"host": "[::1]:81", "proto": "https"}, ("https", "[::1]:81", "[::1]", "81")),
        ({"host": "shop.example", "proto": "https"}, ("https", "shop.example", "shop.example", "443")),
        ({"port": "8443", "proto": "https"}, ("https", "app.internal:8443", "127.0.0.1", "8443")),
        ({"port": "8443"}, ("http", "app.internal:8443", "127.0.0.1", "8443")),
        ({"port": "443", "proto": "https"}, ("https", "app.internal", "127.0.0.1", "443")),
        # The port of a proxy further in.
        ({"port": "80", "proto": "https"}, ("https", "app.internal", "127.0.0.1", "443")),
        # What the client wrote goes before what the proxy listens at.
        ({"port": "80", "host": "shop.example:8080"}, ("http", "shop.example:8080", "shop.example", "8080")),
        ({"port": "8000", "outer_host": "shop.example:8080"}, ("http", "shop.example:8080", "127.0.0.1", "8080")),
        ({"port": "81", "outer_host": "[::1]"}, ("http", "[::1]:81", "127.0.0.1", "81")),
    ],
)
def test_the_url(fields: dict[str, str], wanted: tuple[str, ...]) -> None:
    assert url(x_forwarded(**fields)) == wanted


def test_the_url_of_http_1_0_without_host() -> None:
    environ = environ_of(x_forwarded_proto="https", x_forwarded_port="8443")
    del environ["HTTP_HOST"]
    XForwarded(TRUSTED)(environ)
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_PORT"] == "8443"


def test_values_belong_to_the_hop_where_the_walk_ended() -> None:
    """Each of two proxies appended; the outer one's are the client's."""
    chains = {"proto": "https, http", "host": "shop.example, inner", "port": "8443, 80", "prefix": "/a, /b"}
    environ = x_forwarded(**{"for": "192.0.2.1, 10.0.0.2"}, **chains)
    assert url(environ) == ("https", "shop.example:8443", "shop.example", "8443")
    assert environ["SCRIPT_NAME"] == "/a"
    environ = x_forwarded(**{"for": "10.0.0.2, 192.0.2.1"}, **chains)
    assert url(environ) == ("http", "inner", "inner", "80")
    assert environ["SCRIPT_NAME"] == "/b"


def test_one_value_is_that_of_the_whole_chain() -> None:
    environ = x_forwarded(**{"for": "192.0.2.1, 10.0.0.3, 10.0.0.2"}, proto="https")
    assert environ["wsgi.url_scheme"] == "https"


def test_spoofed_values_to_the_left_are_not_looked_at() -> None:
    environ = x_forwarded(**{"for": "1.1.1.1, 192.0.2.1"}, proto="evil, https", host="<, shop.example", port="x, 81")
    assert url(environ) == ("https", "shop.example:81", "shop.example", "81")


@pytest.mark.parametrize(
    "fields",
    [
        *({"proto": value} for value in ("", "ftp", "https;", "https http", "https,", '"https"')),
        *({"host": value} for value in ("", "a b", "a/b", "user@host", "h:x", "h:99999", "[::1", "a,", "a\x00")),
        *({"port": value} for value in ("", "0", "65536", "x", "80;", "-1")),
        *({"prefix": value} for value in ("shop", "//shop", "/a//b", "/a?b", "/a#b", "/%zz", "/a b", "/%2Fshop")),
        {"prefix": "http://shop"},
        {"prefix": "/%00"},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        x_forwarded(**fields)
    assert refused.value.status == 400
    for value in fields.values():
        assert len(value) < 4 or value not in refused.value.detail


def test_only_the_fields_that_are_named_are_believed() -> None:
    given = {"for": "192.0.2.1", "proto": "https", "host": "shop.example", "port": "81", "prefix": "/a"}
    nothing = environ_of(**{"x_forwarded_" + name: value for name, value in given.items()})
    assert x_forwarded(believed=(), **given) == nothing
    for name in FIELDS:
        alone = x_forwarded(believed=(name,), **given)
        assert alone != nothing
        assert alone == {**nothing, **x_forwarded(**{name: given[name]})} | {
            key: value for key, value in nothing.items() if key.startswith("HTTP_X_")
        }


def test_a_field_that_is_not_believed_is_not_even_read() -> None:
    assert url(x_forwarded(believed=("for",), proto="rubbish", host="<>"))[0] == "http"


# Prefixes.


@pytest.mark.parametrize(
    ("path", "script", "info"),
    [
        ("/shop/cart", "/shop", "/cart"),
        ("/shop/", "/shop", "/"),
        ("/shop", "/shop", ""),
        ("/shopping", "/shop", "/shopping"),
        ("/cart", "/shop", "/cart"),
        ("/", "/shop", "/"),
        ("", "/shop", ""),  # OPTIONS *
        ("/shop/shop/cart", "/shop", "/shop/cart"),
    ],
)
def test_a_root_path_is_taken_off_where_it_stands(path: str, script: str, info: str) -> None:
    for adapt in (rooted("/shop"), XForwarded(TRUSTED, FIELDS, "/shop"), Forwarded(TRUSTED, "/shop")):
        environ = environ_of(path=path, script="/shop")
        adapt(environ)
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)


@pytest.mark.parametrize(
    ("prefix", "root", "path", "script", "info"),
    [
        ("/ext", "", "/cart", "/ext", "/cart"),
        ("/ext/", "", "/cart", "/ext", "/cart"),
        ("/", "", "/cart", "", "/cart"),
        ("", "", "/cart", "", "/cart"),
        ("/caf%C3%A9", "", "/cart", "/caf\xc3\xa9", "/cart"),
        ("/a/b.c~d", "", "/cart", "/a/b.c~d", "/cart"),
        # The proxy took off its own, and the application's stands inside.
        ("/ext", "/shop", "/shop/cart", "/ext/shop", "/cart"),
        # Both name the same, and the proxy took it off.
        ("/shop", "/shop", "/cart", "/shop", "/cart"),
        ("/", "/shop", "/cart", "/shop", "/cart"),
        # Announced and not taken off: it stays where it is.
        ("/ext", "", "/ext/cart", "/ext", "/ext/cart"),
    ],
)
def test_a_prefix_of_the_proxy(prefix: str, root: str, path: str, script: str, info: str) -> None:
    environ = x_forwarded(root=root, prefix=prefix, path=path, script=root)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)


def test_prefixes() -> None:
    assert read_prefix("/shop") == read_prefix("/shop/") == "/shop"
    assert read_prefix("") == read_prefix("/") == ""
    assert read_prefix("shop") is read_prefix("//shop") is read_prefix("/%2fshop") is None


# Forwarded, RFC 7239.


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("for=192.0.2.1", ("192.0.2.1", "")),
        ("For=192.0.2.1", ("192.0.2.1", "")),
        ('for="192.0.2.1:5000"', ("192.0.2.1", "5000")),
        ('for="[2001:db8:cafe::17]"', ("2001:db8:cafe::17", "")),
        ('for="[2001:DB8:cafe::17]:4711"', ("2001:db8:cafe::17", "4711")),
        (r'for="\1\92.0.2.1"', ("192.0.2.1", "")),
        ('for="192.0.2.1:_port"', ("192.0.2.1", "")),
        ("for=192.0.2.1;by=203.0.113.43;proto=http", ("192.0.2.1", "")),
        ("by=203.0.113.43 ; for=192.0.2.1 ; ", ("192.0.2.1", "")),
        ("for=192.0.2.1, for=10.0.0.2", ("192.0.2.1", "")),
        ('for=192.0.2.1,for="[::ffff:10.0.0.2]:1", for=10.0.0.2', ("192.0.2.1", "")),
        (", ,for=192.0.2.1,, for=10.0.0.2 ,", ("192.0.2.1", "")),
        ("for=10.0.0.9, for=192.0.2.1, for=10.0.0.2", ("192.0.2.1", "")),
        ("for=rubbish, for=192.0.2.1", ("192.0.2.1", "")),
        ('for="1.1.1.1, for=2.2.2.2", for=192.0.2.1', ("192.0.2.1", "")),
        ("for=10.0.0.8, for=10.0.0.7", ("10.0.0.8", "")),
        ("for=unknown", PEER),
        ("for=_hidden", PEER),
        ("for=_SEVKISEK", PEER),
        ('for="_gazonk:_1"', PEER),
        ("for=192.0.2.1, for=_hidden, for=10.0.0.2", ("10.0.0.2", "")),
        ("for=192.0.2.1, proto=http", PEER),
        ("secret=token", PEER),
        ("", PEER),
    ],
)
def test_the_client_of_forwarded(value: str, wanted: tuple[str, str]) -> None:
    environ = forwarded(value)
    assert client(environ) == wanted
    assert environ["HTTP_FORWARDED"] == value
    assert environ.get("vivace.peer", PEER[0]) == PEER[0]


def test_scheme_and_host_of_forwarded() -> None:
    assert url(forwarded("for=192.0.2.1;proto=https;host=shop.example")) == (
        *("https", "shop.example", "shop.example"),
        "443",
    )
    assert url(forwarded('for=192.0.2.1;Proto=HTTPS;host="shop.example:8443"')) == (
        *("https", "shop.example:8443", "shop.example"),
        "8443",
    )
    chain = "for=1.1.1.1;proto=http;host=evil, for=192.0.2.1;proto=https;host=shop.example, for=10.0.0.2;host=inner"
    assert url(forwarded(chain)) == ("https", "shop.example", "shop.example", "443")
    assert url(forwarded("for=unknown;proto=https"))[0] == "https"
    assert url(forwarded("for=192.0.2.1")) == ("http", "app.internal", "127.0.0.1", "8000")


BROKEN = [
    *("for", "for=", "=1", "for=1.2.3.4 x", "for = 1.2.3.4", "for=1.2.3.4:80", "for=[::1]", 'for="', 'for="1.2.3.4'),
    *('for="1.2.3.4" x', "for=1.2.3.4;for=1.2.3.5", "for=a,b", 'for="\\', 'for="\x7f"', "for=1;FOR=2", "a b=c", "é=1"),
    # Written by a client, to swallow what the proxy adds behind it.
    'for="10.0.0.9, for=192.0.2.1',
    'for=10.0.0.9;x="\\", for=192.0.2.1',
    "x" * 100 + ", for=192.0.2.1",
]


@pytest.mark.parametrize("value", BROKEN)
def test_a_broken_field_is_refused(value: str) -> None:
    with pytest.raises(Refused) as refused:
        forwarded(value)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "value",
    [
        *('for=""', "for=host.example", 'for="2001:db8::1"', 'for="[2001:db8::1"', "for=1.2.3.256", "for=1.2.3"),
        *('for="1.2.3.4:70000"', 'for="1.2.3.4:"', "for=_", 'for="[1.2.3.4]"', 'for="[::1%eth0]"', 'for="unknown:x"'),
        *("proto=ftp", 'host="a b"', 'host="a/b"', "for=1.2.3.4;proto=x", "for=1.2.3.4;host=[", "for=x, for=10.0.0.2"),
    ],
)
def test_what_a_trusted_proxy_cannot_mean_is_refused(value: str) -> None:
    with pytest.raises(Refused) as refused:
        forwarded(value)
    assert refused.value.status == 400


def test_elements() -> None:
    value = 'For="[2001:db8::1]:80";by=_b;x="a\\"b, c;d", ,;a=b;, c=d'
    assert elements(value) == [{"for": "[2001:db8::1]:80", "by": "_b", "x": 'a"b, c;d'}, {"a": "b"}, {"c": "d"}]


def test_a_field_of_many_parameters_is_refused() -> None:
    assert len(elements(",".join(["a=b"] * PAIRS_MAX))) == PAIRS_MAX
    for value in (",".join(["a=b"] * (PAIRS_MAX + 1)), "," * 65000, ";" * 65000):
        with pytest.raises(Refused):
            elements(value)


@pytest.mark.parametrize("piece", [" ", "a", '"', "\\", 'a="', "a=b ", "a= ", ", ", '"\\', "\t \t"])
def test_no_field_takes_long_to_read(piece: str) -> None:
    """The regular expression is linear: nothing is tried twice."""
    for value in (piece * 30000, "a=b," + piece * 30000 + "!", 'a="' + piece * 30000):
        started = time.thread_time()
        try:
            elements(value)
        except Refused:
            pass
        assert time.thread_time() - started < 0.1


TOKENS = st.sampled_from(
    ["for", "=", ";", ",", " ", '"', "\\", "10.0.0.2", "192.0.2.1", "proto", "http", "host", "[::1]", "é", "\t", "_x"]
)


@given(st.one_of(st.lists(TOKENS, max_size=30).map("".join), st.text(st.characters(max_codepoint=255), max_size=60)))
def test_any_field_is_read_or_refused(value: str) -> None:
    """Nothing but Refused 400; and what was read holds addresses, schemes and hosts only."""
    try:
        environ = forwarded(value)
    except Refused:
        return
    assert TRUSTED.node(environ["REMOTE_ADDR"])[0] == environ["REMOTE_ADDR"]
    assert environ["wsgi.url_scheme"] in ("http", "https")


@settings(max_examples=50)
@given(st.lists(TOKENS, max_size=20).map("".join), st.integers(0, 3))
def test_a_client_cannot_pass_for_another_by_forwarded(spoofed: str, hops: int) -> None:
    """What a client sends stands before what the proxies add: either all is refused, or the client is the client."""
    chain = ", ".join([spoofed, "for=192.0.2.1;proto=https", *["for=10.0.0.2"] * hops])
    try:
        environ = forwarded(chain)
    except Refused:
        return
    assert (client(environ), environ["wsgi.url_scheme"]) == (("192.0.2.1", ""), "https")


def test_what_was_read_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 10)
    adapt = Forwarded(TRUSTED)
    for number in range(200):
        for _ in range(2):
            environ = environ_of(forwarded=f"for=192.0.2.{number};proto=https")
            adapt(environ)
            assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (f"192.0.2.{number}", "https")
        assert len(adapt._kept) <= 10
    adapt(environ_of(forwarded="for=192.0.2.1;x=" + "y" * 1000))
    assert max(map(len, adapt._kept)) <= module.KEPT_CHARS_MAX


# Everybody else.


def test_hearsay_is_removed() -> None:
    hearsay = {
        *("forwarded", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "x_forwarded_port"),
        *("x_forwarded_prefix", "x_forwarded_server", "x_forwarded_ssl", "x_forwarded_by", "x_real_ip"),
        *("x_forwarded_client_cert", "x_forwarded_user"),
    }
    environ = environ_of(**dict.fromkeys(hearsay, "1"), accept="text/html", x_forwarder="1", via="1.1 proxy")
    assert strip(environ) == 0
    assert {key for key in environ if key.startswith("HTTP_")} == {
        *("HTTP_HOST", "HTTP_ACCEPT", "HTTP_X_FORWARDER", "HTTP_VIA"),
    }
    assert client(environ) == PEER


def test_one_after_the_other() -> None:
    environ = environ_of(x_forwarded_for="1.1.1.1", path="/shop/cart")
    assert both(strip, rooted("/shop"))(environ) == 0
    assert environ["PATH_INFO"] == "/cart"
    assert "HTTP_X_FORWARDED_FOR" not in environ
    assert both(strip, None) is strip


@pytest.mark.parametrize(
    ("values", "distance", "wanted"),
    [
        ("a", 0, "a"),
        ("a", 5, "a"),
        ("a,b", 0, "b"),
        ("a, b", 1, "a"),
        (" a ,b", 2, "a"),
        ("a,b,c,d", 1, "c"),
        ("", 3, ""),
    ],
)
def test_pick(values: str, distance: int, wanted: str) -> None:
    assert pick(values, distance) == wanted
