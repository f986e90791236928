"""Vendors that speak OpenAI's dialect. OpenRouter and Fireworks have no rows: of them no prices
are known here, and what runs on one's own machines has none."""

from collections.abc import Mapping
from types import MappingProxyType

from llm_gateway_catalog_models.row import CALLS, THINKS, M, Row, Tariff, usd

SOURCE = "LiteLLM 1.109.1, model map"
READ = "2026-11-23"


def model(
    id: str,
    context: int | None,
    input: str,
    output: str,
    cached: str | None,
    most: int | None = None,
) -> Row:
    prices = (Tariff(usd(input, output, cached=cached)),)
    return Row(id, context, most, CALLS | THINKS, prices, SOURCE, READ)


ROWS: Mapping[str, tuple[Row, ...]] = MappingProxyType(
    {
        "groq": (
            model("openai/gpt-oss-120b", None, "0.15", "0.6", "0.075"),
            model("openai/gpt-oss-20b", None, "0.075", "0.3", "0.0375"),
            model("qwen3.8-27b", None, "0.8", "4", None),
        ),
        "deepseek": (
            model("deepseek-v4-flash", M, "0.3", "1.2", "0.006", 393_000),
            model("deepseek-v4.1-flash", M, "0.3", "1.2", "0.006", 393_000),
            model("deepseek-v4-pro", M, "1.32", "3.96", "0.044", 393_000),
        ),
        "xai": (
            model("grok-4.7", 500_000, "2", "6", "0.5"),
            model("grok-4.6", 500_000, "2", "6", "0.5"),
            model("grok-4.5", None, "2", "6", "0.3"),
            model("grok-4.3", M, "1.25", "2.5", "0.2"),
            model("grok-4.20", M, "1.25", "2.5", "0.2"),
            model("grok-build-0.1", 256_000, "1", "2", "0.2"),
        ),
    }
)
