"""Answers of the Responses API as canonical events (OpenAI's API reference, responses).

OPEN --response.completed | response.incomplete--> CLOSED. An end while OPEN was a cut;
``response.failed`` and ``error`` are raised.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.bridge import STATE
from llm_gateway_dialect_openai.calls import Calls, Kind, given_text
from llm_gateway_dialect_openai.reading import OPENAI, Reading, WholeDecoder, mapping, objects

_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_ARGUMENTS: Mapping[object, Kind] = {
    "response.function_call_arguments.delta": "function",
    "response.custom_tool_call_input.delta": "custom",
}
CALLS: Mapping[object, Kind] = {"function_call": "function", "custom_tool_call": "custom"}
_TERMINAL = ("response.completed", "response.incomplete")
_ITEMS = ("response.output_item.added", "response.output_item.done")
_NOTES = "response.output_text.annotation.added"
_USAGE = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
# The API's own words of an answer; what stands beside them is kept for the client.
_KEPT = ("service_tier",)


class _Items:
    """The output items of one answer as events, in pieces or whole."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.calls = Calls()

    @property
    def reason(self) -> gw.FinishReason:
        return "tool_calls" if len(self.calls) else "stop"

    def begun(self, key: object, item: dict[str, Any]) -> list[gw.Event]:
        kind = CALLS.get(item.get("type"))
        if kind is None or self.calls.known(key):
            return []
        return [self.calls.piece(key, _call_id(item), str(item.get("name") or ""), "", kind)]

    def done(self, key: object, item: dict[str, Any]) -> list[gw.Event]:
        """What a finished item holds beyond its pieces: unsent arguments, opaque reasoning."""
        kind = CALLS.get(item.get("type"))
        if kind is not None:
            events = self.begun(key, item)
            text = given_text(item, kind)
            if text and not self.calls.has_text(key):
                events.append(self.calls.piece(key, None, "", text, kind))
            return events
        if item.get("type") == "reasoning" and item.get("encrypted_content"):
            return [gw.ReasoningDelta("", state={STATE: item})]
        if item.get("type") not in ("reasoning", "message") and self._reading.keep_unknown:
            return [gw.Unknown(STATE, {"item": item})]  # what a tool of the vendor's did
        return []

    def argument(self, key: object, text: str, kind: Kind) -> list[gw.Event]:
        return [self.calls.piece(key, None, "", text, kind)] if self.calls.known(key) else []

    def whole(self, key: object, item: dict[str, Any]) -> list[gw.Event]:
        """A message or reasoning that comes in one piece, then what `done` makes of it."""
        events: list[gw.Event] = []
        if item.get("type") == "reasoning":
            parts = [*objects(item, "summary"), *objects(item, "content")]
            texts = [str(each.get("text") or "") for each in parts]
            events += [gw.ReasoningDelta(text) for text in texts if text]
        elif item.get("type") == "message":
            events += [event for each in objects(item, "content") for event in _content(each)]
        return events + self.done(key, item)


def ended(
    response: dict[str, Any], reading: Reading, reason: gw.FinishReason = "stop"
) -> list[gw.Event]:
    """How an answer ended, and its usage; `reason` is that of a complete one."""
    why = mapping(response, "incomplete_details").get("reason")
    raw = str(why) if why else "completed"
    if response.get("status") == "incomplete":
        reason = "content_filter" if why == "content_filter" else "length"
    events: list[gw.Event] = [gw.Finished(reason, raw=raw)]
    if isinstance(usage := response.get("usage"), dict):
        chat = {name: usage.get(theirs) for name, theirs in _USAGE.items()}
        events.append(gw.UsageReport(reading.meters(chat)))
    return events


