"""Decodes input items into turns (OpenAI's API reference, responses/create, input).

What a model said, thought and called in a row is one assistant's turn; each result is a
turn of its own.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

from llm_gateway_api.errors import UnsupportedParameterError
from llm_gateway_api.reading import array, mapping, optional_text, rest, text, wrong
from llm_gateway_api.requests import (
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    UnknownPart,
)

from llm_gateway_frontend_responses.parts import decode_part
from llm_gateway_frontend_responses.reasoning import decode_reasoning
from llm_gateway_frontend_responses.wire import DIALECT

_ROLES = ("user", "assistant", "system", "developer")
_OWN = ("type", "id", "status")  # of an item's making; they say nothing to a model


def decode_input(given: object) -> tuple[Message, ...]:
    if isinstance(given, str):
        return (Message("user", (TextPart(given),), text_only=True),)
    return tuple(_Turns().of(array(given, "input")))


class _Turns:
    """Gathers what the model produced until somebody else speaks."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._plain = False
        self._extra: dict[str, Any] = {}

    def of(self, items: list[Any]) -> Iterator[Message]:
        for at, each in enumerate(items):
            path = f"input[{at}]"
            item = mapping(each, path)
            kind = item.get("type", "message" if "role" in item else None)
            if not isinstance(kind, str):
                raise wrong(f"{path}.type", "a string")
            if kind == "message":
                yield from self._message(item, path)
            elif kind in _RESULTS:
                yield from self._ended()
                yield _result(item, path)
            else:
                self._add(_ITEMS.get(kind, _unknown)(item, path))
        yield from self._ended()

    def _message(self, item: dict[str, Any], path: str) -> Iterator[Message]:
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise wrong(f"{path}.role", f"one of {', '.join(_ROLES)}")
        parts, plain = _content(item.get("content"), f"{path}.content")
        extra = rest(item, *_OWN, "role", "content")
        if role != "assistant":
            yield from self._ended()
            yield Message(cast(Role, role), parts, None, plain, extra)
            return
        if self._parts and all(isinstance(each, TextPart) for each in self._parts):
            yield from self._ended()
        self._plain = plain and not self._said()
        for part in parts:
            self._add(part)
        self._extra |= extra

    def _said(self) -> bool:
        return any(not isinstance(each, ReasoningPart | ToolCallPart) for each in self._parts)

    def _add(self, part: Part) -> None:
        self._parts.append(part)

    def _ended(self) -> Iterator[Message]:
        if self._parts:
            yield Message("assistant", tuple(self._parts), None, self._plain, self._extra)
        self._parts, self._plain, self._extra = [], False, {}


def _content(given: object, path: str) -> tuple[tuple[Part, ...], bool]:
    if isinstance(given, str):
        return (TextPart(given),), True
    if not isinstance(given, list):
        raise wrong(path, "a string or an array of parts")
    return tuple(decode_part(each, f"{path}[{at}]") for at, each in enumerate(given)), False


def _result(item: dict[str, Any], path: str) -> Message:
    call_id = text(item.get("call_id"), f"{path}.call_id")
    parts, plain = _content(item.get("output"), f"{path}.output")
    result = ToolResultPart(call_id, parts)
    return Message("tool", (result,), None, plain, rest(item, *_OWN, "call_id", "output"))


def _function(item: dict[str, Any], path: str) -> Part:
    return _call(item, path, "arguments", False)


def _custom(item: dict[str, Any], path: str) -> Part:
    return _call(item, path, "input", True)


def _call(item: dict[str, Any], path: str, key: str, custom: bool) -> Part:
    return ToolCallPart(
        text(item.get("call_id"), f"{path}.call_id"),
        text(item.get("name"), f"{path}.name"),
        optional_text(item, key, path) or "",
        "custom" if custom else "function",
        rest(item, *_OWN, "call_id", "name", key),
    )


def _reference(item: dict[str, Any], path: str) -> Part:
    raise UnsupportedParameterError(
        f"'{path}': an 'item_reference' needs stored responses, and this gateway stores none; "
        "send the item itself.",
        param=path,
    )


def _unknown(item: dict[str, Any], path: str) -> Part:
    return UnknownPart(DIALECT, item)


_RESULTS = ("function_call_output", "custom_tool_call_output")
_ITEMS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "function_call": _function,
    "custom_tool_call": _custom,
    "reasoning": decode_reasoning,
    "item_reference": _reference,
}
