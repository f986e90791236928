"""``usageMetadata`` as disjoint meters. It is cumulative: a later one replaces the earlier."""

from typing import Any

import llm_gateway_api as gw


def count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def modality(details: object, name: str) -> int:
    """Tokens of one modality in a ``…TokensDetails`` list."""
    if not isinstance(details, list):
        return 0
    return sum(
        count(each.get("tokenCount"))
        for each in details
        if isinstance(each, dict) and each.get("modality") == name
    )


def meters(found: dict[str, Any]) -> gw.Usage:
    """`promptTokenCount` holds what was read from the cache; `candidatesTokenCount` holds
    the thoughts only where the total shows that it does."""
    prompt, tool_use = (
        count(found.get("promptTokenCount")),
        count(found.get("toolUsePromptTokenCount")),
    )
    cached, made = (
        count(found.get("cachedContentTokenCount")),
        count(found.get("candidatesTokenCount")),
    )
    thought, total = count(found.get("thoughtsTokenCount")), count(found.get("totalTokenCount"))
    if thought and total == prompt + tool_use + made:
        made -= min(made, thought)
    heard = modality(found.get("promptTokensDetails"), "AUDIO")
    heard += modality(found.get("toolUsePromptTokensDetails"), "AUDIO")
    heard -= min(heard, modality(found.get("cacheTokensDetails"), "AUDIO"))
    spoken = min(made, modality(found.get("candidatesTokensDetails"), "AUDIO"))
    return gw.Usage(
        input=max(0, prompt + tool_use - cached - heard),
        cache_read=cached,
        audio_input=heard,
        output=made - spoken,
        reasoning=thought,
        audio_output=spoken,
    )
