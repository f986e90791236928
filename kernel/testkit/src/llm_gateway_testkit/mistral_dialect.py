"""How Mistral differs from OpenAI: a closed schema, rules of order, thinking as chunks.

Shapes are those of the types in Mistral's SDK 3.7; answers are `openai_dialect`'s but for what
is here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.shapes import Any as Either
from llm_gateway_testkit.shapes import Fault, Number, Obj, Tagged, Text, fault
from llm_gateway_testkit.steps import Answer, Received

MODEL = "mistral-medium-2604"
NONE = type(None)
_TEXT = Obj({"type": str, "text": str}, ("text",))
_IMAGE = Obj({"url": str, "detail": frozenset({"auto", "low", "high"})}, ("url",))
_CHUNK = Tagged(
    "type",
    {
        "text": _TEXT,
        "image_url": Obj({"type": str, "image_url": Either((str, _IMAGE))}, ("image_url",)),
        "input_audio": Obj({"type": str, "input_audio": str}, ("input_audio",)),
        "document_url": Obj(
            {"type": str, "document_url": str, "document_name": (str, NONE)}, ("document_url",)
        ),
        "file": Obj({"type": str, "file_id": str}, ("file_id",)),
        "thinking": Obj(
            {"type": str, "thinking": [_TEXT], "signature": str, "closed": bool}, ("thinking",)
        ),
    },
)
_CONTENT = Either((str, [_CHUNK]))
_CALL = Obj(
    {
        "id": Text("[A-Za-z0-9]{9}"),
        "type": frozenset({"function"}),
        "index": int,
        "function": Obj({"name": str, "arguments": (str, dict)}, ("name", "arguments")),
    },
    ("function",),
)
_MESSAGE = Tagged(
    "role",
    {
        "system": Obj({"role": str, "content": _CONTENT}, ("content",)),
        "user": Obj({"role": str, "content": Either((NONE, _CONTENT))}, ("content",)),
        "assistant": Obj(
            {
                "role": str,
                "content": Either((NONE, _CONTENT)),
                "tool_calls": Either((NONE, [_CALL])),
                "prefix": bool,
            }
        ),
        "tool": Obj(
            {
                "role": str,
                "content": _CONTENT,
                "tool_call_id": Text("[A-Za-z0-9]{9}"),
                "name": str,
            },
            ("content",),
        ),
    },
)
_FUNCTION = Obj(
    {"name": str, "description": str, "parameters": dict, "strict": bool}, ("name", "parameters")
)
_TOOL = Obj({"type": frozenset({"function"}), "function": _FUNCTION}, ("function",))
_NAMED = Obj(
    {"type": frozenset({"function"}), "function": Obj({"name": str}, ("name",))}, ("function",)
)
_SCHEMA = Obj({"name": str, "description": str, "schema": dict, "strict": bool}, ("name", "schema"))
_SIGNED = Number(-2, 2)
CHAT = Obj(
    {
        "model": str,
        "messages": [_MESSAGE],
        "temperature": Number(0, 1.5),
        "top_p": Number(1e-9, 1),
        "max_tokens": Number(0, 2**31, whole=True),
        "min_tokens": int,
        "top_k": int,
        "repetition_penalty": float,
        "stream": bool,
        "stop": Either((str, [str])),
        "random_seed": Number(0, 2**64, whole=True),
        "metadata": dict,
        "response_format": Tagged(
            "type",
            {
                "text": Obj({"type": str}),
                "json_object": Obj({"type": str}),
                "json_schema": Obj({"type": str, "json_schema": _SCHEMA}, ("json_schema",)),
            },
        ),
        "tools": [_TOOL],
        "tool_choice": Either((_NAMED, frozenset({"auto", "none", "any", "required"}))),
        "presence_penalty": _SIGNED,
        "frequency_penalty": _SIGNED,
        "n": Number(1, 128, whole=True),
        "prediction": Obj({"type": str, "content": str}, ("content",)),
        "parallel_tool_calls": bool,
        "logprobs": bool,
        "top_logprobs": int,
        "prompt_logprobs": bool,
        "top_prompt_logprobs": int,
        "reasoning_effort": frozenset({"none", "high"}),
        "prompt_mode": frozenset({"reasoning"}),
        "guardrails": list,
        "safe_prompt": bool,
        "prompt_cache_key": str,
        "service_tier": frozenset({"auto", "standard_only"}),
    },
    ("model", "messages"),
)
EMBEDDINGS = Obj(
    {
        "model": str,
        "input": Either((str, [str])),
        "metadata": dict,
        "output_dimension": int,
        "output_dtype": frozenset({"float", "int8", "uint8", "binary", "ubinary"}),
        "encoding_format": frozenset({"float", "base64"}),
    },
    ("model", "input"),
)
SHAPES = {"/v1/chat/completions": CHAT, "/v1/embeddings": EMBEDDINGS}
_PYDANTIC = {"unknown": "extra_forbidden", "missing": "missing", "invalid": "literal_error"}


def chat_answer(
    text: str | None = "Low tide",
    thinking: str = "",
    tool_calls: Sequence[openai.ToolCall] = (),
    finish_reason: str | None = None,
) -> Answer:
    """A whole answer; with `thinking` its content is a list of chunks."""
    reason = finish_reason or ("tool_calls" if tool_calls else "stop")
    content: Any = "" if tool_calls else text
    if thinking:
        content = [think(thinking, closed=True), {"type": "text", "text": text}]
    message: dict[str, Any] = {"role": "assistant", "content": content, "prefix": False}
    message["tool_calls"] = [_call(0, each) for each in tool_calls] or None
    choice = {"index": 0, "finish_reason": reason, "message": message}
    return answer({**_head("chat.completion"), "choices": [choice], "usage": usage()})


def chat_stream(
    texts: Sequence[str] = ("Low", " tide"),
    thinking: Sequence[str] = (),
    tool_calls: Sequence[openai.ToolCall] = (),
    finish_reason: str | None = None,
) -> list[bytes]:
    """A stream; calls come whole in one chunk, with the finish and the usage beside them."""
    reason = finish_reason or ("tool_calls" if tool_calls else "stop")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": [think(each)]} for each in thinking]
    rest = list(texts)
    if thinking and rest:
        closing = [think("", closed=True), {"type": "text", "text": rest.pop(0)}]
        deltas.append({"content": closing})
    deltas += [{"content": each} for each in rest]
    last: dict[str, Any] = {"content": ""}
    if tool_calls:
        last["tool_calls"] = [_call(at, each) for at, each in enumerate(tool_calls)]
    frames = [chunk(each) for each in deltas]
    return [*frames, chunk(last, reason, usage=usage()), openai.DONE]


def embeddings_answer(vectors: Sequence[Sequence[float]]) -> Answer:
    """Numbers, and an id that OpenAI's answer lacks."""
    plain = openai.embeddings_answer(vectors, "mistral-embed", encoding="float")
    return answer({"id": "e1", **json.loads(plain.body)})


