"""The vendor's models as far as they are known, dated.

Source: LiteLLM's price map 1.109 and Mistral's model pages, read on 2026-11-23; prices in USD
per million tokens.
"""

from collections.abc import Mapping
from types import MappingProxyType

import llm_gateway_api as gw

_TALKS = frozenset({"chat", "streaming", "tools", "structured_output"})
_SEES = _TALKS | {"vision"}
_THINKS = _TALKS | {"reasoning"}
_ALL = _SEES | {"reasoning"}
_EMBEDS = frozenset({"embeddings"})
ROWS = (
    gw.ModelInfo("mistral-large-4", 1_050_000, 1_050_000, _ALL, "1.36", "4.18"),
    gw.ModelInfo("mistral-large-2512", 262_000, None, _SEES, "0.5", "1.5"),
    gw.ModelInfo("mistral-large-latest", 262_000, None, _SEES, "0.5", "1.5"),
    gw.ModelInfo("mistral-medium-2604", 262_000, None, _ALL, "1.5", "7.5"),
    gw.ModelInfo("mistral-medium-latest", 262_000, None, _ALL, "1.5", "7.5"),
    gw.ModelInfo("mistral-small-2603", 262_000, None, _ALL, "0.15", "0.6"),
    gw.ModelInfo("mistral-small-latest", 262_000, None, _ALL, "0.15", "0.6"),
    gw.ModelInfo("magistral-medium-latest", 262_000, None, _ALL, "1.5", "7.5"),
    gw.ModelInfo("magistral-small-latest", 262_000, None, _ALL, "0.15", "0.6"),
    gw.ModelInfo("ministral-14b-2512", 262_000, None, _SEES, "0.2", "0.2"),
    gw.ModelInfo("ministral-8b-2512", 262_000, None, _SEES, "0.15", "0.15"),
    gw.ModelInfo("ministral-3b-2512", 131_000, None, _SEES, "0.1", "0.1"),
    gw.ModelInfo("codestral-2508", 128_000, None, _TALKS, "0.3", "0.9"),
    gw.ModelInfo("devstral-latest", 256_000, None, _THINKS, "0.4", "2"),
    gw.ModelInfo("voxtral-small-latest", 32_000, None, _TALKS | {"audio"}, "0.1", "0.4"),
    gw.ModelInfo("zai-glm-5-3", 1_050_000, 131_000, _THINKS, "1.4", "4.4"),
    gw.ModelInfo("deepseek-v4-1-flash-1017", 1_050_000, 131_000, _THINKS, "0.3", "1.2"),
    gw.ModelInfo("mistral-embed", 8_000, None, _EMBEDS, "0.1"),
    gw.ModelInfo("codestral-embed", 8_000, None, _EMBEDS, "0.15"),
)
KNOWN: Mapping[str, gw.ModelInfo] = MappingProxyType({each.id: each for each in ROWS})
# The only model whose vectors may be asked for in another size.
SIZED = "codestral-embed"


def reasons(model: str, configured: Mapping[str, gw.ModelInfo]) -> bool | None:
    """Whether `model` reasons; None where nobody says."""
    for rows in (configured, KNOWN):
        info = rows.get(model)
        if info is not None and info.capabilities:
            return "reasoning" in info.capabilities
    return True if model.startswith("magistral") else None
