"""The cache: one hash for each answer, with an expiry of Redis's own.

A key holds the format, a digest of the tenant, and the kernel's key. A failure of the server
is a miss at once: while the breaker is open nobody waits for it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from llm_gateway_api import (
    Breaker,
    CachedAnswer,
    CacheEntry,
    CacheSelection,
    CacheStats,
    Lookup,
    Metrics,
)
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from llm_gateway_cache_redis.kept import Kept
from llm_gateway_cache_redis.settings import RedisCacheSettings
from llm_gateway_cache_redis.values import FORMAT, Meta, read, written

T = TypeVar("T")
VALUE, META = b"v", b"m"
PREFIX = f"llm-gateway:cache:{FORMAT}"
# Above this, packing would hold up other requests: a thread does it.
IN_PLACE_BYTES = 32 * 1024
# Text unpacks to many times its size; JSON of answers seldom to more than this.
MOST_RATIO = 50
SCAN_COUNT = 500
ADMIN_SECONDS = 30.0


class RedisCache:
    """Meets `Cache` and `SupportsCacheAdmin`."""

    def __init__(
        self,
        settings: RedisCacheSettings,
        url: str,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._most = settings.max_entry_mb * 1024 * 1024
        self._breaker = Breaker(settings.failure_threshold, settings.max_pause_seconds, clock)
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=settings.max_connections,
            timeout=settings.timeout_seconds,
            socket_connect_timeout=settings.store_timeout_seconds,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis(connection_pool=self._pool)
        self._skipped = metrics.counter(
            "gateway_cache_redis_skipped_total", "look-ups without Redis while it fails"
        ).value()
        self._refused = metrics.counter(
            "gateway_cache_redis_refused_total", "answers too big to be kept"
        ).value()
        self._open = metrics.gauge(
            "gateway_cache_redis_breaker_open", "1 while Redis is not asked", (), "max"
        ).value()
        self._kept = Kept(clock)
        self._size = metrics.gauge(
            "gateway_cache_size_bytes", "memory that kept answers take"
        ).value()
        metrics.before_reading(self._measure)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Opens without a server too: the first look-up connects."""
        try:
            yield
        finally:
            await self._redis.aclose()
            await self._pool.disconnect()

    async def get(self, lookup: Lookup) -> CachedAnswer | None:
        if not self._breaker.admits():
            self._skipped.inc()
            return None
        key = _key(lookup.tenant, lookup.key)
        value = await self._within(
            self._settings.timeout_seconds, self._redis.hget(key, VALUE.decode())
        )
        if value is None:
            return None
        kept = await _here_or_thread(len(value), read, value, self._most * MOST_RATIO)
        return kept.answer if kept.tenant == lookup.tenant else None

    async def put(self, lookup: Lookup, value: CachedAnswer, ttl_seconds: float) -> None:
        if self._breaker.open or ttl_seconds <= 0:
            return
        size = sum(len(getattr(event, "text", "")) for event in value.events)
        packed = await _here_or_thread(size, written, lookup.tenant, value)
        if len(packed) > self._most:
            self._refused.inc()
            return
        meta = Meta(lookup.tenant, value.asked, value.provider, value.model, value.at)
        key = _key(lookup.tenant, lookup.key)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(key, mapping={VALUE: packed, META: msgspec.json.encode(meta)})
        pipe.pexpire(key, max(1, int(ttl_seconds * 1000)))
        await self._within(self._settings.store_timeout_seconds, pipe.execute())
        self._kept.put(len(packed), ttl_seconds)

    async def stats(self, tenant: str | None) -> CacheStats:
        found = [each async for each in self._found(CacheSelection(tenant))]
        return CacheStats(len(found), sum(entry.bytes for _, entry in found))

    async def entries(self, chosen: CacheSelection, limit: int) -> Sequence[CacheEntry]:
        found = [entry async for _, entry in self._found(chosen)]
        return sorted(found, key=lambda entry: -entry.at)[:limit]

    async def clear(self, chosen: CacheSelection) -> int:
        removed = 0
        if chosen == CacheSelection():
            self._kept.forget()
        async for key, _ in self._found(chosen):
            removed += await self._redis.unlink(key)
        return removed

    def _measure(self) -> None:
        self._size.value = float(self._kept.size())

    async def _found(self, chosen: CacheSelection) -> AsyncIterator[tuple[bytes | str, CacheEntry]]:
        """By SCAN, which holds up nobody; what expires meanwhile is left out."""
        match = f"{PREFIX}:*" if chosen.tenant is None else f"{_key(chosen.tenant, '')}*"
        async with asyncio.timeout(ADMIN_SECONDS):
            cursor: Any = None
            while cursor != 0:
                cursor, keys = await self._redis.scan(cursor or 0, match=match, count=SCAN_COUNT)
                for key, entry in await self._described(keys):
                    if chosen.has(entry.tenant, entry.asked, entry.at):
                        yield key, entry

    async def _described(self, keys: Sequence[bytes | str]) -> list[tuple[bytes | str, CacheEntry]]:
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.hget(key, META.decode())
            pipe.pttl(key)
            pipe.hstrlen(key, VALUE.decode())
        rows = await pipe.execute() if keys else []
        now = (await self._redis.time())[0] if keys else 0
        found = []
        for at, key in enumerate(keys):
            meta, left, size = rows[3 * at : 3 * at + 3]
            if meta is None:
                continue
            each = msgspec.json.decode(meta, type=Meta)
            expires = now + max(left, 0) / 1000
            found.append(
                (
                    key,
                    CacheEntry(
                        each.tenant, each.asked, each.provider, each.model, each.at, expires, size
                    ),
                )
            )
        return found

    async def _within(self, seconds: float, work: Awaitable[T]) -> T:
        """The result of `work`, which the breaker is told of; late is failed."""
        try:
            async with asyncio.timeout(seconds):
                result = await work
        except (RedisError, OSError, TimeoutError):
            self._breaker.failed()
            self._open.value = float(self._breaker.open)
            raise
        self._breaker.succeeded()
        self._open.value = 0.0
        return result


def _key(tenant: str | None, key: str) -> str:
    """No tenant's name is a prefix or a pattern of another's: it is hashed."""
    who = "-" if tenant is None else hashlib.sha256(tenant.encode()).hexdigest()[:32]
    return f"{PREFIX}:{who}:{key}"


async def _here_or_thread(size: int, work: Callable[..., T], *args: Any) -> T:
    if size <= IN_PLACE_BYTES:
        return work(*args)
    return await asyncio.to_thread(work, *args)
