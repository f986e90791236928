"""How Together differs from OpenAI: numbers for logprobs, a role in each delta, bare errors.

Shapes are those of the types in Together's SDK 3.1; the vendor lets unknown members pass on
some engines and refuses them on others, so this one refuses them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.shapes import Any as Either
from llm_gateway_testkit.shapes import Number, Obj, Tagged, fault
from llm_gateway_testkit.steps import Answer, Received

MODEL = "openai/gpt-oss-120b"
NONE = type(None)
_URL = Obj({"url": str}, ("url",))
_AUDIO = Obj({"data": str, "format": frozenset({"wav", "mp3"})}, ("data", "format"))
_PART = Tagged(
    "type",
    {
        "text": Obj({"type": str, "text": str}, ("text",)),
        "image_url": Obj({"type": str, "image_url": _URL}, ("image_url",)),
        "video_url": Obj({"type": str, "video_url": _URL}, ("video_url",)),
        "audio_url": Obj({"type": str, "audio_url": _URL}, ("audio_url",)),
        "input_audio": Obj({"type": str, "input_audio": _AUDIO}, ("input_audio",)),
    },
)
_CALL = Obj(
    {
        "id": str,
        "type": frozenset({"function"}),
        "index": Number(0, 1000),
        "function": Obj({"name": str, "arguments": str}, ("name", "arguments")),
    },
    ("id", "type", "function"),
)
_MESSAGE = Tagged(
    "role",
    {
        "system": Obj({"role": str, "content": Either((str, [_PART])), "name": str}, ("content",)),
        "user": Obj({"role": str, "content": Either((str, [_PART])), "name": str}, ("content",)),
        "assistant": Obj(
            {
                "role": str,
                "content": (str, NONE),
                "name": str,
                "reasoning": str,
                "tool_calls": [_CALL],
            }
        ),
        "tool": Obj(
            {"role": str, "content": str, "name": str, "tool_call_id": str},
            ("content", "tool_call_id"),
        ),
    },
)
_FUNCTION = Obj({"name": str, "description": str, "parameters": dict, "strict": bool}, ("name",))
_TOOL = Obj({"type": frozenset({"function"}), "function": _FUNCTION}, ("type", "function"))
_NAMED = Obj(
    {"type": frozenset({"function"}), "function": Obj({"name": str}, ("name",))}, ("function",)
)
_SCHEMA = Obj({"name": str, "schema": dict, "description": str, "strict": bool}, ("name",))
_SIGNED = Number(-2, 2)
CHAT = Obj(
    {
        "model": str,
        "messages": [_MESSAGE],
        "max_tokens": Number(1, 2**31, whole=True),
        "temperature": Number(0, 2),
        "top_p": Number(0, 1),
        "top_k": int,
        "min_p": float,
        "repetition_penalty": float,
        "presence_penalty": _SIGNED,
        "frequency_penalty": _SIGNED,
        "stop": [str],
        "n": Number(1, 128, whole=True),
        "seed": int,
        "stream": bool,
        "logit_bias": dict,
        "logprobs": Number(0, 20, whole=True),
        "echo": bool,
        "response_format": Tagged(
            "type",
            {
                "text": Obj({"type": str}),
                "json_object": Obj({"type": str, "schema": dict}),
                "json_schema": Obj({"type": str, "json_schema": _SCHEMA}, ("json_schema",)),
                "regex": Obj({"type": str, "pattern": str}, ("pattern",)),
            },
        ),
        "tools": [_TOOL],
        "tool_choice": Either((_NAMED, frozenset({"auto", "none", "required"}))),
        "reasoning_effort": frozenset({"low", "medium", "high"}),
        "reasoning": Obj({"enabled": bool}),
        "chat_template_kwargs": dict,
        "context_length_exceeded_behavior": frozenset({"truncate", "error"}),
        "safety_model": str,
        "compliance": frozenset({"hipaa"}),
    },
    ("model", "messages"),
)
EMBEDDINGS = Obj({"model": str, "input": Either((str, [str]))}, ("model", "input"))
RERANK = Obj(
    {
        "model": str,
        "query": str,
        "documents": [str],
        "top_n": int,
        "return_documents": bool,
        "rank_fields": [str],
    },
    ("model", "query", "documents"),
)
SHAPES = {
    "/v1/chat/completions": CHAT,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/rerank": RERANK,
}


def chat_answer(
    text: str | None = "Low tide",
    reasoning: str | None = None,
    tool_calls: Sequence[openai.ToolCall] = (),
    finish_reason: str | None = None,
    logprobs: Any = None,
) -> Answer:
    """A whole answer; without a reason it ends with the vendor's ``eos``."""
    message: dict[str, Any] = {"role": "assistant", "content": "" if tool_calls else text}
    if reasoning is not None:
        message["reasoning"] = reasoning
    message["tool_calls"] = [_call(at, each) for at, each in enumerate(tool_calls)]
    reason = finish_reason or ("tool_calls" if tool_calls else "eos")
    choice = {"index": 0, "finish_reason": reason, "message": message, "seed": 4211}
    choice["logprobs"] = logprobs
    head = {**_head("chat.completion"), "prompt": [], "choices": [choice]}
    return answer({**head, "usage": usage()})


