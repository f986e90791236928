"""Declares Groq; what it does otherwise than OpenAI stands in `QUIRKS`."""

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectProvider, DialectSettings, ErrorRules, Quirks
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(
        default=HttpUrl("https://api.groq.com/openai/v1"), description="base of the API"
    )


MODELS = ("openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen3.8-27b")
QUIRKS = Quirks(
    send_null=False,
    reasoning_out="reasoning",
    finish_fix=True,
    custom_tools=False,
    allowed_tools=False,
    drop_fields=("store", "metadata", "prediction", "presence_penalty", "frequency_penalty"),
    reject_fields=("n", "logit_bias", "logprobs", "top_logprobs", "audio"),
    extra_fields=("top_k", "reasoning_format", "include_reasoning"),
)


class Groq(DialectProvider[Settings]):
    quirks = QUIRKS
    catalogue = tuple(map(gw.ModelInfo, MODELS))
    # A tool call that the model wrote badly is refused with 400; the next try may be good.
    errors = ErrorRules(
        codes={
            "tool_use_failed": gw.FailureClass.SERVER_ERROR,
            "capacity_exceeded": gw.FailureClass.OVERLOADED,
        }
    )

    def check(self, request: gw.ChatRequest) -> None:
        given = {**request.params, **request.extra}
        if None not in (given.get("reasoning_format"), given.get("include_reasoning")):
            raise gw.UnsupportedParameterError(
                "reasoning_format and include_reasoning exclude each other; send one.",
                param="include_reasoning",
            )


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "groq",
            Settings,
            Groq,
            env="GROQ_API_KEY",
            environment={"api_key": "GROQ_API_KEY"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "json_schema", "reasoning"}
            ),
        )
    ]
