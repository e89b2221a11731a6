"""From snapshots to samples: what is bounded, what never goes back."""

from __future__ import annotations

from typing import Any

from vivace.admin.samples import BOUNDS_S, Chosen, Continued, histogram
from vivace.observe.comparison import add
from vivace.observe.histogram import bucket_of
from vivace.observe.layout import OTHERS_NAME


def route(count: int) -> dict[str, Any]:
    return {"count": count, "sum_s": count / 8, "status": {"2xx": count}, "buckets": {5: count}, "lane": "inline"}


def test_the_routes_with_the_most_requests_have_series_of_their_own() -> None:
    shown = Chosen(2).choose({"a": route(1), "b": route(3), "c": route(2), "d": route(1)})
    assert set(shown) == {"b", "c", OTHERS_NAME}
    assert shown[OTHERS_NAME]["count"] == 2
    assert shown[OTHERS_NAME]["status"] == {"2xx": 2}
    assert shown[OTHERS_NAME]["buckets"] == {5: 2}


def test_a_choice_is_for_good_so_that_others_never_goes_back() -> None:
    chosen = Chosen(1)
    chosen.choose({"a": route(2), "b": route(1)})
    shown = chosen.choose({"a": route(2), "b": route(100), OTHERS_NAME: route(7)})
    assert {name: row["count"] for name, row in shown.items()} == {"a": 2, OTHERS_NAME: 107}


def test_what_the_kernel_counts_goes_on_in_the_next_process() -> None:
    continued = Continued()
    continued.note(0, 11, {"cpu_user_s": 2.0})
    continued.note(0, 11, {"cpu_user_s": 3.0})
    continued.note(1, 12, {"cpu_user_s": 9.0})
    continued.note(0, 13, {"cpu_user_s": 0.5})
    continued.note(0, 13, {})  # it has just ended
    assert list(continued.counts()) == [(0, "cpu_user_s", 3.5), (1, "cpu_user_s", 9.0)]


def test_a_histogram_adds_up_and_is_exact_within_a_bucket() -> None:
    times = [0.0001, 0.0009, 0.0011, 0.3, 59.0, 61.0, 3000.0]
    buckets: dict[int, int] = {}
    for seconds in times:
        buckets[bucket_of(seconds)] = buckets.get(bucket_of(seconds), 0) + 1
    rows = list(histogram("vivace_response_seconds", (), buckets, sum(times)))
    passed = {labels[0][1]: value for _, suffix, labels, value in rows if suffix == "_bucket"}
    assert passed == {**{repr(bound): sum(one <= bound for one in times) for bound in BOUNDS_S}, "+Inf": len(times)}
    assert rows[-1][3] == len(times)


def test_sums_leave_what_is_summed_alone() -> None:
    rows = [route(1), route(2)]
    found: dict[str, Any] = {}
    for row in rows:
        add(found, row)
    assert found["count"] == 3
    assert rows == [route(1), route(2)]
