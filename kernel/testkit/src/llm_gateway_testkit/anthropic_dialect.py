"""Answers, events and strictness of a provider that speaks the Messages dialect.

Deterministic: the same arguments give the same bytes. The strict validator reads what a
field may be called from the vendor SDK's own types, so it needs the package ``anthropic``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NotRequired, Required, get_origin, get_type_hints

from llm_gateway_testkit.steps import Answer, Received

ID = "msg_Scripted1"
MODEL = "claude-sonnet-4-6"
VERSIONS = ("2023-06-01", "2026-10-21")
COUNT_PATH = "/v1/messages/count_tokens"
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error"}
_TYPES |= {403: "permission_error", 404: "not_found_error", 413: "request_too_large"}
_TYPES |= {429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error"}


# --- whole answers ---------------------------------------------------------------------


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def thinking(thought: str, signature: str = "c2ln") -> dict[str, Any]:
    return {"type": "thinking", "thinking": thought, "signature": signature}


def tool_use(id: str, name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": given}


def usage(**figures: Any) -> dict[str, Any]:
    """The usual figures, 12 in and 31 out, with `figures` in their place."""
    usual = {"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {**usual, "output_tokens": 31, "service_tier": "standard", **figures}


def message(
    *content: Mapping[str, Any],
    model: str = MODEL,
    stop_reason: str | None = None,
    **members: Any,
) -> dict[str, Any]:
    """A message; its stop reason follows from the blocks unless given."""
    called = any(each["type"] == "tool_use" for each in content)
    return {
        "id": ID,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": list(content or (text("Low tide"),)),
        "stop_reason": stop_reason or ("tool_use" if called else "end_turn"),
        "stop_sequence": None,
        "stop_details": None,
        "usage": usage(),
        **members,
    }


def message_answer(*content: Mapping[str, Any], **members: Any) -> Answer:
    return _json(message(*content, **members), headers={"request-id": "req_upstream1"})


def count_answer(tokens: int = 42) -> Answer:
    return _json({"input_tokens": tokens})


def error_body(kind: str, words: str, code: str | None = None) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": kind, "message": words}
    if code is not None:
        inner["details"] = {"error_code": code}
    return {"type": "error", "error": inner, "request_id": "req_upstream1"}


def error_answer(
    status: int,
    words: str = "The scripted provider says no.",
    *,
    kind: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as the vendor words it; the type follows from the status unless given."""
    found = kind or _TYPES.get(status) or ("api_error" if status >= 500 else _TYPES[400])
    return _json(error_body(found, words, code), status, headers)


# --- streams ---------------------------------------------------------------------------


def event(kind: str, **members: Any) -> bytes:
    """One event of a stream; its name stands twice, as the SDK wants it."""
    return b"event: " + kind.encode() + b"\ndata: " + _dump({"type": kind, **members}) + b"\n\n"


def block_start(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def block_delta(index: int, kind: str, **members: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **members})


def block_stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


def message_start(model: str = MODEL, **figures: Any) -> bytes:
    started = message(model=model) | {"content": [], "stop_reason": None}
    started["usage"] = usage(output_tokens=1) | figures
    return event("message_start", message=started)


def message_end(stop_reason: str | None = "end_turn", **figures: Any) -> list[bytes]:
    """The last two events; `figures` are those of the usage."""
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    figures = figures or {"output_tokens": 31}
    return [event("message_delta", delta=delta, usage=figures), event("message_stop")]


def error_event(kind: str = "overloaded_error", words: str = "Overloaded") -> bytes:
    return event("error", **{k: v for k, v in error_body(kind, words).items() if k != "type"})


def message_stream(
    *content: Mapping[str, Any], model: str = MODEL, stop_reason: str | None = None
) -> list[bytes]:
    """The events of a streamed message, each text and input in two pieces, with a ping."""
    whole = message(*content, model=model, stop_reason=stop_reason)
    frames = [message_start(model), event("ping")]
    for index, each in enumerate(whole["content"]):
        frames += _block(index, each)
    return [*frames, *message_end(whole["stop_reason"])]


