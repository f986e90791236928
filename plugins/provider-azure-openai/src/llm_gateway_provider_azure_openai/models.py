"""Base models that Azure offers, and what follows from the one behind a deployment.

Source: LiteLLM's price map 1.109 (keys ``azure/…``), read on 2026-11-23; global standard
prices in USD per million tokens.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

import llm_gateway_api as gw

_SEES = frozenset({"chat", "streaming", "tools", "vision", "structured_output"})
_THINKS = _SEES | {"reasoning"}
_EMBEDS = frozenset({"embeddings"})
ROWS = (
    gw.ModelInfo("gpt-6-astra", 922_000, 128_000, _THINKS, "10", "50"),
    gw.ModelInfo("gpt-6.1-sol", 922_000, 128_000, _THINKS, "2", "10"),
    gw.ModelInfo("gpt-6-sol", 922_000, 128_000, _THINKS, "2", "10"),
    gw.ModelInfo("gpt-6.1-terra", 922_000, 128_000, _THINKS, "1", "5"),
    gw.ModelInfo("gpt-6-luna", 922_000, 128_000, _THINKS, "0.1", "0.5"),
    gw.ModelInfo("gpt-5.6-sol", 922_000, 128_000, _THINKS, "4", "20"),
    gw.ModelInfo("gpt-5.6-terra", 922_000, 128_000, _THINKS, "2", "12"),
    gw.ModelInfo("gpt-5.6-luna", 922_000, 128_000, _THINKS, "0.2", "1.2"),
    gw.ModelInfo("gpt-5.5", 922_000, 128_000, _THINKS, "5", "30"),
    gw.ModelInfo("gpt-5.4", 922_000, 128_000, _THINKS, "2.5", "15"),
    gw.ModelInfo("gpt-5.4-mini", 272_000, 128_000, _THINKS, "0.75", "4.5"),
    gw.ModelInfo("gpt-5.4-nano", 272_000, 128_000, _THINKS, "0.2", "1.25"),
    gw.ModelInfo("gpt-4.1", 1_050_000, 32_000, _SEES, "2", "8"),
    gw.ModelInfo("gpt-4.1-mini", 1_050_000, 32_000, _SEES, "0.4", "1.6"),
    gw.ModelInfo("gpt-4.1-nano", 1_050_000, 32_000, _SEES, "0.1", "0.4"),
    gw.ModelInfo("gpt-4o", 128_000, 16_000, _SEES, "2.5", "10"),
    gw.ModelInfo("text-embedding-3-large", 8_192, None, _EMBEDS, "0.143"),
    gw.ModelInfo("text-embedding-3-small", 8_192, None, _EMBEDS, "0.022"),
)
KNOWN: Mapping[str, gw.ModelInfo] = MappingProxyType({each.id: each for each in ROWS})
_DATE = re.compile(r"-20\d\d-\d\d-\d\d$")
_REASONS = re.compile(r"^(o\d|gpt-[5-9]|gpt-\d\d)")
_PLAIN = re.compile(r"^gpt-(3|4)")


def known(base_model: str) -> gw.ModelInfo | None:
    """The row of a base model, with or without its date."""
    return KNOWN.get(base_model) or KNOWN.get(_DATE.sub("", base_model))


def limit_field(base_model: str | None, modern: bool) -> str:
    """The member that limits the output: by the model, where it is known."""
    if base_model is not None and _REASONS.match(base_model):
        return "max_completion_tokens"
    if base_model is not None and _PLAIN.match(base_model):
        return "max_tokens"
    return "max_completion_tokens" if modern else "max_tokens"
