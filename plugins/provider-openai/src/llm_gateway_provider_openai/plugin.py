"""Declares the kind ``openai``: the vendor itself, and any server that speaks its dialect."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, WithEmbeddings, demanded
from pydantic import Field, HttpUrl

BASE_URL = "https://api.openai.com/v1"


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

    def headers(self) -> dict[str, str]:
        given = {
            "openai-organization": self.settings.organization,
            "openai-project": self.settings.project,
        }
        return super().headers() | {name: each for name, each in given.items() if each}

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
            environment={"api_key": "OPENAI_API_KEY"},
            surfaces=frozenset(
                {"chat", "completions", "embeddings", "streaming", "tools", "vision", "json_schema"}
            ),
        )
    ]
