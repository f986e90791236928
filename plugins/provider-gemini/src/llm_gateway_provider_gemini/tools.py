"""Tools and the choice among them as ``tools`` and ``toolConfig``."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_gemini.schema import cleaned

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:\-]{0,127}")
MODES = {
    "none": "NONE",
    "required": "ANY",
    "named": "ANY",
    "allowed": "VALIDATED",
    "allowed_required": "ANY",
}
MAX_TOOLS = 512


def upstream_name(name: str) -> str:
    """`name` where the vendor takes it, else a name made of it: the same one every time."""
    if NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[:50]
    return f"_{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def public_names(tools: Sequence[gw.Tool] | None) -> dict[str, str]:
    """The client's names of the tools whose name had to be changed, by the vendor's."""
    pairs = ((upstream_name(each.name), each.name) for each in tools or ())
    return {theirs: own for theirs, own in pairs if theirs != own}


def declarations(tools: Sequence[gw.Tool], lost: set[str]) -> list[dict[str, Any]]:
    if len(tools) > MAX_TOOLS:
        raise gw.UnsupportedParameterError(
            f"This provider takes at most {MAX_TOOLS} tools.", param="tools"
        )
    return [_declaration(each, at, lost) for at, each in enumerate(tools)]


def _declaration(tool: gw.Tool, at: int, lost: set[str]) -> dict[str, Any]:
    if tool.kind != "function":
        raise gw.unsupported_tool(tool)
    row: dict[str, Any] = {"name": upstream_name(tool.name)}
    if tool.description:
        row["description"] = tool.description
    if tool.parameters and (tool.parameters.get("properties") or "type" not in tool.parameters):
        dropped: set[str] = set()
        row["parametersJsonSchema"] = cleaned(tool.parameters, f"tools[{at}].parameters", dropped)
        lost |= {f"tools.{each}" for each in dropped}
    if tool.strict:
        lost.add("tools.strict")
    return row


def choice(given: gw.ToolChoice, tools: Sequence[gw.Tool]) -> dict[str, Any] | None:
    """``functionCallingConfig``, None for the vendor's default."""
    known = {each.name for each in tools}
    for name in given.names:
        if name not in known:
            raise gw.ClientError(
                f"'tool_choice' names {name[:80]!r}, which is not among the tools.",
                param="tool_choice",
            )
    if given.mode == "auto":
        return None
    if not tools:
        if given.mode == "none":
            return None
        raise gw.ClientError("'tool_choice' needs tools.", param="tool_choice")
    config: dict[str, Any] = {"mode": MODES[given.mode]}
    if given.names:
        config["allowedFunctionNames"] = [upstream_name(each) for each in given.names]
    return config