def chunk(delta: Mapping[str, Any], reason: str | None = None, **members: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return openai.sse({**_head("chat.completion.chunk"), "choices": [choice], **members})


def think(text: str, **members: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}], **members}


def usage(asked: int = 9, made: int = 2) -> dict[str, Any]:
    return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}


def error_answer(
    status: int,
    kind: str = "invalid_request_error",
    code: str | None = None,
    message: object = "The scripted provider says no.",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    body = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return answer({**body, "raw_status_code": status}, status, headers)


def validation_answer(found: Fault) -> Answer:
    """The list of what is wrong, as the vendor's framework writes it."""
    detail = {
        "type": _PYDANTIC[found.kind],
        "loc": ["body", *found.path],
        "msg": "Extra inputs are not permitted" if found.kind == "unknown" else "Wrong input",
        "input": None,
    }
    return error_answer(422, message={"detail": [detail]})


def answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, json.dumps(body, separators=(",", ":")).encode())


def strict(expect_key: str | None = None) -> Callable[[Received], Answer | None]:
    """A validator that refuses what the vendor refuses."""

    def validate(request: Received) -> Answer | None:
        if expect_key and request.headers.get("authorization") != f"Bearer {expect_key}":
            return answer({"detail": "Unauthorized"}, 401)
        if request.method == "GET" and request.path == "/v1/models":
            return None
        if request.path not in SHAPES:
            return answer({"message": "no Route matched with those values"}, 404)
        body = request.json
        if found := fault(body, SHAPES[request.path]):
            return validation_answer(found)
        if "messages" in body and (words := _order(body["messages"])):
            return error_answer(400, "invalid_request_message_order", "3230", words)
        return None

    return validate


def _order(rows: Sequence[Mapping[str, Any]]) -> str | None:
    before = ""
    open_calls = 0
    for row in rows:
        role = row["role"]
        if role == "user" and before == "tool":
            return "Unexpected role 'user' after role 'tool'"
        if role == "assistant":
            if not row.get("content") and not row.get("tool_calls"):
                return "Assistant message must have either content or tool_calls, but not none."
            if open_calls:
                return "Not the same number of function calls and responses"
            open_calls = len(row.get("tool_calls") or ())
        elif role == "tool":
            open_calls -= 1
        before = role
    if open_calls:
        return "Not the same number of function calls and responses"
    if before not in ("user", "tool") and not rows[-1].get("prefix"):
        return "Expected last role User or Tool (or Assistant with prefix True)"
    return None


def _head(kind: str) -> dict[str, Any]:
    return {"id": "9f2c", "object": kind, "created": openai.CREATED, "model": MODEL}


def _call(index: int, call: openai.ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": "".join(call.arguments)}
    return {"id": call.id, "function": function, "index": index}
