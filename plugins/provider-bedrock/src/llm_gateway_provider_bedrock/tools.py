"""Tools, the choice among them, and an answer's form where only a tool can give it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_bedrock.additional import Outcome
from llm_gateway_provider_bedrock.blocks import Block, Blocks
from llm_gateway_provider_bedrock.turns import Turn, tool_names

ANSWER = "json_answer"
NO_CALLS = "Do not call a tool in this turn; answer in text."
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OPEN: Mapping[str, Any] = {"type": "object", "properties": {}}
_PLAIN = frozenset({"type", "properties", "required", "$defs", "definitions"})


class Tooling:
    """`config` is ``toolConfig`` or None, `note` a further system text, `answer` the name of
    the tool whose input is the answer itself."""

    def __init__(self) -> None:
        self.config: dict[str, Any] | None = None
        self.note: str | None = None
        self.answer: str | None = None


def tooling(
    request: gw.ChatRequest, found: Sequence[Turn], blocks: Blocks, out: Outcome
) -> Tooling:
    """What `request` says of tools.

    Raises:
        UnsupportedParameterError: the model cannot take the tools or the choice.
    """
    if request.tools is None and request.tool_choice is None and not blocks.tools:
        return Tooling()
    for each in request.tools or ():
        if each.kind != "function":
            raise gw.unsupported_tool(each)
    result = Tooling()
    choice = request.tool_choice or gw.ToolChoice("auto")
    blocks.dropped += [f"tool_choice.{each}" for each in gw.beside(choice.extra)]
    tools = allowed(request.tools or (), choice)
    if tools and not blocks.family.tools:
        raise gw.UnsupportedParameterError("The model chosen takes no tools.", param="tools")
    if not tools and choice.mode in ("required", "named", "allowed_required"):
        raise gw.UnsupportedParameterError(
            "tool_choice asks for a tool, and tools names none.", param="tool_choice"
        )
    history = blocks.tools
    if choice.mode == "none":
        if not history:
            return result
        result.note = NO_CALLS
    rows = [row for each in tools for row in written(each, blocks)]
    if not rows and history:  # the vendor demands the tools that earlier turns speak of
        rows = [spec(name, "unused", _OPEN) for name in tool_names(found) or ["unused"]]
    if rows:
        result.config = {"tools": rows}
        choose(result.config, choice, blocks, out)
        serial(request, result.config, out, blocks)
    return result


def allowed(tools: Sequence[gw.Tool], choice: gw.ToolChoice) -> Sequence[gw.Tool]:
    if choice.mode == "named" and not any(each.name == choice.names[0] for each in tools):
        raise gw.UnsupportedParameterError(
            f"tool_choice names {choice.names[0]}, which tools does not.", param="tool_choice"
        )
    if choice.mode in ("allowed", "allowed_required"):
        return [each for each in tools if each.name in choice.names]
    return tools


def written(tool: gw.Tool, blocks: Blocks) -> list[Block]:
    if not NAME.fullmatch(tool.name):
        raise gw.UnsupportedParameterError(
            "A tool's name has 1 to 64 letters, digits, hyphens or underscores.", param="tools"
        )
    schema = taken(tool.parameters or _OPEN, blocks)
    row = spec(tool.name, tool.description, schema)
    if tool.strict and blocks.family.structured:
        row["toolSpec"]["strict"] = True
    elif tool.strict:
        blocks.dropped.append("tools.strict")
    blocks.dropped += [f"tools.{each}" for each in gw.beside(tool.extra, ("cache_control",))]
    inner = tool.extra.get("function")
    point = blocks.cache_point({**inner, **tool.extra} if isinstance(inner, dict) else tool.extra)
    return [row, point] if point else [row]


def taken(schema: Mapping[str, Any], blocks: Blocks) -> Mapping[str, Any]:
    """`schema` without what the family refuses on its first level (definitions stay: what
    points to them would point nowhere, and that is for the vendor to say)."""
    if not blocks.family.plain_schema:
        return schema
    blocks.dropped += [f"tools.parameters.{name}" for name in schema if name not in _PLAIN]
    return {name: value for name, value in schema.items() if name in _PLAIN}


def spec(name: str, description: str | None, schema: object) -> Block:
    inner: Block = {"name": name}
    if description:
        inner["description"] = description
    return {"toolSpec": {**inner, "inputSchema": {"json": schema}}}


def choose(config: Block, choice: gw.ToolChoice, blocks: Blocks, out: Outcome) -> None:
    """Write a forced choice; the free one is what the vendor does without a word."""
    if choice.mode not in ("required", "named", "allowed_required"):
        return
    able = blocks.family.choices
    if choice.mode == "named" and "tool" in able:
        config["toolChoice"] = {"tool": {"name": choice.names[0]}}
    elif "any" in able:
        if choice.mode == "named":
            config["tools"] = [
                row
                for row in config["tools"]
                if row.get("toolSpec", {}).get("name") == choice.names[0]
            ]
        config["toolChoice"] = {"any": {}}
    else:
        raise gw.UnsupportedParameterError(
            "The model chosen cannot be forced to call a tool; use auto.", param="tool_choice"
        )
    if out.thinks:  # the model refuses both together, and the choice is what shapes the answer
        del out.fields["thinking"]
        out.output.pop("effort", None)
        out.dropped.append("reasoning_effort")


def serial(request: gw.ChatRequest, config: Block, out: Outcome, blocks: Blocks) -> None:
    """One call at a time: Claude takes it in its own form, no other family at all."""
    if request.params.get("parallel_tool_calls") is not False:
        return
    if not blocks.family.serial_calls:
        raise gw.UnsupportedParameterError(
            "The model chosen may always call several tools at once; leave it out.",
            param="parallel_tool_calls",
        )
    chosen = config.pop("toolChoice", {"auto": {}})
    kind = next(iter(chosen))
    out.fields["tool_choice"] = {"type": kind, **chosen[kind], "disable_parallel_tool_use": True}


def answer_tool(
    schema: Mapping[str, Any], description: str | None, result: Tooling, blocks: Blocks
) -> bool:
    """Make a forced tool of the answer's form; whether this family and request allow it."""
    able = blocks.family.choices
    if not able or result.config is not None:
        return False
    row = spec(ANSWER, description or "Give the answer.", taken(schema, blocks))
    forced: Block = {"tool": {"name": ANSWER}} if "tool" in able else {"any": {}}
    result.config = {"tools": [row], "toolChoice": forced}
    result.answer = ANSWER
    return True
