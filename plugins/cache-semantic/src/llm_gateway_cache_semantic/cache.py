"""The cache: vectors of questions, compared within one partition and nowhere else."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
)
from numpy.typing import NDArray

from llm_gateway_cache_semantic.guard import agree
from llm_gateway_cache_semantic.settings import SemanticSettings

log = logging.getLogger("llm_gateway_cache_semantic")
Vector = NDArray[np.float32]
PENDING = 1000


@dataclass(slots=True)
class Kept:
    key: str
    tenant: str | None
    text: str
    vector: Vector
    answer: CachedAnswer
    expires: float


@dataclass(slots=True)
class Partition:
    """The answers of one partition; `matrix` is made when it is first compared with."""

    kept: list[Kept] = field(default_factory=list)
    matrix: Vector | None = None

    def nearest(self, vector: Vector, now: float) -> Iterator[tuple[float, Kept]]:
        """What is still fresh, the likest first."""
        if self.matrix is None:
            self.matrix = np.stack([each.vector for each in self.kept])
        scores = self.matrix @ vector
        for at in np.argsort(-scores):
            if self.kept[at].expires > now:
                yield float(scores[at]), self.kept[at]


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

    async def get(self, lookup: Lookup) -> CachedAnswer | None:
        if not self._comparable(lookup):
            return None
        vector = await self._vector(lookup)
        if vector is None:
            return None
        self._remember(lookup.key, vector)
        partition = self._partitions.get(lookup.partition)
        if partition is None or not partition.kept:
            self._misses.inc()
            return None
        self._partitions.move_to_end(lookup.partition)
        for score, kept in partition.nearest(vector, self._clock()):
            if score < self._settings.similarity_threshold:
                break
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
        expires = self._clock() + ttl_seconds
        partition = self._partitions.setdefault(lookup.partition, Partition())
        self._partitions.move_to_end(lookup.partition)
        before = len(partition.kept)
        partition.kept = [
            each
            for each in partition.kept
            if each.key != lookup.key and each.expires > self._clock()
        ]
        partition.kept.append(Kept(lookup.key, lookup.tenant, lookup.text, vector, value, expires))
        partition.matrix = None
        self._entries += len(partition.kept) - before
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
            partition.kept = [
                each
                for each in partition.kept
                if not chosen.has(each.tenant, each.answer.asked, each.answer.at)
            ]
            partition.matrix = None
            if not partition.kept:
                del self._partitions[name]
        self._entries = sum(len(each.kept) for each in self._partitions.values())
        return before - self._entries

    def _comparable(self, lookup: Lookup) -> bool:
        words = len(lookup.text.split())
        return bool(lookup.partition) and words >= self._settings.min_words

    async def _vector(self, lookup: Lookup) -> Vector | None:
        """None where nobody was asked: the caller's text may not go there, or those that went
        before it failed."""
        settings = self._settings
        if not self._breaker.admits():
            self._skipped.inc()
            return None
        plain = " ".join(lookup.text.split())
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
            partition.kept.pop(0)
            partition.matrix = None
            self._entries -= 1
            if not partition.kept:
                del self._partitions[name]

    def _all(self) -> Iterator[tuple[str, Kept]]:
        for name, partition in self._partitions.items():
            for each in partition.kept:
                yield name, each
