"""Rules on an answer: its last piece is held back until it is known to break none.

A match no longer than the window is found before its first character leaves. What a vendor
says beside its texts (a content filter's notes, a block of its own) keeps its place among them.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from llm_gateway_api import (
    DELTAS,
    Delta,
    Event,
    Finished,
    ToolCallDelta,
    Unknown,
    bare_delta,
    delta_channel,
    delta_text,
    with_text,
)

from llm_gateway_filter_guardrail.rules import Rules, normal, unescaped

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
                out += [with_text(self.event, self.text[done:at])] if at > done else []
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
        channel = delta_channel(event)
        held = self._held.get(event.index)
        out: list[Event] = []
        if held is None or held.channel != channel:
            out += self._released(event.index)
            held = self._held[event.index] = _Held(channel, bare_delta(event))
        held.text += delta_text(event)
        if delta_text(event):
            seen = self._seen(held)
            self._verdict([r.name for r in self._rules.broken_so_far(seen, self._window)])
        # Some room, for words' borders and for spaces that a phrase may hold more of.
        left, sent = held.leave(max(0, len(held.text) - self._window - 2))
        out += left
        # An event may carry more than its text: a call's name, a signature, probabilities.
        if sent or not delta_text(event) or with_text(event, "") != bare_delta(event):
            out.append(with_text(event, sent))
        return out

    def _released(self, index: int) -> list[Event]:
        held = self._held.pop(index, None)
        if held is None or not held.text:
            return []
        self._verdict([r.name for r in self._rules.broken(self._seen(held))])
        left, sent = held.leave(len(held.text))
        return [*left, *([with_text(held.event, sent)] if sent else [])]

    def _seen(self, held: _Held) -> str:
        whole = held.before + held.text
        return normal(unescaped(whole) if isinstance(held.event, ToolCallDelta) else whole)
