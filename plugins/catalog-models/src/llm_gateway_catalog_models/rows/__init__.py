"""The rows by kind of provider."""

from collections.abc import Mapping
from types import MappingProxyType

from llm_gateway_catalog_models.row import Row
from llm_gateway_catalog_models.rows import (
    anthropic,
    azure_openai,
    bedrock,
    cohere,
    compatible,
    gemini,
    mistral,
    openai,
    together,
)

ROWS: Mapping[str, tuple[Row, ...]] = MappingProxyType(
    {
        "openai": openai.ROWS,
        "anthropic": anthropic.ROWS,
        "azure_openai": azure_openai.ROWS,
        "gemini": gemini.ROWS,
        "bedrock": bedrock.ROWS,
        "cohere": cohere.ROWS,
        "mistral": mistral.ROWS,
        "together": together.ROWS,
        **compatible.ROWS,
    }
)
