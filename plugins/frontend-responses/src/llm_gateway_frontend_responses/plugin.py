"""Declarations of this plugin, and its dialect."""

from llm_gateway_api.contracts import Frontend, Renderer
from llm_gateway_api.endpoints import EndpointRequest, EndpointResponse
from llm_gateway_api.errors import GatewayError, NotFoundError, UnsupportedParameterError
from llm_gateway_api.hookspecs import hookimpl
from llm_gateway_api.requests import ChatRequest, RequestHead
from llm_gateway_api.specs import EndpointSpec, FrontendSpec
from llm_gateway_api.sse import comment
from llm_gateway_api.values import Arrival

from llm_gateway_frontend_responses.decode import decode_request
from llm_gateway_frontend_responses.head import read_head
from llm_gateway_frontend_responses.renderers import StreamRenderer, WholeRenderer
from llm_gateway_frontend_responses.wire import DIALECT, error_body, error_frame

PATH = "/v1/responses"


class Dialect:
    """Meets the contract `Frontend`."""

    def parse(self, body: bytes, arrival: Arrival) -> RequestHead:
        return read_head(body)

    def request(self, head: RequestHead) -> ChatRequest:
        return decode_request(head)

    def renderer(self, head: RequestHead) -> Renderer:
        return StreamRenderer(head) if head.stream else WholeRenderer(head)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_body(error)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        return error_frame(error)

    def keep_alive(self) -> bytes:
        return comment()


_: type[Frontend] = Dialect  # the type checker proves the contract


class Stored:
    """Every route that reads or changes a stored response: there is none."""

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        raise NotFoundError(
            f"There is no response {request.match['id'][:64]!r}: this gateway stores none. "
            "Keep the answer of POST /v1/responses."
        )


class Unserved:
    """A helper of the vendor's that no other provider has."""

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        raise UnsupportedParameterError(
            f"POST {request.arrival.path} is not served by this gateway; it serves POST {PATH}."
        )


_PROPERTIES = {
    "model": {"type": "string", "description": "A public name, or `provider/model`."},
    "input": {"type": ["string", "array"]},
    "instructions": {"type": ["string", "null"]},
    "stream": {"type": ["boolean", "null"]},
    "max_output_tokens": {"type": ["integer", "null"]},
    "tools": {"type": "array", "items": {"type": "object"}},
    "text": {"type": "object"},
    "reasoning": {"type": ["object", "null"]},
    "store": {"enum": [False, None], "description": "No response is stored."},
}
_SCHEMA = {"type": "object", "required": ["model", "input"], "properties": _PROPERTIES}
_DOC = {
    "summary": "Responses, in OpenAI's form, from any provider",
    "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}},
}
_GONE = {"summary": "404: no response is stored"}
_NOT_SERVED = {"summary": "400: not served"}


@hookimpl
def llm_gateway_frontends() -> list[FrontendSpec]:
    return [FrontendSpec(DIALECT, "POST", PATH, "chat", Dialect, doc=_DOC)]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    routes = [
        ("GET", "/{id}"),
        ("DELETE", "/{id}"),
        ("GET", "/{id}/input_items"),
        ("POST", "/{id}/cancel"),
    ]
    helpers = ("/input_tokens", "/compact")
    return [
        *(
            EndpointSpec(method, PATH + path, "user", Stored, doc=_GONE, scope="tenant")
            for method, path in routes
        ),
        *(
            EndpointSpec("POST", PATH + path, "user", Unserved, doc=_NOT_SERVED, scope="tenant")
            for path in helpers
        ),
    ]
