"""Decodes tools and the choice among them: flat here, nested in the canonical form."""

from typing import Any

from llm_gateway_api.reading import array, mapping, optional_text, rest, text, wrong
from llm_gateway_api.requests import Tool, ToolChoice, beside

_FUNCTION = ("type", "name", "description", "parameters", "strict")
_CALLABLE = ("function", "custom")


def decode_tools(given: object) -> tuple[Tool, ...] | None:
    if given is None:
        return None
    return tuple(_tool(each, f"tools[{at}]") for at, each in enumerate(array(given, "tools")))


def _tool(value: object, path: str) -> Tool:
    given = mapping(value, path)
    kind = text(given.get("type"), f"{path}.type")
    if kind == "function":
        return _function(given, path)
    if kind != "custom":  # one that a vendor runs or defines
        return Tool(kind, kind="vendor", extra=given)
    extra = rest(given, "type", "name", "description")
    if (form := extra.get("format")) is not None:
        extra["format"] = _format(mapping(form, f"{path}.format"))
    return Tool(
        text(given.get("name"), f"{path}.name"),
        optional_text(given, "description", path),
        kind="custom",
        extra=extra,
    )


def _function(given: dict[str, Any], path: str) -> Tool:
    parameters, strict = given.get("parameters"), given.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong(f"{path}.strict", "true, false or null")
    return Tool(
        text(given.get("name"), f"{path}.name"),
        optional_text(given, "description", path),
        None if parameters is None else mapping(parameters, f"{path}.parameters"),
        strict,
        extra=rest(given, *_FUNCTION),
    )


def _format(form: dict[str, Any]) -> dict[str, Any]:
    if form.get("type") != "grammar":
        return form
    return {"type": "grammar", "grammar": rest(form, "type")}


def decode_choice(value: object, lost: list[str]) -> ToolChoice | None:
    """What of `value` has no place in a choice is added to `lost`."""
    if value is None:
        return None
    if value == "auto":
        return ToolChoice("auto")
    if value == "none":
        return ToolChoice("none")
    if value == "required":
        return ToolChoice("required")
    if not isinstance(value, dict):
        raise wrong("tool_choice", "'none', 'auto', 'required' or an object")
    kind = value.get("type")
    if kind == "allowed_tools":
        return _allowed(value, lost)
    if kind in ("function", "custom"):
        name = text(value.get("name"), "tool_choice.name")
        return ToolChoice("named", (name,), kind, rest(value, "type", "name"))
    raise wrong(
        "tool_choice.type",
        "'function', 'custom' or 'allowed_tools'; tools that a vendor runs cannot be forced here",
    )


def _allowed(value: dict[str, Any], lost: list[str]) -> ToolChoice:
    names: list[str] = []
    for at, each in enumerate(array(value.get("tools"), "tool_choice.tools")):
        where = f"tool_choice.tools[{at}]"
        entry = mapping(each, where)
        if entry.get("type") not in _CALLABLE:
            raise wrong(f"{where}.type", "'function' or 'custom'")
        names.append(text(entry.get("name"), f"{where}.name"))
        lost += [f"tool_choice.tools.{each}" for each in beside(entry, ("type", "name"))]
    mode = value.get("mode", "auto")
    if mode not in ("auto", "required"):
        raise wrong("tool_choice.mode", "'auto' or 'required'")
    return ToolChoice(
        "allowed" if mode == "auto" else "allowed_required",
        tuple(names),
        extra=rest(value, "type", "mode", "tools"),
    )
