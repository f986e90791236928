"""Placeholders in an answer become what they stand for, wherever a stream cuts them.

What may be the beginning of a placeholder is held back until it is one or is not. Each
choice has one such rest at a time: when its answer turns to something else (from text to a
call), nothing can continue it. What a vendor says beside its texts (a content filter's notes
with each piece) ends nothing: it waits until the text before it has left.
"""

from collections.abc import Sequence

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
from msgspec import structs

from llm_gateway_filter_pii.vault import Vault
from llm_gateway_filter_pii.walking import Walk


class Undoing:
    """Meets `EventFilter` for one answer."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._longest = max(map(len, vault.values), default=0)
        # By choice: the channel, what is held back of it, and an event to send it with.
        self._held: dict[int, tuple[object, str, Delta]] = {}
        self._waiting: dict[int, list[Event]] = {}
        self._custom: set[tuple[int, int]] = set()

    def feed(self, events: Sequence[Event]) -> list[Event]:
        if not self._vault.values:
            return list(events)
        out: list[Event] = []
        for event in events:
            if isinstance(event, DELTAS):
                out += self._delta(event)
            elif isinstance(event, Unknown):
                event = structs.replace(event, raw=self._walk().anything(event.raw))
                self._behind(event.index, out).append(event)
            else:
                if isinstance(event, Finished):
                    out += self._released(event.index)
                out.append(event)
        return out

    def finish(self) -> list[Event]:
        return [event for index in tuple(self._held) for event in self._released(index)]

    def _behind(self, index: int, out: list[Event]) -> list[Event]:
        """Where the next event of the choice has its place: behind what is held back, if any."""
        return self._waiting.setdefault(index, []) if index in self._held else out

    def _walk(self) -> Walk:
        return Walk(self._vault.restore, lambda text: self._vault.restore(text, as_json=True))

    def _delta(self, event: Delta) -> list[Event]:
        index, channel = event.index, delta_channel(event)
        out: list[Event] = []
        held = self._held.get(index)
        if held is not None and held[0] != channel:
            out += self._released(index)
            held = None
        self._held.pop(index, None)
        text = (held[1] if held is not None else "") + delta_text(event)
        at = self._cut(text)
        sent = with_text(event, self._restored(event, text[:at]))
        if text[at:]:
            self._held[index] = channel, text[at:], bare_delta(event)
        # An event may carry more than its text: a call's name, a signature, probabilities.
        if text[:at] or bare_delta(event) != with_text(event, "") or not delta_text(event):
            out.append(sent)
        if text[:at] or index not in self._held:
            out += self._waiting.pop(index, ())
        return out

    def _restored(self, event: Delta, text: str) -> str:
        as_json = False
        if isinstance(event, ToolCallDelta):
            call = event.index, event.call
            if event.kind == "custom":
                self._custom.add(call)
            as_json = call not in self._custom
        return self._vault.restore(text, as_json)

    def _released(self, index: int) -> list[Event]:
        held = self._held.pop(index, None)
        if held is None:
            return []
        return [with_text(held[2], held[1]), *self._waiting.pop(index, ())]

    def _cut(self, text: str) -> int:
        """From where on `text` may be the beginning of a placeholder."""
        at = text.rfind("[", max(0, len(text) - self._longest + 1))
        if at >= 0 and any(each.startswith(text[at:]) for each in self._vault.values):
            return at
        return len(text)
