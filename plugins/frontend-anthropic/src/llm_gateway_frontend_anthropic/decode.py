"""Decodes a whole body into its canonical request."""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.reading import array, decoded, mapping, optional_text, rest, text, wrong
from llm_gateway_api.requests import ChatRequest, RequestHead, Tool, ToolChoice

from llm_gateway_frontend_anthropic.losing import lost
from llm_gateway_frontend_anthropic.messages import decode_messages, decode_system
from llm_gateway_frontend_anthropic.thoughts import DIALECT

_HEAD = ("model", "stream")
_NUMBER = ("a number", (int, float))
_PLAIN: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "max_tokens": ("a whole number", (int,)),
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": ("a whole number", (int,)),
    "cache_control": ("an object", (dict,)),
}
_TIERS = {"auto": "auto", "standard_only": "default"}
_MODES = {"auto": "auto", "any": "required", "none": "none"}
_CHOICE = ("type", "name", "disable_parallel_tool_use")
_TOOL = ("type", "name", "description", "input_schema", "strict")
# Effort that is meant where only a budget or a kind of thinking is given.
_BUDGETS = ((2048, "low"), (8192, "medium"))
_KINDS = {"disabled": "none", "between_tools": "minimal"}


def decode_request(head: RequestHead) -> ChatRequest:
    members = {n: decoded(raw, n) for n, raw in head.fields.items() if n not in _HEAD}
    left = members.copy()
    system = decode_system(members.pop("system", None))
    messages = system + decode_messages(members.pop("messages"))
    tools = _tools(members.pop("tools", None))
    params: dict[str, Any] = {}
    choice = _choice(members.pop("tool_choice", None), params)
    for name, (expected, types) in _PLAIN.items():
        if name in members:
            params[name] = _checked(members.pop(name), name, expected, types)
    _take_stops(members, params)
    _take_output(members, params)
    _take_rest(members, params)
    extra = {name: value for name, value in members.items() if value is not None}
    return ChatRequest(
        head.model, messages, tools, choice, params, head.stream, extra, DIALECT, lost(left)
    )


def _checked(value: Any, name: str, expected: str, types: tuple[type, ...]) -> Any:
    if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
        raise wrong(name, expected)
    return value


def _take_stops(members: dict[str, Any], params: dict[str, Any]) -> None:
    if (given := members.pop("stop_sequences", None)) is not None:
        stops = array(given, "stop_sequences")
        params["stop"] = [text(each, f"stop_sequences.{at}") for at, each in enumerate(stops)]


def _take_output(members: dict[str, Any], params: dict[str, Any]) -> None:
    """Effort, thinking and the form of the answer."""
    config = mapping(members.pop("output_config", None) or {}, "output_config")
    thinking = members.pop("thinking", None)
    effort = optional_text(config, "effort", "output_config")
    if thinking is not None:
        params["thinking"] = mapping(thinking, "thinking")
        effort = effort or _effort(params["thinking"])
        if params["thinking"].get("type") == "disabled":
            effort = "none"
    if effort is not None:
        params["reasoning_effort"] = effort
    if (form := config.get("format")) is not None:
        schema = mapping(form, "output_config.format").get("schema")
        inner = {
            "name": "output",
            "strict": True,
            "schema": mapping(schema, "output_config.format.schema"),
        }
        params["response_format"] = {"type": "json_schema", "json_schema": inner}
    if left := rest(config, "effort", "format"):
        members["output_config"] = left


def _effort(thinking: dict[str, Any]) -> str | None:
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind == "enabled" and isinstance(budget, int):
        return next((word for limit, word in _BUDGETS if budget < limit), "high")
    return _KINDS.get(str(kind))


def _take_rest(members: dict[str, Any], params: dict[str, Any]) -> None:
    if (tier := members.pop("service_tier", None)) is not None:
        params["service_tier"] = _TIERS.get(text(tier, "service_tier"), tier)
    if (given := members.pop("metadata", None)) is not None:
        metadata = mapping(given, "metadata")
        if (user := optional_text(metadata, "user_id", "metadata")) is not None:
            params["user"] = user
        if left := rest(metadata, "user_id"):
            members["metadata"] = left


def _tools(given: Any) -> tuple[Tool, ...] | None:
    if given is None:
        return None
    return tuple(_tool(each, f"tools.{at}") for at, each in enumerate(array(given, "tools")))


def _tool(value: object, path: str) -> Tool:
    given = mapping(value, path)
    kind = given.get("type")
    if kind not in (None, "custom"):
        named = given.get("name")
        return Tool(named if isinstance(named, str) else str(kind), kind="vendor", extra=given)
    strict = given.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong(f"{path}.strict", "true or false")
    return Tool(
        text(given.get("name"), f"{path}.name"),
        optional_text(given, "description", path),
        mapping(given.get("input_schema"), f"{path}.input_schema"),
        strict,
        extra=rest(given, *_TOOL),
    )


def _choice(value: Any, params: dict[str, Any]) -> ToolChoice | None:
    if value is None:
        return None
    given = mapping(value, "tool_choice")
    if given.get("disable_parallel_tool_use"):
        params["parallel_tool_calls"] = False
    kind = given.get("type")
    extra = rest(given, *_CHOICE)
    if kind == "tool":
        return ToolChoice("named", (text(given.get("name"), "tool_choice.name"),), extra=extra)
    if kind not in _MODES:
        raise wrong("tool_choice.type", "'auto', 'any', 'tool' or 'none'")
    return ToolChoice(_MODES[kind], extra=extra)  # type: ignore[arg-type]  # a mode, see the table
