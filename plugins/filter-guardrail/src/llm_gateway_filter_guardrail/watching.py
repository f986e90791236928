"""Rules on an answer: its last piece is held back until it is known to break none.

A match no longer than the window is found before its first character leaves. What a vendor
says beside its texts (a content filter's notes, a block of its own) keeps its place among them.
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
    Unknown,
)
from msgspec import structs

from llm_gateway_filter_guardrail.rules import Rules, normal, unescaped

Delta: TypeAlias = TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta
DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)
# Raises where the rules are to stop the answer.
Verdict: TypeAlias = Callable[[Sequence[str]], None]


class _Held:
    """What is held back of one channel of a choice, and the character that left before it.

    `notes` wait behind so many characters of the text.
    """

    def __init__(self, channel: object, event: Delta) -> None:
        self.channel = channel
        self.event = event
        self.before = ""
        self.text = ""
        self.notes: list[tuple[int, Event]] = []

    def leave(self, leaves: int) -> tuple[list[Event], str]:
        """What goes out before the end of so many characters, and the text up to there."""
        out: list[Event] = []
        done = 0
        for at, note in self.notes:
            if at <= leaves:
                out += [_with(self.event, self.text[done:at])] if at > done else []
                out.append(note)
                done = at
        self.notes = [(at - leaves, note) for at, note in self.notes if at > leaves]
        last, self.before = self.text[done:leaves], self.text[:leaves][-1:] or self.before
        self.text = self.text[leaves:]
        return out, last


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
            held = self._held.get(event.index) if isinstance(event, Unknown) else None
            if held is not None and held.text:
                held.notes.append((len(held.text), event))
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
        held.text += _text(event)
        if _text(event):
            seen = self._seen(held)
            self._verdict([r.name for r in self._rules.broken_so_far(seen, self._window)])
        # Some room, for words' borders and for spaces that a phrase may hold more of.
        left, sent = held.leave(max(0, len(held.text) - self._window - 2))
        out += left
        # An event may carry more than its text: a call's name, a signature, probabilities.
        if sent or not _text(event) or _with(event, "") != _bare(event):
            out.append(_with(event, sent))
        return out

    def _released(self, index: int) -> list[Event]:
        held = self._held.pop(index, None)
        if held is None or not held.text:
            return []
        self._verdict([r.name for r in self._rules.broken(self._seen(held))])
        left, sent = held.leave(len(held.text))
        return [*left, *([_with(held.event, sent)] if sent else [])]

    def _seen(self, held: _Held) -> str:
        whole = held.before + held.text
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
