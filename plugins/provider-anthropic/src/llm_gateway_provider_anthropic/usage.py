"""Usage as the vendor reports it, as disjoint meters.

``input_tokens`` leaves cached tokens out, ``output_tokens`` holds thinking. In a stream the
reports are cumulative: what is present replaces, what is absent stays.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

_FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def merged(before: Mapping[str, Any], report: object) -> dict[str, Any]:
    """`before` with the figures that `report` names."""
    given = report if isinstance(report, dict) else {}
    return {**before, **{name: value for name, value in given.items() if value is not None}}


def meters(usage: Mapping[str, Any]) -> gw.Usage:
    fresh, made, read, written = map(_count, map(usage.get, _FIGURES))
    hour = thought = 0
    if split := _inner(usage, "cache_creation"):
        hour = _count(split.get("ephemeral_1h_input_tokens"))
        written = max(written, hour + _count(split.get("ephemeral_5m_input_tokens")))
    if details := _inner(usage, "output_tokens_details"):
        thought = min(made, _count(details.get("thinking_tokens")))
    return gw.Usage(
        input=fresh,
        cache_read=read,
        cache_write=written - hour,
        cache_write_1h=hour,
        output=made - thought,
        reasoning=thought,
    )


def _inner(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and value > 0 else 0
