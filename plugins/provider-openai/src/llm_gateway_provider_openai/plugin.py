"""Declares the kind ``openai``: the vendor itself, and any server that speaks its dialect."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import llm_gateway_api as gw
import msgspec
from pydantic import Field, HttpUrl, SecretStr

from llm_gateway_provider_openai import bridge, decoding, responses, writing
from llm_gateway_provider_openai.errors import refused
from llm_gateway_provider_openai.tee import StreamTee, WholeTee

BASE_URL = "https://api.openai.com/v1"
PATHS = {
    "openai.chat": "/chat/completions",
    "openai.completions": "/completions",
    "openai.embeddings": "/embeddings",
}


class Quirks(gw.Section):
    """How a compatible server differs from OpenAI itself."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="the member that limits the output"
    )
    stream_usage: bool = Field(default=True, description="whether it takes stream_options")
    drop_fields: tuple[str, ...] = Field(default=(), description="parameters that are left out")
    reject_fields: tuple[str, ...] = Field(default=(), description="parameters that are refused")
    responses_bridge: bool | None = Field(
        default=None,
        description="ask /responses where chat refuses; only the vendor's own API if absent",
    )
    relay: bool = Field(default=True, description="pass bytes of clients of this dialect through")


class Settings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    required: ClassVar[tuple[str, ...]] = ("api_key",)

    api_key: SecretStr = Field(description="the key; any word for a server that needs none")
    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")
    organization: str | None = Field(default=None, description="OpenAI-Organization")
    project: str | None = Field(default=None, description="OpenAI-Project")
    quirks: Quirks = Field(default=Quirks(), description="differences of the server")


class OpenAIProvider:
    """Speaks OpenAI's formats. Opens no connection, keeps no state of a request."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._base = str(settings.base_url).rstrip("/")
        self._headers = {
            "authorization": f"Bearer {settings.api_key.get_secret_value()}",
            "content-type": "application/json",
        }
        if settings.organization:
            self._headers["openai-organization"] = settings.organization
        if settings.project:
            self._headers["openai-project"] = settings.project
        quirks = settings.quirks
        self._quirks = quirks
        self._drop = frozenset(quirks.drop_fields)
        plain = not quirks.drop_fields and not quirks.reject_fields
        plain = plain and quirks.max_tokens_field == "max_completion_tokens"
        self._relays = frozenset(PATHS) if quirks.relay and plain else frozenset()
        wanted = quirks.responses_bridge
        self._bridge = self._base == BASE_URL if wanted is None else wanted
        self._urls = {dialect: self._base + path for dialect, path in PATHS.items()}
        self._models = tuple(
            gw.ModelInfo(each)
            if isinstance(each, str)
            else gw.ModelInfo(
                each.id, each.context_window, each.max_output, frozenset(each.capabilities)
            )
            for each in settings.models
        )

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return refused(status, headers, body)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        for name in self._quirks.reject_fields:
            if request.params.get(name) is not None:
                raise gw.UnsupportedParameterError(
                    f"{request.model} does not take {name}; leave it out.", param=name
                )
        if self._bridge and bridge.request_demands(request):
            return self._bridged(request)
        quirks = self._quirks
        body, dropped = writing.chat(
            request, quirks.max_tokens_field, self._drop, quirks.stream_usage
        )
        decoder = decoding.ChatStreamDecoder if request.stream else decoding.BodyDecoder
        encoded = msgspec.json.encode(body)
        return self._post("openai.chat", encoded, decoder, request.stream, dropped)

    def _bridged(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        """The same turn on /responses, which takes what chat refuses."""
        streamed = request.stream
        decoder: gw.DecoderFactory = (
            responses.ResponsesStreamDecoder if streamed else responses.ResponsesBodyDecoder
        )
        body, dropped = bridge.encode(request)
        encoded, url = msgspec.json.encode(body), self._base + bridge.PATH
        return gw.UpstreamRequest("POST", url, self._headers, encoded, decoder, streamed, dropped)

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        body = {"model": request.model, "input": request.inputs, **request.params}
        encoded = msgspec.json.encode(body)
        return self._post("openai.embeddings", encoded, decoding.EmbeddingsDecoder, False, ())

    def probe(self) -> gw.UpstreamRequest:
        return gw.UpstreamRequest(
            "GET", f"{self._base}/models", self._headers, b"", decoding.BodyDecoder
        )

    def relays(self, dialect: str) -> bool:
        return dialect in self._relays

    def splice(self, head: gw.RequestHead, model: str) -> gw.UpstreamRequest | None:
        if self._bridge and head.dialect == "openai.chat" and bridge.head_demands(head, model):
            return None
        changes: dict[str, Any] = {}
        if model != head.model:
            changes["model"] = model
        if head.stream and not head.include_usage and self._quirks.stream_usage:
            given = head.fields.get("stream_options")
            options = msgspec.json.decode(given) if given is not None else None
            changes["stream_options"] = {**(options or {}), "include_usage": True}
        body = gw.replaced(head.fields, **changes) if changes else head.body
        return self._post(head.dialect, body, decoding.BodyDecoder, head.stream, ())

    def tee(self, head: gw.RequestHead, model: str) -> gw.Lane:
        return StreamTee(head, model) if head.stream else WholeTee(head, model)

    def _post(
        self,
        dialect: str,
        body: bytes,
        decoder: gw.DecoderFactory,
        stream: bool,
        dropped: tuple[str, ...],
    ) -> gw.UpstreamRequest:
        url = self._urls[dialect]
        return gw.UpstreamRequest("POST", url, self._headers, body, decoder, stream, dropped)


def make(name: str, settings: Settings) -> gw.Provider:
    return OpenAIProvider(name, settings)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "openai",
            Settings,
            make,
            env="OPENAI_API_KEY",
            environment={"api_key": "OPENAI_API_KEY"},
            surfaces=frozenset(
                {"chat", "completions", "embeddings", "streaming", "tools", "vision", "json_schema"}
            ),
        )
    ]
