"""Answers, frames and strictness of a provider that speaks the OpenAI dialect.

Deterministic: the same arguments give the same bytes, so that a test can compare what
passed through the gateway with what was sent.
"""

import base64
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llm_gateway_testkit.steps import Answer, Received

ID = "chatcmpl-Scripted1"
CREATED = 1795000000
MODEL = "gpt-6-sol"
DONE = b"data: [DONE]\n\n"

_COMMON = {"model", "user"}
_CHAT = _COMMON | set(
    """messages max_completion_tokens max_tokens temperature top_p n stop presence_penalty
    frequency_penalty logit_bias logprobs top_logprobs seed stream stream_options
    response_format tools tool_choice parallel_tool_calls functions function_call
    reasoning_effort verbosity modalities audio prediction service_tier store metadata
    safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention moderation
    web_search_options""".split()  # noqa: SIM905 - thirty lines otherwise
)
_EMBEDDINGS = _COMMON | {"input", "dimensions", "encoding_format"}
_FIELDS = {
    "/v1/chat/completions": (_CHAT, ("model", "messages")),
    "/v1/embeddings": (_EMBEDDINGS, ("model", "input")),
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of the model; in a stream each of `arguments` is a frame of its own."""

    id: str
    name: str
    arguments: Sequence[str] = field(default=("{}",))


def usage(prompt: int = 9, completion: int = 2, cached: int = 0, reasoning: int = 0) -> Any:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat_answer(
    text: str | None = "Low tide",
    model: str = MODEL,
    usage: Mapping[str, Any] | None = None,
    tool_calls: Sequence[ToolCall] = (),
    finish_reason: str | None = None,
) -> Answer:
    """A whole chat completion; `usage` None gives the usual figures."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    message["annotations"] = []
    if tool_calls:
        message["tool_calls"] = [_whole(call) for call in tool_calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason or ("tool_calls" if tool_calls else "stop"),
    }
    return _json(
        {
            "id": ID,
            "object": "chat.completion",
            "created": CREATED,
            "model": model,
            "choices": [choice],
            "usage": dict(usage) if usage is not None else _usual(),
            "service_tier": "default",
            "system_fingerprint": "fp_ab",
        }
    )


def chat_stream(
    texts: Sequence[str] = ("Low", " tide"),
    model: str = MODEL,
    include_usage: bool = False,
    tool_calls: Sequence[ToolCall] = (),
    finish_reason: str | None = None,
) -> list[bytes]:
    """The frames of a streamed chat completion, ``[DONE]`` the last of them."""
    reason = finish_reason or ("tool_calls" if tool_calls else "stop")
    first = {"role": "assistant", "content": None if tool_calls else "", "refusal": None}
    deltas: list[dict[str, Any]] = [first, *({"content": text} for text in texts)]
    for number, call in enumerate(tool_calls):
        deltas += _pieces(number, call)
    chunks = [_chunk(model, delta, include_usage) for delta in deltas]
    chunks.append(_chunk(model, {}, include_usage, reason))
    if include_usage:
        chunks.append(_chunk(model, None, True) | {"usage": _usual()})
    return [*(sse(chunk) for chunk in chunks), DONE]


def embeddings_answer(
    vectors: Sequence[Sequence[float]] = ((1.0, -2.0),),
    model: str = "text-embedding-3-small",
    encoding: str = "base64",
    prompt_tokens: int = 3,
) -> Answer:
    """One item for each vector, packed as little-endian float32 or as a list of numbers."""
    pack = _packed if encoding == "base64" else list
    data = [
        {"object": "embedding", "index": index, "embedding": pack(vector)}
        for index, vector in enumerate(vectors)
    ]
    tokens = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return _json({"object": "list", "model": model, "data": data, "usage": tokens})


def models_answer(*ids: str) -> Answer:
    data = [
        {"id": each, "object": "model", "created": CREATED, "owned_by": "openai"}
        for each in ids or (MODEL,)
    ]
    return _json({"object": "list", "data": data})


def error_body(
    message: str, *, type: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def error_answer(
    status: int,
    code: str | None = None,
    message: str = "The scripted provider says no.",
    *,
    type: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as OpenAI words it; the type follows from the status unless given."""
    kind = type or ("server_error" if status >= 500 else "invalid_request_error")
    return _json(error_body(message, type=kind, code=code, param=param), status, headers)


def sse(payload: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + _dump(payload) + b"\n\n"


def error_frame(message: str = "The scripted provider broke.", code: str | None = None) -> bytes:
    """An error inside a stream that began with 200."""
    return sse(error_body(message, type="server_error", code=code))


def strict(
    expect_key: str | None = None, also: frozenset[str] = frozenset()
) -> Callable[[Received], Answer | None]:
    """A validator with OpenAI's manners: wrong keys and unknown fields are refused, but for
    those that a vendor of the dialect takes `also`."""

    def validate(request: Received) -> Answer | None:
        if expect_key and request.headers.get("authorization") != f"Bearer {expect_key}":
            return error_answer(401, "invalid_api_key", "Incorrect API key provided.")
        if request.path not in _FIELDS:
            known = request.method == "GET" and request.path.startswith("/v1/models")
            return None if known else error_answer(404, "unknown_url", "Unknown request URL.")
        known_fields, required = _FIELDS[request.path]
        return _fields(request, known_fields | also, required)

    return validate


def _fields(request: Received, known: set[str], required: Sequence[str]) -> Answer | None:
    try:
        body = request.json
    except (ValueError, RecursionError):
        return error_answer(400, None, "We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        return error_answer(400, "invalid_type", "The body must be an object.")
    for name in sorted(body.keys() - known):
        text = f"Unrecognized request argument supplied: {name}"
        return error_answer(400, "unknown_parameter", text, param=name)
    for name in required:
        if not body.get(name):
            text = f"Missing required parameter: '{name}'."
            return error_answer(400, "missing_required_parameter", text, param=name)
    return None


def _chunk(
    model: str, delta: Mapping[str, Any] | None, with_usage: bool, reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    chunk: dict[str, Any] = {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "system_fingerprint": "fp_ab",
        "choices": [] if delta is None else [choice],
    }
    return chunk | {"usage": None} if with_usage else chunk


def _pieces(number: int, call: ToolCall) -> list[dict[str, Any]]:
    function = {"name": call.name, "arguments": ""}
    first = {"index": number, "id": call.id, "type": "function", "function": function}
    rest = [{"index": number, "function": {"arguments": each}} for each in call.arguments]
    return [{"tool_calls": [each]} for each in (first, *rest)]


def _whole(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": "".join(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


_usual = usage


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json(
    value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, _dump(value))
