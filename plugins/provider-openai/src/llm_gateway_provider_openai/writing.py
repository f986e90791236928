"""A canonical request as a Chat Completions body."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

MAPPED = frozenset(
    {
        "temperature", "top_p", "n", "stop", "presence_penalty", "frequency_penalty",
        "logit_bias", "logprobs", "top_logprobs", "seed", "response_format",
        "reasoning_effort", "verbosity", "parallel_tool_calls", "user", "safety_identifier",
        "metadata", "service_tier", "store", "modalities", "audio", "prediction",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "moderation",
        "web_search_options",
    }
)  # fmt: skip


def chat(
    request: gw.ChatRequest, tokens_field: str, drop: frozenset[str], stream_usage: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and the names of the parameters that were left out."""
    body: dict[str, Any] = {"model": request.model}
    body["messages"] = [row for each in request.messages for row in message(each)]
    dropped: list[str] = []
    for name, value in request.params.items():
        if name in drop:
            dropped.append(name)
        elif name == "max_tokens":
            body[tokens_field] = value
        elif name in MAPPED:
            body[name] = value
        else:
            dropped.append(name)
    if request.tools is not None:
        body["tools"] = [tool(each) for each in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = choice(request.tool_choice)
    if request.stream:
        body["stream"] = True
        if stream_usage:
            body["stream_options"] = {"include_usage": True}
    if request.dialect == "openai.chat":
        body |= request.extra
    return body, tuple(dropped)


def message(each: gw.Message) -> list[dict[str, Any]]:
    if each.role == "tool":
        return [
            {"role": "tool", "tool_call_id": part.call_id, "content": content(part.parts, True)}
            for part in each.parts
            if isinstance(part, gw.ToolResultPart)
        ]
    calls = [call(part) for part in each.parts if isinstance(part, gw.ToolCallPart)]
    parts = [p for p in each.parts if not isinstance(p, (gw.ToolCallPart, gw.ReasoningPart))]
    row: dict[str, Any] = {"role": each.role}
    row["content"] = content(tuple(parts), each.text_only) if parts else None
    if row["content"] is None and not calls:
        row["content"] = ""
    if calls:
        row["tool_calls"] = calls
    if each.name is not None:
        row["name"] = each.name
    return [{**row, **each.extra}]


def content(parts: tuple[gw.Part, ...], as_text: bool) -> object:
    texts = [part.text for part in parts if isinstance(part, gw.TextPart)]
    if as_text and len(texts) == len(parts):
        return "".join(texts)
    return [part(each) for each in parts]


def part(each: gw.Part) -> Mapping[str, Any]:
    if isinstance(each, gw.TextPart):
        return {"type": "text", "text": each.text, **each.extra}
    if isinstance(each, gw.RefusalPart):
        return {"type": "refusal", "refusal": each.text}
    if isinstance(each, gw.ImagePart):
        url = each.url or f"data:{each.media_type};base64,{each.data}"
        inner = {"url": url, **({"detail": each.detail} if each.detail else {})}
        return {"type": "image_url", "image_url": inner, **each.extra}
    if isinstance(each, gw.AudioPart) and each.data is not None:
        return {"type": "input_audio", "input_audio": {"data": each.data, "format": each.format}}
    if isinstance(each, gw.FilePart):
        inner = {}
        if each.file_id:
            inner["file_id"] = each.file_id
        if each.filename:
            inner["filename"] = each.filename
        if each.data:
            known = each.media_type is not None
            inner["file_data"] = (
                f"data:{each.media_type};base64,{each.data}" if known else each.data
            )
        return {"type": "file", "file": inner, **each.extra}
    raise gw.UnsupportedParameterError(
        f"This provider cannot take a part of the kind {type(each).__name__}.", param="messages"
    )


def call(each: gw.ToolCallPart) -> dict[str, Any]:
    key = "input" if each.kind == "custom" else "arguments"
    return {"id": each.id, "type": each.kind, each.kind: {"name": each.name, key: each.arguments}}


def tool(each: gw.Tool) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": each.name}
    for name in ("description", "parameters", "strict"):
        if (value := getattr(each, name)) is not None:
            inner[name] = value
    return {"type": each.kind, each.kind: {**inner, **each.extra}}


def choice(given: gw.ToolChoice) -> object:
    if given.mode == "named":
        return {"type": given.kind, given.kind: {"name": given.names[0]}}
    if given.mode.startswith("allowed"):
        tools = [{"type": given.kind, given.kind: {"name": name}} for name in given.names]
        mode = "required" if given.mode == "allowed_required" else "auto"
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    return given.mode