def _block(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    kind = block["type"]
    if kind == "text":
        yield block_start(index, type="text", text="")
        for piece in _halves(block["text"]):
            yield block_delta(index, "text_delta", text=piece)
    elif kind == "thinking":
        yield block_start(index, type="thinking", thinking="", signature="")
        for piece in _halves(block["thinking"]):
            yield block_delta(index, "thinking_delta", thinking=piece)
        yield block_delta(index, "signature_delta", signature=block["signature"])
    elif kind == "tool_use":
        yield block_start(index, **{**block, "input": {}})
        yield block_delta(index, "input_json_delta", partial_json="")
        for piece in _halves(_dump(block["input"]).decode() if block["input"] else ""):
            yield block_delta(index, "input_json_delta", partial_json=piece)
    else:
        yield block_start(index, **block)
    yield block_stop(index)


def _halves(whole: str) -> list[str]:
    middle = len(whole) // 2
    return [piece for piece in (whole[:middle], whole[middle:]) if piece]


# --- strictness ------------------------------------------------------------------------


def strict(expect_key: str | None = None) -> Callable[[Received], Answer | None]:
    """A validator with the vendor's manners: a wrong key, a missing version, an unknown or a
    missing field, an empty text, an unpaired call are refused."""

    def validate(request: Received) -> Answer | None:
        path = request.path.partition("?")[0]
        if expect_key is not None and _key(request) != expect_key:
            return error_answer(401, "invalid x-api-key")
        if request.method == "GET" and path == "/v1/models":
            return None
        if path not in ("/v1/messages", COUNT_PATH):
            return error_answer(404, "Not found")
        if request.headers.get("anthropic-version") not in VERSIONS:
            return error_answer(400, "anthropic-version: header is required")
        try:
            problem = next(_problems(request.json, path == COUNT_PATH), None)
        except ValueError:
            problem = "The request body is not valid JSON"
        return None if problem is None else error_answer(400, problem)

    return validate


def _key(request: Received) -> str | None:
    """The key, from exactly one of the two headers."""
    bearer, key = request.headers.get("authorization"), request.headers.get("x-api-key")
    if bearer is not None and key is not None:
        return None
    return key if bearer is None else bearer.removeprefix("Bearer ")


def _problems(body: Any, counting: bool) -> Iterator[str]:
    if not isinstance(body, dict):
        yield "The body must be an object"
        return
    yield from _members(body, "count" if counting else "create", "")
    for at, each in enumerate(body.get("tools") or ()):
        if each.get("type", "custom") == "custom":
            yield from _members(each, "tool", f"tools.{at}.")
    for name in ("tool_choice", "thinking"):
        if name in body:
            yield from _members(body[name], f"{name}:{body[name].get('type')}", f"{name}.")
    if "tool_choice" in body and not body.get("tools"):
        yield "tool_choice may only be specified while providing tools"
    budget = (body.get("thinking") or {}).get("budget_tokens")
    if budget is not None and not 1024 <= budget < body.get("max_tokens", budget + 1):
        yield "thinking.budget_tokens: must be at least 1024 and below max_tokens"
    if isinstance(body.get("system"), list):
        yield from _blocks(body["system"], "system")
    yield from _turns(body["messages"])


def _turns(messages: Any) -> Iterator[str]:
    calls: list[str] = []
    for at, turn in enumerate(messages):
        yield from _members(turn, f"turn:{turn.get('role')}", f"messages.{at}.")
        content = turn["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        yield from _blocks(blocks, f"messages.{at}.content")
        answered = [each["tool_use_id"] for each in blocks if each["type"] == "tool_result"]
        kinds = [each["type"] == "tool_result" for each in blocks]
        if turn["role"] == "user" and calls and kinds != sorted(kinds, reverse=True):
            yield f"messages.{at}: tool_result blocks must come first"
        if turn["role"] != "system":
            if sorted(answered) != sorted(calls):
                yield f"messages.{at}: `tool_use` ids and `tool_result` blocks do not match"
            calls = [each["id"] for each in blocks if each["type"] == "tool_use"]
    if calls:
        yield "`tool_use` ids were found without `tool_result` blocks"


def _blocks(blocks: Sequence[Mapping[str, Any]], path: str) -> Iterator[str]:
    for at, each in enumerate(blocks):
        where = f"{path}.{at}."
        yield from _members(each, f"block:{each.get('type')}", where)
        if each.get("type") == "text" and not each["text"].strip():
            yield f"{where}text: text content blocks must be non-empty"
        if "source" in each:
            kind = f"{each['type']}:{each['source'].get('type')}"
            yield from _members(each["source"], kind, f"{where}source.")
        if isinstance(each.get("content"), list):
            yield from _blocks(each["content"], f"{where}content")


def _members(value: Any, kind: str, path: str) -> Iterator[str]:
    """Each member has a place in the SDK's type, and none that must be there is missing."""
    known = _types().get(kind)
    if not isinstance(value, dict) or known is None:
        yield f"{path}type: unexpected {kind}"
        return
    names, required = known
    for name in value.keys() - names:
        yield f"{path}{name}: Extra inputs are not permitted"
    for name in sorted(required - value.keys()):
        yield f"{path}{name}: Field required"


@cache
def _types() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Known and required members of each place, read from the SDK."""
    from anthropic import types

    classes = {
        "create": types.message_create_params.MessageCreateParamsBase,
        "count": types.MessageCountTokensParams,
        "tool": types.ToolParam,
        "turn:user": types.UserMessageParam,
        "turn:assistant": types.AssistantMessageParam,
        "turn:system": types.SystemMessageParam,
        "block:text": types.TextBlockParam,
        "block:image": types.ImageBlockParam,
        "block:document": types.DocumentBlockParam,
        "block:search_result": types.SearchResultBlockParam,
        "block:thinking": types.ThinkingBlockParam,
        "block:redacted_thinking": types.RedactedThinkingBlockParam,
        "block:tool_use": types.ToolUseBlockParam,
        "block:tool_result": types.ToolResultBlockParam,
        "image:base64": types.Base64ImageSourceParam,
        "image:url": types.URLImageSourceParam,
        "document:base64": types.Base64PDFSourceParam,
        "document:text": types.PlainTextSourceParam,
        "document:url": types.URLPDFSourceParam,
        "tool_choice:auto": types.ToolChoiceAutoParam,
        "tool_choice:any": types.ToolChoiceAnyParam,
        "tool_choice:tool": types.ToolChoiceToolParam,
        "tool_choice:none": types.ToolChoiceNoneParam,
        "thinking:adaptive": types.ThinkingConfigAdaptiveParam,
        "thinking:enabled": types.ThinkingConfigEnabledParam,
        "thinking:disabled": types.ThinkingConfigDisabledParam,
    }
    found = {kind: _keys(each) for kind, each in classes.items()}
    names, required = found["create"]
    older = {"stream", "temperature", "top_p", "top_k"}  # gone from the newest SDK's types
    found["create"] = names | older, required
    return found


def _keys(params: Any) -> tuple[frozenset[str], frozenset[str]]:
    """All and the required keys of a TypedDict whose annotations are still text."""
    hints = get_type_hints(params, include_extras=True)
    marks = {name: get_origin(hint) for name, hint in hints.items()}
    whole = params.__total__
    must = {n for n, m in marks.items() if m is Required or (whole and m is not NotRequired)}
    return frozenset(hints), frozenset(must)


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json(
    value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, _dump(value))
