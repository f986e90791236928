"""GET /v1/models and GET /v1/models/{id}: the catalog as the caller may see it.

One document serves the SDKs of both dialects: each reads its own members and leaves the
other's alone. Pages are cut where a caller asks for them, or is of the dialect that pages.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from llm_gateway_api.contracts import Catalog
from llm_gateway_api.endpoints import EndpointRequest, EndpointResponse
from llm_gateway_api.errors import MalformedBodyError, ModelNotFoundError
from llm_gateway_api.values import Arrival, ModelInfo

from llm_gateway_frontend_openai.wire import encode

PAGING_HEADER = "anthropic-version"
PAGE = 20
MAX_PAGE = 1000


class ListModels:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        data = list(_visible(self._catalog, request.arrival).values())
        paged = PAGING_HEADER in request.arrival.headers
        return EndpointResponse(200, encode(_page(data, request.query, PAGE if paged else None)))


class GetModel:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        wanted = request.match["id"]
        found = _visible(self._catalog, request.arrival).get(wanted)
        if found is None:
            raise ModelNotFoundError(f"There is no model {wanted[:256]!r}.", param="model")
        return EndpointResponse(200, encode(found))


def _page(
    data: Sequence[dict[str, Any]], query: Mapping[str, str], size: int | None
) -> dict[str, Any]:
    """The part of `data` that the query asks for, and what is said of it."""
    if "limit" in query:
        size = _limit(query["limit"])
    ids = [each["id"] for each in data]
    start, end = 0, len(data)
    if (after := query.get("after_id")) in ids:
        start = ids.index(after) + 1
    elif (before := query.get("before_id")) in ids:
        end = ids.index(before)
        start = max(0, end - size) if size is not None else 0
    stop = end if size is None else min(end, start + size)
    more = start > 0 if "before_id" in query else stop < end
    shown = list(data[start:stop])
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    about = {"has_more": more, "first_id": first, "last_id": last}
    return {"object": "list", "data": shown, **about}


def _limit(given: str) -> int:
    if given.isdecimal() and 1 <= int(given[:9]) <= MAX_PAGE:
        return int(given)
    raise MalformedBodyError(f"'limit' must be a number from 1 to {MAX_PAGE}.", param="limit")


def _visible(catalog: Catalog, arrival: Arrival) -> dict[str, dict[str, Any]]:
    """Each public name once; the first provider that serves it is its owner."""
    models: dict[str, dict[str, Any]] = {}
    for name, provider, info in catalog.visible(arrival):
        models.setdefault(name, _object(name, provider, info))
    return models


def _object(name: str, provider: str, info: ModelInfo) -> dict[str, Any]:
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
    return made
