"""Writes an answer as chat chunks (openai.md, section 5.3).

Per choice START --role chunk--> BODY --finish chunk--> END; what comes for a choice after
its end is left out.
"""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
        self._legacy = "functions" in head.fields and "tools" not in head.fields
        self._choices: dict[int, Choice] = {}
        self._usage: Usage | None = None
        self._out: list[bytes] = []

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            if isinstance(event, Started):
                self._identity.take(event)
            elif isinstance(event, UsageReport):
                self._usage = event.usage
            elif isinstance(event, Finished):
                self._finish(event.index, event.reason)
            else:
                self._content(event)
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

    def _content(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            if event.text or event.logprobs is not None:
                self._emit(event.index, {"content": event.text}, logprobs=event.logprobs)
        elif isinstance(event, ReasoningDelta):
            self._thought(event)
        elif isinstance(event, RefusalDelta):
            self._emit(event.index, {"refusal": event.text})
        elif isinstance(event, ToolCallDelta):
            self._call(event)
        elif isinstance(event, Unknown) and not self._identity.keep(event):
            beside = event.dialect != DIALECT
            self._emit(
                event.index, {} if beside else dict(event.raw), beside=event.raw if beside else {}
            )

    def _thought(self, event: ReasoningDelta) -> None:
        delta: dict[str, Any] = {"reasoning_content": event.text} if event.text else {}
        if details := self._started(event.index).details.take(event):
            delta["reasoning_details"] = details
        if delta:
            self._emit(event.index, delta)

    def _call(self, event: ToolCallDelta) -> None:
        calls = self._started(event.index).calls
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
        choice = self._started(index)
        if choice.finished:
            return
        if choice.calls and reason == "stop":
            reason = "tool_calls"
        if self._legacy and reason == "tool_calls":
            reason = "function_call"
        self._emit(index, {}, finish="stop" if reason == "error" else reason)
        choice.finished = True

    def _started(self, index: int) -> Choice:
        """The choice, after the role chunks of it and of those before it."""
        for each in range(len(self._choices), index + 1):
            self._choices[each] = Choice()
            self._chunk(each, {"role": "assistant", "content": "", "refusal": None})
        return self._choices[index]

    def _emit(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        finish: str | None = None,
        logprobs: object = None,
        beside: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        if not self._started(index).finished:
            self._chunk(index, delta, finish, logprobs, beside)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish: str | None = None,
        logprobs: object = None,
        beside: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        choice |= beside
        body = {**self._identity.head(KIND), "choices": [choice]}
        if self._include_usage:
            body["usage"] = None
        self._out.append(frame(encode(body)))
