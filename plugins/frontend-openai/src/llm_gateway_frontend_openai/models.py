"""GET /v1/models and GET /v1/models/{id}: the catalog as the caller may see it."""

from typing import Any

from llm_gateway_api.contracts import Catalog
from llm_gateway_api.endpoints import EndpointRequest, EndpointResponse
from llm_gateway_api.errors import ModelNotFoundError
from llm_gateway_api.values import Arrival, ModelInfo

from llm_gateway_frontend_openai.wire import encode


class ListModels:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        data = list(_visible(self._catalog, request.arrival).values())
        return EndpointResponse(200, encode({"object": "list", "data": data}))


class GetModel:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        wanted = request.match["id"]
        found = _visible(self._catalog, request.arrival).get(wanted)
        if found is None:
            raise ModelNotFoundError(f"There is no model {wanted[:256]!r}.", param="model")
        return EndpointResponse(200, encode(found))


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
    }
    if info.context_window is not None:
        made["context_window"] = info.context_window
    if info.capabilities:
        made["capabilities"] = sorted(info.capabilities)
    return made
