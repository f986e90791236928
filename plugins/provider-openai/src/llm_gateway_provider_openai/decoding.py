"""Answers of the Chat Completions API as canonical events; tolerant of what servers vary."""

import base64
import struct
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_openai.errors import meaning
from llm_gateway_provider_openai.usage import meters

REASONS: dict[str, gw.FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "max_tokens": "length",
    "error": "error",
    "abort": "error",
    "insufficient_system_resource": "error",
}


def decoded(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError("the answer is no object")
    if problem := found.get("error"):
        raise meaning(0, problem if isinstance(problem, dict) else {"message": str(problem)})
    return found


class Calls:
    """Numbers tool calls densely by their identity, never by a position in a chunk."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, object], int] = {}
        self._ids: dict[tuple[int, object], str] = {}
        self._next: dict[int, int] = {}

    def pieces(self, index: int, calls: Any) -> list[gw.Event]:
        found: list[gw.Event] = []
        for position, each in enumerate(calls or ()):
            if isinstance(each, dict):
                found.append(self._piece(index, each, position))
        return found

    def _piece(self, index: int, each: dict[str, Any], position: int) -> gw.Event:
        given = each.get("id") or None
        key = (index, each.get("index", position))
        new = key not in self._numbers or (given and self._ids.get(key) not in (given, None))
        kind = "custom" if "custom" in each else "function"
        inner = each.get(kind) or {}
        text = inner.get("input" if kind == "custom" else "arguments") or ""
        if not isinstance(text, str):
            text = msgspec.json.encode(text).decode()
        if new:
            number = self._next.get(index, 0)
            self._next[index] = number + 1
            self._numbers[key] = number
            self._ids[key] = given or f"call_{index}_{number}"
            name = inner.get("name") or ""
            return gw.ToolCallDelta(number, self._ids[key], name, text, index, kind)  # type: ignore[arg-type]  # one of two
        return gw.ToolCallDelta(self._numbers[key], None, None, text, index, kind)  # type: ignore[arg-type]  # one of two


def delta_events(index: int, delta: dict[str, Any], logprobs: Any, calls: Calls) -> list[gw.Event]:
    events: list[gw.Event] = []
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(thought, str) and thought:
        events.append(gw.ReasoningDelta(thought, index))
    if isinstance(text := delta.get("content"), str) and text:
        events.append(gw.TextDelta(text, index, logprobs))
    if isinstance(text := delta.get("refusal"), str) and text:
        events.append(gw.RefusalDelta(text, index))
    events += calls.pieces(index, delta.get("tool_calls"))
    return events


class ChatStreamDecoder:
    """OPEN --finish reason--> FINISHED; an end while OPEN was a cut."""

    def __init__(self) -> None:
        self._sse = gw.SSEParser()
        self._calls = Calls()
        self._started = False
        self._finished = False

    def feed(self, data: bytes) -> list[gw.Event]:
        return [event for each in self._sse.feed(data) for event in self._payload(each)]

    def finish(self) -> list[gw.Event]:
        events = [event for _, each in self._sse.flush() for event in self._payload(each)]
        if not self._finished:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return events

    def _payload(self, data: bytes) -> list[gw.Event]:
        if data.strip() == b"[DONE]":
            return []
        found = decoded(data)
        events: list[gw.Event] = []
        if not self._started:
            self._started = True
            created = int(found.get("created") or 0) or None
            events.append(gw.Started(found.get("id"), found.get("model"), created))
        for choice in found.get("choices") or ():
            index = choice.get("index") or 0
            delta = choice.get("delta") or {}
            events += delta_events(index, delta, choice.get("logprobs"), self._calls)
            if reason := choice.get("finish_reason"):
                self._finished = True
                events.append(gw.Finished(REASONS.get(reason, "stop"), index, reason))
        if isinstance(usage := found.get("usage"), dict):
            events.append(gw.UsageReport(meters(usage)))
        return events


class BodyDecoder:
    """An answer that is no stream; the bytes are decoded at their end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        return self.events(decoded(b"".join(self._pieces)))

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = [gw.Started(found.get("id"), found.get("model"))]
        calls = Calls()
        for choice in found.get("choices") or ():
            index = choice.get("index") or 0
            message = choice.get("message") or {}
            events += delta_events(index, message, choice.get("logprobs"), calls)
            reason = choice.get("finish_reason")
            events.append(gw.Finished(REASONS.get(reason, "stop"), index, reason))
        if isinstance(usage := found.get("usage"), dict):
            events.append(gw.UsageReport(meters(usage)))
        return events


class EmbeddingsDecoder(BodyDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = []
        for each in found.get("data") or ():
            values = each.get("embedding")
            if isinstance(values, str):
                raw = base64.b64decode(values)
                values = struct.unpack(f"<{len(raw) // 4}f", raw)
            events.append(gw.EmbeddingVector(each.get("index") or 0, tuple(values)))
        if isinstance(usage := found.get("usage"), dict):
            events.append(gw.UsageReport(meters(usage)))
        return [*events, gw.Finished("stop")]
