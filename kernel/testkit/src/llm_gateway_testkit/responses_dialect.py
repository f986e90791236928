"""Answers, frames and strictness of a provider that speaks OpenAI's Responses API.

Deterministic. The names of a body's members and the types of its items are read from the
vendor SDK's own types (``llm-gateway-testkit[openai]``).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from llm_gateway_testkit.openai_dialect import error_answer
from llm_gateway_testkit.steps import Answer, Received

ID = "resp_Scripted1"
MODEL = "gpt-6-sol"
PATH = "/v1/responses"
REASONING: Mapping[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "Tides."}],
    "encrypted_content": "c2VjcmV0",
}
CALL: Mapping[str, Any] = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_T1",
    "name": "get_tide",
    "arguments": '{"port":"Brest"}',
}


def message(said: str = "Low tide") -> dict[str, Any]:
    part = {"type": "output_text", "text": said, "annotations": [], "logprobs": []}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }


def response(*output: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """A whole response; without items it says one sentence."""
    return {
        "id": ID,
        "object": "response",
        "created_at": 1795000000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": MODEL,
        "output": list(output) or [message()],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 14,
        },
        **members,
    }


def answer(*output: Mapping[str, Any], **members: Any) -> Answer:
    return Answer(200, {}, _dump(response(*output, **members)))


def event(kind: str, number: int, **members: Any) -> bytes:
    data = _dump({"type": kind, "sequence_number": number, **members})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def begun() -> list[bytes]:
    first = response(status="in_progress", output=[], usage=None)
    kinds = ("response.created", "response.in_progress")
    return [event(kind, at, response=first) for at, kind in enumerate(kinds)]


def text_stream(texts: Sequence[str] = ("Low", " tide")) -> list[bytes]:
    """The events of an answer that says `texts`, one delta each."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    whole = message("".join(texts))
    part = whole["content"][0]
    opened = {**whole, "status": "in_progress", "content": []}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("output_item.added", {"output_index": 0, "item": opened}),
        ("content_part.added", {**place, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**place, "delta": each, "logprobs": []}) for each in texts),
        ("output_text.done", {**place, "text": part["text"], "logprobs": []}),
        ("content_part.done", {**place, "part": part}),
        ("output_item.done", {"output_index": 0, "item": whole}),
        ("completed", {"response": response(whole)}),
    ]
    return [*begun(), *(event(f"response.{k}", 2 + at, **m) for at, (k, m) in enumerate(rows))]


def call_stream(call: Mapping[str, Any] = CALL) -> list[bytes]:
    """The events of an answer that is one call, its arguments in one piece."""
    text, place = call["arguments"], {"item_id": call["id"], "output_index": 0}
    opened = {**call, "status": "in_progress", "arguments": ""}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("output_item.added", {"output_index": 0, "item": opened}),
        ("function_call_arguments.delta", {**place, "delta": text}),
        ("function_call_arguments.done", {**place, "name": call["name"], "arguments": text}),
        ("output_item.done", {"output_index": 0, "item": call}),
        ("completed", {"response": response(call)}),
    ]
    return [*begun(), *(event(f"response.{k}", 2 + at, **m) for at, (k, m) in enumerate(rows))]


def strict(expect_key: str) -> Callable[[Received], Answer | None]:
    """Refuses what the vendor refuses: unknown members, items and parts, and stored items."""
    known = _members()

    def validate(request: Received) -> Answer | None:
        if request.headers.get("authorization") != f"Bearer {expect_key}":
            return error_answer(401, "invalid_api_key", "Incorrect API key provided.")
        if request.path != PATH:
            return error_answer(404, "unknown_url", "Unknown request URL.")
        for param, why in _problems(request.json, known):
            return error_answer(400, "invalid_value", why, param=param)
        return None

    return validate


# Of each kind of item: what it must have, and what else it may have.
_ITEMS: Mapping[str, tuple[set[str], set[str]]] = {
    "message": ({"role", "content"}, {"id", "status", "phase"}),
    "function_call": ({"call_id", "name", "arguments"}, {"id", "status"}),
    "function_call_output": ({"call_id", "output"}, {"id", "status"}),
    "custom_tool_call": ({"call_id", "name", "input"}, {"id", "status"}),
    "custom_tool_call_output": ({"call_id", "output"}, {"id", "status"}),
    "reasoning": ({"id", "summary"}, {"content", "encrypted_content", "status"}),
}


def _problems(body: Mapping[str, Any], known: set[str]) -> list[tuple[str, str]]:
    found = [(name, f"Unknown parameter: '{name}'.") for name in sorted(body.keys() - known)]
    if body.get("store") is not False:
        found.append(("store", "This organization may not store."))
    given = body.get("input")
    calls: set[str] = set()
    for at, item in enumerate(given if isinstance(given, list) else []):
        path = f"input[{at}]"
        kind = item.get("type", "message")
        if kind not in _ITEMS:
            found.append((path, f"Invalid value: '{kind}'."))
            continue
        needed, more = _ITEMS[kind]
        names = item.keys() - {"type"}
        if missing := needed - names:
            found.append((path, f"Missing: {sorted(missing)}."))
        if odd := names - needed - more:
            found.append((path, f"Unknown: {sorted(odd)}."))
        if kind.endswith("_output") and item.get("call_id") not in calls:
            found.append((path, "No tool call found for the output."))
        calls |= {item["call_id"]} if kind.endswith("_call") and "call_id" in item else set()
        if kind == "reasoning" and not item.get("encrypted_content"):
            found.append((path, f"Item with id '{item.get('id')}' not found."))
    return found


def _members() -> set[str]:
    from openai.types.responses import response_create_params as params

    base = get_type_hints(params.ResponseCreateParamsBase)
    return {*base, "stream"}


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
