"""Tools, the choice among them, and names that go both ways."""

import re
from collections.abc import Iterable
from typing import Any

import llm_gateway_api as gw

_BAD = re.compile(r"[^A-Za-z0-9_]")


class Names:
    """Names of tools as the vendor allows them (``[A-Za-z_][A-Za-z0-9_]*``), for one request.

    The tools come first, so that a longer history changes no name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._sent: dict[str, str] = {}
        self._given: dict[str, str] = {}
        for name in names:
            if name not in self._sent:
                self._add(name)

    def sent(self, name: str) -> str:
        return self._sent.get(name, name)

    def given(self, name: str) -> str:
        """The caller's own name of what the vendor calls `name`."""
        return self._given.get(name, name)

    def _add(self, name: str) -> None:
        base = _BAD.sub("_", name) or "_"
        if base[0].isdigit():
            base = f"t_{base}"
        made, number = base, 2
        while made in self._given:
            made, number = f"{base}_{number}", number + 1
        self._sent[name], self._given[made] = made, name


def names(request: gw.ChatRequest) -> Names:
    """The names of `request`: those of its tools, then those of calls in its history."""
    called = (
        part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, gw.ToolCallPart)
    )
    return Names([*(tool.name for tool in request.tools or ()), *called])


def tools(request: gw.ChatRequest, known: Names) -> tuple[dict[str, Any], list[str]]:
    """The members of the body about tools, and what had to be left out."""
    for each in request.tools or ():
        if each.kind != "function":
            raise gw.unsupported_tool(each)
    offered, mode = _chosen(request)
    if not offered:
        return {}, []
    dropped = sorted({f"tools.{key}" for tool in offered for key in gw.beside(tool.extra)})
    members: dict[str, Any] = {"tools": [_tool(each, known) for each in offered]}
    if all(tool.strict for tool in offered):
        members["strict_tools"] = True
    elif any(tool.strict for tool in offered):
        dropped.append("tools.strict")
    if mode is not None:
        members["tool_choice"] = mode
    return members, dropped


def _chosen(request: gw.ChatRequest) -> tuple[tuple[gw.Tool, ...], str | None]:
    """The tools to offer and the vendor's word; it cannot name a tool, only offer no other."""
    offered, choice = request.tools or (), request.tool_choice
    if choice is None or choice.mode == "auto":
        return offered, None
    if choice.mode == "none":
        return offered, "NONE"
    if choice.names:
        offered = tuple(tool for tool in offered if tool.name in choice.names)
    if not offered:
        raise gw.UnsupportedParameterError(
            "'tool_choice' asks for a tool that 'tools' does not hold.", param="tool_choice"
        )
    return offered, None if choice.mode == "allowed" else "REQUIRED"


def _tool(tool: gw.Tool, known: Names) -> dict[str, Any]:
    inner: dict[str, Any] = {"name": known.sent(tool.name)}
    if tool.description is not None:
        inner["description"] = tool.description
    # The vendor demands the member, also of a function that takes nothing.
    empty = {"type": "object", "properties": {}}
    inner["parameters"] = empty if tool.parameters is None else tool.parameters
    return {"type": "function", "function": inner}
