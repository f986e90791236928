"""Declarations of this plugin, and the dialect that its routes share."""

from dataclasses import dataclass
from typing import Any

from llm_gateway_api import EndpointRequest, EndpointResponse
from llm_gateway_api.contracts import Frontend, Renderer
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.hookspecs import hookimpl
from llm_gateway_api.requests import ChatRequest, Operation, RequestHead
from llm_gateway_api.specs import EndpointSpec, FrontendSpec
from llm_gateway_api.sse import frame
from llm_gateway_api.values import Arrival

from llm_gateway_frontend_anthropic.decode import decode_request
from llm_gateway_frontend_anthropic.head import read_head
from llm_gateway_frontend_anthropic.renderers import CountRenderer, StreamRenderer, WholeRenderer
from llm_gateway_frontend_anthropic.wire import PING, encode, error_object

# The vendor says 529 where all are overloaded, and its SDK has a class for it.
STATUSES = {503: 529}


@dataclass(frozen=True, slots=True)
class Dialect:
    """A route of the dialect as data; meets the contract `Frontend`."""

    name: str
    operation: Operation

    def parse(self, body: bytes, arrival: Arrival) -> RequestHead:
        return read_head(body, arrival, self.name, self.operation)

    def request(self, head: RequestHead) -> ChatRequest:
        return decode_request(head)

    def renderer(self, head: RequestHead) -> Renderer:
        if self.operation == "count_tokens":
            return CountRenderer(head)
        return StreamRenderer(head) if head.stream else WholeRenderer(head)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return encode(error_object(error, request_id))

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        return frame(self.error(error, request_id), b"error")

    def keep_alive(self) -> bytes:
        return PING


MESSAGES = Dialect("anthropic.messages", "chat")
COUNT_TOKENS = Dialect("anthropic.count_tokens", "count_tokens")
_: type[Frontend] = Dialect  # the type checker proves the contract


class Hello:
    """Coding agents warm their connection here; any answer will do."""

    async def __call__(self, request: EndpointRequest) -> EndpointResponse:
        return EndpointResponse(200, b"")


def _spec(dialect: Dialect, path: str, summary: str, *required: str) -> FrontendSpec:
    properties: dict[str, Any] = {
        "model": {"type": "string", "description": "A public name, or `provider/model`."},
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "system": {"type": ["string", "array"]},
        "tools": {"type": "array", "items": {"type": "object"}},
    }
    if dialect.operation == "chat":
        properties |= {"max_tokens": {"type": "integer"}, "stream": {"type": "boolean"}}
    schema = {"type": "object", "required": ["model", *required], "properties": properties}
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return FrontendSpec(
        dialect.name,
        "POST",
        path,
        dialect.operation,
        lambda: dialect,
        request_id_header="request-id",
        statuses=STATUSES,
        doc={"summary": summary, "requestBody": body},
    )


@hookimpl
def llm_gateway_frontends() -> list[FrontendSpec]:
    return [
        _spec(
            MESSAGES,
            "/v1/messages",
            "Chat, in Anthropic's form, from any provider",
            "messages",
            "max_tokens",
        ),
        _spec(
            COUNT_TOKENS,
            "/v1/messages/count_tokens",
            "How many tokens a request is; nothing is generated",
            "messages",
        ),
    ]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    return [EndpointSpec("GET", "/api/hello", None, Hello, doc={"summary": "An empty answer"})]
