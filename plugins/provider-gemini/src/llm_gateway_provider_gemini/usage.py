"""``usageMetadata`` as disjoint meters. It is cumulative: a later one replaces the earlier."""

from typing import Any

import llm_gateway_api as gw

COUNTS = (
    "promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount",
    "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount",
)  # fmt: skip


def count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def audio(details: object) -> int:
    """Tokens of sound in a ``…TokensDetails`` list, which may be missing."""
    if not isinstance(details, list):
        return 0
    total = 0
    for each in details:
        if isinstance(each, dict) and each.get("modality") == "AUDIO":
            total += count(each.get("tokenCount"))
    return total


def meters(found: dict[str, Any]) -> gw.Usage:
    """`promptTokenCount` holds what was read from the cache; `candidatesTokenCount` holds
    the thoughts only where the total shows that it does."""
    prompt, tool_use, cached, made, thought, total = [
        each if type(each) is int and each > 0 else 0 for each in map(found.get, COUNTS)
    ]
    if thought and total == prompt + tool_use + made:
        made -= min(made, thought)
    heard = audio(found.get("promptTokensDetails")) + audio(found.get("toolUsePromptTokensDetails"))
    if heard:
        heard -= min(heard, audio(found.get("cacheTokensDetails")))
    spoken = audio(found.get("candidatesTokensDetails"))
    return gw.Usage(
        input=max(0, prompt + tool_use - cached - heard),
        cache_read=cached,
        audio_input=heard,
        output=made - min(made, spoken),
        reasoning=thought,
        audio_output=min(made, spoken),
    )
