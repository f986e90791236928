"""The metrics of several workers as one."""

from llm_gateway.merging import families, lasting, merged, taken
from llm_gateway_api import Histogram, Metrics, Value


def worker(requests: float, ready: float, slowest: float, *waits: float) -> Metrics:
    metrics = Metrics()
    metrics.counter("requests", "all", ("status",)).value("200").inc(requests)
    metrics.gauge("ready", "how many").value().value = ready
    metrics.gauge("slowest", "the worst", merge="max").value().value = slowest
    histogram = metrics.histogram("waits", "seconds", (), (1.0, 2.0)).histogram()
    for each in waits:
        histogram.observe(each)
    return metrics


async def test_counters_and_histograms_add_up_and_gauges_follow_their_rule() -> None:
    parts = [await taken(worker(3, 1, 5, 0.5, 1.5)), await taken(worker(4, 1, 2, 9.0))]

    found = {each.name: each.children for each in families(merged(parts))}

    value = {name: child.value for name, rows in found.items() for child in rows.values()
             if isinstance(child, Value)}  # fmt: skip
    assert value == {"requests": 7, "ready": 2, "slowest": 5}
    (histogram,) = found["waits"].values()
    assert isinstance(histogram, Histogram)
    assert (histogram.counts, histogram.sum) == ([1, 1, 1], 11.0)


async def test_of_a_worker_that_ended_its_counters_stay_and_its_gauges_go() -> None:
    gone = lasting(await taken(worker(3, 1, 5, 0.5)))

    assert {each.name for each in gone} == {"requests", "waits"}


async def test_merging_leaves_its_parts_alone() -> None:
    one, two = await taken(worker(3, 1, 5)), await taken(worker(4, 1, 2))

    merged([one, two])

    assert one[0].rows == {'["200"]': [3.0]}


async def test_after_an_upgrade_the_newer_shape_of_a_family_wins() -> None:
    """Two versions of a plugin may differ; neither may break the page."""
    old, new = Metrics(), Metrics()
    old.counter("spent", "money", ("who",)).value("me").inc(2)
    new.counter("spent", "money", ("who", "what")).value("me", "tokens").inc(1)

    (family,) = families(merged([await taken(old), await taken(new)]))

    assert family.labels == ("who", "what")
    assert list(family.children) == [("me", "tokens")]


async def test_a_scrape_without_a_supervisor_tells_of_this_process() -> None:
    metrics = worker(3, 1, 5)

    assert {each.name for each in await metrics.everywhere()} >= {"requests", "waits"}
