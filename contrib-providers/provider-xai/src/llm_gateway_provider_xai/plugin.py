"""Declares xAI; what it does otherwise than OpenAI stands in `QUIRKS`."""

import llm_gateway_api as gw
from llm_gateway_dialect_openai import (
    DialectProvider,
    DialectSettings,
    ErrorRules,
    ParameterRule,
    Quirks,
)
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(default=HttpUrl("https://api.x.ai/v1"), description="base of the API")


MODELS = ("grok-4.7", "grok-4.6", "grok-4.5", "grok-4.3", "grok-4.20", "grok-build-0.1")
QUIRKS = Quirks(
    send_null=False,
    finish_fix=True,
    custom_tools=False,
    reject_fields=("logit_bias", "audio"),
    drop_fields=("store", "metadata", "prediction", "service_tier", "verbosity"),
    parameters=(
        ParameterRule(
            models="grok-[34]*", refuse=("presence_penalty", "frequency_penalty", "stop")
        ),
        ParameterRule(models="grok-4.[5-9]*", refuse=("reasoning_effort",)),
    ),
)


class XAI(DialectProvider[Settings]):
    quirks = QUIRKS
    catalogue = tuple(map(gw.ModelInfo, MODELS))
    errors = ErrorRules(codes={"unauthenticated": gw.FailureClass.CREDENTIAL_REFUSED})

    def bridges(self) -> bool:
        return True

    def bridged(self, model: str, function_tools: bool, effort: object) -> bool:
        """Reasoning with tools is at home on /responses; chat is on its way out."""
        return function_tools and effort not in (None, "none")


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "xai",
            Settings,
            XAI,
            env="XAI_API_KEY",
            environment={"api_key": "XAI_API_KEY"},
            surfaces=frozenset(
                {"chat", "streaming", "tools", "vision", "json_schema", "reasoning"}
            ),
        )
    ]