class ResponsesStreamDecoder:
    def __init__(self, reading: Reading = OPENAI) -> None:
        self._reading = reading
        self._sse = gw.SSEParser()
        self._items = _Items(reading)
        self._started = False
        self._closed = False

    def feed(self, data: bytes) -> list[gw.Event]:
        return [event for each in self._sse.feed(data) for event in self._payload(each)]

    def finish(self) -> list[gw.Event]:
        events = [event for _, each in self._sse.flush() for event in self._payload(each)]
        if not self._closed:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return events

    def _payload(self, data: bytes) -> list[gw.Event]:
        stripped = data.strip()
        if self._closed or not stripped or stripped == b"[DONE]":
            return []
        found = self._reading.decoded(data)
        kind = found.get("type")
        if kind in _TERMINAL:
            self._closed = True
            return ended(mapping(found, "response"), self._reading, self._items.reason)
        if kind == "response.failed":
            raise self._reading.failed(mapping(found, "response").get("error"))
        if kind == "error":
            raise self._reading.failed(found)
        if kind == "response.created" and not self._started:
            self._started = True
            return [_begun(mapping(found, "response"))]
        if kind in _ITEMS:
            take = self._items.done if kind == _ITEMS[1] else self._items.begun
            return take(found.get("output_index"), mapping(found, "item"))
        if kind == _NOTES and self._reading.keep_unknown:
            return [_note(mapping(found, "annotation"))]
        return self._delta(kind, found)

    def _delta(self, kind: object, found: dict[str, Any]) -> list[gw.Event]:
        text = found.get("delta")
        if not isinstance(text, str) or not text:
            return []
        if kind == "response.output_text.delta":
            logprobs = found.get("logprobs")
            return [gw.TextDelta(text, logprobs={"content": logprobs} if logprobs else None)]
        if kind == "response.refusal.delta":
            return [gw.RefusalDelta(text)]
        if kind in _REASONING:
            return [gw.ReasoningDelta(text)]
        if (tool := _ARGUMENTS.get(kind)) is not None:
            return self._items.argument(found.get("output_index"), text, tool)
        return []


class ResponsesBodyDecoder(WholeDecoder):
    """An answer that is no stream."""

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        items = _Items(self._reading)
        if found.get("status") == "failed":
            raise self._reading.failed(found.get("error"))
        if found.get("status") not in ("completed", "incomplete"):
            raise gw.UpstreamTruncatedError("the answer is not complete")
        events: list[gw.Event] = [_begun(found)]
        for at, item in enumerate(objects(found, "output")):
            events += items.whole(at, item)
        return events + ended(found, self._reading, items.reason)


def _call_id(item: Mapping[str, Any]) -> str | None:
    """Chat's id of a call is ``call_id``; the item's own ``id`` is another one."""
    id_ = item.get("call_id") or item.get("id")
    return str(id_) if id_ else None


def _content(part: dict[str, Any]) -> list[gw.Event]:
    events: list[gw.Event] = []
    if part.get("type") == "output_text" and part.get("text"):
        logprobs = part.get("logprobs")
        told = {"content": logprobs} if logprobs else None
        events.append(gw.TextDelta(str(part["text"]), logprobs=told))
        if notes := objects(part, "annotations"):
            events.append(gw.Unknown("openai.chat", {"annotations": [_nested(n) for n in notes]}))
    elif part.get("type") == "refusal" and part.get("refusal"):
        events.append(gw.RefusalDelta(str(part["refusal"])))
    return events


def _note(annotation: dict[str, Any]) -> gw.Event:
    return gw.Unknown("openai.chat", {"annotations": [_nested(annotation)]})


def _nested(annotation: dict[str, Any]) -> dict[str, Any]:
    """Flat in Responses, below its type in Chat Completions."""
    kind = str(annotation.get("type"))
    return {"type": kind, kind: {k: v for k, v in annotation.items() if k != "type"}}


def _begun(response: dict[str, Any]) -> gw.Event:
    created = response.get("created_at")
    when = int(created) if isinstance(created, (int, float)) and created > 0 else None
    id_, model = response.get("id"), response.get("model")
    kept = {name: response[name] for name in _KEPT if response.get(name)}
    return gw.Started(str(id_) if id_ else None, str(model) if model else None, when, kept)