def chat_stream(
    texts: Sequence[str] = ("Low", " tide"),
    reasoning: Sequence[str] = (),
    tool_calls: Sequence[openai.ToolCall] = (),
    finish_reason: str | None = None,
    logprobs: float | None = None,
) -> list[bytes]:
    """A stream: a role in each delta, ids and names of calls repeated as empty text."""
    frames = [chunk({"content": "", "reasoning": each}) for each in reasoning]
    frames += [chunk({"content": each, "token_id": 9}, logprobs=logprobs) for each in texts]
    for at, call in enumerate(tool_calls):
        for number, text in enumerate(("", *call.arguments)):
            id_, name = (call.id, call.name) if number == 0 else ("", "")
            function = {"name": name, "arguments": text}
            piece = {"index": float(at), "id": id_, "type": "function", "function": function}
            frames.append(chunk({"content": "", "tool_calls": [piece]}))
    reason = finish_reason or ("tool_calls" if tool_calls else "eos")
    return [*frames, chunk({"content": ""}, reason, usage=usage()), openai.DONE]


def chunk(
    delta: Mapping[str, Any],
    reason: str | None = None,
    logprobs: float | None = None,
    usage: Mapping[str, Any] | None = None,
) -> bytes:
    choice = {
        "index": 0,
        "delta": {"role": "assistant", **delta},
        "logprobs": logprobs,
        "finish_reason": reason,
        "seed": None,
    }
    return openai.sse({**_head("chat.completion.chunk"), "choices": [choice], "usage": usage})


def embeddings_answer(vectors: Sequence[Sequence[float]]) -> Answer:
    """Without usage, as the vendor's schema has none."""
    data = [
        {"object": "embedding", "index": at, "embedding": list(each)}
        for at, each in enumerate(vectors)
    ]
    return answer({"object": "list", "model": "e", "data": data})


def rerank_answer(scores: Sequence[tuple[int, float]]) -> Answer:
    results = [{"index": at, "relevance_score": score} for at, score in scores]
    body = {"object": "rerank", "id": "r1", "model": "r", "results": results}
    return answer({**body, "usage": usage()})


def models_answer(*ids: str) -> Answer:
    """A bare array."""
    rows = [{"id": each, "object": "model", "created": 0, "type": "chat"} for each in ids]
    return Answer(body=json.dumps(rows).encode())


def usage(asked: int = 9, made: int = 2, cached: int = 0) -> dict[str, Any]:
    total = {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
    return {**total, "cached_tokens": cached}


def error_answer(
    status: int,
    message: str = "The scripted provider says no.",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return answer({"id": "o1", "error": error}, status, headers)


def answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, json.dumps(body, separators=(",", ":")).encode())


def strict(expect_key: str | None = None) -> Callable[[Received], Answer | None]:
    """A validator that refuses what the strictest engine refuses."""

    def validate(request: Received) -> Answer | None:
        if expect_key and request.headers.get("authorization") != f"Bearer {expect_key}":
            return error_answer(401, "Invalid API key provided")
        if request.method == "GET" and request.path == "/v1/models":
            return None
        if request.path not in SHAPES:
            return error_answer(404, "Unknown path")
        if found := fault(request.json, SHAPES[request.path]):
            return error_answer(422, f"{found.kind} field {found.where}")
        return None

    return validate


def _head(kind: str) -> dict[str, Any]:
    return {"id": "o1a2-b3", "object": kind, "created": openai.CREATED, "model": MODEL}


def _call(index: int, call: openai.ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": "".join(call.arguments)}
    return {"index": index, "id": call.id, "type": "function", "function": function}
