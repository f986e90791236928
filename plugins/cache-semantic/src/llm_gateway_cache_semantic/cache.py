"""The cache: vectors of questions, compared within one partition and nowhere else."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from time import time

import numpy as np
from llm_gateway_api import (
    Breaker,
    CachedAnswer,
    CacheEntry,
    CacheSelection,
    CacheStats,
    Embed,
    Lookup,
    Metrics,
    PermissionDeniedError,
    Targets,
)

from llm_gateway_cache_semantic.guard import agree
from llm_gateway_cache_semantic.partition import Kept, Partition, Vector
from llm_gateway_cache_semantic.settings import SemanticSettings

log = logging.getLogger("llm_gateway_cache_semantic")
SECTION = "cache.semantic_cache"
PENDING = 1000
# A comparison with more numbers than this would hold up other requests: a thread does it.
IN_PLACE = 1_000_000


class SemanticCache:
    """Meets `Cache`: asked after the exact one, for texts that it can compare."""

    def __init__(
        self,
        settings: SemanticSettings,
        embed: Embed,
        clock: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._embed = embed
        self._clock = clock
        self._breaker = Breaker(settings.failure_threshold, settings.max_pause_seconds, clock)
        self._partitions: OrderedDict[str, Partition] = OrderedDict()
        self._entries = 0
        self._under_way = 0
        # The vector that a miss has made, for the answer that is about to come.
        self._pending: OrderedDict[str, Vector] = OrderedDict()
        found = metrics.counter(
            "gateway_cache_semantic_total",
            "questions compared, by what came of it",
            ("outcome",),
        )
        self._hits, self._refused = found.value("hit"), found.value("refused")
        self._misses, self._shadowed = found.value("miss"), found.value("shadow")
        self._skipped, self._barred = found.value("skipped"), found.value("barred")
        self._open = metrics.gauge(
            "gateway_cache_semantic_breaker_open", "1 while no vector is asked for", (), "max"
        ).value()

    def warnings(self, targets: Targets) -> list[str]:
        """Where nobody embeds, nothing is ever compared."""
        model = self._settings.model
        if model is not None:
            return (
                [] if targets.exists(model) else [f"{SECTION}.model: nothing is called {model!r}"]
            )
        if any("embeddings" in targets.info(e).capabilities for e in targets.deployments()):
            return []
        return [
            f"{SECTION}: no provider is known to embed, so that nothing is compared; set `model`"
        ]

    async def get(self, lookup: Lookup) -> CachedAnswer | None:
        if not self._comparable(lookup):
            return None
        vector = await self._vector(lookup)
        if vector is None:
            return None
        self._remember(lookup.key, vector)
        partition = self._partitions.get(lookup.partition)
        if partition is None:
            self._misses.inc()
            return None
        self._partitions.move_to_end(lookup.partition)
        for kept in await self._alike(partition, vector):
            if not agree(lookup.text, kept.text):
                self._refused.inc()
                continue
            if self._settings.shadow:
                self._shadowed.inc()
                return None
            self._hits.inc()
            return kept.answer
        self._misses.inc()
        return None

    async def put(self, lookup: Lookup, value: CachedAnswer, ttl_seconds: float) -> None:
        if not self._comparable(lookup):
            return
        vector = self._pending.pop(lookup.key, None)
        if vector is None:
            vector = await self._vector(lookup)
        if vector is None:
            return
        now = self._clock()
        partition = self._partitions.setdefault(lookup.partition, Partition())
        self._partitions.move_to_end(lookup.partition)
        before = len(partition)
        while (oldest := partition.oldest()) is not None and oldest.expires <= now:
            partition.remove(oldest.key)
        partition.put(
            Kept(lookup.key, lookup.tenant, lookup.text, vector, value, now + ttl_seconds)
        )
        self._entries += len(partition) - before
        self._evict()

    async def stats(self, tenant: str | None) -> CacheStats:
        mine = [each for _, each in self._all() if tenant is None or each.tenant == tenant]
        return CacheStats(len(mine), sum(each.vector.nbytes for each in mine))

    async def entries(self, chosen: CacheSelection, limit: int) -> Sequence[CacheEntry]:
        shift = time() - self._clock()
        found = [
            CacheEntry(
                each.tenant,
                each.answer.asked,
                each.answer.provider,
                each.answer.model,
                each.answer.at,
                each.expires + shift,
                each.vector.nbytes,
            )
            for _, each in self._all()
            if chosen.has(each.tenant, each.answer.asked, each.answer.at)
        ]
        return sorted(found, key=lambda each: -each.at)[:limit]

    async def clear(self, chosen: CacheSelection) -> int:
        before = self._entries
        for name in list(self._partitions):
            partition = self._partitions[name]
            for each in list(partition):
                if chosen.has(each.tenant, each.answer.asked, each.answer.at):
                    partition.remove(each.key)
            if not partition:
                del self._partitions[name]
        self._entries = sum(len(each) for each in self._partitions.values())
        return before - self._entries

    async def _alike(self, partition: Partition, vector: Vector) -> Sequence[Kept]:
        threshold = self._settings.similarity_threshold
        if partition.numbers > IN_PLACE:
            places = await asyncio.to_thread(partition.places, vector, threshold)
        else:
            places = partition.places(vector, threshold)
        return partition.alike(vector, threshold, places, self._clock())

    def _comparable(self, lookup: Lookup) -> bool:
        words = len(lookup.text.split())
        return bool(lookup.partition) and words >= self._settings.min_words

    async def _vector(self, lookup: Lookup) -> Vector | None:
        """None where nobody was asked: the caller's text may not go there, those that went
        before it failed, or too many are under way."""
        settings = self._settings
        if self._under_way >= settings.max_concurrent or not self._breaker.admits():
            self._skipped.inc()
            return None
        plain = " ".join(lookup.text.split())
        self._under_way += 1
        try:
            values = await self._embed(
                plain, settings.model, settings.timeout_seconds, lookup.asked
            )
        except PermissionDeniedError:
            self._barred.inc()
            return None
        except Exception:
            self._breaker.failed()
            self._open.value = float(self._breaker.open)
            raise
        finally:
            self._under_way -= 1
        self._breaker.succeeded()
        self._open.value = 0.0
        vector = np.asarray(values, dtype=np.float32)
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _remember(self, key: str, vector: Vector) -> None:
        self._pending[key] = vector
        while len(self._pending) > PENDING:
            self._pending.popitem(last=False)

    def _evict(self) -> None:
        """The oldest of the partition that was used least recently goes first."""
        while self._entries > self._settings.max_entries:
            name, partition = next(iter(self._partitions.items()))
            oldest = partition.oldest()
            if oldest is not None:
                partition.remove(oldest.key)
                self._entries -= 1
            if not partition:
                del self._partitions[name]

    def _all(self) -> Iterator[tuple[str, Kept]]:
        for name, partition in self._partitions.items():
            for each in partition:
                yield name, each
