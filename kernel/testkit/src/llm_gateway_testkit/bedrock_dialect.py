"""Answers, frames and strictness of Amazon Bedrock's runtime (Converse, InvokeModel).

Deterministic: the same arguments give the same bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from llm_gateway_testkit import bedrock_rules as rules
from llm_gateway_testkit import eventstream
from llm_gateway_testkit.steps import Answer, Received, Stream

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
REQUEST_ID = "2b6e0f7c-7d8e-4a0f-9c3b-5e1d2c3b4a59"
_HEADERS = {"x-amzn-requestid": REQUEST_ID}
_STATUSES = {
    "ValidationException": 400,
    "ServiceQuotaExceededException": 400,
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InvalidSignatureException": 403,
    "UnrecognizedClientException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of the model; in a stream each of `arguments` is an event of its own."""

    id: str
    name: str
    arguments: Sequence[str] = field(default=("{}",))

    @property
    def input(self) -> Any:
        return json.loads("".join(self.arguments) or "{}")


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning with its signature, or (`redacted`, base64) without a word of it."""

    texts: Sequence[str] = ("Check",)
    signature: str | None = "c2ln"
    redacted: str | None = None


def usage(
    input: int = 12, output: int = 31, read: int = 0, write: int = 0, **details: int
) -> dict[str, Any]:
    """`details` are the parts of `write` by their time to live: ``_5m=3, _1h=4``."""
    found: dict[str, Any] = {
        "inputTokens": input,
        "outputTokens": output,
        "totalTokens": input + output + read + write,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": write,
    }
    if details:
        found["cacheDetails"] = [
            {"ttl": ttl.lstrip("_"), "inputTokens": tokens} for ttl, tokens in details.items()
        ]
    return found


def converse_answer(
    text: str | None = "Low tide",
    *,
    tool_calls: Sequence[ToolCall] = (),
    reasoning: Reasoning | None = None,
    stop_reason: str | None = None,
    usage: Mapping[str, Any] | None = None,
    **more: Any,
) -> Answer:
    """A whole answer of Converse; `more` are further members (``trace``)."""
    content: list[Any] = [_thought(reasoning)] if reasoning else []
    content += [{"text": text}] if text else []
    content += [
        {"toolUse": {"toolUseId": each.id, "name": each.name, "input": each.input}}
        for each in tool_calls
    ]
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason or ("tool_use" if tool_calls else "end_turn"),
        "usage": dict(usage) if usage is not None else _usual(),
        "metrics": {"latencyMs": 640},
        **more,
    }
    return _json(body)


def converse_stream(
    texts: Sequence[str] = ("Low", " tide"),
    *,
    tool_calls: Sequence[ToolCall] = (),
    reasoning: Reasoning | None = None,
    stop_reason: str | None = None,
    usage: Mapping[str, Any] | None = None,
) -> list[bytes]:
    """The frames of ConverseStream; only a tool's block has a start, usage comes last."""
    frames = [_event("messageStart", {"role": "assistant"})]
    block = 0
    for deltas in ([*_thoughts(reasoning)], [{"text": each} for each in texts]):
        if deltas:
            frames += _block(block, None, deltas)
            block += 1
    for call in tool_calls:
        start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
        pieces = [{"toolUse": {"input": each}} for each in call.arguments]
        frames += _block(block, start, pieces)
        block += 1
    reason = stop_reason or ("tool_use" if tool_calls else "end_turn")
    frames.append(_event("messageStop", {"stopReason": reason}))
    found = dict(usage) if usage is not None else _usual()
    frames.append(_event("metadata", {"usage": found, "metrics": {"latencyMs": 640}}))
    return frames


def streamed(frames: Sequence[bytes], **options: Any) -> Stream:
    """`frames` as the service sends them."""
    headers = {**_HEADERS, "content-type": eventstream.CONTENT_TYPE}
    return Stream(frames, headers=headers, **options)


def count_answer(tokens: int = 5) -> Answer:
    return _json({"inputTokens": tokens})


def titan_answer(vector: Sequence[float] = (1.0, -2.0), tokens: int = 3) -> Answer:
    return _json({"embedding": list(vector), "inputTextTokenCount": tokens})


def cohere_answer(vectors: Sequence[Sequence[float]], *, by_type: bool = False) -> Answer:
    rows = [list(each) for each in vectors]
    kind = "embeddings_by_type" if by_type else "embeddings_floats"
    found: Any = {"float": rows} if by_type else rows
    return _json({"id": "e-1", "response_type": kind, "embeddings": found})


def models_answer(*ids: str) -> Answer:
    rows = [{"modelId": each, "modelName": each, "providerName": "any"} for each in ids or (MODEL,)]
    return _json({"modelSummaries": rows})


