"""Usage as the vendor reports it, as disjoint meters."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

KNOWN = frozenset(
    {
        "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
        "completion_tokens_details", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens",
    }
)  # fmt: skip


_NONE: Mapping[str, Any] = {}


def number(value: object) -> int:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, float) and value == value and abs(value) < 1e15 else 0


def details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else _NONE


def meters(usage: Mapping[str, Any]) -> gw.Usage:
    """Disjoint meters; reasoning that a vendor counts beside the output is kept too.

    `completion_tokens` holds reasoning except where ``total`` shows that it does not (xAI).
    Cached tokens are DeepSeek's ``prompt_cache_hit_tokens`` where the details lack them.
    """
    prompt = details(usage, "prompt_tokens_details")
    detail = details(usage, "completion_tokens_details")
    asked, made = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    if not prompt and not detail and "prompt_cache_hit_tokens" not in usage:
        return gw.Usage(input=asked, output=made)
    total = number(usage.get("total_tokens"))
    cached = number(prompt.get("cached_tokens")) or number(usage.get("prompt_cache_hit_tokens"))
    written, sound = number(prompt.get("cache_write_tokens")), number(prompt.get("audio_tokens"))
    thought, spoken = number(detail.get("reasoning_tokens")), number(detail.get("audio_tokens"))
    if thought and total == asked + made + thought:
        made += thought
    return gw.Usage(
        input=max(0, asked - cached - written - sound),
        cache_read=cached,
        cache_write=written,
        audio_input=sound,
        output=max(0, made - thought - spoken),
        reasoning=thought,
        audio_output=spoken,
    )
