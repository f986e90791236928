"""Declares the kind ``openai``: the vendor itself, and any server that speaks its dialect."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, WithEmbeddings, demanded, few_stops
from pydantic import Field, HttpUrl

BASE_URL = "https://api.openai.com/v1"
# What the vendor itself serves; a catalogue says what these are and cost.
MODELS = (
    "gpt-6-astra",
    "gpt-6.1-sol",
    "gpt-6-sol",
    "gpt-6.1-terra",
    "gpt-6-luna",
    "gpt-5.6-sol",
    "gpt-5.6-terra",
    "gpt-5.6-luna",
    "gpt-5.5",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.4-nano",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "o3",
    "gpt-audio-1.5",
    "text-embedding-3-large",
    "text-embedding-3-small",
)


MAX_STOPS = 4


class Settings(DialectSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")
    organization: str | None = Field(default=None, description="OpenAI-Organization")
    project: str | None = Field(default=None, description="OpenAI-Project")


class OpenAIProvider(WithEmbeddings[Settings]):
    paths: ClassVar[Mapping[str, str]] = {
        **WithEmbeddings.paths,
        "openai.completions": "/completions",
        "openai.responses": "/responses",
    }

    def models(self) -> Sequence[gw.ModelInfo]:
        """Another server's models are known only from the settings."""
        listed = super().models()
        vendor = not listed and self._base == BASE_URL
        return tuple(map(gw.ModelInfo, MODELS)) if vendor else listed

    def headers(self) -> dict[str, str]:
        given = {
            "openai-organization": self.settings.organization,
            "openai-project": self.settings.project,
        }
        return super().headers() | {name: each for name, each in given.items() if each}

    def check(self, request: gw.ChatRequest) -> None:
        if self._base == BASE_URL:  # other servers have other limits, and say so themselves
            few_stops(request, MAX_STOPS)

    def bridges(self) -> bool:
        return self._base == BASE_URL

    def bridged(self, model: str, function_tools: bool, effort: object) -> bool:
        return demanded(model, function_tools, effort)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "openai",
            Settings,
            OpenAIProvider,
            env="OPENAI_API_KEY",
            status="production",
            environment={"api_key": "OPENAI_API_KEY"},
            surfaces=frozenset(
                {"chat", "completions", "embeddings", "streaming", "tools", "vision", "json_schema"}
            ),
        )
    ]
