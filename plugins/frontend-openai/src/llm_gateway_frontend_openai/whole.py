"""Writes an answer as one chat completion object (openai.md, section 4)."""

import secrets
from collections.abc import Mapping, Sequence
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

from llm_gateway_frontend_openai.reasoning import Details
from llm_gateway_frontend_openai.wire import DIALECT, Identity, encode, usage_object


class Call:
    def __init__(self, event: ToolCallDelta) -> None:
        self.id = event.id or f"call_{secrets.token_hex(12)}"
        self.name = event.name or ""
        self.kind = event.kind
        self.extra = event.extra
        self.arguments: list[str] = []

    def inner(self) -> dict[str, str]:
        key = "input" if self.kind == "custom" else "arguments"
        return {"name": self.name, key: "".join(self.arguments)}


class Collected:
    """What came for one choice."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.details: list[Any] = []
        self._detailed: Details | None = None
        self.refusal: list[str] = []
        self.calls: dict[int, Call] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.extra: dict[str, Any] = {}
        self.beside: dict[str, Any] = {}
        self.reason: str | None = None

    def take(self, event: Event) -> None:
        # By type, not `isinstance`, which takes a detour for each class of values that it denies.
        if type(event) is TextDelta:
            self.text.append(event.text)
            if event.logprobs is not None:
                self._take_logprobs(event.logprobs)
        elif type(event) is Finished:
            self.reason = self.reason or event.reason
        elif type(event) is ReasoningDelta:
            self.reasoning.append(event.text)
            if self._detailed is None:
                self._detailed = Details()
            self.details += self._detailed.take(event)
        elif type(event) is RefusalDelta:
            self.refusal.append(event.text)
        elif type(event) is ToolCallDelta:
            call = self.calls.get(event.call)
            if call is None:
                call = self.calls[event.call] = Call(event)
            call.arguments.append(event.arguments)
        elif type(event) is Unknown:
            self._keep(self.extra if event.dialect == DIALECT else self.beside, event.raw)

    def _keep(self, held: dict[str, Any], raw: Mapping[str, Any]) -> None:
        """Lists that come in pieces (annotations) are one list."""
        for name, value in raw.items():
            both = isinstance(value, list) and isinstance(held.get(name), list)
            held[name] = [*held[name], *value] if both else value

    def _take_logprobs(self, logprobs: object) -> None:
        if isinstance(logprobs, dict):
            for key, entries in logprobs.items():
                if isinstance(entries, list):
                    self.logprobs.setdefault(key, []).extend(entries)

    def finish_reason(self, legacy: bool) -> str:
        reason = self.reason or "stop"
        if self.calls and reason == "stop":
            reason = "tool_calls"
        if legacy and reason == "tool_calls":
            return "function_call"
        return "stop" if reason == "error" else reason

    def message(self, legacy: bool) -> dict[str, Any]:
        text, refusal = "".join(self.text), "".join(self.refusal)
        empty = self.calls or refusal
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not empty else None,
            "refusal": refusal or None,
            **self.extra,
        }
        if reasoning := "".join(self.reasoning):
            message["reasoning_content"] = reasoning
        if self.details:
            message["reasoning_details"] = self.details
        if self.calls and legacy:
            message["function_call"] = next(iter(self.calls.values())).inner()
        elif self.calls:
            message["tool_calls"] = [
                {**call.extra, "id": call.id, "type": call.kind, call.kind: call.inner()}
                for _, call in sorted(self.calls.items())
            ]
        return message


class WholeRenderer:
    """Collects everything and writes it at the end; base of both plain renderers."""

    prefix = "chatcmpl-"

    def __init__(self, head: RequestHead) -> None:
        self.identity = Identity(head.model, self.prefix)
        self.legacy = "functions" in head.fields and "tools" not in head.fields
        self.choices: dict[int, Collected] = {}
        self.usage: Usage | None = None

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            if type(event) is Started:
                self.identity.take(event)
            elif type(event) is UsageReport:
                self.usage = event.usage
            elif not (type(event) is Unknown and self.identity.keep(event)):
                choice = self.choices.get(event.index)
                if choice is None:
                    choice = self.choices[event.index] = Collected()
                choice.take(event)
        return b""

    def finish(self) -> bytes:
        choices = [self.choice(index, each) for index, each in sorted(self.choices.items())]
        body = self.identity.head(self.kind)
        body["choices"] = choices
        body["usage"] = usage_object(self.usage or Usage()) | self.identity.figures
        return encode(body)

    kind = "chat.completion"

    def choice(self, index: int, got: Collected) -> dict[str, Any]:
        return {
            "index": index,
            "message": got.message(self.legacy),
            "logprobs": got.logprobs or None,
            "finish_reason": got.finish_reason(self.legacy),
            **got.beside,
        }


class CompletionRenderer(WholeRenderer):
    """The legacy text completion, whole."""

    prefix = "cmpl-"
    kind = "text_completion"

    def choice(self, index: int, got: Collected) -> dict[str, Any]:
        reason = got.finish_reason(False)
        text = "".join(got.text) or "".join(got.refusal)
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
