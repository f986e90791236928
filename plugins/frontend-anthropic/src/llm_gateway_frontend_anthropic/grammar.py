"""The grammar of an answer: blocks one after the other, each delta inside its own block.

Events of any vendor become blocks here, once for streams and whole answers alike; where
they go says the sink. The text of calls may come interleaved: the first call is passed on
as it comes, the others wait for its end.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from llm_gateway_api.errors import UpstreamTruncatedError
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

from llm_gateway_frontend_anthropic.thoughts import DIALECT, packed, redacted
from llm_gateway_frontend_anthropic.wire import OWN_REASONS, REASONS

Block = dict[str, Any]


class Sink(Protocol):
    def begin(self, id_: str | None, usage: Usage) -> None: ...

    def start(self, index: int, block: Block) -> None: ...

    def delta(self, index: int, delta: Block) -> None: ...

    def stop(self, index: int) -> None: ...


class Grammar:
    """Feeds a sink with a well-formed answer, whatever order the events come in."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._begun = False
        self._index = 0
        self._open: str | None = None
        self._signed = False
        self._call: int | None = None
        self._called: set[int] = set()
        self._waiting: dict[int, list[ToolCallDelta]] = {}
        self._id: str | None = None
        self._reason = "end_turn"
        self._refusal: list[str] = []
        self._told: dict[str, Any] = {}
        self.usage = Usage()

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Started):
                self._id = self._id or event.id
            elif isinstance(event, UsageReport):
                self.usage = event.usage
            elif getattr(event, "index", 0) == 0:
                self._content(event)

    def end(self) -> dict[str, Any]:
        """Close what is open; the members that say how the answer ended."""
        self._begin()
        self._flush()
        refused = "".join(self._refusal)
        reason = "refusal" if refused else self._reason
        details = None
        if reason == "refusal":
            details = {"type": "refusal", "category": None, "explanation": refused or None}
        return {
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": details,
            **self._told,
        }

    # --- events ------------------------------------------------------------------------

    def _content(self, event: Event) -> None:
        self._begin()
        if isinstance(event, TextDelta):
            if event.text:
                self._into("text", {"type": "text", "text": ""})
                self._delta("text_delta", text=event.text)
        elif isinstance(event, ReasoningDelta):
            self._thought(event)
        elif isinstance(event, ToolCallDelta):
            self._piece(event)
        elif isinstance(event, RefusalDelta):
            self._refusal.append(event.text)
        elif isinstance(event, Finished):
            self._finished(event)
        elif isinstance(event, Unknown) and event.dialect == DIALECT:
            self._native(event)

    def _thought(self, event: ReasoningDelta) -> None:
        if event.text:
            self._think()
            self._delta("thinking_delta", thinking=event.text)
        if not event.state:
            return
        if (data := redacted(event.state)) is not None:
            self._flush()
            self._start("other", {"type": "redacted_thinking", "data": data})
        else:
            self._think()
            self._sign(event.state)
        self._close()

    def _think(self) -> None:
        self._into("thinking", {"type": "thinking", "thinking": "", "signature": ""})

    def _sign(self, state: Any) -> None:
        self._delta("signature_delta", signature=packed(state))
        self._signed = True

    def _piece(self, event: ToolCallDelta) -> None:
        closed = event.call != self._call or self._open != "tool_use"
        if closed and event.call in self._called:
            raise UpstreamTruncatedError("the provider went on with a call that had ended")
        if event.call != self._call and self._open == "tool_use":
            self._waiting.setdefault(event.call, []).append(event)
            return
        if event.call != self._call:
            self._close()
            self._begin_call(event)
        if event.arguments:
            self._delta("input_json_delta", partial_json=event.arguments)

    def _begin_call(self, event: ToolCallDelta) -> None:
        self._call = event.call
        self._called.add(event.call)
        id_ = event.id or f"toolu_{event.call}"
        block = {"type": "tool_use", "id": id_, "name": event.name or "", "input": {}}
        self._start("tool_use", block)

    def _finished(self, event: Finished) -> None:
        self._flush()
        raw = event.raw if event.raw in OWN_REASONS else None
        self._reason = raw or REASONS[event.reason]
        if self._called and event.reason in ("stop", "tool_calls"):
            self._reason = "tool_use"
        elif self._reason == "tool_use":
            self._reason = "end_turn"

    def _native(self, event: Unknown) -> None:
        """What only this dialect knows, from a provider that speaks it too."""
        raw = event.raw
        if isinstance(told := raw.get("stop"), dict):
            self._told |= told
        elif isinstance(block := raw.get("block"), dict):
            self._flush()
            self._start("other", block)
            self._close()
        elif isinstance(delta := raw.get("delta"), dict) and self._open == "text":
            self._sink.delta(self._index, delta)
        elif raw.get("break"):
            self._close()

    # --- blocks ------------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._sink.begin(self._id, self.usage)

    def _into(self, kind: str, block: Block) -> None:
        """Make the open block one of `kind`."""
        if self._open != kind:
            self._flush()
            self._start(kind, block)

    def _start(self, kind: str, block: Block) -> None:
        self._open, self._signed = kind, False
        self._sink.start(self._index, block)

    def _delta(self, kind: str, **members: str) -> None:
        self._sink.delta(self._index, {"type": kind, **members})

    def _close(self) -> None:
        if self._open is None:
            return
        if self._open == "thinking" and not self._signed:
            self._sign({})
        self._sink.stop(self._index)
        self._open, self._index = None, self._index + 1

    def _flush(self) -> None:
        """Close the open block, then bring the calls that waited for it."""
        self._close()
        waiting, self._waiting = self._waiting, {}
        for _, pieces in sorted(waiting.items()):
            for each in pieces:
                self._piece(each)
            self._close()
