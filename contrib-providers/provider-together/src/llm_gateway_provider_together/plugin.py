"""Declares the kind ``together``: OpenAI's dialect with numbers for logprobs."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import llm_gateway_api as gw
from llm_gateway_api import FailureClass as F
from llm_gateway_dialect_openai import DialectSettings, ErrorRules, Quirks, WithEmbeddings, meters
from msgspec import structs
from pydantic import Field, HttpUrl

from llm_gateway_provider_together import logprobs, models, ranking
from llm_gateway_provider_together.preparing import OWN, prepared

BASE_URL = "https://api.together.xyz/v1"


class Settings(DialectSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")


class TogetherProvider(WithEmbeddings[Settings]):
    """What differs from the dialect in content is prepared before it is written."""

    quirks = Quirks(
        max_tokens_field="max_tokens",
        developer_role="system",
        drop_fields=(
            "user", "safety_identifier", "store", "metadata", "service_tier", "verbosity",
            "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prediction",
            "parallel_tool_calls", "stream_options",
        ),
        reject_fields=("logit_bias", "audio", "modalities", "web_search_options", "moderation"),
        extra_fields=OWN,
        send_null=False,
        stream_usage=False,
        reasoning_in=("reasoning_content", "reasoning"),
        reasoning_out="reasoning",
        custom_tools=False,
        allowed_tools=False,
        image_detail="strip",
        flatten_text_parts=True,
        keep_unknown=False,
        finish_fix=True,
    )  # fmt: skip
    errors = ErrorRules(
        words=(
            # The vendor's page names 403 for a prompt that is too long, beside real refusals.
            (
                frozenset({400, 403, 422}),
                re.compile(r"(?i)max_new_tokens.{0,40}must be|input.{0,20}max_tokens.{0,40}exceed"),
                F.CONTEXT_TOO_LONG,
            ),
        ),
    )
    catalogue = models.ROWS

    def logprobs(self, given: Any, text: str) -> object:
        return logprobs.openai_form(given, text)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        return super().encode(prepared(request))

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        """The vendor has one size of vector and one form, and takes text."""
        if not all(isinstance(each, str) for each in request.inputs):
            raise gw.UnsupportedParameterError(
                "Together embeds texts; send 'input' as text, not as token ids.", param="input"
            )
        if request.params.get("dimensions") is not None:
            raise gw.UnsupportedParameterError(
                "Together has one size of vector; leave 'dimensions' out.", param="dimensions"
            )
        silent = ("dimensions", "encoding_format")
        left = [name for name in request.params if name not in silent]
        sent = super().encode_embeddings(structs.replace(request, params={}, extra={}))
        return structs.replace(sent, dropped=(*left, *request.extra))

    def encode_rerank(self, request: gw.RerankRequest) -> gw.UpstreamRequest:
        body, dropped = ranking.body(request)
        decoder = ranking.RankingDecoder
        return self._post("/rerank", request.model, body, decoder, dropped=dropped)

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        error = super().classify(status, headers, body)
        if status == 422 and error.failure is F.CALLER_FAULT:
            error.status = 400
        return error

    def meters(self, found: Mapping[str, Any]) -> gw.Usage:
        """Cached tokens stand flat, or nested as OpenAI's."""
        if found.get("cached_tokens") and not found.get("prompt_tokens_details"):
            found = {**found, "prompt_tokens_details": {"cached_tokens": found["cached_tokens"]}}
        return meters(found)

    def probe(self) -> gw.UpstreamRequest:
        return structs.replace(super().probe(), decoder=ranking.ModelsDecoder)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "together",
            Settings,
            TogetherProvider,
            env="TOGETHER_API_KEY",
            environment={"api_key": "TOGETHER_API_KEY"},
            surfaces=frozenset(
                {
                    "chat",
                    "embeddings",
                    "json_schema",
                    "reasoning",
                    "rerank",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
        )
    ]
