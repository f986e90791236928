"""A vendor of OpenAI's dialect, with a header of its own for the key and no seeds."""

import llm_gateway_api as gw
from llm_gateway_dialect_openai import DialectProvider, DialectSettings, Quirks
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    base_url: HttpUrl = Field(default=HttpUrl("http://reef.test/v1"), description="the address")


class Reef(DialectProvider[Settings]):
    quirks = Quirks(send_null=False, finish_fix=True, drop_fields=("seed",))
    catalogue = (gw.ModelInfo("reef-1", 32_000),)

    def headers(self) -> dict[str, str]:
        return {"x-reef-key": self.settings.api_key.get_secret_value()}


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    surfaces = frozenset({"chat", "streaming", "tools"})
    return [gw.ProviderSpec("reef", Settings, Reef, surfaces=surfaces)]
