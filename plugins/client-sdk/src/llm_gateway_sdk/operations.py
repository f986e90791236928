"""What can be asked: each operation is one HTTP request and the reading of its answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
import msgspec

from llm_gateway_sdk import wire
from llm_gateway_sdk.values import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Health,
    Model,
    ModelList,
    RerankRequest,
    RerankResponse,
)

T = TypeVar("T")
A = TypeVar("A", ChatResponse, EmbeddingResponse, RerankResponse)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request. `path` is relative to the base; `name` and `model` are for traces."""

    method: str
    path: str
    body: bytes | None = None
    params: Mapping[str, str] | None = None
    name: str = ""
    model: str | None = None
    also_fine: tuple[int, ...] = ()  # statuses from 400 on that are an answer, not an error


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A call, and what its answer means."""

    call: Call
    read: Callable[[httpx.Response, bytes], T]


def chat(request: ChatRequest) -> Operation[ChatResponse]:
    return Operation(chat_call(request, stream=False), _answer(ChatResponse))


def chat_call(request: ChatRequest, *, stream: bool) -> Call:
    body = _members(request)
    body.pop("stream", None)
    if stream:
        body = {"stream_options": {"include_usage": True}, **body, "stream": True}
    return _post("v1/chat/completions", body, "chat", request.model)


def embeddings(request: EmbeddingRequest) -> Operation[EmbeddingResponse]:
    call = _post("v1/embeddings", _members(request), "embeddings", request.model)
    return Operation(call, _answer(EmbeddingResponse))


def rerank(request: RerankRequest) -> Operation[RerankResponse]:
    call = _post("v1/rerank", _members(request), "rerank", request.model)
    return Operation(call, _answer(RerankResponse))


def models(parameters: bool) -> Operation[tuple[Model, ...]]:
    def read(response: httpx.Response, body: bytes) -> tuple[Model, ...]:
        return wire.decoded(body, ModelList, response.headers.get("x-request-id")).data

    params = {"parameters": "true"} if parameters else None
    return Operation(Call("GET", "v1/models", params=params), read)


def health(detailed: bool) -> Operation[Health]:
    def read(response: httpx.Response, body: bytes) -> Health:
        status = response.status_code
        details = wire.decoded(body, dict[str, Any], response.headers.get("x-request-id"))
        return Health(status < 400, str(details.get("status", status)), details)

    params = {"detailed": "true"} if detailed else None
    return Operation(Call("GET", "health", params=params, also_fine=(503,)), read)


def _members(request: ChatRequest | EmbeddingRequest | RerankRequest) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(request)
    body.update(body.pop("extra", {}))
    return body


def _post(path: str, body: Mapping[str, Any], name: str, model: str) -> Call:
    return Call("POST", path, msgspec.json.encode(body), name=name, model=model)


def _answer(kind: type[A]) -> Callable[[httpx.Response, bytes], A]:
    """Reads a `kind` and adds what the headers tell of it."""

    def read(response: httpx.Response, body: bytes) -> A:
        request_id = response.headers.get("x-request-id")
        found = wire.decoded(body, kind, request_id)
        told = wire.served(response.headers)
        return msgspec.structs.replace(found, request_id=request_id, served=told)

    return read
