"""Declares the cache backend ``{{id}}``: answers in this process's memory, the oldest leave."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import llm_gateway_api as gw

MAX_ENTRIES = 10_000


class {{Class}}:
    """Fails open: whatever it raises is a miss, and counted.

    An entry belongs to its partition (the tenant and what else tells callers apart); no
    other partition may ever read it.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], tuple[float, tuple[gw.Event, ...]]] = (
            OrderedDict()
        )

    async def get(self, lookup: gw.Lookup) -> Sequence[gw.Event] | None:
        key = (lookup.partition, lookup.key)
        found = self._entries.get(key)
        if found is None:
            return None
        ends, events = found
        if self._clock() >= ends:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return events

    async def put(self, lookup: gw.Lookup, value: Sequence[gw.Event], ttl_seconds: float) -> None:
        key = (lookup.partition, lookup.key)
        self._entries[key] = (self._clock() + ttl_seconds, tuple(value))
        self._entries.move_to_end(key)
        while len(self._entries) > MAX_ENTRIES:
            self._entries.popitem(last=False)


_: type[gw.Cache] = {{Class}}  # the type checker proves the contract


@gw.hookimpl
def llm_gateway_cache_backends() -> list[gw.CacheSpec]:
    return [gw.CacheSpec("{{id}}", {{Class}}, needs=("clock",))]
