"""Declares Ollama; what it does otherwise than OpenAI stands in `QUIRKS`."""

from typing import ClassVar

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, Quirks, WithEmbeddings
from pydantic import Field, HttpUrl, SecretStr


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    required: ClassVar[tuple[str, ...]] = ()

    base_url: HttpUrl = Field(
        default=HttpUrl("http://localhost:11434/v1"), description="base of the API"
    )
    api_key: SecretStr = Field(
        default=SecretStr(""), description="the key, where the server asks for one"
    )
    timeout_seconds: gw.Seconds = Field(
        default=900.0, description="seconds an attempt may take, loading of the model included"
    )


QUIRKS = Quirks(
    max_tokens_field="max_tokens",
    developer_role="system",
    send_null=False,
    reasoning_out="reasoning",
    finish_fix=True,
    custom_tools=False,
    allowed_tools=False,
    strip_strict=True,
    image_detail="strip",
    reject_fields=("n", "audio"),
    drop_fields=(
        "logit_bias", "user", "store", "metadata", "prediction", "service_tier", "verbosity",
        "safety_identifier", "prompt_cache_key", "parallel_tool_calls",
    ),
)  # fmt: skip


class Ollama(WithEmbeddings[Settings]):
    quirks = QUIRKS


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "ollama",
            Settings,
            Ollama,
            env="OLLAMA_BASE_URL",
            environment={"base_url": "OLLAMA_BASE_URL"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "json_schema", "reasoning", "embeddings"}
            ),
        )
    ]
