"""The two text formats of /metrics, read by the parsers of prometheus_client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from vivace.admin.exposition import OPENMETRICS, PROMETHEUS, negotiate, number, render
from vivace.admin.samples import histogram, with_created
from vivace.observe.histogram import bucket_of
from vivace.observe.metrics import METRICS

if TYPE_CHECKING:
    from vivace.admin.exposition import Sample

ODD = 'GET /"a\\b\n{}'


def some() -> list[Sample]:
    """A sample or more of each kind of metric, not in the order of the table."""
    counted: list[Sample] = [
        ("vivace_generation", "", (), 3),
        ("vivace_requests", "_total", (("route", ODD), ("status", "2xx")), 7),
        *histogram("vivace_response_seconds", (("route", ODD),), {bucket_of(0.002): 4, bucket_of(99.0): 1}, 99.008),
        ("vivace_requests", "_total", (("route", "GET /"), ("status", "5xx")), 1),
        ("vivace_gil_wait_seconds", "_sum", (), 0.25),
        ("vivace_gil_wait_seconds", "_count", (), 10),
        ("vivace_response_quantile_seconds", "", (("quantile", "0.99"),), float("nan")),
    ]
    return [*with_created(iter(counted), 1000.5)]


@pytest.mark.parametrize("form", [PROMETHEUS, OPENMETRICS], ids=["Prometheus", "OpenMetrics"])
def test_both_formats_are_read_back(form: object) -> None:
    text = render(some(), OPENMETRICS if form is OPENMETRICS else PROMETHEUS)
    families = {family.name: family for family in (read_open if form is OPENMETRICS else read_plain)(text)}
    values = {(row.name, *row.labels.values()): row.value for family in families.values() for row in family.samples}
    assert values["vivace_requests_total", ODD, "2xx"] == 7
    assert values["vivace_requests_total", "GET /", "5xx"] == 1
    assert values["vivace_response_seconds_bucket", ODD, "0.001"] == 0
    assert values["vivace_response_seconds_bucket", ODD, "0.0025"] == 4
    assert values["vivace_response_seconds_bucket", ODD, "+Inf"] == values["vivace_response_seconds_count", ODD] == 5
    assert values["vivace_gil_wait_seconds_count",] == 10
    assert values["vivace_generation",] == 3
    assert {name: family.type for name, family in families.items()} == {
        name: METRICS[name].kind for name in {row[0] for row in some()}
    }


def test_openmetrics_says_units_and_since_when_it_counts() -> None:
    text = render(some(), OPENMETRICS)
    assert "# UNIT vivace_response_seconds seconds\n" in text
    assert 'vivace_requests_created{route="GET /",status="5xx"} 1000.5\n' in text
    assert text.endswith("# EOF\n")
    assert "_created" not in render(some(), PROMETHEUS)
    assert "# UNIT" not in render(some(), PROMETHEUS)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/html,*/*;q=0.8", PROMETHEUS),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8;q=0.2, text/plain;q=0.9", PROMETHEUS),
        ("application/openmetrics-text;version=2.0.0", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
        ("application/openmetrics-text;q=x", PROMETHEUS),
        (",;,=;q", PROMETHEUS),
    ],
)
def test_negotiation(accept: str, expected: object) -> None:
    assert negotiate(accept) is expected


def test_numbers() -> None:
    assert [number(value) for value in (3, 0.5, 1e-9, float("inf"), float("nan"))] == [
        "3",
        "0.5",
        "1e-09",
        "Inf",
        "nan",
    ]
