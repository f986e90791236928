"""Writes an answer as a stream, as one message, or as a count."""

from collections.abc import Sequence
from typing import Any

import msgspec
from llm_gateway_api.errors import UpstreamTruncatedError
from llm_gateway_api.events import Event, Usage, UsageReport
from llm_gateway_api.requests import RequestHead

from llm_gateway_frontend_anthropic.grammar import Block, Grammar
from llm_gateway_frontend_anthropic.wire import encode, event, named, usage_object


def message(head: RequestHead, id_: str | None, **members: Any) -> dict[str, Any]:
    """A message, its model by the name that the client used."""
    fixed = {"id": named(id_), "type": "message", "role": "assistant", "model": head.model}
    return {**fixed, **members}


class StreamRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._grammar = Grammar(self)
        self._out: list[bytes] = []

    def render(self, events: Sequence[Event]) -> bytes:
        self._grammar.take(events)
        return self._taken()

    def finish(self) -> bytes:
        ending = self._grammar.end()
        figures = usage_object(self._grammar.usage)
        del figures["cache_creation"]  # the type of this event's usage has no such member
        self._out.append(event("message_delta", delta=ending, usage=figures))
        self._out.append(event("message_stop"))
        return self._taken()

    def begin(self, id_: str | None, usage: Usage) -> None:
        none: dict[str, Any] = {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }
        started = message(self._head, id_, **none, usage=usage_object(usage))
        self._out.append(event("message_start", message=started))

    def start(self, index: int, block: Block) -> None:
        self._out.append(event("content_block_start", index=index, content_block=block))

    def delta(self, index: int, delta: Block) -> None:
        self._out.append(event("content_block_delta", index=index, delta=delta))

    def stop(self, index: int) -> None:
        self._out.append(event("content_block_stop", index=index))

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out


class WholeRenderer:
    """Puts the blocks together and writes them at the end."""

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._grammar = Grammar(self)
        self._id: str | None = None
        self._content: list[Block] = []
        self._pieces: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def render(self, events: Sequence[Event]) -> bytes:
        self._grammar.take(events)
        return b""

    def finish(self) -> bytes:
        ending = self._grammar.end()
        figures = usage_object(self._grammar.usage)
        whole = message(self._head, self._id, content=self._content, **ending, usage=figures)
        return encode(whole)

    def begin(self, id_: str | None, usage: Usage) -> None:
        self._id = id_

    def start(self, index: int, block: Block) -> None:
        self._content.append(block)
        self._pieces, self._citations = {}, []

    def delta(self, index: int, delta: Block) -> None:
        if "citation" in delta:
            self._citations.append(delta["citation"])
            return
        for name, value in delta.items():
            if name != "type":
                self._pieces.setdefault(name, []).append(value)

    def stop(self, index: int) -> None:
        block = self._content[-1]
        for name, pieces in self._pieces.items():
            if name == "partial_json":
                block["input"] = _input("".join(pieces))
            else:
                block[name] = "".join(pieces)
        if self._citations:
            block["citations"] = self._citations


def _input(arguments: str) -> Any:
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamTruncatedError("the provider returned invalid tool arguments") from error
    if not isinstance(found, dict):
        raise UpstreamTruncatedError("the provider returned tool arguments that are no object")
    return found


class CountRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._count = 0

    def render(self, events: Sequence[Event]) -> bytes:
        for each in events:
            if isinstance(each, UsageReport):
                self._count = each.usage.input_total
        return b""

    def finish(self) -> bytes:
        return encode({"input_tokens": self._count})
