"""Declares the kind ``mistral``: OpenAI's shapes over a closed schema."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, Quirks, WithEmbeddings, meters
from msgspec import structs
from pydantic import Field, HttpUrl

from llm_gateway_provider_mistral import errors, models
from llm_gateway_provider_mistral.preparing import OWN, Prepared, refused

BASE_URL = "https://api.mistral.ai/v1"


class Settings(DialectSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")
    clamp: bool = Field(
        default=False, description="bring a temperature above 1.5 down instead of a 400"
    )
    tool_user_bridge: str = Field(
        default="OK",
        description="the assistant's turn between a tool's answer and the user; empty: none",
    )


class MistralProvider(WithEmbeddings[Settings]):
    """What differs from the dialect in content is prepared before it is written."""

    quirks = Quirks(
        max_tokens_field="max_tokens",
        developer_role="system",
        drop_fields=(
            "user", "safety_identifier", "store", "verbosity", "prompt_cache_options",
            "prompt_cache_retention", "stream_options",
        ),
        reject_fields=("logit_bias", "audio", "modalities", "web_search_options", "moderation"),
        extra_fields=(*OWN, "random_seed"),
        send_null=False,
        stream_usage=False,
        # The vendor names two efforts; one that takes more is told so in `quirks`.
        reasoning_efforts={
            "minimal": "none", "low": "none", "medium": "high", "xhigh": "high", "max": "high",
        },
        custom_tools=False,
        allowed_tools=False,
        keep_unknown=False,
    )  # fmt: skip
    errors = errors.RULES
    catalogue = models.ROWS

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self._models = tuple(_filled(each) for each in self._models)
        self._rows = {each.id: each for each in self._models}

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        reasons = models.reasons(request.model, self._rows)
        prepared = Prepared(request, reasons, self.settings.clamp)
        sent = super().encode(prepared.request)
        unnamed = gw.unnamed(request)
        if not (unnamed or sent.dropped or prepared.dropped):
            return sent
        left = dict.fromkeys((*sent.dropped, *prepared.dropped))
        names = (each.partition(".")[2] for each in unnamed)
        left |= dict.fromkeys(each for each in names if f"tools.{each}" not in left)
        return structs.replace(sent, dropped=tuple(left))

    def shaped(self, body: dict[str, Any], request: gw.ChatRequest) -> dict[str, Any]:
        """The order that the vendor demands: an assistant after a tool, and no open end."""
        rows: list[dict[str, Any]] = []
        bridge = self.settings.tool_user_bridge
        for row in body["messages"]:
            if bridge and row["role"] == "user" and rows and rows[-1]["role"] == "tool":
                rows.append({"role": "assistant", "content": bridge})
            rows.append(row)
        if rows and rows[-1]["role"] == "assistant" and "tool_calls" not in rows[-1]:
            rows[-1] = {**rows[-1], "prefix": True}
        return {**body, "messages": rows}

    def prefill(self, request: gw.ChatRequest) -> gw.Prefill | None:
        """The answer begins with the text once more."""
        return None if models.reasons(request.model, self._rows) else "repeats"

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        """Numbers are asked for and packed by the gateway: the vendor's base64 is not known."""
        if not all(isinstance(each, str) for each in request.inputs):
            raise refused("input", "token ids; send text")
        body: dict[str, Any] = {"encoding_format": "float"}
        left = [*request.extra]
        for name, value in request.params.items():
            if name == "dimensions" and value is not None:
                if request.model != models.SIZED:
                    raise refused("dimensions", f"another size of vector from {request.model}")
                body["output_dimension"] = value
            elif name not in ("dimensions", "encoding_format"):
                left.append(name)
        plain = structs.replace(request, params={}, extra=body, dialect="openai.embeddings")
        sent = super().encode_embeddings(plain)
        return structs.replace(sent, dropped=tuple(left))

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return errors.refused(status, headers, body)

    def meters(self, found: Mapping[str, Any]) -> gw.Usage:
        """Cached tokens have been seen flat; tokens of thinking are in the output."""
        if "num_cached_tokens" in found and not found.get("prompt_tokens_details"):
            found = {
                **found,
                "prompt_tokens_details": {"cached_tokens": found["num_cached_tokens"]},
            }
        return meters(found)


def _filled(info: gw.ModelInfo) -> gw.ModelInfo:
    """A configured model with what is known of it beside what is configured."""
    known = models.KNOWN.get(info.id)
    if known is None:
        return info
    return replace(
        known,
        context_window=info.context_window or known.context_window,
        max_output=info.max_output or known.max_output,
        capabilities=info.capabilities or known.capabilities,
    )


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "mistral",
            Settings,
            MistralProvider,
            env="MISTRAL_API_KEY",
            environment={"api_key": "MISTRAL_API_KEY"},
            surfaces=frozenset(
                {
                    "chat",
                    "embeddings",
                    "json_schema",
                    "reasoning",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
        )
    ]
