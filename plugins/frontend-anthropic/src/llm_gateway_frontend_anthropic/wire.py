"""Small pieces of the dialect that every answer needs."""

import secrets
from typing import Any

import msgspec
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.events import FinishReason, Usage
from llm_gateway_api.sse import frame

encode = msgspec.json.Encoder().encode
PING = frame(b'{"type":"ping"}', b"ping")
REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
}
# The vendor's own words of a reason say more than the canonical one; others' are not ours.
OWN_REASONS = frozenset(
    {
        "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal",
        "model_context_window_exceeded", "compaction",
    }
)  # fmt: skip
TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
TOO_LONG = "prompt is too long"


def named(id_: str | None) -> str:
    """The vendor's id of a message, or one that looks like it."""
    return id_ if id_ and id_.startswith("msg_") else f"msg_{secrets.token_hex(12)}"


def event(kind: str, **members: Any) -> bytes:
    """One event; the SDK leaves out those that do not say their name twice."""
    return frame(encode({"type": kind, **members}), kind.encode())


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input + usage.audio_input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output_total,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }


def error_object(error: GatewayError, request_id: str) -> dict[str, Any]:
    fallback = "invalid_request_error" if error.status < 500 else "api_error"
    kind = TYPES.get(error.status, fallback)
    words = error.message
    if error.code == "context_length_exceeded" and TOO_LONG not in words:
        words = f"{TOO_LONG}: {words}"  # what coding agents look for to compact and go on
    inner: dict[str, Any] = {"type": kind, "message": words}
    if error.code != kind:
        inner["details"] = {"error_code": error.code}
    return {"type": "error", "error": inner, "request_id": request_id}
