"""Writes an answer as a stream or as one response."""

from collections.abc import Sequence
from typing import Any

from llm_gateway_api.events import Event
from llm_gateway_api.requests import RequestHead

from llm_gateway_frontend_responses.grammar import Grammar
from llm_gateway_frontend_responses.wire import encode, event


class StreamRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._grammar = Grammar(head, self._write)
        self._out: list[bytes] = []
        self._number = 0

    def render(self, events: Sequence[Event]) -> bytes:
        self._grammar.take(events)
        return self._taken()

    def finish(self) -> bytes:
        self._grammar.end()
        return self._taken()

    def _write(self, kind: str, **members: Any) -> None:
        self._out.append(event(kind, self._number, **members))
        self._number += 1

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out


class WholeRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._grammar = Grammar(head, _nowhere)

    def render(self, events: Sequence[Event]) -> bytes:
        self._grammar.take(events)
        return b""

    def finish(self) -> bytes:
        return encode(self._grammar.end())


def _nowhere(kind: str, **members: Any) -> None:
    """Only what it comes to is wanted."""
