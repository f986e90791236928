"""The answers that caches keep for a tenant; cleared in every worker."""

from llm_gateway_api import CacheSelection, ExportPage
from msgspec import to_builtins

from llm_gateway_admin_cache.clearing import Clearing


class TenantAnswers:
    """Meets `TenantData`. An export says which answers there are, and not what they say."""

    def __init__(self, clearing: Clearing) -> None:
        self._clearing = clearing

    async def count(self, tenant: str) -> int:
        stats = [await cache.stats(tenant) for cache in self._clearing.caches.values()]
        return sum(each.entries for each in stats)

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        """One cache a page, its newest first."""
        chosen = CacheSelection(tenant)
        for name, cache in sorted(self._clearing.caches.items()):
            if name > after:
                found = await cache.entries(chosen, MOST)
                return ExportPage([{"cache": name, **to_builtins(each)} for each in found], name)
        return ExportPage([])

    async def erase(self, tenant: str) -> int:
        return sum((await self._clearing.clear(CacheSelection(tenant))).values())


MOST = 100_000
