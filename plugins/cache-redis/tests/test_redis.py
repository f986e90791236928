"""A real Redis that keeps answers, and one that is gone, frozen, or holds nonsense."""

import asyncio
import random
import string
import time
from collections.abc import AsyncIterator, Iterator

import llm_gateway_api as gw
import pytest
from llm_gateway_cache_redis.cache import RedisCache, _key
from llm_gateway_cache_redis.settings import RedisCacheSettings
from llm_gateway_cache_redis.values import read, written
from llm_gateway_testkit import servers
from redis.asyncio import Redis
from redis.exceptions import RedisError

FAILURES = (OSError, TimeoutError, RedisError)
SLACK_SECONDS = 0.25  # what a busy machine adds


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    with servers.redis() as running:
        yield running


@pytest.fixture
async def cache(server: servers.Server) -> AsyncIterator[RedisCache]:
    server.thaw()
    admin = Redis.from_url(server.url)
    await admin.flushall()
    await admin.aclose()
    settings = RedisCacheSettings(timeout_seconds=0.2, max_entry_mb=1)
    made = RedisCache(settings, server.url, time.monotonic, gw.Metrics())
    async with made.open():
        yield made


def lookup(key: str = "k", tenant: str | None = "a") -> gw.Lookup:
    return gw.Lookup(key, tenant, "", "", gw.ChatRequest("m", ()))


def answer(text: str = "Low", asked: str = "m", at: float = 100.0) -> gw.CachedAnswer:
    events = (gw.Started("i", "m"), gw.TextDelta(text), gw.Finished("stop"))
    return gw.CachedAnswer(events, asked, "p", "m-1", None, at)


async def test_an_answer_comes_back_until_its_time_is_over(cache: RedisCache) -> None:
    await cache.put(lookup(), answer("x" * 100_000), 0.3)
    found = await cache.get(lookup())
    async with asyncio.timeout(10):
        while await cache.get(lookup()) is not None:  # noqa: ASYNC110  # Redis's own clock
            await asyncio.sleep(0.02)

    assert found == answer("x" * 100_000)


async def test_values_are_compressed(cache: RedisCache) -> None:
    await cache.put(lookup(), answer("word " * 2000), 60)

    size = (await cache.stats(None)).bytes
    assert size is not None and size < 1000


async def test_hits_listing_and_clearing_stay_within_the_tenant(cache: RedisCache) -> None:
    await cache.put(lookup("1", "a"), answer(at=1.0), 60)
    await cache.put(lookup("2", "a"), answer(asked="other", at=2.0), 60)
    await cache.put(lookup("1", "*"), answer("of another", at=3.0), 60)
    await cache.put(lookup("1", None), answer("of nobody", at=4.0), 60)

    assert await cache.get(lookup("2", "*")) is None
    assert [each.at for each in await cache.entries(gw.CacheSelection("a"), 10)] == [2.0, 1.0]
    assert (await cache.stats("*")).entries == 1
    assert await cache.clear(gw.CacheSelection("*")) == 1
    assert await cache.clear(gw.CacheSelection("a", before=1.5)) == 1
    assert await cache.clear(gw.CacheSelection(model="other")) == 1
    assert await cache.get(lookup("1", None)) == answer("of nobody", at=4.0)


async def test_a_value_under_a_wrong_key_serves_no_other_tenant(
    cache: RedisCache, server: servers.Server
) -> None:
    admin = Redis.from_url(server.url)
    await admin.hset(_key("b", "k"), "v", written("a", answer()))  # type: ignore[misc]
    await admin.aclose()

    assert await cache.get(lookup("k", "b")) is None


async def test_a_giant_is_not_kept(cache: RedisCache) -> None:
    noise = "".join(random.Random(1).choices(string.printable, k=2_000_000))
    await cache.put(lookup(), answer(noise), 60)

    assert (await cache.stats(None)).entries == 0


@pytest.mark.parametrize("value", [b"", b"nonsense", written("a", answer())[:-5]])
def test_what_is_no_answer_is_an_error_and_no_crash(value: bytes) -> None:
    with pytest.raises(ValueError, match="kept answer"):
        read(value, 10_000)


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(ValueError, match="too big"):
        read(written("a", answer("0" * 10_000_000)), 100_000)


async def test_a_frozen_redis_costs_its_time_out_and_then_nothing(
    cache: RedisCache, server: servers.Server
) -> None:
    """Three look-ups wait; the next hundred are misses at once; a thaw brings hits back."""
    await cache.put(lookup(), answer(), 600)
    server.freeze()
    try:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(FAILURES):
                await cache.get(lookup())
            assert time.monotonic() - began < 0.2 + SLACK_SECONDS
        began = time.monotonic()
        assert [await cache.get(lookup()) for _ in range(100)] == [None] * 100
        assert time.monotonic() - began < SLACK_SECONDS
    finally:
        server.thaw()
    assert await _returns(cache) == answer()


async def test_a_dead_redis_is_a_miss_until_it_is_back(
    cache: RedisCache, server: servers.Server
) -> None:
    await cache.put(lookup(), answer(), 600)
    server.stop()
    try:
        for _ in range(3):
            with pytest.raises(FAILURES):
                await cache.get(lookup())
        assert await cache.get(lookup()) is None
    finally:
        server.start()
    await _returns(cache, gone=True)
    await cache.put(lookup(), answer(), 600)
    assert await cache.get(lookup()) == answer()


async def _returns(cache: RedisCache, *, gone: bool = False) -> gw.CachedAnswer | None:
    """Ask until the breaker has closed, and with `gone` without what was kept."""
    async with asyncio.timeout(15):
        while True:
            try:
                found = await cache.get(lookup())
            except FAILURES:
                found = None
            if found is not None or (gone and not cache._breaker.open):
                return found
            await asyncio.sleep(0.05)


def test_one_call_at_a_time_tries_a_server_that_failed() -> None:
    now = [0.0]
    breaker = gw.Breaker(2, 4.0, lambda: now[0])
    pauses = []
    for _ in range(6):
        breaker.failed()
        start = now[0]
        while breaker.open and not breaker.admits():
            now[0] += 0.25
        assert not breaker.open or not breaker.admits()
        pauses.append(now[0] - start)
    breaker.succeeded()

    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 4.0]
    assert breaker.admits() and breaker.admits()


async def test_the_size_is_that_of_the_answers_whose_time_is_not_over(
    server: servers.Server,
) -> None:
    """As Redis tells it, until their time is over or all are removed."""
    server.thaw()
    metrics, now = gw.Metrics(), [1000.0]
    settings = RedisCacheSettings(timeout_seconds=0.2)

    def told() -> float:
        (family,) = [f for f in metrics.families() if f.name == "gateway_cache_size_bytes"]
        return family.value().value

    cache = RedisCache(settings, server.url, lambda: now[0], metrics)
    async with cache.open():
        await cache.clear(gw.CacheSelection())
        await cache.put(lookup("one"), answer("Low tide is at noon"), 3600)
        await cache.put(lookup("two"), answer("High tide is at six"), 60)
        both = (await cache.stats(None)).bytes
        first = told()
        now[0] += 80  # the second's time, as this worker counts it
        second = told()
        await cache.clear(gw.CacheSelection())

        assert (first, told()) == (both, 0)
        assert 0 < second < first
