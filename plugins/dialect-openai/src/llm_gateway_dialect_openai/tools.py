"""Tools and the choice among them, in the nested form of Chat Completions."""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.quirks import Quirks


def tools_of(
    tools: Sequence[gw.Tool], chosen: gw.ToolChoice | None, quirks: Quirks
) -> Sequence[gw.Tool]:
    """The tools to send: those allowed, where the server cannot be told so itself."""
    for each in tools:
        if each.kind == "vendor" or (each.kind == "custom" and not quirks.custom_tools):
            raise gw.unsupported_tool(each)
    if chosen is None or quirks.allowed_tools or not chosen.mode.startswith("allowed"):
        return tools
    return [each for each in tools if each.name in chosen.names]


def few_stops(request: gw.ChatRequest, most: int) -> None:
    """Raise `UnsupportedParameterError` where `request` has more stop sequences than `most`."""
    stops = request.params.get("stop")
    if isinstance(stops, list) and len(stops) > most:
        raise gw.UnsupportedParameterError(
            f"This provider takes at most {most} stop sequences; {len(stops)} were sent.",
            param="stop",
        )


def tool(each: gw.Tool, quirks: Quirks) -> dict[str, Any]:
    """Without what stands beside a function's members."""
    inner: dict[str, Any] = {"name": each.name}
    for name in ("description", "parameters", "strict"):
        value = getattr(each, name)
        if value is not None and not (name == "strict" and quirks.strip_strict):
            inner[name] = value
    if each.kind == "custom":  # a custom tool's format is its own, whoever asks
        return {"type": each.kind, each.kind: {**inner, **each.extra}}
    return {"type": each.kind, each.kind: inner}


def choice(given: gw.ToolChoice, quirks: Quirks) -> object:
    if given.mode == "named":
        return {"type": given.kind, given.kind: {"name": given.names[0]}}
    if given.mode.startswith("allowed"):
        mode = "required" if given.mode == "allowed_required" else "auto"
        if not quirks.allowed_tools:
            return quirks.tool_choice_required if mode == "required" else mode
        tools = [{"type": given.kind, given.kind: {"name": name}} for name in given.names]
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}
    return quirks.tool_choice_required if given.mode == "required" else given.mode
