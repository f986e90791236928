"""What the OpenAPI description says of the routes of this dialect."""

from collections.abc import Mapping
from typing import Any

_STREAM = {"type": ["boolean", "null"], "description": "Server-sent events instead of one answer."}
_MODEL = {"type": "string", "description": "A public name, or `provider/model`."}


def _doc(summary: str, required: list[str], properties: Mapping[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["model", *required],
        "properties": {"model": _MODEL, **properties},
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


CHAT = _doc(
    "Chat, in OpenAI's form, from any provider",
    ["messages"],
    {
        "messages": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "stream": _STREAM,
        "temperature": {"type": ["number", "null"]},
        "max_completion_tokens": {"type": ["integer", "null"]},
        "tools": {"type": "array", "items": {"type": "object"}},
        "response_format": {"type": "object"},
    },
)
COMPLETIONS = _doc(
    "Text completions, the older form",
    ["prompt"],
    {"prompt": {"type": ["string", "array"]}, "stream": _STREAM},
)
EMBEDDINGS = _doc(
    "Embeddings of texts",
    ["input"],
    {
        "input": {"type": ["string", "array"]},
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
        "dimensions": {"type": "integer"},
    },
)
LIST = {"summary": "The models that the caller may use"}
GET = {"summary": "One of them"}
