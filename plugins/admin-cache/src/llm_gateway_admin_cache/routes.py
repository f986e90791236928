"""What the routes answer. A caller with a tenant sees and clears its own, whatever it asks."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping

from llm_gateway_api import (
    CacheSelection,
    EndpointRequest,
    MalformedBodyError,
)
from msgspec import to_builtins

from llm_gateway_admin_cache.clearing import Clearing

LIMIT = 100
MOST = 10_000
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


async def stats(caches: Clearing, request: EndpointRequest) -> dict[str, object]:
    tenant = _tenant(request)
    rows = [
        {"cache": name, **to_builtins(await cache.stats(tenant))}
        for name, cache in caches.caches.items()
    ]
    return {"caches": rows}


async def entries(caches: Clearing, request: EndpointRequest) -> dict[str, object]:
    chosen = CacheSelection(_tenant(request), request.query.get("model") or None)
    limit = _limit(request.query)
    rows = [
        {"cache": name, **to_builtins(entry)}
        for name, cache in caches.caches.items()
        for entry in await cache.entries(chosen, limit)
    ]
    return {"entries": sorted(rows, key=lambda row: -row["at"])[:limit]}


async def clear(caches: Clearing, request: EndpointRequest) -> dict[str, object]:
    model, older = request.query.get("model") or None, request.query.get("older_than")
    before = time.time() - seconds(older) if older else None
    removed = await caches.clear(CacheSelection(_tenant(request), model, before))
    return {"removed": sum(removed.values()), "caches": removed}


Route = Callable[[Clearing, EndpointRequest], Awaitable[dict[str, object]]]
ROUTES: Mapping[str, Route] = {"stats": stats, "entries": entries, "clear": clear}


def seconds(text: str) -> float:
    """A length of time: ``90s``, ``15m``, ``1h``, ``7d``, ``2w``."""
    match = re.fullmatch(r"(\d{1,9})([smhdw])", text)
    if match is None:
        raise MalformedBodyError(
            f"{text!r} is no length of time; write 90s, 15m, 1h, 7d or 2w.", param="older_than"
        )
    return int(match[1]) * UNITS[match[2]]


def _tenant(request: EndpointRequest) -> str | None:
    own = request.arrival.principal.tenant
    return own if own is not None else request.query.get("tenant") or None


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or str(LIMIT)
    if not text.isdecimal() or not 1 <= int(text[:9]) <= MOST:
        raise MalformedBodyError(f"`limit` is a number from 1 to {MOST}.", param="limit")
    return int(text)
