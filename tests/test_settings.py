"""The settings table, the kinds of value, and the reference page generated from them."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vivace.cli.main import FLAGS
from vivace.config import kinds, reference
from vivace.config.row import Row
from vivace.config.settings import ELSEWHERE, PARTS, ROWS, SECTIONS, Settings, names

TYPES = {
    "str": str,
    "dir": str,
    "choice": str,
    "number": str,
    "int": int,
    "bytes": int,
    "mode": int,
    "bool": bool,
    "seconds": float,
    "list": tuple[str, ...],
}
by_name = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def row_of(kind: str, **more: object) -> Row:
    row = Row("limits", kind, None, "help", "precedent", **more)  # type: ignore[arg-type]
    row.__set_name__(object, "probe")
    return row


# --- the table --------------------------------------------------------------------------------------------


@by_name
def test_row_is_complete(row: Row) -> None:
    assert row.section in SECTIONS
    assert row.help.endswith(".")
    assert row.precedent.endswith((".", ")"))
    if row.kind in ("int", "str", "list", "dir"):
        assert row.unit
    if row.kind in ("int", "bytes", "seconds", "mode"):
        assert row.min is not None
        assert row.max is not None
        assert not (row.zero and row.min <= 0), "0 is inside the limits already"
    assert bool(row.choices) == (row.kind == "choice")


@by_name
def test_unit_stands_last_in_the_name(row: Row) -> None:
    assert (row.kind == "seconds") == row.name.endswith("_s")
    if row.kind == "bytes":
        assert "_bytes" in row.name


@by_name
def test_attribute_has_the_type_of_its_kind(row: Row) -> None:
    owner = next(part for part in PARTS if row.name in vars(part))
    assert get_type_hints(owner)[row.name] == TYPES[row.kind]


@by_name
def test_default_is_valid_and_survives_text_and_toml(row: Row) -> None:
    assert kinds.checked(row, row.default) == row.default
    toml = tomllib.loads(f"x = {kinds.to_toml(row, row.default)}")
    assert kinds.from_value(row, toml["x"]) == row.default
    if row.default != "":
        assert kinds.from_text(row, kinds.show(row, row.default)) == row.default


def test_no_row_is_lost_between_the_classes_and_the_table() -> None:
    rows = {name for part in PARTS for name, value in vars(part).items() if isinstance(value, Row)}
    assert rows == set(ROWS)


def test_no_name_is_taken_twice() -> None:
    public = [row.public for row in ROWS.values()]
    assert len(set(public)) == len(public)
    assert all(names()[row.public] is row and names()[row.name] is row for row in ROWS.values())
    assert not set(names()) & set(SECTIONS), "a TOML table and a key would share a name"
    options = [row.option for row in ROWS.values()] + ["-" + row.short for row in ROWS.values() if row.short]
    options += ["--no-" + row.option[2:] for row in ROWS.values() if row.kind == "bool"]
    assert len({*options, *FLAGS}) == len(options) + len(FLAGS)


def test_words_of_other_servers_lead_to_a_row_and_hide_none() -> None:
    assert set(ELSEWHERE.values()) <= set(ROWS)
    assert not set(ELSEWHERE) & set(names())


def test_names_that_users_write() -> None:
    row = ROWS["keepalive_timeout_s"]
    assert (row.public, row.option, row.variable) == (
        "keepalive_timeout",
        "--keepalive-timeout",
        "VIVACE_KEEPALIVE_TIMEOUT",
    )
    assert ROWS["body_memory_bytes"].public == "body_memory"
    assert ROWS["head_bytes_max"].public == "head_bytes_max"
    assert ROWS["app"].option == "APP"


# --- Settings ---------------------------------------------------------------------------------------------


def test_settings_hold_values_and_where_they_came_from() -> None:
    settings = Settings({"threads": 8}, {"threads": "--threads"})
    assert settings.threads == 8
    assert settings.backlog == 2048
    assert settings.origin("threads") == "--threads"
    assert settings.origin("backlog") == "default"
    assert repr(settings) == "Settings(threads=8)"
    assert isinstance(Settings.threads, Row)


def test_settings_are_frozen() -> None:
    settings = Settings({}, {})
    with pytest.raises(AttributeError, match="frozen"):
        settings.threads = 3
    with pytest.raises(AttributeError, match="frozen"):
        settings.novelty = 3  # type: ignore[attr-defined]


# --- kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("seconds", "30", 30.0),
        ("seconds", "30s", 30.0),
        ("seconds", "0.5", 0.5),
        ("seconds", ".5", 0.5),
        ("seconds", "500ms", 0.5),
        ("seconds", "70ms", 0.07),
        ("seconds", "250us", 0.00025),
        ("seconds", "2m", 120.0),
        ("seconds", "1.5h", 5400.0),
        ("seconds", " 5 s ", 5.0),
        ("bytes", "65536", 65536),
        ("bytes", "64KiB", 65536),
        ("bytes", "64 kib", 65536),
        ("bytes", "64kB", 64000),
        ("bytes", "1MB", 1_000_000),
        ("bytes", "1.5MiB", 1_572_864),
        ("bytes", "1GiB", 1 << 30),
        ("bytes", "10B", 10),
        ("int", "0", 0),
        ("int", "007", 7),
        ("int", "-3", -3),
        ("bool", "Yes", True),
        ("bool", "1", True),
        ("bool", "off", False),
        ("bool", "FALSE", False),
        ("mode", "660", 0o660),
        ("mode", "0660", 0o660),
        ("mode", "0o600", 0o600),
        ("list", "a, b,,c", ("a", "b", "c")),
        ("list", "", ()),
        ("str", " kept as it is ", " kept as it is "),
    ],
)
def test_text_is_read(kind: str, text: str, value: object) -> None:
    assert kinds.from_text(row_of(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[
            ("seconds", text)
            for text in ("", "  ", "s", ".", "-1", "+1", "nan", "inf", "1e3", "1_0", "1m30s", "5 days")
        ],
        *[("bytes", text) for text in ("", "64k", "64K", "1.5", "0.3KiB", "KiB", "-1", "0x10", "٣", "1" * 30)],
        *[("int", text) for text in ("", "1.0", "1_000", "+5", "٣", "0x10", "many", "1" * 30, "--1", "-")],
        *[("bool", text) for text in ("", "2", "y", "enable")],
        *[("mode", text) for text in ("", "888", "rw-rw----", "0o", "-660", "0x1ff", "666666")],
    ],
)
def test_other_text_is_refused_with_what_to_give_instead(kind: str, text: str) -> None:
    row = row_of(kind, min=0, unit="things")
    with pytest.raises(ValueError, match="; give ") as caught:
        kinds.from_text(row, text)
    assert text.strip() in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("seconds", 3, 3.0),
        ("seconds", 0.25, 0.25),
        ("seconds", "2m", 120.0),
        ("bytes", 100, 100),
        ("bytes", "1KiB", 1024),
        ("mode", 0o640, 0o640),
        ("mode", "640", 0o640),
        ("list", ["a,b", "c"], ("a,b", "c")),
        ("list", ("a",), ("a",)),
        ("list", "a,b", ("a", "b")),
        ("bool", True, True),
        ("dir", Path("/x"), "/x"),
        ("str", "x", "x"),
    ],
)
def test_typed_value_is_read(kind: str, given: object, value: object) -> None:
    found = kinds.from_value(row_of(kind), given)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("int", "64"),
        ("int", True),
        ("int", 1.0),
        ("int", None),
        ("bool", "true"),
        ("bool", 1),
        ("seconds", True),
        ("seconds", [1]),
        ("seconds", math.nan),
        ("seconds", math.inf),
        ("seconds", 10**400),
        ("bytes", 1.5),
        ("bytes", False),
        ("mode", True),
        ("mode", 660),  # decimal, where octal was meant
        ("list", [1]),
        ("list", 1),
        ("str", 1),
        ("choice", 1),
        ("dir", b"/x"),
    ],
)
def test_other_values_are_refused_with_what_to_give_instead(kind: str, given: object) -> None:
    row = row_of(kind, min=0, max=0o777, unit="a thing", choices=("a", "b"))
    with pytest.raises(ValueError, match="; give "):
        kinds.from_value(row, given)


def test_limits_are_inclusive_and_zero_may_have_its_own_meaning() -> None:
    row = row_of("seconds", min=1, max=60)
    assert kinds.from_text(row, "1") == 1
    assert kinds.from_text(row, "1m") == 60
    for text in ("0.999", "61", "0"):
        with pytest.raises(ValueError, match="1s to 60s"):
            kinds.from_text(row, text)
    never = row_of("seconds", min=1, max=60, zero="never")
    assert kinds.from_text(never, "0") == 0
    with pytest.raises(ValueError, match="or 0 for never"):
        kinds.from_text(never, "0.5")


def test_choice_names_the_nearest() -> None:
    row = row_of("choice", choices=("auto", "epoll", "select"))
    assert kinds.from_text(row, "epoll") == "epoll"
    with pytest.raises(ValueError, match=r"did you mean 'epoll'\?"):
        kinds.from_text(row, "epol")
    with pytest.raises(ValueError, match="give auto, epoll or select"):
        kinds.from_text(row, "zzz")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "localhost:0", "[::1]:8000", ":8000", "unix:/run/x.sock", "unix:@abstract", "fd://3"]
)
def test_bind_takes(address: str) -> None:
    assert kinds.checked(ROWS["bind"], (address,)) == (address,)


@pytest.mark.parametrize("address", ["::1:8000", "host:port", "host:70000", "unix:", "fd://x", "[::1:80"])
def test_bind_refuses(address: str) -> None:
    with pytest.raises(ValueError, match="write "):
        kinds.checked(ROWS["bind"], (address,))


def test_bind_refuses_nothing_at_all() -> None:
    with pytest.raises(ValueError, match="at least one"):
        kinds.from_value(ROWS["bind"], [])


@pytest.mark.parametrize("owner", ["www", "www:data", ":data", "33", ""])
def test_owner_takes(owner: str) -> None:
    assert kinds.from_text(ROWS["unix_owner"], owner) == owner


@pytest.mark.parametrize("owner", [":", "a:b:c", "a b"])
def test_owner_refuses(owner: str) -> None:
    with pytest.raises(ValueError, match="user:group"):
        kinds.from_text(ROWS["unix_owner"], owner)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "\x00", "a\x7f", "Ω", " a", "a "])
def test_server_header_refuses_what_cannot_be_sent(value: str) -> None:
    with pytest.raises(ValueError, match="latin-1"):
        kinds.from_text(ROWS["server_header"], value)


def test_server_header_takes() -> None:
    for value in ("vivace", "vivace/1.0 (ünïx)", ""):
        assert kinds.from_text(ROWS["server_header"], value) == value


# Invariant: what is printed as TOML is read back as the same value, whatever the value. No exception allowed.


@given(st.text())
def test_any_string_survives_toml(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()  # TOML is UTF-8: no lone surrogate
    row = row_of("str")
    assert kinds.from_value(row, tomllib.loads("x = " + kinds.to_toml(row, text))["x"]) == text


@given(st.floats(0, 86400))
def test_any_length_of_time_survives_toml(value: float) -> None:
    row = row_of("seconds")
    value = kinds.from_value(row, value)
    assert kinds.from_value(row, tomllib.loads("x = " + kinds.to_toml(row, value))["x"]) == value


@given(st.integers(0, 1 << 50))
def test_any_size_survives_toml(value: int) -> None:
    row = row_of("bytes")
    assert kinds.from_value(row, tomllib.loads("x = " + kinds.to_toml(row, value))["x"]) == value


# Invariant: any text at all either gives a value inside the limits or raises ValueError, nothing else.


@given(st.sampled_from([row for row in ROWS.values() if row.kind != "list"]), st.text(max_size=30))
def test_any_text_is_a_value_or_a_value_error(row: Row, text: str) -> None:
    try:
        value = kinds.from_text(row, text)
    except ValueError:
        return
    assert kinds.checked(row, value) == value


# --- the reference page -----------------------------------------------------------------------------------


def test_reference_page_is_current() -> None:
    page = Path(__file__).parent.parent / "docs" / "reference.md"
    assert page.read_text(encoding="utf-8") == reference.page(), (
        "run: python -m vivace.config.reference > docs/reference.md"
    )


def test_reference_page_names_everything() -> None:
    page = reference.page()
    for row in ROWS.values():
        assert f"\n### {row.public}\n" in page
        assert f"`{row.option}`" in page
        assert f"`{row.variable}`" in page
    for section in SECTIONS:
        assert f"`[{section}]`" in page
