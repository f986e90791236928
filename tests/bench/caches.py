"""What a kept answer costs where it lies: its key, a look-up, a comparison of questions.

    uv run --all-packages python tests/bench/caches.py

Microseconds for each, median of rounds; no gateway, Redis over loopback. `scenarios.py` has hits
and misses over the wire, `cache_faults.py` what requests wait for while Redis or the model fails.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from statistics import median
from time import monotonic, perf_counter
from types import SimpleNamespace
from typing import Any, cast

import llm_gateway_api as gw
import numpy as np
from llm_gateway.caching import Caching
from llm_gateway_cache_memory.cache import MemoryCache
from llm_gateway_cache_redis.cache import RedisCache
from llm_gateway_cache_redis.settings import RedisCacheSettings
from llm_gateway_cache_semantic.cache import SemanticCache
from llm_gateway_cache_semantic.guard import agree
from llm_gateway_cache_semantic.settings import SemanticSettings
from llm_gateway_testkit import servers
from pydantic import SecretStr

ROUNDS, TIMES = 9, 100
QUESTION = "how deep is the water at the old pier when the tide is out"
ANSWER = gw.CachedAnswer(
    (gw.Started("id", "m", 1), gw.TextDelta("word " * 250), gw.Finished("stop")),
    "m",
    "p",
    "m",
    None,
    1.0,
)


async def cost(work: Callable[[], Awaitable[object]], times: int = TIMES) -> float:
    """Median µs of a call."""
    rounds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(times):
            await work()
        rounds.append((perf_counter() - start) / times * 1e6)
    return median(rounds)


def chat(size: int) -> gw.ChatRequest:
    parts = (gw.TextPart("word " * (size // 5)),)
    return gw.ChatRequest("m", (gw.Message("user", parts),), params={"temperature": 0.5})


def lookup(text: str = QUESTION, key: str = "k") -> gw.Lookup:
    return gw.Lookup(key, "t", "partition", text, chat(1500))


async def keys() -> dict[str, float]:
    nothing = cast(Any, None)
    caching = Caching((), 60.0, "p=1", nothing, nothing, nothing, nothing, semantic=True)
    found = {}
    for size in (1_500, 100_000):
        request = chat(size)
        arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0, gw.Principal("k", "t"))
        head = gw.RequestHead("openai.chat", "chat", "m", False, False, {}, b"")
        call: Any = SimpleNamespace(arrival=arrival, head=head, canonical=lambda r=request: r)

        async def key(call: Any = call) -> object:
            return caching.lookup(call)

        found[f"key of {size / 1000:g} KB, with its partition"] = await cost(key)
    return found


async def exact() -> dict[str, float]:
    found = {}
    memory = MemoryCache(64 * 1024 * 1024, monotonic, gw.Metrics())
    with servers.redis() as server:
        settings = RedisCacheSettings(url=SecretStr(server.url), timeout_seconds=5)
        redis = RedisCache(settings, server.url, monotonic, gw.Metrics())
        async with redis.open():
            for name, each in (("memory", memory), ("Redis", redis)):
                cache: gw.Cache = each
                found[f"{name}: put, 1.25 KB"] = await cost(
                    lambda c=cache: c.put(lookup(), ANSWER, 600)  # type: ignore[misc]  # bound now
                )
                found[f"{name}: hit, 1.25 KB"] = await cost(
                    lambda c=cache: c.get(lookup())  # type: ignore[misc]  # bound now
                )
    return found


async def alike(many: int, size: int) -> float:
    """A question among so many others, and one alike, without what makes its vector."""
    chance = np.random.default_rng(7)
    vectors = {f"question {n}": chance.normal(size=size) for n in range(many)}
    vectors[QUESTION] = np.ones(size)

    async def embed(
        text: str, model: str | None, seconds: float, asked: gw.Asked | None = None
    ) -> tuple[float, ...]:
        return cast(tuple[float, ...], vectors[text])

    settings = SemanticSettings(min_words=1, max_entries=many + 1)
    cache = SemanticCache(settings, embed, monotonic, gw.Metrics())
    for text in vectors:
        await cache.put(lookup(text, text), ANSWER, 600)
    assert await cache.get(lookup(QUESTION, "other")) is not None
    return await cost(lambda: cache.get(lookup(QUESTION, "other")), max(5, 20_000 // many))


async def semantic() -> dict[str, float]:
    found = {
        f"semantic hit among {many:,} of {size} numbers": await alike(many, size)
        for many in (100, 1_000, 10_000)
        for size in (384, 1536)
    }
    words = QUESTION.split()
    random.Random(7).shuffle(words)

    async def guard() -> object:
        return agree(QUESTION, " ".join(words))

    return found | {"semantic: the check of two questions": await cost(guard)}


async def main() -> None:
    for part in (keys(), exact(), semantic()):
        for name, value in (await part).items():
            print(f"{value:9.1f} µs  {name}")


if __name__ == "__main__":
    asyncio.run(main())
