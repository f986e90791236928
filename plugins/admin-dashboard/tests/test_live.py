"""Slots, their sums over workers, and percentiles."""

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_admin_dashboard import live
from llm_gateway_admin_dashboard.live import SLOT, Point, Slots, added, percentile


def counted(metrics: gw.Metrics, status: str, many: int, seconds: float = 0.02) -> None:
    labels = ("status", "provider", "model")
    metrics.counter("gateway_requests_total", "", labels).value(status, "p", "m").inc(many)
    duration = metrics.histogram("gateway_request_duration_seconds", "").histogram()
    for _ in range(many):
        duration.observe(seconds)


def point(at: int, ok: int) -> Point:
    return Point(at, {"ok": ok}, [0] * 16, {}, 1, 2, 0.5, 0, 0, 0, 3, 1)


def test_a_slot_has_what_happened_in_it_alone() -> None:
    metrics, slots = gw.Metrics(), Slots()
    counted(metrics, "200", 3)
    slots.take(metrics.families(), 100)
    counted(metrics, "200", 2)
    counted(metrics, "429", 1)
    counted(metrics, "503", 4)
    slots.take(metrics.families(), 105)

    (found,) = slots.points
    assert (found.at, found.requests) == (105, {"ok": 2, "limited": 1, "failed": 4})
    assert sum(found.latency) == 7


@pytest.mark.parametrize(
    ("status", "name"),
    [("200", "ok"), ("401", "refused"), ("429", "limited"), ("499", "left"), ("502", "failed")],
)
def test_how_a_request_ended(status: str, name: str) -> None:
    assert live.class_of(status) == name


def test_workers_add_up_and_a_gap_is_nothing() -> None:
    """A slot that nobody has is one in which nothing happened."""
    found = added([[point(100, 1), point(105, 2)], [point(105, 5), point(115, 1)]])

    assert [(each.at, each.requests.get("ok", 0)) for each in found] == [
        (100, 1),
        (105, 7),
        (110, 0),
        (115, 1),
    ]
    assert (found[1].in_flight, found[1].cost) == (6, 1.0)
    assert added([]) == []


@given(st.lists(st.floats(0, 299), min_size=1, max_size=60), st.sampled_from([50, 95, 99]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], share: int) -> None:
    histogram = gw.Histogram(gw.SECONDS)
    for each in values:
        histogram.observe(each)
    rank = max(1, -(-share * len(values) // 100))
    true = sorted(values)[rank - 1]

    found = percentile(histogram.counts, share)

    at = next(n for n, bound in enumerate(gw.SECONDS) if bound >= true)
    low, high = (0.0, *gw.SECONDS)[at], gw.SECONDS[at]
    assert found is not None
    assert low <= found <= high


def test_nothing_timed_has_no_percentile() -> None:
    assert percentile([0] * 16, 95) is None
    assert percentile([0] * 15 + [3], 95) == gw.SECONDS[-1]


def test_the_series_of_a_chart_are_as_long_as_its_times() -> None:
    found = live.series([point(100 + SLOT * n, n) for n in range(4)])

    assert found["at"] == [100, 105, 110, 115]
    assert found["requests"] == {"ok": [0, 0.2, 0.4, 0.6]}
    for name in ("latency", "tokens", "spend", "open", "errors"):
        lines = found[name]
        assert isinstance(lines, dict)
        assert all(len(each) == 4 for each in lines.values())
