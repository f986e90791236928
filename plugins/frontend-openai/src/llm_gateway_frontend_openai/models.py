"""GET /v1/models and GET /v1/models/{id}: the catalog as the caller may see it.

One document serves the SDKs of both dialects: each reads its own members and leaves the
other's alone. Pages are cut where a caller asks for them, or is of the dialect that pages.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from llm_gateway_api.backing import Prices
from llm_gateway_api.contracts import Catalog
from llm_gateway_api.endpoints import EndpointRequest, EndpointResponse
from llm_gateway_api.errors import MalformedBodyError, ModelNotFoundError
from llm_gateway_api.values import Arrival, ModelInfo, Target

from llm_gateway_frontend_openai.wire import encode

PAGING_HEADER = "anthropic-version"
PAGE = 20
MAX_PAGE = 1000


class ListModels:
    """``parameters=true`` adds what becomes of each parameter with each model."""

    def __init__(self, catalog: Catalog, prices: Prices | None) -> None:
        self._catalog = catalog
        self._prices = prices

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        shown = _visible(self._catalog, request.arrival)
        paged = PAGING_HEADER in request.arrival.headers
        page = _page(list(shown), request.query, PAGE if paged else None)
        data: list[dict[str, Any]] = []
        for name in page["data"]:
            provider, info = shown[name]
            data.append(_object(name, provider, info, self._prices))
            if request.query.get("parameters") == "true":
                data[-1]["parameters"] = self._catalog.parameters(provider, info.id)
                await asyncio.sleep(0)  # others are served between two models
        return EndpointResponse(200, encode({**page, "data": data}))


class GetModel:
    def __init__(self, catalog: Catalog, prices: Prices | None) -> None:
        self._catalog = catalog
        self._prices = prices

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        wanted = request.match["id"]
        found = _asked(self._catalog, request.arrival, wanted)
        if found is None:
            raise ModelNotFoundError(f"There is no model {wanted[:256]!r}.", param="model")
        provider, info = found
        model = _object(wanted, provider, info, self._prices)
        model["parameters"] = self._catalog.parameters(provider, info.id)
        return EndpointResponse(200, encode(model))


def _page(ids: Sequence[str], query: Mapping[str, str], size: int | None) -> dict[str, Any]:
    """The part of `ids` that the query asks for, and what is said of it."""
    if "limit" in query:
        size = _limit(query["limit"])
    start, end = 0, len(ids)
    if (after := query.get("after_id")) in ids:
        start = ids.index(after) + 1
    elif (before := query.get("before_id")) in ids:
        end = ids.index(before)
        start = max(0, end - size) if size is not None else 0
    stop = end if size is None else min(end, start + size)
    more = start > 0 if "before_id" in query else stop < end
    shown = ids[start:stop]
    first, last = (shown[0], shown[-1]) if shown else (None, None)
    about = {"has_more": more, "first_id": first, "last_id": last}
    return {"object": "list", "data": shown, **about}


def _limit(given: str) -> int:
    if given.isdecimal() and 1 <= int(given[:9]) <= MAX_PAGE:
        return int(given)
    raise MalformedBodyError(f"'limit' must be a number from 1 to {MAX_PAGE}.", param="limit")


def _visible(catalog: Catalog, arrival: Arrival) -> dict[str, tuple[str, ModelInfo]]:
    """Each public name once; the first provider that serves it is its owner."""
    models: dict[str, tuple[str, ModelInfo]] = {}
    for name, provider, info in catalog.visible(arrival):
        models.setdefault(name, (provider, info))
    return models


def _asked(catalog: Catalog, arrival: Arrival, name: str) -> tuple[str, ModelInfo] | None:
    """Who serves `name`, which may be a public name or address a deployment (``provider/model``),
    as a request may."""
    rows = catalog.visible(arrival)
    public = [(provider, info) for shown, provider, info in rows if shown == name]
    if public or arrival.principal.models is not None:
        return public[0] if public else None
    direct = ((provider, info) for _, provider, info in rows if name == f"{provider}/{info.id}")
    return next(direct, None)


def _object(name: str, provider: str, info: ModelInfo, prices: Prices | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": info.created,
        "owned_by": provider,
        "type": "model",
        "created_at": datetime.fromtimestamp(info.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "display_name": name,
        "lifecycle": "active",
    }
    if info.context_window is not None:
        made["context_window"] = made["max_input_tokens"] = info.context_window
    if info.max_output is not None:
        made["max_tokens"] = info.max_output
    if info.capabilities:
        made["capabilities"] = sorted(info.capabilities)
    if pricing := _pricing(provider, info, prices):
        made["pricing"] = pricing
    return made


def _pricing(provider: str, info: ModelInfo, prices: Prices | None) -> dict[str, Any]:
    """USD per million of each meter, as text; the provider's own word where no catalogue has
    the model."""
    price = prices.price(Target(provider, info.id, base=info.base)) if prices else None
    if price is None:
        own = {"input": info.input_price, "output": info.output_price}
        return {name: each for name, each in own.items() if each is not None}
    made: dict[str, Any] = _texts(price.meters)
    if price.per_request:
        made["request"] = f"{price.per_request:f}"
    if price.tiers:
        made["tiers"] = [{"above": tokens, **_texts(rates)} for tokens, rates in price.tiers]
    return {**made, "version": price.version}


def _texts(meters: Mapping[str, Decimal | None]) -> dict[str, Any]:
    return {name: None if each is None else f"{each:f}" for name, each in meters.items()}
