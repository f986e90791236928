"""Numbers tool calls densely, in the order of their first appearance."""

from collections.abc import Mapping
from typing import Any, Literal

import llm_gateway_api as gw
import msgspec

Kind = Literal["function", "custom"]
_INPUT: Mapping[Kind, str] = {"function": "arguments", "custom": "input"}


def given_text(inner: Mapping[str, Any], kind: Kind) -> str:
    """The arguments as text; a server that sends an object gets it written as JSON."""
    text = inner.get(_INPUT[kind])
    if text is None:
        return ""
    return text if isinstance(text, str) else msgspec.json.encode(text).decode()


class Calls:
    """The calls of one choice, by what identifies them on the wire.

    A known key with another id is another call: some servers give every call index 0.
    A name is sent once, with the call's first piece.
    """

    def __init__(self, choice: int = 0) -> None:
        self._choice = choice
        self._numbers: dict[object, int] = {}
        self._ids: dict[int, str] = {}
        self._with_text: set[int] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def piece(self, key: object, id_: str | None, name: str, text: str, kind: Kind) -> gw.Event:
        """The next piece of call `key`, which begins a call where it is new."""
        number = self._numbers.get(key)
        if number is None or (id_ and self._ids[number] != id_):
            return self._begin(key, id_, name, text, kind)
        if text:
            self._with_text.add(number)
        return gw.ToolCallDelta(number, None, None, text, self._choice, kind)

    def known(self, key: object) -> bool:
        return key in self._numbers

    def has_text(self, key: object) -> bool:
        return self._numbers.get(key) in self._with_text

    def _begin(self, key: object, id_: str | None, name: str, text: str, kind: Kind) -> gw.Event:
        number = self._numbers[key] = self._count
        self._count += 1
        self._ids[number] = id_ or f"call_{self._choice}_{number}"
        if text:
            self._with_text.add(number)
        return gw.ToolCallDelta(number, self._ids[number], name, text, self._choice, kind)


def chat_pieces(calls: Calls, given: list[dict[str, Any]]) -> list[gw.Event]:
    """The pieces of one ``tool_calls`` list; without an index its position stands for it."""
    found: list[gw.Event] = []
    for at, each in enumerate(given):
        kind: Kind = "custom" if isinstance(each.get("custom"), dict) else "function"
        inner = each.get(kind)
        inner = inner if isinstance(inner, dict) else {}
        index = each.get("index")
        id_ = each.get("id")
        id_ = None if id_ == "null" else id_  # Mistral's SDK writes None so
        key = (int(index) if isinstance(index, (int, float)) else at, kind)
        name, text = str(inner.get("name") or ""), given_text(inner, kind)
        found.append(calls.piece(key, str(id_) if id_ else None, name, text, kind))
    return found
