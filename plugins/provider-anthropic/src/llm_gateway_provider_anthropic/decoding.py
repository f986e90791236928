"""Answers of the Messages API as canonical events, streamed or whole.

Stream: START --message_start--> BLOCKS --message_stop--> DONE; an end before DONE was a
cut. Blocks come one after the other; what is of no known kind is passed on as `Unknown`
for clients of this dialect: ``{"delta": …}`` belongs to the open block, ``{"block": …}`` is
a whole one, ``{"break": true}`` parts two texts, ``{"stop": …}`` says more of the end.
"""

from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_anthropic.errors import meaning
from llm_gateway_provider_anthropic.usage import merged, meters

DIALECT = "anthropic.messages"
REASONS: dict[str, gw.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "length",
    "compaction": "length",
    "refusal": "content_filter",
}
Object = dict[str, Any]


def decoded(data: bytes) -> Object:
    """The object in `data`, or the error that it is or holds."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError("the answer is no object")
    if found.get("type") == "error":
        raise meaning(found.get("error"))
    return found


def part(holder: Object, name: str) -> Object:
    """The object that must stand at `name`."""
    value = holder.get(name)
    if not isinstance(value, dict):
        raise gw.UpstreamTruncatedError(f"the answer lacks {name}")
    return value


def text(holder: Object, name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


class Blocks:
    """Turns the blocks of one answer into events; calls are numbered without gaps."""

    def __init__(self) -> None:
        self._block: Object | None = None
        self._json: list[str] = []
        self._signature = ""
        self._calls = 0
        self._after_text = False

    def start(self, block: Object) -> list[gw.Event]:
        self._block, self._json = block, []
        kind = block.get("type")
        events: list[gw.Event] = []
        if kind == "text":
            if self._after_text:
                events.append(gw.Unknown(DIALECT, {"break": True}))
            if said := text(block, "text"):
                events.append(gw.TextDelta(said))
        elif kind == "thinking":
            self._signature = text(block, "signature")
            if thought := text(block, "thinking"):
                events.append(gw.ReasoningDelta(thought))
        elif kind == "redacted_thinking":
            events.append(gw.ReasoningDelta("", state=state(redacted=text(block, "data"))))
        elif kind == "tool_use":
            events.append(gw.ToolCallDelta(self._calls, text(block, "id"), text(block, "name")))
        self._after_text = kind == "text"
        return events

    def delta(self, delta: Object) -> list[gw.Event]:
        kind = delta.get("type")
        if kind == "text_delta":
            return [gw.TextDelta(said)] if (said := text(delta, "text")) else []
        if kind == "thinking_delta":
            thought = text(delta, "thinking")
            return [gw.ReasoningDelta(thought)] if thought else []
        if kind == "signature_delta":
            self._signature = text(delta, "signature")
        elif kind == "input_json_delta":
            return self._arguments(text(delta, "partial_json"))
        elif kind == "citations_delta":
            return [gw.Unknown(DIALECT, {"delta": delta})]
        return []

    def stop(self) -> list[gw.Event]:
        block, self._block = self._block, None
        kind = block.get("type") if block else None
        if kind == "thinking":
            signature, self._signature = self._signature, ""
            return [gw.ReasoningDelta("", state=state(signature=signature))] if signature else []
        if kind == "tool_use":
            assert block is not None
            self._calls += 1
            given = msgspec.json.encode(block.get("input") or {}).decode()
            return [] if self._json else [gw.ToolCallDelta(self._calls - 1, arguments=given)]
        if block is not None and kind not in ("text", "redacted_thinking"):
            return [gw.Unknown(DIALECT, {"block": self._foreign(block)})]
        return []

    def _arguments(self, piece: str) -> list[gw.Event]:
        if not piece:
            return []
        self._json.append(piece)
        if self._block and self._block.get("type") == "tool_use":
            return [gw.ToolCallDelta(self._calls, arguments=piece)]
        return []

    def _foreign(self, block: Object) -> Object:
        """A block of a server's tool, its input put together."""
        if not self._json:
            return block
        try:
            return {**block, "input": msgspec.json.decode("".join(self._json))}
        except msgspec.DecodeError as error:
            raise gw.UpstreamTruncatedError("a tool's input is invalid JSON") from error


