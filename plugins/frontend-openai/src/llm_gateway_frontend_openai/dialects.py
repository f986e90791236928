"""The three dialects: what reads and what writes each."""

from collections.abc import Callable
from dataclasses import dataclass

from llm_gateway_api.contracts import Frontend, Renderer
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.requests import CanonicalRequest, Operation, RequestHead
from llm_gateway_api.sse import comment
from llm_gateway_api.values import Arrival

from llm_gateway_frontend_openai.decode import decode_chat, decode_completion, decode_embeddings
from llm_gateway_frontend_openai.head import read_head
from llm_gateway_frontend_openai.others import CompletionStreamRenderer, EmbeddingsRenderer
from llm_gateway_frontend_openai.stream import ChatStreamRenderer
from llm_gateway_frontend_openai.whole import CompletionRenderer, WholeRenderer
from llm_gateway_frontend_openai.wire import error_body, error_frame


@dataclass(frozen=True, slots=True)
class Dialect:
    """A client dialect as data; meets the contract `Frontend`."""

    name: str
    operation: Operation
    content: str
    first: bytes
    decode: Callable[[RequestHead], CanonicalRequest]
    streamed: Callable[[RequestHead], Renderer]
    whole: Callable[[RequestHead], Renderer]

    def parse(self, body: bytes, arrival: Arrival) -> RequestHead:
        return read_head(body, self.name, self.operation, self.content, self.first)

    def request(self, head: RequestHead) -> CanonicalRequest:
        return self.decode(head)

    def renderer(self, head: RequestHead) -> Renderer:
        return self.streamed(head) if head.stream else self.whole(head)

    def error(self, error: GatewayError, request_id: str) -> bytes:
        return error_body(error)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        return error_frame(error)

    def keep_alive(self) -> bytes:
        return comment()


CHAT = Dialect(
    "openai.chat", "chat", "messages", b"[", decode_chat, ChatStreamRenderer, WholeRenderer
)
COMPLETIONS = Dialect(
    "openai.completions",
    "completions",
    "prompt",
    b'"[',
    decode_completion,
    CompletionStreamRenderer,
    CompletionRenderer,
)
EMBEDDINGS = Dialect(
    "openai.embeddings",
    "embeddings",
    "input",
    b'"[',
    decode_embeddings,
    EmbeddingsRenderer,
    EmbeddingsRenderer,
)

_: type[Frontend] = Dialect  # the type checker proves the contract
