"""Answers, frames and strictness of a provider that speaks Cohere's native v2 API.

The shapes are those of the types in Cohere's SDK 7.3; the rules about the history are those
its API is known to refuse with.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_testkit.openai_dialect import ToolCall
from llm_gateway_testkit.shapes import Any as Either
from llm_gateway_testkit.shapes import Number, Obj, Tagged, Text, fault
from llm_gateway_testkit.steps import Answer, Received

ID = "c14e0000-0000-4000-8000-000000000001"
MODEL = "command-a-03-2025"
UNIT = Number(0, 1)
_TEXT = Obj({"type": str, "text": str}, ("type", "text"))
_IMAGE_URL = Obj({"url": str, "detail": frozenset({"auto", "low", "high"})}, ("url",))
_IMAGE = Obj({"type": str, "image_url": _IMAGE_URL}, ("type", "image_url"))
_THINKING = Obj({"type": str, "thinking": str}, ("type", "thinking"))
_NAME = Text("[A-Za-z_][A-Za-z0-9_]*")
_CALL = Obj(
    {
        "id": str,
        "type": frozenset({"function"}),
        "function": Obj({"name": _NAME, "arguments": str}, ("name", "arguments")),
    },
    ("id", "type", "function"),
)
_DOCUMENT = Obj({"data": (str, dict), "id": str}, ("data",))
_TOOL_ITEM = Tagged(
    "type", {"text": _TEXT, "document": Obj({"type": str, "document": _DOCUMENT}, ("document",))}
)
_MESSAGE = Tagged(
    "role",
    {
        "system": Obj({"role": str, "content": Either((str, [_TEXT]))}, ("content",)),
        "user": Obj(
            {
                "role": str,
                "content": Either((str, [Tagged("type", {"text": _TEXT, "image_url": _IMAGE})])),
            },
            ("content",),
        ),
        "assistant": Obj(
            {
                "role": str,
                "content": Either((str, [Tagged("type", {"text": _TEXT, "thinking": _THINKING})])),
                "tool_plan": str,
                "tool_calls": [_CALL],
                "citations": [dict],
            }
        ),
        "tool": Obj(
            {
                "role": str,
                "tool_call_id": str,
                "content": Either((str, [_TOOL_ITEM])),
            },
            ("tool_call_id", "content"),
        ),
    },
)
_TOOL = Obj(
    {
        "type": frozenset({"function"}),
        "function": Obj(
            {"name": _NAME, "description": str, "parameters": dict}, ("name", "parameters")
        ),
    },
    ("type", "function"),
)
CHAT = Obj(
    {
        "model": str,
        "messages": [_MESSAGE],
        "stream": bool,
        "tools": [_TOOL],
        "strict_tools": bool,
        "documents": [Either((str, _DOCUMENT))],
        "citation_options": Obj({"mode": str}),
        "response_format": Tagged(
            "type",
            {
                "text": Obj({"type": str}),
                "json_object": Obj({"type": str, "json_schema": dict, "schema": dict}),
            },
        ),
        "safety_mode": frozenset({"CONTEXTUAL", "STRICT", "OFF"}),
        "max_tokens": Number(1, 2**31, whole=True),
        "stop_sequences": [str],
        "temperature": UNIT,
        "seed": Number(0, 2**64, whole=True),
        "frequency_penalty": UNIT,
        "presence_penalty": UNIT,
        "k": Number(0, 500),
        "p": Number(0.01, 0.99),
        "logprobs": bool,
        "tool_choice": frozenset({"REQUIRED", "NONE"}),
        "thinking": Obj({"type": frozenset({"enabled", "disabled"}), "token_budget": int}),
        "priority": Number(0, 999, whole=True),
    },
    ("model", "messages", "stream"),
)
EMBED = Obj(
    {
        "model": str,
        "input_type": frozenset(
            {"search_document", "search_query", "classification", "clustering", "image"}
        ),
        "texts": [str],
        "images": [str],
        "inputs": [dict],
        "max_tokens": int,
        "output_dimension": frozenset({256, 512, 1024, 1536}),
        "embedding_types": [frozenset({"float", "int8", "uint8", "binary", "ubinary", "base64"})],
        "truncate": frozenset({"NONE", "START", "END"}),
        "priority": Number(0, 999, whole=True),
    },
    ("model", "input_type"),
)
RERANK = Obj(
    {
        "model": str,
        "query": str,
        "documents": [str],
        "top_n": Number(1, 2**31, whole=True),
        "max_tokens_per_doc": int,
        "relevant_spans": dict,
        "priority": Number(0, 999, whole=True),
    },
    ("model", "query", "documents"),
)
SHAPES = {"/v2/chat": CHAT, "/v2/embed": EMBED, "/v2/rerank": RERANK}


def usage(asked: int = 9, made: int = 2, cached: int = 0, billed: int | None = None) -> Any:
    """As the vendor writes it: in floats."""
    charged = {"input_tokens": float(asked if billed is None else billed)}
    return {
        "billed_units": {**charged, "output_tokens": float(made)},
        "tokens": {"input_tokens": float(asked), "output_tokens": float(made)},
        "cached_tokens": float(cached),
    }


def chat_answer(
    text: str | None = "Low tide",
    *,
    thinking: str = "",
    plan: str = "",
    tool_calls: Sequence[ToolCall] = (),
    finish_reason: str | None = None,
    **members: Any,
) -> Answer:
    """A whole answer; `members` are further ones of its message."""
    content = [{"type": "thinking", "thinking": thinking}] if thinking else []
    if text and not tool_calls:
        content.append({"type": "text", "text": text})
    message: dict[str, Any] = {"role": "assistant", **members}
    if content:
        message["content"] = content
    if plan:
        message["tool_plan"] = plan
    if tool_calls:
        message["tool_calls"] = [_call(each, "".join(each.arguments)) for each in tool_calls]
    reason = finish_reason or ("TOOL_CALL" if tool_calls else "COMPLETE")
    body = {"id": ID, "finish_reason": reason, "message": message, "usage": usage()}
    return answer(body)


def chat_stream(
    texts: Sequence[str] = ("Low", " tide"),
    *,
    thinking: Sequence[str] = (),
    plan: Sequence[str] = (),
    tool_calls: Sequence[ToolCall] = (),
    finish_reason: str | None = None,
    error: str | None = None,
) -> list[bytes]:
    """The frames of a streamed answer, message-end the last of them."""
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events = [{"type": "message-start", "id": ID, "delta": {"message": empty}}]
    for kind, pieces in (("thinking", thinking), ("text", () if tool_calls else texts)):
        if pieces:
            events += _item(1 if thinking and kind == "text" else 0, kind, pieces)
    events += [
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": each}}} for each in plan
    ]
    for number, call in enumerate(tool_calls):
        events += _pieces(number, call)
    reason = finish_reason or ("TOOL_CALL" if tool_calls else "COMPLETE")
    delta = {"finish_reason": reason, "usage": usage(), **({"error": error} if error else {})}
    return [sse(each) for each in [*events, {"type": "message-end", "delta": delta}]]


def embed_answer(vectors: Sequence[Sequence[float]], tokens: int = 3) -> Answer:
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": float(tokens)}}
    return answer(
        {
            "id": ID,
            "response_type": "embeddings_by_type",
            "embeddings": {"float": [list(each) for each in vectors]},
            "texts": ["" for _ in vectors],
            "meta": meta,
        }
    )


def rerank_answer(scores: Sequence[tuple[int, float]], units: int = 1) -> Answer:
    """Index and score of each place, best first."""
    results = [{"index": index, "relevance_score": score} for index, score in scores]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": float(units)}}
    return answer({"id": ID, "results": results, "meta": meta})


def error_answer(
    status: int,
    message: str = "The scripted provider says no.",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    return answer({"id": ID, "message": message}, status, headers)


def answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, _dump(body))


def sse(event: Mapping[str, Any]) -> bytes:
    """One event, named by its type as the vendor does."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + _dump(event) + b"\n\n"


