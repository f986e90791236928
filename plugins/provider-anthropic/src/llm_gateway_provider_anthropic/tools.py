"""Tools and the choice among them."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_anthropic import schema
from llm_gateway_provider_anthropic.decoding import DIALECT
from llm_gateway_provider_anthropic.profiles import Profile

NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}
# Members of a tool that a client of any dialect may set.
MARKS = ("cache_control", "defer_loading", "eager_input_streaming", "input_examples")


def tools(
    request: gw.ChatRequest, takes: Profile
) -> tuple[list[dict[str, Any]] | None, tuple[str, ...]]:
    """The tools (None where there are none), and the names of what was left out."""
    if request.tools is None:
        return None, ()
    for each in request.tools:
        if each.kind == "custom" or (each.kind == "vendor" and request.dialect != DIALECT):
            raise gw.unsupported_tool(each)
    names = _allowed(request)
    kept = [each for each in request.tools if names is None or each.name in names]
    seen: set[str] = set()
    for each in kept:
        if each.name in seen:
            raise _refused(f"The tool {each.name!r} stands twice in 'tools'.")
        seen.add(each.name)
    loose = any(each.strict for each in kept) and not takes.structured
    made = [_tool(each, request.dialect, takes.structured) for each in kept]
    return made or None, ("tools.strict",) if loose else ()


def _allowed(request: gw.ChatRequest) -> tuple[str, ...] | None:
    given = request.tool_choice
    return given.names if given is not None and given.mode.startswith("allowed") else None


def _tool(each: gw.Tool, dialect: str, structured: bool) -> dict[str, Any]:
    if each.kind == "vendor":
        return dict(each.extra)
    made: dict[str, Any] = {"name": each.name}
    if each.description is not None:
        made["description"] = each.description
    given = each.parameters or NO_PARAMETERS
    given = given if "type" in given else {"type": "object", **given}
    if each.strict and structured:
        made["strict"] = True
        given = given if dialect == DIALECT else schema.accepted(given)
    made["input_schema"] = given
    marks = each.extra if dialect == DIALECT else _marks(each.extra)
    return {**made, **marks}


def _marks(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Beside the function, or within it."""
    inner = extra.get("function")
    given = {**inner, **extra} if isinstance(inner, Mapping) else extra
    return {name: given[name] for name in MARKS if name in given}


def choice(request: gw.ChatRequest, takes: Profile, downgrade: bool) -> dict[str, Any] | None:
    given, alone = request.tool_choice, request.params.get("parallel_tool_calls") is False
    if given is None and not alone:
        return None
    mode = given.mode if given is not None else "auto"
    if mode == "none":
        return {"type": "none"}
    forced = mode in ("required", "named", "allowed_required")
    if forced and not takes.forced_choice:
        if not downgrade:
            raise gw.UnsupportedParameterError(
                f"{request.model} does not support forced tool use; use tool_choice auto.",
                param="tool_choice",
            )
        forced = False
    made: dict[str, Any] = {"type": "auto"}
    if forced and mode == "named" and given is not None:
        made = {"type": "tool", "name": given.names[0]}
    elif forced:
        made = {"type": "any"}
    if alone:
        made["disable_parallel_tool_use"] = True
    if given is not None and request.dialect == DIALECT:
        made |= given.extra
    return None if made == {"type": "auto"} else made


def _refused(message: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(message, param="tools")