def state(**opaque: str) -> dict[str, Any]:
    """The vendor's opaque part of a thought, under the dialect that can read it."""
    return {DIALECT: opaque}


def ending(stop: Object) -> list[gw.Event]:
    """The events of a stop reason and what the vendor says of it."""
    reason = stop.get("stop_reason")
    raw = reason if isinstance(reason, str) else None
    events: list[gw.Event] = []
    told = {name: stop[name] for name in ("stop_sequence", "stop_details") if stop.get(name)}
    if told:
        events.append(gw.Unknown(DIALECT, {"stop": told}))
    details = stop.get("stop_details")
    if raw == "refusal" and isinstance(details, dict) and text(details, "explanation"):
        events.append(gw.RefusalDelta(text(details, "explanation")))
    return [*events, gw.Finished(REASONS.get(raw or "", "stop"), 0, raw)]


class StreamDecoder:
    def __init__(self) -> None:
        self._sse = gw.SSEParser()
        self._blocks = Blocks()
        self._usage: Object = {}
        self._stop: Object = {}
        self._started = False
        self._done = False

    def feed(self, data: bytes) -> list[gw.Event]:
        return [event for each in self._sse.feed(data) for event in self._payload(each)]

    def finish(self) -> list[gw.Event]:
        events = [event for _, each in self._sse.flush() for event in self._payload(each)]
        if not self._done:
            raise gw.UpstreamTruncatedError("the stream ended before message_stop")
        return events

    def _payload(self, data: bytes) -> list[gw.Event]:
        found = decoded(data)
        kind = found.get("type")
        if kind == "content_block_delta":
            return self._blocks.delta(part(found, "delta"))
        if kind == "content_block_start":
            return self._blocks.start(part(found, "content_block"))
        if kind == "content_block_stop":
            return self._blocks.stop()
        if kind == "message_start":
            return self._start(part(found, "message"))
        if kind == "message_delta":
            self._stop |= part(found, "delta")
            return self._count(found.get("usage"))
        if kind == "message_stop" and not self._done:
            if not self._started:
                raise gw.UpstreamTruncatedError("the stream ended before it began")
            self._done = True
            return ending(self._stop)
        return []

    def _start(self, message: Object) -> list[gw.Event]:
        self._started = True
        started = gw.Started(text(message, "id") or None, text(message, "model") or None)
        return [started, *self._count(message.get("usage"))]

    def _count(self, usage: object) -> list[gw.Event]:
        self._usage = merged(self._usage, usage)
        return [gw.UsageReport(meters(self._usage))]


class BodyDecoder:
    """An answer that is no stream; decoded at its end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        return self.events(decoded(b"".join(self._pieces)))

    def events(self, found: Object) -> list[gw.Event]:
        content = found.get("content")
        if found.get("type") != "message" or not isinstance(content, list):
            raise gw.UpstreamTruncatedError("the answer is no message")
        events: list[gw.Event] = [gw.Started(text(found, "id") or None, text(found, "model"))]
        blocks = Blocks()
        for each in content:
            if not isinstance(each, dict):
                raise gw.UpstreamTruncatedError("the answer holds a block that is none")
            events += blocks.start(each)
            for citation in each.get("citations") or ():
                delta = {"type": "citations_delta", "citation": citation}
                events += blocks.delta(delta)
            events += blocks.stop()
        events.append(gw.UsageReport(meters(merged({}, found.get("usage")))))
        return [*events, *ending(found)]


class CountDecoder(BodyDecoder):
    """The answer of count_tokens: its figure as usage."""

    def events(self, found: Object) -> list[gw.Event]:
        count = found.get("input_tokens")
        if not isinstance(count, int):
            raise gw.UpstreamTruncatedError("the answer holds no count")
        return [gw.UsageReport(gw.Usage(input=count)), gw.Finished("stop")]
