"""Declares OpenAI's dialects and the list of models."""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_frontend_openai import reading, rendering


class Dialect:
    """What the three dialects share: the shape of errors and of keep-alives."""

    def error(self, error: gw.GatewayError, request_id: str) -> bytes:
        return msgspec.json.encode({"error": shape(error)})

    def error_frame(self, error: gw.GatewayError, request_id: str) -> bytes:
        return gw.frame(self.error(error, request_id))

    def keep_alive(self) -> bytes:
        return gw.comment()


def shape(error: gw.GatewayError) -> dict[str, object]:
    return {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }


class Chat(Dialect):
    """``POST /v1/chat/completions``"""

    def parse(self, body: bytes, arrival: gw.Arrival) -> gw.RequestHead:
        return reading.head(body, "openai.chat", "chat", "messages", b"[")

    def request(self, head: gw.RequestHead) -> gw.CanonicalRequest:
        return reading.chat_request(head)

    def renderer(self, head: gw.RequestHead) -> gw.Renderer:
        if head.stream:
            return rendering.StreamRenderer(head)
        return rendering.WholeRenderer(head)


class Completions(Dialect):
    """``POST /v1/completions``: one prompt where the provider only chats."""

    def parse(self, body: bytes, arrival: gw.Arrival) -> gw.RequestHead:
        return reading.head(body, "openai.completions", "completions", "prompt", b'"[')

    def request(self, head: gw.RequestHead) -> gw.CanonicalRequest:
        for name in ("suffix", "echo", "best_of", "logprobs"):
            if reading.member(head.fields, name):
                raise gw.UnsupportedParameterError(
                    f"{name} needs a model with the legacy completions API.", param=name
                )
        prompt = reading.member(head.fields, "prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise gw.UnsupportedParameterError(
                "This model takes one prompt, as a string.", param="prompt"
            )
        rest = {name: msgspec.json.decode(raw) for name, raw in head.fields.items()}
        known = (*reading.PARAMS, "max_tokens", "stop")
        params = {name: rest[name] for name in known if name in rest}
        if isinstance(params.get("stop"), str):
            params["stop"] = [params["stop"]]
        message = gw.Message("user", (gw.TextPart(prompt),), text_only=True)
        return gw.ChatRequest(
            head.model, (message,), params=params, stream=head.stream, dialect=head.dialect
        )

    def renderer(self, head: gw.RequestHead) -> gw.Renderer:
        return rendering.CompletionRenderer(head)


class Embeddings(Dialect):
    """``POST /v1/embeddings``"""

    def parse(self, body: bytes, arrival: gw.Arrival) -> gw.RequestHead:
        return reading.head(body, "openai.embeddings", "embeddings", "input", b'"[')

    def request(self, head: gw.RequestHead) -> gw.CanonicalRequest:
        given: Any = reading.member(head.fields, "input")
        if isinstance(given, str) or (given and isinstance(given[0], int)):
            given = [given]
        inputs = [tuple(each) if isinstance(each, list) else each for each in given]
        if not inputs or not all(isinstance(each, (str, tuple)) and each for each in inputs):
            raise reading.wrong("input", "a text, tokens, or a list of either, none empty")
        rest = {name: msgspec.json.decode(raw) for name, raw in head.fields.items()}
        params = {name: rest[name] for name in ("dimensions", "user") if name in rest}
        return gw.EmbeddingsRequest(head.model, tuple(inputs), params, {}, head.dialect)

    def renderer(self, head: gw.RequestHead) -> gw.Renderer:
        form = reading.member(head.fields, "encoding_format")
        return rendering.EmbeddingsRenderer(head, form == "base64")


def row(name: str, provider: str, info: gw.ModelInfo) -> dict[str, object]:
    made: dict[str, object] = {
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


def models(catalog: gw.Catalog) -> gw.EndpointHandler:
    async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
        rows = [row(*each) for each in catalog.visible(request.arrival)]
        return gw.EndpointResponse(200, msgspec.json.encode({"object": "list", "data": rows}))

    return handle


def model(catalog: gw.Catalog) -> gw.EndpointHandler:
    async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
        for each in catalog.visible(request.arrival):
            if each[0] == request.match["id"]:
                return gw.EndpointResponse(200, msgspec.json.encode(row(*each)))
        raise gw.ModelNotFoundError(
            "There is no such model for this key; GET /v1/models lists them.", param="model"
        )

    return handle


@gw.hookimpl
def llm_gateway_frontends() -> Sequence[gw.FrontendSpec]:
    return [
        gw.FrontendSpec("openai.chat", "POST", "/v1/chat/completions", "chat", Chat),
        gw.FrontendSpec(
            "openai.completions", "POST", "/v1/completions", "completions", Completions
        ),
        gw.FrontendSpec("openai.embeddings", "POST", "/v1/embeddings", "embeddings", Embeddings),
    ]


@gw.hookimpl
def llm_gateway_endpoints() -> Sequence[gw.EndpointSpec]:
    return [
        gw.EndpointSpec("GET", "/v1/models", "user", models, needs=("catalog",)),
        gw.EndpointSpec("GET", "/v1/models/{id:path}", "user", model, needs=("catalog",)),
    ]
