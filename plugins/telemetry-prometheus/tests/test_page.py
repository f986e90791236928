"""The page is what Prometheus reads."""

import asyncio
import math

import llm_gateway_api as gw
import pytest
from llm_gateway_telemetry_prometheus import plugin
from llm_gateway_telemetry_prometheus.exposition import number

REQUEST = gw.EndpointRequest(gw.Arrival("r", "GET", "/metrics", "", {}, "peer", 0.0), {}, {}, b"")
NASTY = 'a "quoted" \\ back\nslash é'


def filled() -> gw.Metrics:
    metrics = gw.Metrics()
    metrics.counter("gateway_requests_total", "Requests\nby \\ status", ("status", "model")).value(
        "200", NASTY
    ).inc(3)
    metrics.gauge("gateway_in_flight", "Now").value().inc(1.5)
    seconds = metrics.histogram("gateway_seconds", "Time", ("provider",), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        seconds.histogram("p").observe(value)
    metrics.counter("gateway_never_total", "Never counted")
    return metrics


def many(children: int) -> gw.Metrics:
    metrics = gw.Metrics()
    family = metrics.counter("gateway_many_total", "Many", ("model",))
    for at in range(children):
        family.value(f"m{at}").inc()
    return metrics


async def page(metrics: gw.Metrics) -> str:
    handler = plugin.MetricsPage(plugin.MetricsSettings(), metrics=metrics)
    response = await handler(REQUEST)
    assert response.status == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return response.body.decode()


async def test_written() -> None:
    """Each kind has its lines: heads, escaped labels, buckets that add up."""
    assert await page(filled()) == (
        "# HELP gateway_requests_total Requests\\nby \\\\ status\n"
        "# TYPE gateway_requests_total counter\n"
        'gateway_requests_total{status="200",model="a \\"quoted\\" \\\\ back\\nslash é"} 3\n'
        "# HELP gateway_in_flight Now\n"
        "# TYPE gateway_in_flight gauge\n"
        "gateway_in_flight 1.5\n"
        "# HELP gateway_seconds Time\n"
        "# TYPE gateway_seconds histogram\n"
        'gateway_seconds_bucket{provider="p",le="0.1"} 2\n'
        'gateway_seconds_bucket{provider="p",le="1"} 3\n'
        'gateway_seconds_bucket{provider="p",le="+Inf"} 4\n'
        'gateway_seconds_sum{provider="p"} 7.65\n'
        'gateway_seconds_count{provider="p"} 4\n'
        "# HELP gateway_never_total Never counted\n"
        "# TYPE gateway_never_total counter\n"
    )


async def test_parses() -> None:
    """Prometheus' own reader finds every value again."""
    parser = pytest.importorskip("prometheus_client.parser")

    families = {
        family.name: family
        for family in parser.text_string_to_metric_families(await page(filled()))
    }

    (requests,) = families["gateway_requests"].samples
    assert requests.labels == {"status": "200", "model": NASTY} and requests.value == 3
    assert families["gateway_seconds"].type == "histogram"
    assert [sample.value for sample in families["gateway_seconds"].samples] == [2, 3, 4, 7.65, 4]


async def test_many_children() -> None:
    """A large page is complete, and computed gauges are fresh on it."""
    metrics = many(1000)
    gauge = metrics.gauge("gateway_computed", "Computed").value()
    metrics.before_reading(lambda: gauge.inc())

    first, second = await page(metrics), await page(metrics)

    assert first.count("gateway_many_total{") == 1000
    assert "gateway_computed 1\n" in first and "gateway_computed 2\n" in second


async def test_gives_way() -> None:
    """Requests have their turn all along a large page, and may count and add children."""
    metrics = many(1000)
    writing = asyncio.ensure_future(page(metrics))
    turns = 0

    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
        metrics.counter("gateway_many_total", "Many", ("model",)).value(f"late{turns}").inc()

    assert turns >= 1000 / plugin.TURN
    assert (await writing).count('gateway_many_total{model="m') == 1000


async def test_disabled() -> None:
    """Switched off there is no page."""
    handler = plugin.MetricsPage(plugin.MetricsSettings(enabled=False), metrics=gw.Metrics())

    with pytest.raises(gw.NotFoundError):
        await handler(REQUEST)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (2.5, "2.5"), (1e300, "1e+300"), (math.inf, "+Inf"), (-math.inf, "-Inf")],
)
def test_number(value: float, text: str) -> None:
    """Numbers are written as Go writes them."""
    assert number(value) == text
    assert number(math.nan) == "NaN"


def test_declarations() -> None:
    """The route is on the metrics port and needs no key."""
    (settings,) = plugin.llm_gateway_settings()
    (spec,) = plugin.llm_gateway_endpoints()

    assert (spec.method, spec.path, spec.listener, spec.role) == (
        "GET",
        "/metrics",
        "metrics",
        None,
    )
    assert spec.settings == settings.path and spec.needs == ("metrics",)
