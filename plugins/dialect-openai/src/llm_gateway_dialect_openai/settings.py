"""Settings that every provider of this dialect has."""

from typing import ClassVar

import llm_gateway_api as gw
from pydantic import Field, HttpUrl, SecretStr

from llm_gateway_dialect_openai.quirks import Quirks


class DialectSettings(gw.ProviderSettings):
    """Settings under ``providers.<name>``; a subclass gives `base_url` its default."""

    required: ClassVar[tuple[str, ...]] = ("api_key",)

    api_key: SecretStr = Field(description="the key; any word for a server that needs none")
    base_url: HttpUrl = Field(description="base of the API")
    quirks: Quirks = Field(default=Quirks(), description="differences of the server")
