"""What is asked and answered, typed. Members that this version does not know are ignored."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]


class _Value(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the values below: immutable, compared by content."""


class FunctionCall(_Value, frozen=True):
    """`arguments` is the model's own text, usually JSON."""

    name: str | None = None
    arguments: str = ""


class ToolCall(_Value, frozen=True):
    """In a stream `index` tells the calls apart, and only the first piece has an `id`."""

    id: str | None = None
    type: str | None = None
    function: FunctionCall | None = None
    index: int | None = None


class Message(_Value, frozen=True):
    """One turn. `content` is a text, or a list of parts as the chat API has them."""

    role: Role
    content: Any = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @classmethod
    def system(cls, text: str) -> "Message":
        return cls("system", text)

    @classmethod
    def user(cls, text: str) -> "Message":
        return cls("user", text)

    @classmethod
    def assistant(cls, text: str) -> "Message":
        return cls("assistant", text)

    @classmethod
    def tool(cls, call_id: str, text: str) -> "Message":
        return cls("tool", text, tool_call_id=call_id)


class ChatRequest(_Value, frozen=True):
    """A question. `stream` is set by what is called: `chat` or `chat_stream`.

    `extra` holds any further member of the chat API by its own name.
    """

    model: str
    messages: list[Message]
    temperature: float | None = None
    max_tokens: int | None = None
    stream: bool = False
    top_p: float | None = None
    n: int | None = None
    stop: list[str] | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    extra: Mapping[str, Any] = {}


class Served(_Value, frozen=True):
    """What the gateway did for an answer; None or empty where it does not say.

    `cache` is ``hit``, ``miss`` or another word of the cache's; `cost` in USD; `dropped` are
    the parameters that the model cannot take and that were left out.
    """

    provider: str | None = None
    model: str | None = None
    cache: str | None = None
    attempts: int | None = None
    cost: Decimal | None = None
    dropped: tuple[str, ...] = ()


class Usage(_Value, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class Choice(_Value, frozen=True):
    message: Message
    index: int = 0
    finish_reason: str | None = None


class ChatResponse(_Value, frozen=True):
    """An answer; `request_id` is what to quote to the gateway's operator."""

    choices: tuple[Choice, ...] = ()
    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    request_id: str | None = None
    served: Served = Served()


class Delta(_Value, frozen=True):
    content: str | None = None
    role: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    refusal: str | None = None


class ChunkChoice(_Value, frozen=True):
    delta: Delta = Delta()
    index: int = 0
    finish_reason: str | None = None


class ChatChunk(_Value, frozen=True):
    """A piece of a streamed answer; the one with `usage` may have no choices."""

    choices: tuple[ChunkChoice, ...] = ()
    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    request_id: str | None = None


class EmbeddingRequest(_Value, frozen=True):
    """Texts to embed. `extra` holds any further member of the API by its own name."""

    model: str
    input: str | list[str]
    dimensions: int | None = None
    user: str | None = None
    extra: Mapping[str, Any] = {}


class Embedding(_Value, frozen=True):
    embedding: tuple[float, ...]
    index: int = 0


class EmbeddingResponse(_Value, frozen=True):
    """One vector for each text, in the order of the texts."""

    data: tuple[Embedding, ...] = ()
    model: str | None = None
    usage: Usage | None = None
    request_id: str | None = None
    served: Served = Served()


class RerankRequest(_Value, frozen=True):
    """Documents to rank against a query; `top_n` None ranks all."""

    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool | None = None
    extra: Mapping[str, Any] = {}


class RerankDocument(_Value, frozen=True):
    text: str = ""


class RerankResult(_Value, frozen=True):
    """`index` is the place in the request's documents; `document` where it was asked for."""

    index: int
    relevance_score: float
    document: RerankDocument | None = None


class RerankResponse(_Value, frozen=True):
    """The best first."""

    results: tuple[RerankResult, ...] = ()
    id: str | None = None
    request_id: str | None = None
    served: Served = Served()


class Model(_Value, frozen=True):
    """A model that the key may use. What the gateway does not tell is None or empty.

    `max_tokens` is the longest answer. `pricing` has USD per million by meter, as text, with
    `tiers` and the `version`; `parameters` says what becomes of each: mapped, dropped, refused.
    """

    id: str
    owned_by: str | None = None
    provider: str | None = None
    context_window: int | None = None
    max_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    pricing: dict[str, Any] = {}
    parameters: dict[str, str] = {}


class ModelList(_Value, frozen=True):
    data: tuple[Model, ...] = ()


class Health(_Value, frozen=True):
    """`ok` is the HTTP status' word, `details` the whole document."""

    ok: bool
    status: str
    details: dict[str, Any] = {}
