"""What every provider of OpenAI's chat dialect shares; configured by a thin provider."""

from llm_gateway_dialect_openai.errors import ErrorRules
from llm_gateway_dialect_openai.instance import DialectProvider, WithEmbeddings
from llm_gateway_dialect_openai.needs import demanded
from llm_gateway_dialect_openai.quirks import ParameterRule, Quirks
from llm_gateway_dialect_openai.settings import DialectSettings
from llm_gateway_dialect_openai.tools import few_stops
from llm_gateway_dialect_openai.usage import meters

__all__ = [
    "DialectProvider",
    "DialectSettings",
    "ErrorRules",
    "ParameterRule",
    "Quirks",
    "WithEmbeddings",
    "demanded",
    "few_stops",
    "meters",
]
