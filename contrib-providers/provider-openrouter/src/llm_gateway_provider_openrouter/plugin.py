"""Declares OpenRouter; what it does otherwise than OpenAI stands in `QUIRKS`."""

import re

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, ErrorRules, Quirks, WithEmbeddings
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(
        default=HttpUrl("https://openrouter.ai/api/v1"), description="base of the API"
    )
    site_url: str | None = Field(default=None, description="HTTP-Referer, for its rankings")
    site_name: str | None = Field(default=None, description="X-Title, for its rankings")


QUIRKS = Quirks(
    max_tokens_field="max_tokens",
    developer_role="system",
    send_null=False,
    reasoning_in=("reasoning", "reasoning_content", "reasoning_details"),
    reasoning_out="reasoning_details",
    reasoning_param="reasoning",
    finish_fix=True,
    custom_tools=False,
    allowed_tools=False,
    drop_fields=("store", "service_tier"),
    extra_fields=("top_k", "min_p", "top_a", "repetition_penalty", "models", "provider", "plugins"),
)


class OpenRouter(WithEmbeddings[Settings]):
    quirks = QUIRKS
    errors = ErrorRules(
        words=(
            (frozenset({403}), re.compile(r"(?i)moderat|flagged"), gw.FailureClass.CONTENT_POLICY),
        )
    )

    def headers(self) -> dict[str, str]:
        given = {"http-referer": self.settings.site_url, "x-title": self.settings.site_name}
        return super().headers() | {name: each for name, each in given.items() if each}


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "openrouter",
            Settings,
            OpenRouter,
            env="OPENROUTER_API_KEY",
            environment={"api_key": "OPENROUTER_API_KEY"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "json_schema", "reasoning", "embeddings"}
            ),
        )
    ]
