"""Answers of the Responses API as canonical events (openai.md, 10.3 to 10.5).

OPEN --response.completed | response.incomplete--> CLOSED. An end while OPEN was a cut;
``response.failed`` and ``error`` are raised.
"""

from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_openai.bridge import STATE
from llm_gateway_provider_openai.decoding import decoded
from llm_gateway_provider_openai.errors import meaning
from llm_gateway_provider_openai.usage import meters

_POLICY = frozenset({"invalid_prompt", "bio_policy", "misalignment_policy_violation"})
_REASONING = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_ARGUMENTS = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
_CALLS = ("function_call", "custom_tool_call")
_TERMINAL = ("response.completed", "response.incomplete")


def failed(error: object) -> gw.UpstreamError:
    found = error if isinstance(error, dict) else {}
    status = 400 if found.get("code") in _POLICY else 0
    return meaning(status, found)


class _Calls:
    """Numbers calls densely in the order of their first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._numbers)

    def start(self, key: object, item: dict[str, Any]) -> list[gw.Event]:
        if key in self._numbers:
            return []
        number = self._numbers[key] = len(self._numbers)
        id_ = str(item.get("call_id") or item.get("id") or f"call_{number}")
        if item.get("type") == "custom_tool_call":
            return [gw.ToolCallDelta(number, id_, str(item.get("name") or ""), kind="custom")]
        return [gw.ToolCallDelta(number, id_, str(item.get("name") or ""))]

    def piece(self, key: object, text: str, custom: bool) -> list[gw.Event]:
        number = self._numbers.get(key)
        if number is None or not text:
            return []
        self._seen.add(number)
        if custom:
            return [gw.ToolCallDelta(number, arguments=text, kind="custom")]
        return [gw.ToolCallDelta(number, arguments=text)]

    def whole(self, key: object, item: dict[str, Any]) -> list[gw.Event]:
        """The arguments of a finished call, unless they came in pieces."""
        events = self.start(key, item)
        if self._numbers[key] in self._seen:
            return events
        custom = item.get("type") == "custom_tool_call"
        text = item.get("input" if custom else "arguments")
        return events + self.piece(key, text if isinstance(text, str) else "", custom)


class ResponsesStreamDecoder:
    def __init__(self) -> None:
        self._sse = gw.SSEParser()
        self._calls = _Calls()
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
        if self._closed or data.strip() == b"[DONE]":
            return []
        found = decoded(data)
        kind = found.get("type")
        if kind in _TERMINAL:
            self._closed = True
            return _end(_object(found, "response"), len(self._calls))
        if kind == "response.failed":
            raise failed(_object(found, "response").get("error"))
        if kind == "error":
            raise failed(found)
        if kind == "response.created":
            return self._start(_object(found, "response"))
        if kind in ("response.output_item.added", "response.output_item.done"):
            return self._item(found, kind.endswith("done"))
        return self._delta(kind, found)

    def _start(self, response: dict[str, Any]) -> list[gw.Event]:
        if self._started:
            return []
        self._started = True
        return [_started(response)]

    def _item(self, found: dict[str, Any], done: bool) -> list[gw.Event]:
        item = _object(found, "item")
        key = found.get("output_index")
        if item.get("type") in _CALLS:
            return self._calls.whole(key, item) if done else self._calls.start(key, item)
        if done and item.get("type") == "reasoning" and item.get("encrypted_content"):
            return [gw.ReasoningDelta("", state={STATE: item})]
        return []

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
        if kind in _ARGUMENTS:
            return self._calls.piece(found.get("output_index"), text, kind == _ARGUMENTS[1])
        return []


class ResponsesBodyDecoder:
    """An answer that is no stream; the bytes are decoded at their end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        found = decoded(b"".join(self._pieces))
        if found.get("status") == "failed":
            raise failed(found.get("error"))
        if found.get("status") not in ("completed", "incomplete"):
            raise gw.UpstreamTruncatedError("the answer is not complete")
        calls = _Calls()
        events: list[gw.Event] = [_started(found)]
        for at, item in enumerate(found.get("output") or ()):
            if isinstance(item, dict):
                events += _whole_item(at, item, calls)
        return events + _end(found, len(calls))


def _whole_item(at: int, item: dict[str, Any], calls: _Calls) -> list[gw.Event]:
    kind = item.get("type")
    if kind in _CALLS:
        return calls.whole(at, item)
    if kind == "reasoning":
        parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
        events: list[gw.Event] = [
            gw.ReasoningDelta(each["text"]) for each in parts if each.get("text")
        ]
        if item.get("encrypted_content"):
            events.append(gw.ReasoningDelta("", state={STATE: item}))
        return events
    return [event for each in item.get("content") or () for event in _content(each)]


def _content(part: dict[str, Any]) -> list[gw.Event]:
    if part.get("type") == "output_text" and part.get("text"):
        logprobs = part.get("logprobs")
        return [gw.TextDelta(part["text"], logprobs={"content": logprobs} if logprobs else None)]
    if part.get("type") == "refusal" and part.get("refusal"):
        return [gw.RefusalDelta(part["refusal"])]
    return []


def _started(response: dict[str, Any]) -> gw.Event:
    created = response.get("created_at")
    when = int(created) if isinstance(created, (int, float)) else None
    return gw.Started(response.get("id"), response.get("model"), when or None)


def _end(response: dict[str, Any], calls: int) -> list[gw.Event]:
    why = _object(response, "incomplete_details").get("reason")
    events: list[gw.Event] = []
    if response.get("status") == "incomplete":
        reason: gw.FinishReason = "content_filter" if why == "content_filter" else "length"
        events.append(gw.Finished(reason, raw=why if isinstance(why, str) else None))
    else:
        events.append(gw.Finished("tool_calls" if calls else "stop", raw="completed"))
    usage = response.get("usage")
    if isinstance(usage, dict):
        events.append(gw.UsageReport(_meters(usage)))
    return events


def _meters(usage: dict[str, Any]) -> gw.Usage:
    return meters(
        {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
            "prompt_tokens_details": usage.get("input_tokens_details"),
            "completion_tokens_details": usage.get("output_tokens_details"),
        }
    )


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}
