"""Declares {{name}}; what it does otherwise than OpenAI stands in `QUIRKS`."""

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectProvider, DialectSettings, Quirks
from pydantic import Field, HttpUrl

BASE_URL = "{{base_url}}"

QUIRKS = Quirks(
    max_tokens_field="max_tokens",
    developer_role="system",
    send_null=False,
    finish_fix=True,
)


class Settings(DialectSettings):
    """Settings under ``providers.<name>``."""

    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")


class {{Class}}(DialectProvider[Settings]):
    """`WithEmbeddings` is the base where the vendor has ``/embeddings`` too."""

    quirks = QUIRKS


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "{{id}}",
            Settings,
            {{Class}},
            env="{{ENV}}",
            environment={"api_key": "{{ENV}}"},
            surfaces=frozenset({"chat", "streaming", "tools"}),
        )
    ]
