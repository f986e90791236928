"""Declares Fireworks AI; what it does otherwise than OpenAI stands in `QUIRKS`."""

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectSettings, ErrorRules, Quirks, WithEmbeddings
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.fireworks.ai/inference/v1"), description="base of the API"
    )


QUIRKS = Quirks(
    max_tokens_field="max_tokens",
    developer_role="system",
    send_null=False,
    reasoning_out="reasoning_content",
    finish_fix=True,
    custom_tools=False,
    allowed_tools=False,
    drop_fields=("store", "metadata", "service_tier", "verbosity"),
    reject_fields=("audio",),
    extra_fields=("top_k", "min_p", "typical_p", "repetition_penalty", "thinking"),
)


class Fireworks(WithEmbeddings[Settings]):
    quirks = QUIRKS
    # 412: the account is suspended or over its limits.
    errors = ErrorRules(statuses={412: gw.FailureClass.ACCOUNT_EMPTY})

    def check(self, request: gw.ChatRequest) -> None:
        form = request.params.get("response_format")
        structured = isinstance(form, dict) and form.get("type") != "text"
        if request.tools and structured:
            raise gw.UnsupportedParameterError(
                "Fireworks takes either tools or response_format; leave one out.",
                param="response_format",
            )
        given = {**request.params, **request.extra}
        if None not in (given.get("thinking"), given.get("reasoning_effort")):
            raise gw.UnsupportedParameterError(
                "thinking and reasoning_effort exclude each other; send one.",
                param="reasoning_effort",
            )


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "fireworks",
            Settings,
            Fireworks,
            env="FIREWORKS_API_KEY",
            environment={"api_key": "FIREWORKS_API_KEY"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "json_schema", "reasoning", "embeddings"}
            ),
        )
    ]