def strict(expect_key: str | None = None) -> Callable[[Received], Answer | None]:
    """A validator that refuses what the vendor refuses."""

    def validate(request: Received) -> Answer | None:
        if expect_key and request.headers.get("authorization") != f"Bearer {expect_key}":
            return error_answer(401, "invalid api token")
        path = request.path.partition("?")[0]
        if request.method == "GET" and path.startswith("/v1/models"):
            return None
        if path not in SHAPES:
            return error_answer(404, "404 page not found")
        try:
            body = request.json
        except (ValueError, RecursionError):
            return error_answer(400, "invalid json syntax")
        if found := fault(body, SHAPES[path]):
            return error_answer(
                422 if found.kind == "unknown" else 400, f"{found.kind} parameter {found.where}"
            )
        if words := _rules(path, body):
            return error_answer(400, words)
        return None

    return validate


def _rules(path: str, body: Mapping[str, Any]) -> str | None:
    if path == "/v2/embed":
        return "invalid request: at most 96 texts" if len(body.get("texts", ())) > 96 else None
    if path == "/v2/rerank":
        return None if body["documents"] else "invalid request: documents must not be empty"
    if len(body.get("stop_sequences", ())) > 5:
        return "too many stop sequences"
    if body.get("tools") and body.get("response_format", {}).get("type") == "json_object":
        return "cannot specify both response_format and tools"
    if body.get("strict_tools") and not body.get("tools"):
        return "strict_tools needs tools"
    return _history(body["messages"])


def _history(messages: Sequence[Mapping[str, Any]]) -> str | None:
    called: set[str] = set()
    open_calls: set[str] = set()
    for at, each in enumerate(messages):
        if each["role"] == "system" and at:
            return "system turn must be first"
        if each["role"] == "tool":
            if each["tool_call_id"] not in called:
                return "tool call id not found in previous tool calls"
            open_calls.discard(each["tool_call_id"])
            continue
        if open_calls:
            return "all tool calls must be answered by a tool message"
        for call in each.get("tool_calls", ()):
            if call["id"] in called:
                return "cannot have duplicate tool ids"
            called.add(call["id"])
            open_calls.add(call["id"])
    return "all tool calls must be answered by a tool message" if open_calls else None


def _item(index: int, kind: str, pieces: Sequence[str]) -> list[dict[str, Any]]:
    def content(inner: Mapping[str, Any]) -> dict[str, Any]:
        return {"message": {"content": dict(inner)}}

    start = {"type": kind, kind: ""}
    return [
        {"type": "content-start", "index": index, "delta": content(start)},
        *(
            {"type": "content-delta", "index": index, "delta": content({kind: each})}
            for each in pieces
        ),
        {"type": "content-end", "index": index},
    ]


def _pieces(number: int, call: ToolCall) -> list[dict[str, Any]]:
    def event(kind: str, inner: Mapping[str, Any]) -> dict[str, Any]:
        return {"type": kind, "index": number, "delta": {"message": {"tool_calls": dict(inner)}}}

    return [
        event("tool-call-start", _call(call, "")),
        *(event("tool-call-delta", {"function": {"arguments": each}}) for each in call.arguments),
        {"type": "tool-call-end", "index": number},
    ]


def _call(call: ToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
