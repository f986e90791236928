"""Decodes tools and the choice among them, with the deprecated forms (openai.md, 2.2)."""

from typing import Any

from llm_gateway_api.reading import array, mapping, optional_text, rest, text, within, wrong
from llm_gateway_api.requests import Tool, ToolChoice, beside
from msgspec import structs

_FUNCTION = ("name", "description", "parameters", "strict")
_CHOICES = "'none', 'auto', 'required' or an object"


def decode_tools(members: dict[str, Any]) -> tuple[Tool, ...] | None:
    """Take ``tools`` and ``functions`` out of `members`."""
    given, old = members.pop("tools", None), members.pop("functions", None)
    if given is not None:
        tools = array(given, "tools")
        return tuple(_tool(each, f"tools[{at}]") for at, each in enumerate(tools))
    if old is None:
        return None
    functions = array(old, "functions")
    return tuple(_function(each, f"functions[{at}]") for at, each in enumerate(functions))


def decode_choice(members: dict[str, Any], lost: list[str]) -> ToolChoice | None:
    """Take ``tool_choice`` and ``function_call`` out of `members`; what of them has no place in
    a choice is added to `lost`."""
    given, old = members.pop("tool_choice", None), members.pop("function_call", None)
    if given is not None:
        return _choice(given, lost)
    if old is None:
        return None
    if old == "auto":
        return ToolChoice("auto")
    if old == "none":
        return ToolChoice("none")
    function = mapping(old, "function_call")
    name = text(function.get("name"), "function_call.name")
    return ToolChoice("named", (name,), extra=within("function", function, "name"))


def _tool(value: object, path: str) -> Tool:
    given = mapping(value, path)
    kind = given.get("type", "function")
    if kind == "function":
        function = _function(given.get("function"), f"{path}.function")
        outer = rest(given, "type", "function")
        return structs.replace(function, extra={**outer, **function.extra}) if outer else function
    if kind != "custom":
        raise wrong(f"{path}.type", "'function' or 'custom'")
    where = f"{path}.custom"
    custom = mapping(given.get("custom"), where)
    return Tool(
        text(custom.get("name"), f"{where}.name"),
        optional_text(custom, "description", where),
        kind="custom",
        extra={**rest(given, "type", "custom"), **rest(custom, "name", "description")},
    )


def _function(value: object, path: str) -> Tool:
    given = mapping(value, path)
    parameters, strict = given.get("parameters"), given.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong(f"{path}.strict", "true, false or null")
    return Tool(
        text(given.get("name"), f"{path}.name"),
        optional_text(given, "description", path),
        None if parameters is None else mapping(parameters, f"{path}.parameters"),
        strict,
        extra=within("function", given, *_FUNCTION),
    )


def _choice(value: object, lost: list[str]) -> ToolChoice:
    if value == "auto":
        return ToolChoice("auto")
    if value == "none":
        return ToolChoice("none")
    if value == "required":
        return ToolChoice("required")
    if not isinstance(value, dict):
        raise wrong("tool_choice", _CHOICES)
    kind = value.get("type")
    if kind in ("function", "custom"):
        name, extra = _named(value, kind, "tool_choice")
        return ToolChoice("named", (name,), kind, extra)
    if kind == "allowed_tools":
        return _allowed(value, lost)
    raise wrong("tool_choice.type", "'function', 'custom' or 'allowed_tools'")


def _named(holder: dict[str, Any], kind: str, path: str) -> tuple[str, dict[str, Any]]:
    """The name of a tool, and what stands beside it."""
    inner = mapping(holder.get(kind), f"{path}.{kind}")
    name = text(inner.get("name"), f"{path}.{kind}.name")
    return name, rest(holder, "type", kind) | within(kind, inner, "name")


def _allowed(value: dict[str, Any], lost: list[str]) -> ToolChoice:
    path = "tool_choice.allowed_tools"
    given = mapping(value.get("allowed_tools"), path)
    names: list[str] = []
    for at, each in enumerate(array(given.get("tools"), f"{path}.tools")):
        where = f"{path}.tools[{at}]"
        entry = mapping(each, where)
        kind = "custom" if entry.get("type") == "custom" else "function"
        name, extra = _named(entry, kind, where)
        names.append(name)
        lost += [f"tool_choice.tools.{each}" for each in beside(extra)]
    mode = given.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise wrong(f"{path}.mode", "'auto' or 'required'")
    extra = rest(value, "type", "allowed_tools") | within("allowed_tools", given, "mode", "tools")
    return ToolChoice(
        "allowed" if mode == "auto" else "allowed_required", tuple(names), extra=extra
    )
