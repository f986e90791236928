"""Declares the kind ``anthropic``: the vendor's Messages API."""

import logging
from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlencode

import llm_gateway_api as gw
import msgspec
from pydantic import Field, HttpUrl, SecretStr, field_validator

from llm_gateway_provider_anthropic import decoding, profiles, thinking
from llm_gateway_provider_anthropic.errors import refused
from llm_gateway_provider_anthropic.mending import unthought
from llm_gateway_provider_anthropic.tee import CountTee, StreamTee, WholeTee
from llm_gateway_provider_anthropic.writing import Options, Writer, Written

BASE_URL = "https://api.anthropic.com"
VERSIONS = ("2023-06-01", "2026-10-21")
# Older samples of this gateway carried a version that the vendor never had.
NEVER_WAS = "2024-01-01"
PATHS = {
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
}
# Marks a thought of another vendor that a frontend packed into a signature.
PACKED = b'"gw1.'

log = logging.getLogger("llm_gateway.provider_anthropic")


class Settings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    required: ClassVar[tuple[str, ...]] = ("api_key",)

    api_key: SecretStr = Field(description="the key, or a workload's token with bearer: true")
    bearer: bool = Field(
        default=False, description="send the key as Authorization: Bearer, not as x-api-key"
    )
    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API, no /v1")
    api_version: str = Field(
        default=VERSIONS[0], description="anthropic-version of translated requests"
    )
    default_max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="limit of the output where the client gives none; the model's own if absent",
    )
    send_user: bool = Field(
        default=False, description="send the SHA-256 of the client's user as metadata.user_id"
    )
    downgrade_tool_choice: bool = Field(
        default=False,
        description="let a model that cannot be forced to call a tool choose, instead of a 400",
    )
    relay: bool = Field(default=True, description="pass bytes of clients of this dialect through")

    @field_validator("api_version")
    @classmethod
    def _known(cls, given: str) -> str:
        if given == NEVER_WAS:
            log.warning(
                "api_version %s is none of the vendor's; %s is sent. Put that into the file.",
                given,
                VERSIONS[0],
            )
            return VERSIONS[0]
        if given not in VERSIONS:
            raise ValueError(
                f"is not a version of the API; use {' or '.join(VERSIONS)} (a newer one can be "
                "set as headers: {anthropic-version: …})"
            )
        return given


class AnthropicProvider:
    """Speaks the Messages format. Opens no connection, keeps no state of a request."""

    def __init__(self, name: str, settings: Settings) -> None:
        key = settings.api_key.get_secret_value()
        base = str(settings.base_url).rstrip("/")
        self._urls = {dialect: base + path for dialect, path in PATHS.items()}
        self._probe = f"{base}/v1/models?limit=1"
        self._headers = {
            **({"authorization": f"Bearer {key}"} if settings.bearer else {"x-api-key": key}),
            "anthropic-version": settings.api_version,
            "content-type": "application/json",
            "accept": "application/json",
        }
        self._relay = settings.relay
        self._options = Options(
            settings.api_version,
            settings.default_max_tokens,
            settings.send_user,
            settings.downgrade_tool_choice,
        )
        self._models = tuple(_listed(each) for each in settings.models) or tuple(
            profiles.info(each.id) for each in profiles.ROWS
        )

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return refused(status, headers, body)

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        return unthought(refused)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        written = Writer(request, self._options).message()
        decoder = decoding.StreamDecoder if written.stream else decoding.BodyDecoder
        return self._post("anthropic.messages", written, decoder)

    def encode_count(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        written = Writer(request, self._options).count()
        return self._post("anthropic.count_tokens", written, decoding.CountDecoder)

    def prefill(self, request: gw.ChatRequest) -> gw.Prefill | None:
        """Models of 4.5 and before go on with a text, unless they think."""
        takes = profiles.profile(request.model)
        if not takes.prefill or profiles.version(request.model) is None:
            return None
        config = thinking.asked(request.params, takes).config
        return "continues" if config is None or config.get("type") == "disabled" else None

    def probe(self) -> gw.UpstreamRequest:
        return gw.UpstreamRequest("GET", self._probe, self._headers, b"", decoding.BodyDecoder)

    def list_models(self, after: str | None) -> gw.UpstreamRequest:
        query = urlencode({"limit": "1000", **({"after_id": after} if after else {})})
        url = f"{self._probe.partition('?')[0]}?{query}"
        return gw.UpstreamRequest("GET", url, self._headers, b"", decoding.BodyDecoder)

    def listed(self, body: bytes) -> gw.ModelPage:
        return profiles.page(body)

    def relays(self, dialect: str) -> bool:
        return self._relay and dialect in PATHS

    def splice(self, head: gw.RequestHead, model: str) -> gw.UpstreamRequest | None:
        if PACKED in head.body:
            return None
        body = gw.replaced(head.fields, model=model) if model != head.model else head.body
        headers = {**self._headers, **head.headers}
        return gw.UpstreamRequest(
            "POST", self._urls[head.dialect], headers, body, decoding.BodyDecoder, head.stream
        )

    def tee(self, head: gw.RequestHead, model: str) -> gw.Lane:
        if head.operation == "count_tokens":
            return CountTee(head, model)
        return StreamTee(head, model) if head.stream else WholeTee(head, model)

    def _post(
        self, dialect: str, written: Written, decoder: gw.DecoderFactory
    ) -> gw.UpstreamRequest:
        body = msgspec.json.encode(written.body)
        url = self._urls[dialect]
        return gw.UpstreamRequest(
            "POST", url, self._headers, body, decoder, written.stream, written.dropped
        )


def _listed(entry: gw.ModelEntry | str) -> gw.ModelInfo:
    """A configured model; what the configuration leaves open is taken from the table."""
    known = profiles.info(entry if isinstance(entry, str) else entry.id)
    if isinstance(entry, str):
        return known
    return gw.ModelInfo(
        entry.id,
        entry.context_window or known.context_window,
        entry.max_output or known.max_output,
        frozenset(entry.capabilities) or known.capabilities,
        known.input_price,
        known.output_price,
    )


def make(name: str, settings: Settings) -> gw.Provider:
    return AnthropicProvider(name, settings)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "anthropic",
            Settings,
            make,
            env="ANTHROPIC_API_KEY",
            status="production",
            environment={"api_key": "ANTHROPIC_API_KEY"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "documents", "json_schema", "reasoning"}
            ),
        )
    ]
