"""HAR files as browsers save them: what is taken, what is left out, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vivace.errors import SettingError
from vivace.lab.har import Har, line_of


def entry(url: str = "http://example.org/", at: str = "2024-01-01T00:00:00.000Z", **request: Any) -> dict[str, Any]:
    made = {"method": "GET", "url": url, "httpVersion": "HTTP/1.1", "headers": [], "bodySize": 0, **request}
    return {"startedDateTime": at, "time": 1, "request": made, "response": {"status": 200}}


def har(*entries: Any, host: str = "example.org", named: bool = False, credentials: bool = False) -> Har:
    text = json.dumps({"log": {"version": "1.2", "pages": [], "entries": list(entries)}}, indent=1)
    found = Har("day.har", text, host=host, named=named, credentials=credentials)
    found.read()
    return found


def test_only_what_was_asked_of_the_host_is_taken() -> None:
    cached = entry("http://example.org/cached.js") | {"_fromCache": "memory"}
    socket = entry("ws://example.org/live")
    found = har(
        entry("https://example.org/a?q=ü b#top"),
        entry("data:text/plain,x"),
        entry("https://cdn.example/x.js"),
        cached,
        socket,
    )
    assert [(shot.method, shot.target, shot.headers) for shot in found.shots] == [("GET", "/a?q=%C3%BC%20b", [])]
    told = "\n".join(found.notes())
    for part in ("no http: data", "no http: ws", "cdn.example (1)", "browser's cache"):
        assert part in told


@pytest.mark.parametrize(
    ("url", "host", "named", "taken"),
    [
        ("http://example.org:8000/", "example.org:8000", False, True),
        ("http://example.org:8000/", "example.org", False, False),
        ("http://example.org:8000/", "example.org", True, True),
        ("https://EXAMPLE.org/", "example.org:443", False, True),
        ("http://example.org.evil.example/", "example.org", True, False),
        ("http://user:word@example.org/", "example.org", False, True),
        ("http://[::1]:8000/", "[::1]:8000", False, True),
    ],
)
def test_whose_host_it_is(url: str, host: str, named: bool, taken: bool) -> None:
    other = entry(f"http://{host}/other")
    assert len(har(entry(url), other, host=host, named=named).shots) == 1 + taken


def test_a_file_for_other_hosts_says_which() -> None:
    with pytest.raises(SettingError, match=r"no request for 127.0.0.1:80; it has some for example.org \(2\).*--host"):
        har(entry(), entry(), host="127.0.0.1:80")
    assert har(entry(), host="example.org", named=True).shots[0].headers == [("Host", "example.org")]


def test_credentials_stay_unless_they_are_asked_for() -> None:
    fields = [
        {"name": "Cookie", "value": "s=1"},
        {"name": "authorization", "value": "Bearer x"},
        {"name": "Accept", "value": "*/*"},
    ]
    one = entry(headers=fields, cookies=[{"name": "s", "value": "1"}])
    found = har(one)
    assert found.shots[0].headers == [("Accept", "*/*")]
    assert found.notes() == ["credentials are left out: authorization, cookie; --credentials sends them"]
    found = har(one, credentials=True)
    assert [name for name, _ in found.shots[0].headers] == ["Cookie", "authorization", "Accept"]
    assert found.notes() == ["cookies and authorization are sent as they were recorded"]


def test_bodies_are_sent_as_they_were() -> None:
    length = [{"name": "Content-Length", "value": "999"}, {"name": "Transfer-Encoding", "value": "chunked"}]
    form = {"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a", "value": "b c"}, {"name": "d"}]}
    found = har(
        entry(method="POST", headers=length, bodySize=3, postData={"mimeType": "text/plain", "text": "aü"}),
        entry(method="POST", bodySize=9, postData=form),
        entry(method="PUT", bodySize=2, postData={"mimeType": "image/png", "text": "AP8=", "encoding": "base64"}),
        entry(method="POST", bodySize=5),
        entry(method="POST", bodySize=0, postData={"mimeType": "", "text": ""}),
    )
    assert [shot.body for shot in found.shots] == ["aü".encode(), b"a=b+c&d=", b"\0\xff", b""]
    assert found.shots[0].headers == []
    assert "its body is not in the file" in found.notes()[0]


def test_times_and_the_mix() -> None:
    first, last = "2024-01-01T00:00:10.000+00:00", "2024-01-01T01:00:11.500+01:00"
    found = har(entry("http://example.org/b", at=last), entry(at=first), entry(at=first))
    assert list(found.timetable(2.0)) == [(0.0, 1), (0.0, 2), (0.75, 0)]
    assert {(shot.target, shot.weight) for shot in found.mix()} == {("/b", 1.0), ("/", 2.0)}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (7, "request is missing, or is not an object"),
        ({"request": {}}, "url is missing, or is not a string"),
        (entry(method="GET\r\nX: y"), "no method"),
        (entry(headers=[{"name": "A", "value": "b\r\nC: d"}]), "the field A holds a control character"),
        (entry(headers=[{"name": "A b", "value": ""}]), "no name of a field"),
        (entry(headers=[1]), "name is missing"),
        (entry(at="yesterday"), "startedDateTime"),
        (entry("http://[::1/"), "url"),
        (entry("http://example.org:99999/"), "url"),
        (entry(postData=3), "postData"),
        (entry(postData={"text": "!", "encoding": "base64"}), "entry 2"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(wrong: Any, message: str) -> None:
    with pytest.raises(SettingError, match=r"day\.har: line \d+: entry 2: ") as caught:
        har(entry(), wrong)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"log": []}', '{"log": {"entries": {}}}', "[" * 100_000, "1" * 5000]
)
def test_what_is_no_har(text: str) -> None:
    with pytest.raises(SettingError, match=r"day\.har: "):
        Har("day.har", text, host="a", named=False).read()


def test_the_line_of_an_element() -> None:
    text = '{\n"requests": [\n{"a": 1},\n\n{"b": [1,\n2]}, 3]}'
    assert [line_of(text, "requests", number) for number in range(3)] == ["line 3: ", "line 5: ", "line 6: "]
    assert line_of(text, "requests", 9) == ""
    assert line_of("{}", "requests", 0) == ""
