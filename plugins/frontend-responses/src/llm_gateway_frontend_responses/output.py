"""The output items of an answer while they grow: what each event adds, and what it comes to."""

from collections.abc import Callable
from typing import Any, Protocol

Item = dict[str, Any]
# The event's name without ``response.``, and its members.
Emit = Callable[..., None]


class Open(Protocol):
    """An item that is not finished."""

    item: Item

    def close(self, status: str) -> None: ...


class Message:
    """Text and refusals: parts one after the other."""

    def __init__(self, emit: Emit, index: int, id_: str) -> None:
        self._emit = emit
        self._where = {"item_id": id_, "output_index": index}
        self._index = index
        self._pieces: list[str] = []
        self._part: Item | None = None
        self.item: Item = {
            "id": id_,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        emit("output_item.added", output_index=index, item={**self.item, "content": []})

    def text(self, delta: str, logprobs: list[Any]) -> None:
        part = self._into("output_text", {"text": "", "annotations": [], "logprobs": []})
        self._pieces.append(delta)
        part["logprobs"].extend(logprobs)
        self._emit("output_text.delta", **self._place, delta=delta, logprobs=logprobs)

    def refusal(self, delta: str) -> None:
        self._into("refusal", {"refusal": ""})
        self._pieces.append(delta)
        self._emit("refusal.delta", **self._place, delta=delta)

    def annotation(self, note: Item) -> None:
        part = self._into("output_text", {"text": "", "annotations": [], "logprobs": []})
        at = len(part["annotations"])
        part["annotations"].append(note)
        self._emit(
            "output_text.annotation.added", **self._place, annotation_index=at, annotation=note
        )

    def close(self, status: str) -> None:
        self._close_part()
        self.item["status"] = status
        self._emit("output_item.done", output_index=self._index, item=self.item)

    @property
    def _place(self) -> dict[str, Any]:
        return {**self._where, "content_index": len(self.item["content"]) - 1}

    def _into(self, kind: str, empty: Item) -> Item:
        if self._part is None or self._part["type"] != kind:
            self._close_part()
            self._part = {"type": kind, **empty}
            self.item["content"].append(self._part)
            shown = {name: list(v) if v == [] else v for name, v in self._part.items()}
            self._emit("content_part.added", **self._place, part=shown)
        return self._part

    def _close_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        whole, self._pieces = "".join(self._pieces), []
        if part["type"] == "output_text":
            part["text"] = whole
            self._emit("output_text.done", **self._place, text=whole, logprobs=part["logprobs"])
        else:
            part["refusal"] = whole
            self._emit("refusal.done", **self._place, refusal=whole)
        self._emit("content_part.done", **self._place, part=part)


class Reasoning:
    """A thought, shown as a summary: the form that every client of the dialect knows."""

    def __init__(self, emit: Emit, index: int, id_: str) -> None:
        self._emit = emit
        self._index = index
        self._place = {"item_id": id_, "output_index": index, "summary_index": 0}
        self._pieces: list[str] = []
        self.item: Item = {"id": id_, "type": "reasoning", "summary": []}
        emit("output_item.added", output_index=index, item={**self.item, "summary": []})

    def text(self, delta: str) -> None:
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            self._emit("reasoning_summary_part.added", **self._place, part=part)
        self._pieces.append(delta)
        self._emit("reasoning_summary_text.delta", **self._place, delta=delta)

    @property
    def said(self) -> str:
        return "".join(self._pieces)

    def close(self, status: str) -> None:
        if self._pieces:
            part = {"type": "summary_text", "text": self.said}
            self.item["summary"] = [part]
            self._emit("reasoning_summary_text.done", **self._place, text=self.said)
            self._emit("reasoning_summary_part.done", **self._place, part=part)
        self._emit("output_item.done", output_index=self._index, item=self.item)


# Of each kind of call: the item's type, the member with its text, the event of a piece.
CALLS = {
    "function": ("function_call", "arguments", "function_call_arguments"),
    "custom": ("custom_tool_call", "input", "custom_tool_call_input"),
}


class Call:
    def __init__(self, emit: Emit, index: int, id_: str, kind: str, **named: str) -> None:
        type_, self._key, self._event = CALLS[kind]
        self._emit = emit
        self._index = index
        self._where = {"item_id": id_, "output_index": index}
        self._pieces: list[str] = []
        self.item: Item = {
            "id": id_,
            "type": type_,
            "status": "in_progress",
            **named,
            self._key: "",
        }
        emit("output_item.added", output_index=index, item=dict(self.item))

    def piece(self, delta: str) -> None:
        if delta:
            self._pieces.append(delta)
            self._emit(f"{self._event}.delta", **self._where, delta=delta)

    def close(self, status: str) -> None:
        whole = "".join(self._pieces)
        self.item[self._key] = whole
        self.item["status"] = status
        name = {"name": self.item["name"]} if self._key == "arguments" else {}
        self._emit(f"{self._event}.done", **self._where, **name, **{self._key: whole})
        self._emit("output_item.done", output_index=self._index, item=self.item)
