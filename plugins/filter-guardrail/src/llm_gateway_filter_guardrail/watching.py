"""Rules on an answer: its last piece is held back until it is known to break none.

A match no longer than the window is found before its first character leaves.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from llm_gateway_api import (
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from msgspec import structs

from llm_gateway_filter_guardrail.rules import Rules, normal, unescaped

Delta: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)
# Raises where the rules are to stop the answer.
Verdict: TypeAlias = Callable[[Sequence[str]], None]


class _Held:
    """What is held back of one channel of a choice, and the character that left before it."""

    def __init__(self, channel: object, event: Delta) -> None:
        self.channel = channel
        self.event = event
        self.before = ""
        self.text = ""


class Watching:
    """Meets `EventFilter` for one answer."""

    def __init__(self, rules: Rules, window: int, verdict: Verdict) -> None:
        self._rules = rules
        self._window = window
        self._verdict = verdict
        self._held: dict[int, _Held] = {}

    def feed(self, events: Sequence[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, DELTAS):
                out += self._delta(event)
                continue
            if isinstance(event, Finished):
                out += self._released(event.index)
            out.append(event)
        return out

    def finish(self) -> list[Event]:
        return [event for index in tuple(self._held) for event in self._released(index)]

    def _delta(self, event: Delta) -> list[Event]:
        channel = _channel(event)
        held = self._held.get(event.index)
        out: list[Event] = []
        if held is None or held.channel != channel:
            out += self._released(event.index)
            held = self._held[event.index] = _Held(channel, _bare(event))
        text = held.text + _text(event)
        if _text(event):
            seen = self._seen(held, text)
            self._verdict([r.name for r in self._rules.broken_so_far(seen, self._window)])
        # Some room, for words' borders and for spaces that a phrase may hold more of.
        leaves = max(0, len(text) - self._window - 2)
        held.text, sent = text[leaves:], text[:leaves]
        held.before = sent[-1:] or held.before
        # An event may carry more than its text: a call's name, a signature, probabilities.
        if sent or not _text(event) or _with(event, "") != _bare(event):
            out.append(_with(event, sent))
        return out

    def _released(self, index: int) -> list[Event]:
        held = self._held.pop(index, None)
        if held is None or not held.text:
            return []
        self._verdict([r.name for r in self._rules.broken(self._seen(held, held.text))])
        return [_with(held.event, held.text)]

    def _seen(self, held: _Held, text: str) -> str:
        whole = held.before + text
        return normal(unescaped(whole) if isinstance(held.event, ToolCallDelta) else whole)


def _channel(event: Delta) -> object:
    return (ToolCallDelta, event.call) if isinstance(event, ToolCallDelta) else type(event)


def _text(event: Delta) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else event.text


def _with(event: Delta, text: str) -> Delta:
    name = "arguments" if isinstance(event, ToolCallDelta) else "text"
    return structs.replace(event, **{name: text})


def _bare(event: Delta) -> Delta:
    """An event of the same channel that carries nothing."""
    if isinstance(event, ToolCallDelta):
        return ToolCallDelta(event.call, index=event.index, kind=event.kind)
    return type(event)("", event.index)
