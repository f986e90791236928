"""Declares ``GET /openapi.json``."""

from collections.abc import Sequence

from llm_gateway_api import (
    EndpointHandler,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    FrontendSpec,
    hookimpl,
)

DOC = {
    "summary": "This description",
    "responses": {"200": {"description": "An OpenAPI 3.1 document."}},
}


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    return [EndpointSpec("GET", "/openapi.json", None, make, needs=("routes",), doc=DOC)]


def make(routes: Sequence[FrontendSpec | EndpointSpec]) -> EndpointHandler:
    """The handler; the document is written once, when it is first asked for."""
    written: list[bytes] = []

    async def handle(request: EndpointRequest) -> EndpointResponse:
        if not written:
            import msgspec

            from llm_gateway_endpoint_openapi.document import document

            written.append(msgspec.json.encode(document(routes)))
        return EndpointResponse(200, written[0])

    return handle
