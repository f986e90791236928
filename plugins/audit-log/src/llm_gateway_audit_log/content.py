"""Requests and answers on record: redacted first, cut to size, never what a client hid in bytes."""

from collections.abc import Sequence
from time import time

import msgspec
from llm_gateway_api import (
    Arrival,
    Audit,
    AuditEvent,
    Content,
    Event,
    Redact,
    Refusal,
    Seen,
    TextDelta,
    ToolCallDelta,
)


class ContentAudit:
    """Meets `SecurityFilter` and `SupportsWatch`: lets everything pass and records it."""

    def __init__(self, audit: Audit, redact: Redact, max_bytes: int) -> None:
        self._audit = audit
        self._redact = redact
        self._max_bytes = max_bytes

    async def inspect(self, seen: Seen) -> Seen | Refusal:
        assert isinstance(seen, Content)
        text = msgspec.json.encode(seen.request).decode()
        self.keep(seen.arrival, "content.request", text)
        return seen

    def watch(self, arrival: Arrival) -> "Listening":
        return Listening(self, arrival)

    def keep(self, arrival: Arrival, kind: str, text: str) -> None:
        principal = arrival.principal
        cut = self._redact(text).encode()[: self._max_bytes].decode(errors="ignore")
        self._audit(
            AuditEvent(
                int(time() * 1000),
                kind,
                "ok",
                principal.key_id,
                principal.tenant,
                arrival.path,
                arrival.request_id,
                arrival.peer,
                {"content": cut, "bytes": str(len(text.encode()))},
            )
        )


class Listening:
    """The text and the calls of one answer, recorded as a whole when it has ended."""

    def __init__(self, content: ContentAudit, arrival: Arrival) -> None:
        self._content = content
        self._arrival = arrival
        self._said: list[str] = []

    def feed(self, events: Sequence[Event]) -> list[Event]:
        for each in events:
            if isinstance(each, TextDelta):
                self._said.append(each.text)
            elif isinstance(each, ToolCallDelta):
                self._said.append(f"{each.name or ''}{each.arguments}")
        return list(events)

    def finish(self) -> list[Event]:
        self._content.keep(self._arrival, "content.answer", "".join(self._said))
        return []
