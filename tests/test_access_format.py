"""config.access_format: the table of atoms, the reader of formats, and what it says of a format that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vivace.config.access_format import ATOMS, FIELDS, FORMATS, Use, parse, renewed
from vivace.config.load import from_keywords
from vivace.errors import SettingError

PAGE = Path(__file__).parent.parent / "docs" / "logging.md"


def test_the_page_has_the_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "run: python -m vivace.config.access_format"


def test_no_two_atoms_share_a_spelling_or_a_name() -> None:
    for spellings in ([a.gunicorn for a in ATOMS], [a.apache for a in ATOMS], [(a.name,) for a in ATOMS]):
        flat = [each for some in spellings for each in some]
        assert len(flat) == len(set(flat))
    assert len({field.name for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_named_formats_are_formats(name: str) -> None:
    assert parse(name) == parse(name) or [getattr(part, "atom", part) for part in parse(name)] == [
        getattr(part, "atom", part) for part in parse(FORMATS[name])
    ]


def test_gunicorns_atoms_are_those_of_the_installed_one() -> None:
    """Every atom in the documentation of access_log_format is understood."""
    from gunicorn.config import AccessLogFormat

    names = re.findall(r"^ *\| ([a-zA-Z]|\{\w+\}[ioe]) +\|", AccessLogFormat.desc, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        spelled = name.replace("{header}", "{x-y}").replace("{variable}", "{PATH_INFO}")
        [use] = parse(f"%({spelled})s")
        assert isinstance(use, Use)


def names(text: str) -> list[str]:
    return [part if isinstance(part, str) else part.atom.name for part in parse(text)]


def test_both_spellings_side_by_side() -> None:
    assert names('%h [%(t)s] "%>s" 100%% %(a)s') == [
        "client",
        " [",
        "time",
        '] "',
        "status",
        '" 100',
        "%",
        " ",
        "agent",
    ]


def test_an_atom_knows_whether_it_stands_between_quotes() -> None:
    uses = [part for part in parse('%h "%r" %U \\"%a %v\\" %m') if isinstance(part, Use)]
    assert [use.quoted for use in uses] == [False, True, False, True, True, False]


def test_escapes_are_those_of_apache_but_in_json() -> None:
    assert parse('\\"%h\\"\\t\\\\x')[0] == '"'
    assert parse('\\"%h\\"\\t\\\\x')[-1] == '"\t\\x'
    assert parse('{"a\\"": "%h"}')[0] == '{"a\\"": "'


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        ("%{User-Agent}i", "field", "HTTP_USER_AGENT"),
        ("%({x-forwarded-for}i)s", "field", "HTTP_X_FORWARDED_FOR"),
        ("%{Content-Type}i", "field", "CONTENT_TYPE"),
        ("%{content-length}i", "field", "CONTENT_LENGTH"),
        ("%{Location}o", "response_field", "location"),
        ("%({server_port}e)s", "variable", "SERVER_PORT"),
        ("%{wsgi.url_scheme}e", "variable", "wsgi.url_scheme"),
        ("%{Mixed_Name}e", "variable", "Mixed_Name"),
        ("%{%Y}t", "strftime", "%Y"),
        ("%{ms}T", "milliseconds", ""),
        ("%{c}a", "peer", ""),
        ("%{remote}p", "client_port", ""),
        ("%{id}", "id", ""),
        ("%({id})s", "id", ""),
        ("%(id)s", "id", ""),
        ("%(D)d", "microseconds", ""),
    ],
)
def test_names_in_braces(text: str, name: str, key: str) -> None:
    [use] = parse(text)
    assert isinstance(use, Use)
    assert (use.atom.name, use.key) == (name, key)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jsn", "did you mean json?"),
        ("", "give common, combined, json or a format string"),
        ("$remote_addr $request", "has no atom in it"),
        ("%h %l %Z", "%Z at character 7: no such atom; docs/logging.md lists them"),
        ("%h\t%(status)s", "%(status)s at character 4: no such atom; did you mean %(s)s?"),
        ("%(S)s", "did you mean %(s)s?"),
        ("%(clent)s", "did you mean %(h)s?"),
        ("%(h)x", "an atom in parentheses ends with an s: %(h)s"),
        ("%(h)", "an atom in parentheses ends with an s: %(h)s"),
        ("%O", "the nearest is %B"),
        ("%{Referer}I", "did you mean %{NAME}i?"),
        ("%{x y}i", "%{x y}i at character 1: 'x y' is no name of a field"),
        ("%({x y}o)s", "'x y' is no name of a field"),
        ("50% of %h", "a percent sign is %%"),
        ("%h\n%h", "a line of the access log is one line"),
        ("%{}i", "no such atom"),
    ],
)
def test_a_format_that_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SettingError, match="access_log_format") as caught:
        from_keywords(access_log_format=text)
    assert said in str(caught.value)
