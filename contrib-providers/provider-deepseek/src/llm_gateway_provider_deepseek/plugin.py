"""Declares DeepSeek; what it does otherwise than OpenAI stands in `QUIRKS`."""

from typing import Any

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectProvider, DialectSettings, Quirks
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.deepseek.com"), description="base of the API"
    )


MODELS = ("deepseek-v4-flash", "deepseek-v4.1-flash", "deepseek-v4-pro")
QUIRKS = Quirks(
    max_tokens_field="max_tokens",
    developer_role="system",
    send_null=False,
    reasoning_out="reasoning_content",
    reasoning_param="thinking",
    reasoning_efforts={"minimal": "low", "medium": "high"},
    response_formats=("json_object",),
    custom_tools=False,
    allowed_tools=False,
    strip_strict=True,
    flatten_text_parts=True,
    finish_fix=True,
    reject_fields=("n", "logit_bias", "audio"),
    drop_fields=("store", "metadata", "prediction", "service_tier", "verbosity", "seed"),
    extra_fields=("thinking",),
)


class DeepSeek(DialectProvider[Settings]):
    quirks = QUIRKS
    catalogue = tuple(map(gw.ModelInfo, MODELS))

    def shaped(self, body: dict[str, Any], request: gw.ChatRequest) -> dict[str, Any]:
        """While it thinks, a turn with tool calls must come back with its reasoning; a
        history whose client lost it is answered without thinking rather than refused."""
        calling = [each for each in body["messages"] if each.get("tool_calls")]
        if all(each.get("reasoning_content") for each in calling):
            return body
        rest = {name: value for name, value in body.items() if name != "reasoning_effort"}
        return {**rest, "thinking": {"type": "disabled"}}


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "deepseek",
            Settings,
            DeepSeek,
            env="DEEPSEEK_API_KEY",
            environment={"api_key": "DEEPSEEK_API_KEY"},
            surfaces=frozenset({"chat", "streaming", "tools", "reasoning"}),
        )
    ]
