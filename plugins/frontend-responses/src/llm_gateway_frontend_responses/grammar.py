"""The grammar of an answer, once for streams and whole answers alike.

One message or thought is open at a time. Calls stay open to the end, for their pieces may
come interleaved; each has its place in the output from its first piece on.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_api.events import (
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Unknown,
    Usage,
    UsageReport,
)
from llm_gateway_api.requests import RequestHead

from llm_gateway_frontend_responses.echo import shell
from llm_gateway_frontend_responses.output import Call, Item, Message, Open, Reasoning
from llm_gateway_frontend_responses.reasoning import sealed
from llm_gateway_frontend_responses.wire import DIALECT, usage_object

CHAT = "openai.chat"  # providers name members of that dialect; annotations are known here too
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_FAILED = {"code": "server_error", "message": "The provider broke off its answer."}


class Grammar:
    """Makes one response. `sink` takes each event by its name and members; what it is given
    may change later, so it encodes at once."""

    def __init__(self, head: RequestHead, sink: Callable[..., None]) -> None:
        self._head = head
        self._sink = sink
        self._started = Started()
        self._response: dict[str, Any] | None = None
        self._items: list[Item] = []
        self._open: Message | Reasoning | None = None
        self._calls: dict[int, Call] = {}
        self._reason = "stop"
        self._usage = Usage()

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Started):
                self._started = event if self._response is None else self._started
            elif isinstance(event, UsageReport):
                self._usage = event.usage
            elif getattr(event, "index", 0) == 0:
                self._content(event)

    def end(self) -> dict[str, Any]:
        """Close what is open; the finished response."""
        response = self._begun()
        short = _INCOMPLETE.get(self._reason)
        self._close_all("completed" if short is None else "incomplete")
        status = "failed" if self._reason == "error" else "incomplete" if short else "completed"
        response |= {
            "status": status,
            "output": self._items,
            "usage": usage_object(self._usage),
            "incomplete_details": {"reason": short} if short else None,
            "error": _FAILED if status == "failed" else None,
        }
        self._emit(status, response=response)
        return response

    # --- events ------------------------------------------------------------------------

    def _content(self, event: Event) -> None:
        self._begun()
        if isinstance(event, TextDelta):
            if event.text:
                self._message().text(event.text, _logprobs(event.logprobs))
        elif isinstance(event, RefusalDelta):
            if event.text:
                self._message().refusal(event.text)
        elif isinstance(event, ReasoningDelta):
            self._thought(event)
        elif isinstance(event, ToolCallDelta):
            self._piece(event)
        elif isinstance(event, Finished):
            self._reason = event.reason
        elif isinstance(event, Unknown):
            self._native(event)

    def _thought(self, event: ReasoningDelta) -> None:
        if not (event.text or event.state):
            return
        if not isinstance(self._open, Reasoning):
            self._close()
            self._open = Reasoning(self._emit, *self._place("rs"))
            self._items.append(self._open.item)
        if event.text:
            self._open.text(event.text)
        if event.state:
            self._open.item["encrypted_content"] = sealed(self._open.said, event.state)
            self._close()

    def _piece(self, event: ToolCallDelta) -> None:
        call = self._calls.get(event.call)
        if call is None:
            self._close()
            index, id_ = self._place("ctc" if event.kind == "custom" else "fc")
            call_id = event.id or f"call_{secrets.token_hex(12)}"
            named = {"call_id": call_id, "name": event.name or ""}
            call = self._calls[event.call] = Call(self._emit, index, id_, event.kind, **named)
            self._items.append(call.item)
        call.piece(event.arguments)

    def _native(self, event: Unknown) -> None:
        """What a provider of a dialect of OpenAI's says beyond the canonical events."""
        if event.dialect == CHAT:
            notes = event.raw.get("annotations")
            for note in notes if isinstance(notes, list) else ():
                if isinstance(note, Mapping):
                    self._message().annotation(_flat(note))
        elif event.dialect == DIALECT and isinstance(item := event.raw.get("item"), dict):
            self._close()
            index = len(self._items)
            self._items.append(item)
            self._emit("output_item.added", output_index=index, item=item)
            self._emit("output_item.done", output_index=index, item=item)

    # --- items -------------------------------------------------------------------------

    def _begun(self) -> dict[str, Any]:
        if self._response is None:
            id_ = self._started.id or ""
            if not id_.startswith("resp_"):
                id_ = f"resp_{secrets.token_hex(16)}"
            created = self._started.created or int(time.time())
            self._response = shell(self._head, id_, created, self._started.extra)
            self._emit("created", response=self._response)
            self._emit("in_progress", response=self._response)
        return self._response

    def _message(self) -> Message:
        if not isinstance(self._open, Message):
            self._close()
            self._open = Message(self._emit, *self._place("msg"))
            self._items.append(self._open.item)
        return self._open

    def _place(self, prefix: str) -> tuple[int, str]:
        """Index and id of the next item; an id is one of its kind through all answers."""
        index = len(self._items)
        return index, f"{prefix}_{self._begun()['id'].removeprefix('resp_')}_{index}"

    def _close(self) -> None:
        if self._open is not None:
            self._open.close("completed")
            self._open = None

    def _close_all(self, last: str) -> None:
        """All that is open, in the order of the output; the last item may be incomplete."""
        still: list[Open] = list(self._calls.values())
        if self._open is not None:
            still.append(self._open)
        places = {id(item): at for at, item in enumerate(self._items)}
        for each in sorted(still, key=lambda one: places[id(one.item)]):
            final = each.item is self._items[-1]
            each.close(last if final else "completed")
        self._open, self._calls = None, {}

    def _emit(self, kind: str, **members: Any) -> None:
        self._sink(f"response.{kind}", **members)


def _logprobs(given: object) -> list[Any]:
    found = given.get("content") if isinstance(given, Mapping) else None
    return found if isinstance(found, list) else []


def _flat(note: Mapping[str, Any]) -> dict[str, Any]:
    """Below its type in Chat Completions, flat in Responses."""
    kind = note.get("type")
    inner = note.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **inner} if isinstance(inner, dict) else dict(note)
