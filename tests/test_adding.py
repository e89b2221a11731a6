"""observe.adding: plain data of several places becomes one."""

from __future__ import annotations

from vivace.observe.adding import added


def test_numbers_are_added_name_by_name() -> None:
    one = {"count": 1, "parts": {"a": 1}, "pair": [1, 2.5]}
    other = {"count": 2, "parts": {"a": 2, "b": 3}, "pair": [1, 1], "new": 4}
    assert added(one, other) == {"count": 3, "parts": {"a": 3, "b": 3}, "pair": [2, 3.5], "new": 4}
    assert one == {"count": 1, "parts": {"a": 1}, "pair": [1, 2.5]}, "neither is changed"


def test_the_largest_and_the_least() -> None:
    one = {"bytes_max": 7, "longest_s": 0.5, "share": 1.0}
    assert added(one, {"bytes_max": 9, "longest_s": 0.25, "share": 0.5}) == {
        "bytes_max": 9,
        "longest_s": 0.5,
        "share": 0.5,
    }


def test_other_lists_are_united_and_words_stay() -> None:
    assert added({"types": ["a", "b"], "name": "x"}, {"types": ["b", "c"], "name": "y"}) == {
        "types": ["a", "b", "c"],
        "name": "x",
    }
    assert added(True, True) is True
    assert added([1], [1, 2]) == [1, 2]
