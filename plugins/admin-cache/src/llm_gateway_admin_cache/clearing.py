"""All caches together: looked into here, emptied in every worker."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from llm_gateway_api import Cache, CacheSelection, StateBackend, SupportsCacheAdmin

TOPIC = "cache.clear"
log = logging.getLogger("llm_gateway_admin_cache")


class Clearing:
    """`caches` are this worker's; the others hear of a clearing through `state`."""

    def __init__(self, caches: Mapping[str, Cache], state: StateBackend | None) -> None:
        self.caches = {n: c for n, c in caches.items() if isinstance(c, SupportsCacheAdmin)}
        self._state = state
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._state is not None:
            self._state.listen(TOPIC, self._heard)
        yield
        for task in tuple(self._tasks):
            task.cancel()

    async def clear(self, chosen: CacheSelection) -> dict[str, int]:
        """How many answers each cache has lost here; other workers clear theirs at once."""
        removed = {name: await cache.clear(chosen) for name, cache in self.caches.items()}
        if self._state is not None:
            self._state.publish(TOPIC, msgspec.json.encode(chosen))
        return removed

    def _heard(self, message: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._clear(message), name="cache clear")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _clear(self, message: bytes) -> None:
        try:
            chosen = msgspec.json.decode(message, type=CacheSelection)
            for cache in self.caches.values():
                await cache.clear(chosen)
        except Exception:
            log.exception("cache.clear_failed")
