"""Declares the cache backend ``{{id}}``.

Answers lie in this process's memory; the oldest leave.
"""

from collections import OrderedDict
from collections.abc import Callable

import llm_gateway_api as gw

MAX_ENTRIES = 10_000


class {{Class}}:
    """Fails open: whatever it raises is a miss, and counted.

    The key of a look-up holds the caller's tenant, so that no other tenant ever meets it.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, gw.CachedAnswer]] = OrderedDict()

    async def get(self, lookup: gw.Lookup) -> gw.CachedAnswer | None:
        found = self._entries.get(lookup.key)
        if found is None:
            return None
        ends, answer = found
        if self._clock() >= ends:
            del self._entries[lookup.key]
            return None
        self._entries.move_to_end(lookup.key)
        return answer

    async def put(self, lookup: gw.Lookup, value: gw.CachedAnswer, ttl_seconds: float) -> None:
        self._entries[lookup.key] = (self._clock() + ttl_seconds, value)
        self._entries.move_to_end(lookup.key)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)


_: type[gw.Cache] = {{Class}}  # the type checker proves the contract


@gw.hookimpl
def llm_gateway_cache_backends() -> list[gw.CacheSpec]:
    return [gw.CacheSpec("{{id}}", {{Class}}, needs=("clock",))]
