"""What stays, what leaves, and what it weighs."""

import gc
import tracemalloc
from collections.abc import Callable

import llm_gateway_api as gw
import pytest
from llm_gateway_cache_memory.cache import MemoryCache
from llm_gateway_cache_memory.queues import OVERHEAD_BYTES, Entry, Queues

KILOBYTE = 1024


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def entry(size: int = KILOBYTE, tenant: str | None = None) -> Entry:
    return Entry(tenant, "m", "p", "m", 0.0, 60.0, 60.0, b"x" * (size - OVERHEAD_BYTES))


def lookup(key: str = "k", tenant: str | None = "a") -> gw.Lookup:
    return gw.Lookup(key, tenant, "", "", gw.ChatRequest("m", ()))


def answer(text: str = "Low", asked: str = "m", at: float = 100.0) -> gw.CachedAnswer:
    events: tuple[gw.Event, ...] = (
        gw.Started("id-1", "m-1", 7, {"x": [1]}),
        gw.TextDelta(text, 0, {"content": [{"token": "L"}]}),
        gw.ReasoningDelta("because", 0, {"signature": "s"}),
        gw.ToolCallDelta(0, "c1", "find", '{"a":1}', 0, "function", {"b": None}),
        gw.EmbeddingVector(0, (0.25, -1.0)),
        gw.RankedDocument(1, 0.5),
        gw.Unknown("d", {"raw": {"n": 1.5}}),
        gw.Finished("stop", 0, "end_turn"),
        gw.UsageReport(gw.Usage(input=3, output=2)),
    )
    return gw.CachedAnswer(events, asked, "p", "m-1", "eu", at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Callable[[], float]) -> MemoryCache:
    return MemoryCache(1024 * KILOBYTE, clock, gw.Metrics())


async def test_every_kind_of_event_comes_back_as_it_went_in(cache: MemoryCache) -> None:
    await cache.put(lookup(), answer(), 10)

    assert await cache.get(lookup()) == answer()


async def test_an_answer_is_gone_after_its_time(cache: MemoryCache, clock: Clock) -> None:
    await cache.put(lookup(), answer(), 10)
    clock.now = 9.9
    before = await cache.get(lookup())
    clock.now = 10.0

    assert before is not None
    assert await cache.get(lookup()) is None
    assert (await cache.stats(None)).bytes == 0


async def test_a_sweep_forgets_what_is_past_its_time(cache: MemoryCache, clock: Clock) -> None:
    await cache.put(lookup("old"), answer(), 10)
    await cache.put(lookup("new"), answer(), 100)
    clock.now = 50.0
    await cache.sweep()

    assert (await cache.stats(None)).entries == 1


async def test_a_key_never_serves_another_tenant(cache: MemoryCache) -> None:
    """Even if the kernel were to hand out the same key twice."""
    await cache.put(lookup("k", "a"), answer(), 10)

    assert await cache.get(lookup("k", "b")) is None


async def test_listing_and_clearing_stay_within_the_tenant(cache: MemoryCache) -> None:
    await cache.put(lookup("1", "a"), answer(at=1.0), 10)
    await cache.put(lookup("2", "a"), answer(asked="other", at=2.0), 10)
    await cache.put(lookup("3", "b"), answer(at=3.0), 10)
    mine = gw.CacheSelection("a")

    listed = await cache.entries(mine, 10)
    assert [(each.tenant, each.at) for each in listed] == [("a", 2.0), ("a", 1.0)]
    assert (await cache.stats("a")).entries == 2
    assert (await cache.stats("a")).limit_bytes is None
    assert await cache.clear(gw.CacheSelection("a", before=1.5)) == 1
    assert await cache.clear(gw.CacheSelection("a", model="other")) == 1
    assert await cache.clear(mine) == 0
    assert await cache.get(lookup("3", "b")) is not None


def test_bytes_stay_within_the_limit_whatever_comes() -> None:
    queues = Queues(100 * KILOBYTE)
    for number in range(3000):
        queues.put(str(number % 700), entry(700 + number * 37 % 9000))
        if number % 3 == 0:
            queues.get(str(number * 7 % 700))
        assert queues.bytes <= queues.limit
    assert queues.bytes == sum(each.size for _, each in queues.items())
    assert queues.evictions > 0


def test_a_scan_evicts_nothing_that_is_in_use() -> None:
    """Ten times the cache of questions that come once, beside fifty that come again."""
    queues = Queues(200 * KILOBYTE)
    used = [f"used-{number}" for number in range(50)]
    for key in used:
        queues.put(key, entry())
    for number in range(2000):
        queues.get(used[number % 50])
        queues.put(f"scan-{number}", entry())

    assert [key for key in used if queues.peek(key) is None] == []


def test_a_giant_is_refused_and_evicts_nothing() -> None:
    queues = Queues(100 * KILOBYTE)
    queues.put("small", entry())

    assert not queues.put("giant", entry(11 * KILOBYTE))
    assert queues.peek("small") is not None


@pytest.mark.parametrize("size", [50, 2000])
async def test_memory_taken_is_what_is_said(size: int) -> None:
    """Within a fifth of what the interpreter has allocated, and never much above it."""
    cache = MemoryCache(64 * 1024 * KILOBYTE, lambda: 0.0, gw.Metrics())
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(3000):
        key = f"{number:064x}"
        await cache.put(lookup(key, f"tenant-{number}"), answer("x" * size), 60)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    said = (await cache.stats(None)).bytes

    assert said is not None
    assert 0.8 < taken / said < 1.2