def error_answer(
    name: str,
    message: str = "The scripted provider says no.",
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Answer:
    """An error by its name, which stands in a header with a suffix that is none of it."""
    kind = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    found = {**_HEADERS, "x-amzn-errortype": kind, **(headers or {})}
    return _json({"message": message, **more}, status or _STATUSES[name], found)


def unknown_operation() -> Answer:
    """What a path that fits no operation gets: a status of 200."""
    kind = "com.amazon.coral.service#UnknownOperationException"
    return _json({"Output": {"__type": kind}, "Version": "1.0"})


def strict(
    key: str = "AKIDEXAMPLE",
    secret: str = "scripted-secret",
    token: str | None = None,
    api_key: str | None = None,
) -> Callable[[Received], Answer | None]:
    """A validator with Bedrock's manners; with `api_key` nothing may be signed."""
    model = rules.ServiceModel()

    def validate(request: Received) -> Answer | None:
        if api_key is not None:
            if request.headers.get("authorization") != f"Bearer {api_key}":
                return error_answer("AccessDeniedException", "Authentication failed.")
            if "x-amz-date" in request.headers:
                return error_answer("ValidationException", "A bearer's request is not signed.")
        elif fault := rules.signature_fault(request, key, secret, token):
            return error_answer("InvalidSignatureException", fault)
        if request.method == "GET" and request.path.startswith("/foundation-models"):
            return None
        return _body_fault(request, model)

    return validate


def model_of(request: Received) -> str:
    """The model that a request's path names."""
    return unquote(request.path.split("/")[2])


def _body_fault(request: Received, model: rules.ServiceModel) -> Answer | None:
    parts = request.path.split("/")
    operation = rules.OPERATIONS.get(parts[3]) if len(parts) == 4 else None
    if request.method != "POST" or parts[1:2] != ["model"] or operation is None:
        return unknown_operation()
    if request.headers.get("content-type") != "application/json":
        return error_answer("ValidationException", "The content type is not application/json.")
    try:
        body = request.json
    except (ValueError, RecursionError):
        return error_answer("ValidationException", "The body is no JSON.")
    fault = None if operation == "InvokeModel" else next(model.faults(operation, body), None)
    if fault is None and operation != "InvokeModel":
        told = body["input"]["converse"] if operation == "CountTokens" else body
        fault = rules.turn_fault(told)
    if fault is None and operation == "InvokeModel":
        fault = _invoke_fault(unquote(parts[2]), body)
    return None if fault is None else error_answer("ValidationException", fault)


_INVOKE = {
    "amazon.titan-embed-text-v2": ({"inputText"}, {"dimensions", "normalize"}),
    "amazon.titan-embed-text-v1": ({"inputText"}, set[str]()),
    "cohere.embed-english-v3": ({"texts", "input_type"}, {"truncate"}),
    "cohere.embed-multilingual-v3": ({"texts", "input_type"}, {"truncate"}),
    "cohere.embed-v4": (
        {"texts", "input_type"},
        {"truncate", "embedding_types", "output_dimension"},
    ),
}


def _invoke_fault(model: str, body: Mapping[str, Any]) -> str | None:
    for prefix, (required, optional) in _INVOKE.items():
        if model.startswith(prefix):
            if unknown := body.keys() - required - optional:
                return f"extraneous key [{min(unknown)}] is not permitted"
            if missing := required - body.keys():
                return f"required key [{min(missing)}] not found"
            if len(body.get("texts", [""])) > 96:
                return "expected maximum item count: 96"
            return None
    return "The provided model identifier is invalid."


def _thought(reasoning: Reasoning) -> dict[str, Any]:
    if reasoning.redacted is not None:
        return {"reasoningContent": {"redactedContent": reasoning.redacted}}
    inner = {"text": "".join(reasoning.texts)}
    if reasoning.signature is not None:
        inner["signature"] = reasoning.signature
    return {"reasoningContent": {"reasoningText": inner}}


def _thoughts(reasoning: Reasoning | None) -> list[dict[str, Any]]:
    if reasoning is None:
        return []
    if reasoning.redacted is not None:
        return [{"reasoningContent": {"redactedContent": reasoning.redacted}}]
    pieces: list[dict[str, Any]] = [{"text": each} for each in reasoning.texts]
    if reasoning.signature is not None:
        pieces.append({"signature": reasoning.signature})
    return [{"reasoningContent": each} for each in pieces]


def _block(number: int, start: object, deltas: Sequence[object]) -> list[bytes]:
    where = {"contentBlockIndex": number}
    frames = [_event("contentBlockStart", {**where, "start": start})] if start else []
    frames += [_event("contentBlockDelta", {**where, "delta": each}) for each in deltas]
    return [*frames, _event("contentBlockStop", where)]


def _event(kind: str, payload: Mapping[str, Any]) -> bytes:
    """With the padding that real payloads carry, so that sizes tell nothing."""
    return eventstream.event(kind, {**payload, "p": "abcdefg"})


_usual = usage


def _json(
    value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, headers or _HEADERS, body)
