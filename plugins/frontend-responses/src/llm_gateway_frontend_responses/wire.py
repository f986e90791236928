"""Small pieces of the dialect that every answer needs."""

from typing import Any

import msgspec
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.events import Usage
from llm_gateway_api.sse import frame

DIALECT = "openai.responses"
encode = msgspec.json.Encoder().encode
# An error frame is written without knowledge of its stream: last for whoever sorts by number.
LAST = 2**31 - 1
# Where a provider names the field at fault by its canonical name, the client's is another.
FIELDS = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
}


def event(kind: str, number: int, **members: Any) -> bytes:
    body = {"type": kind, "sequence_number": number, **members}
    return frame(encode(body), kind.encode())


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_total + usage.output_total,
    }


def error_object(error: GatewayError) -> dict[str, Any]:
    param = None if error.param is None else FIELDS.get(error.param, error.param)
    return {"message": error.message, "type": error.type, "param": param, "code": error.code}


def error_body(error: GatewayError) -> bytes:
    return encode({"error": error_object(error)})


def error_frame(error: GatewayError) -> bytes:
    """Flat as the reference has it, and nested too: on that the SDKs raise."""
    inner = error_object(error)
    flat = {name: inner[name] for name in ("code", "message", "param")}
    return event("error", LAST, **flat, error=inner)
