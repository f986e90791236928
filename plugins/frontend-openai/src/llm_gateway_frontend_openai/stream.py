"""Writes an answer as chat chunks (openai.md, section 5.3).

Per choice START --role chunk--> BODY --finish chunk--> END; what comes for a choice after
its end is left out.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_api.events import (
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Unknown,
    Usage,
    UsageReport,
)
from llm_gateway_api.requests import RequestHead
from llm_gateway_api.sse import frame

from llm_gateway_frontend_openai.reasoning import Details
from llm_gateway_frontend_openai.wire import DIALECT, DONE, Identity, encode, usage_object

KIND = "chat.completion.chunk"


class Choice:
    """What has been sent of one choice: its calls by the event's number, and its end."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}
        self.details = Details()
        self.finished = False


class ChatStreamRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._identity = Identity(head.model, "chatcmpl-")
        self._include_usage = head.include_usage
        self._rest = b',"usage":null' if head.include_usage else b""
        self._legacy = "functions" in head.fields and "tools" not in head.fields
        self._choices: dict[int, Choice] = {}
        self._usage: Usage | None = None
        self._out: list[bytes] = []

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            if (write := _WRITERS.get(type(event))) is not None:
                write(self, event)
        return self._taken()

    def finish(self) -> bytes:
        for index, choice in sorted(self._choices.items()):
            if not choice.finished:
                self._finish(index, "stop")
        if self._include_usage:
            usage = {**usage_object(self._usage or Usage()), **self._identity.figures}
            body = {**self._identity.head(KIND), "choices": [], "usage": usage}
            self._out.append(frame(encode(body)))
        elif self._identity.unsent:
            self._out.append(frame(encode({**self._identity.head(KIND), "choices": []})))
        self._out.append(DONE)
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _started(self, event: Started) -> None:
        self._identity.take(event)

    def _used(self, event: UsageReport) -> None:
        self._usage = event.usage

    def _finished(self, event: Finished) -> None:
        self._finish(event.index, event.reason)

    def _text(self, event: TextDelta) -> None:
        if event.text or event.logprobs is not None:
            self._emit(event.index, {"content": event.text}, logprobs=event.logprobs)

    def _refusal(self, event: RefusalDelta) -> None:
        self._emit(event.index, {"refusal": event.text})

    def _unknown(self, event: Unknown) -> None:
        if self._identity.keep(event):
            return
        if event.dialect == DIALECT:
            self._emit(event.index, event.raw)
        else:
            self._emit(event.index, {}, beside=event.raw)

    def _thought(self, event: ReasoningDelta) -> None:
        delta: dict[str, Any] = {"reasoning_content": event.text} if event.text else {}
        if details := self._choice(event.index).details.take(event):
            delta["reasoning_details"] = details
        if delta:
            self._emit(event.index, delta)

    def _call(self, event: ToolCallDelta) -> None:
        calls = self._choice(event.index).calls
        new = event.call not in calls
        if new:
            calls[event.call] = len(calls)
        if not new and not event.arguments:
            return
        inner: dict[str, Any] = {"name": event.name or ""} if new else {}
        inner["input" if event.kind == "custom" else "arguments"] = event.arguments
        if self._legacy:
            self._emit(event.index, {"function_call": inner})
            return
        entry: dict[str, Any] = {**event.extra, "index": calls[event.call], event.kind: inner}
        if new:
            entry["id"] = event.id or f"call_{secrets.token_hex(12)}"
            entry["type"] = event.kind
        self._emit(event.index, {"tool_calls": [entry]})

    def _finish(self, index: int, reason: str) -> None:
        choice = self._choice(index)
        if choice.finished:
            return
        if choice.calls and reason == "stop":
            reason = "tool_calls"
        if self._legacy and reason == "tool_calls":
            reason = "function_call"
        self._emit(index, {}, finish="stop" if reason == "error" else reason)
        choice.finished = True

    def _choice(self, index: int) -> Choice:
        """The choice, after the role chunks of it and of those before it."""
        choice = self._choices.get(index)
        while choice is None:
            number = len(self._choices)
            self._choices[number] = Choice()
            self._emit(number, {"role": "assistant", "content": "", "refusal": None})
            choice = self._choices.get(index)
        return choice

    def _emit(
        self,
        index: int,
        delta: Mapping[str, object],
        *,
        finish: str | None = None,
        logprobs: object = None,
        beside: Mapping[str, object] | None = None,
    ) -> None:
        if self._choice(index).finished:
            return
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        if beside:
            choice |= beside
        self._out.append(self._identity.chunk(KIND, choice, self._rest))


_WRITERS: Mapping[type, Callable[[ChatStreamRenderer, Any], None]] = {
    Started: ChatStreamRenderer._started,
    UsageReport: ChatStreamRenderer._used,
    Finished: ChatStreamRenderer._finished,
    TextDelta: ChatStreamRenderer._text,
    ReasoningDelta: ChatStreamRenderer._thought,
    RefusalDelta: ChatStreamRenderer._refusal,
    ToolCallDelta: ChatStreamRenderer._call,
    Unknown: ChatStreamRenderer._unknown,
}
