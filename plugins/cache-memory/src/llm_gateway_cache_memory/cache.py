"""The cache: answers as JSON in the queues, an expiry for each, and a sweep."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from llm_gateway_api import (
    CachedAnswer,
    CacheEntry,
    CacheSelection,
    CacheStats,
    Lookup,
    Metrics,
    alongside,
)

from llm_gateway_cache_memory.queues import Entry, Queues

SWEEP_SECONDS = 60.0
# How many entries are looked at before other requests have their turn.
AT_ONCE = 5000
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CachedAnswer)


class MemoryCache:
    """Of this process alone, gone with it. Meets `Cache` and `SupportsCacheAdmin`."""

    def __init__(self, limit_bytes: int, clock: Callable[[], float], metrics: Metrics) -> None:
        self._queues = Queues(limit_bytes)
        self._clock = clock
        self._size = metrics.gauge(
            "gateway_cache_size_bytes", "memory that kept answers take"
        ).value()
        self._evictions = metrics.counter(
            "gateway_cache_memory_evictions_total", "answers that had to leave before their time"
        ).value()
        self._refused = metrics.counter(
            "gateway_cache_memory_refused_total", "answers too big to be kept"
        ).value()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with alongside(self._sweep(), name="cache-memory sweep"):
            yield

    async def get(self, lookup: Lookup) -> CachedAnswer | None:
        entry = self._queues.get(lookup.key)
        if entry is None:
            return None
        if entry.expires <= self._clock() or entry.tenant != lookup.tenant:
            self._queues.remove(lookup.key)
            self._told()
            return None
        return _decoder.decode(entry.value)

    async def put(self, lookup: Lookup, value: CachedAnswer, ttl_seconds: float) -> None:
        entry = Entry(
            lookup.tenant,
            value.asked,
            value.provider,
            value.model,
            value.at,
            ttl_seconds,
            self._clock() + ttl_seconds,
            _encoder.encode(value),
        )
        if not self._queues.put(lookup.key, entry):
            self._refused.inc()
        self._told()

    async def stats(self, tenant: str | None) -> CacheStats:
        queues = self._queues
        if tenant is None:
            return CacheStats(len(queues), queues.bytes, queues.limit, queues.evictions)
        sizes = [each.size for _, each in queues.items() if each.tenant == tenant]
        return CacheStats(len(sizes), sum(sizes))

    async def entries(self, chosen: CacheSelection, limit: int) -> Sequence[CacheEntry]:
        now = self._clock()
        found = [each async for _, each in self._chosen(chosen) if each.expires > now]
        return [
            CacheEntry(
                each.tenant,
                each.asked,
                each.provider,
                each.model,
                each.at,
                each.at + each.ttl_seconds,
                each.size,
            )
            for each in heapq.nlargest(limit, found, key=lambda each: each.at)
        ]

    async def clear(self, chosen: CacheSelection) -> int:
        removed = 0
        async for key, _ in self._chosen(chosen):
            removed += self._queues.remove(key)
        self._told()
        return removed

    async def sweep(self) -> None:
        """Forget what is past its time."""
        now = self._clock()
        async for key, entry in self._chosen(CacheSelection()):
            if entry.expires <= now and self._queues.peek(key) is entry:
                self._queues.remove(key)
        self._told()

    async def _chosen(self, chosen: CacheSelection) -> AsyncIterator[tuple[str, Entry]]:
        for number, (key, entry) in enumerate(self._queues.items(), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if chosen.has(entry.tenant, entry.asked, entry.at):
                yield key, entry

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    def _told(self) -> None:
        self._size.value = float(self._queues.bytes)
        self._evictions.value = float(self._queues.evictions)
