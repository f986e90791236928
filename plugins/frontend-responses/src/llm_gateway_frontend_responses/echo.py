"""The response around the output: what was asked for, said again as the API does."""

from collections.abc import Mapping
from typing import Any

import msgspec
from llm_gateway_api.requests import RequestHead

# What holds where the client said nothing, or null.
_ECHOED: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_PLAIN_FORMAT = {"type": "text"}


def shell(head: RequestHead, id_: str, created: int, told: Mapping[str, Any]) -> dict[str, Any]:
    """A response that has just begun; `told` is what the provider said beside its answer."""
    response: dict[str, Any] = {
        "id": id_,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
    }
    for name, default in _ECHOED.items():
        raw = head.fields.get(name)
        response[name] = default if raw is None or bytes(raw) == b"null" else raw
    response["text"] = _formed(response["text"])
    if isinstance(tier := told.get("service_tier"), str):
        response["service_tier"] = tier
    return response


def _formed(given: Any) -> Any:
    """A text configuration that names no format has the plain one."""
    config = msgspec.json.decode(given) if isinstance(given, msgspec.Raw) else given
    if isinstance(config, dict) and not config.get("format"):
        return {**config, "format": _PLAIN_FORMAT}
    return given
