"""Writes an answer in OpenAI's form, streamed or not (reference: openai chat streaming)."""

import base64
import secrets
import struct
import time
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec

encode = msgspec.json.encode


def usage_json(usage: gw.Usage) -> dict[str, Any]:
    """Totals with their parts, from disjoint meters."""
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "audio_tokens": usage.audio_input,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class Base:
    """What both forms share: the answer's id, model and time."""

    def __init__(self, head: gw.RequestHead, prefix: str) -> None:
        self.head = head
        self.id = prefix + secrets.token_hex(12)
        self.model = head.model
        self.created = int(time.time())
        self.usage: gw.Usage | None = None

    def note(self, event: gw.Event) -> None:
        if isinstance(event, gw.Started):
            self.id = event.id or self.id
            self.created = event.created or self.created
        elif isinstance(event, gw.UsageReport):
            self.usage = event.usage


class StreamRenderer(Base):
    """One chunk per event; the role first, the finish once and last, then usage if asked."""

    def __init__(self, head: gw.RequestHead) -> None:
        super().__init__(head, "chatcmpl-")
        self._begun: set[int] = set()
        self._finishes: list[bytes] = []

    def render(self, events: Sequence[gw.Event]) -> bytes:
        return b"".join(self._one(event) for event in events)

    def finish(self) -> bytes:
        rest = b"".join(self._finishes)
        if self.head.include_usage:
            usage = usage_json(self.usage or gw.Usage(estimated=True))
            rest += self._frame({"choices": [], "usage": usage})
        return rest + b"data: [DONE]\n\n"

    def _one(self, event: gw.Event) -> bytes:
        self.note(event)
        delta = delta_of(event)
        if delta is not None:
            index: int = event.index  # type: ignore[union-attr]  # deltas have one
            logprobs = event.logprobs if isinstance(event, gw.TextDelta) else None
            return self._role(index) + self._chunk(index, delta, None, logprobs)
        if isinstance(event, gw.Finished):
            out = self._role(event.index)
            self._finishes.append(self._chunk(event.index, {}, event.reason, None))
            return out
        return b""

    def _role(self, index: int) -> bytes:
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._chunk(index, {"role": "assistant", "content": "", "refusal": None}, None, None)

    def _chunk(
        self, index: int, delta: dict[str, Any], reason: str | None, logprobs: object
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        frame: dict[str, Any] = {"choices": [choice]}
        if self.head.include_usage:
            frame["usage"] = None
        return self._frame(frame)

    def _frame(self, rest: dict[str, Any]) -> bytes:
        named = {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }
        return gw.frame(encode({**named, **rest}))


def delta_of(event: gw.Event) -> dict[str, Any] | None:
    """The delta that one content event is, or None."""
    if isinstance(event, gw.TextDelta):
        return {"content": event.text}
    if isinstance(event, gw.ReasoningDelta):
        return {"reasoning_content": event.text}
    if isinstance(event, gw.RefusalDelta):
        return {"refusal": event.text}
    if isinstance(event, gw.ToolCallDelta):
        inner: dict[str, Any] = {}
        call: dict[str, Any] = {"index": event.call}
        key = "input" if event.kind == "custom" else "arguments"
        if event.id is not None:
            call |= {"id": event.id, "type": event.kind}
            inner["name"] = event.name
        inner[key] = event.arguments
        return {"tool_calls": [{**call, event.kind: inner}]}
    return None


class WholeRenderer(Base):
    """Collects events; the whole object comes at the end."""

    def __init__(self, head: gw.RequestHead) -> None:
        super().__init__(head, "chatcmpl-")
        self._choices: dict[int, dict[str, Any]] = {}

    def render(self, events: Sequence[gw.Event]) -> bytes:
        for event in events:
            self.note(event)
            if hasattr(event, "index"):
                self._add(self._choices.setdefault(event.index, new_choice()), event)
        return b""

    def _add(self, choice: dict[str, Any], event: gw.Event) -> None:
        if isinstance(event, gw.TextDelta):
            choice["text"].append(event.text)
            if isinstance(event.logprobs, dict):
                choice["logprobs"].extend(event.logprobs.get("content") or ())
        elif isinstance(event, gw.ReasoningDelta):
            choice["reasoning"].append(event.text)
        elif isinstance(event, gw.RefusalDelta):
            choice["refusal"].append(event.text)
        elif isinstance(event, gw.ToolCallDelta):
            call = choice["calls"].setdefault(
                event.call, {"id": event.id, "name": event.name, "kind": event.kind, "text": []}
            )
            call["text"].append(event.arguments)
        elif isinstance(event, gw.Finished):
            choice["reason"] = event.reason

    def finish(self) -> bytes:
        choices = [
            {
                "index": index,
                "message": message_json(choice),
                "logprobs": {"content": choice["logprobs"], "refusal": None}
                if choice["logprobs"]
                else None,
                "finish_reason": choice["reason"],
            }
            for index, choice in sorted(self._choices.items())
        ]
        return encode(
            {
                "id": self.id,
                "object": "chat.completion",
                "created": self.created,
                "model": self.model,
                "choices": choices,
                "usage": usage_json(self.usage or gw.Usage(estimated=True)),
            }
        )


def new_choice() -> dict[str, Any]:
    return {"text": [], "reasoning": [], "refusal": [], "calls": {}, "logprobs": [], "reason": "stop"}


def message_json(choice: dict[str, Any]) -> dict[str, Any]:
    text = "".join(choice["text"])
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not choice["calls"] else None,
        "refusal": "".join(choice["refusal"]) or None,
    }
    if choice["reasoning"]:
        message["reasoning_content"] = "".join(choice["reasoning"])
    if choice["calls"]:
        message["tool_calls"] = [call_json(call) for _, call in sorted(choice["calls"].items())]
    return message


def call_json(call: dict[str, Any]) -> dict[str, Any]:
    kind = call["kind"]
    key = "input" if kind == "custom" else "arguments"
    inner = {"name": call["name"], key: "".join(call["text"])}
    return {"id": call["id"], "type": kind, kind: inner}


class CompletionRenderer(Base):
    """The legacy form: text in choices, the same object in both modes."""

    def __init__(self, head: gw.RequestHead) -> None:
        super().__init__(head, "cmpl-")
        self._texts: dict[int, list[str]] = {}
        self._reasons: dict[int, str] = {}

    def render(self, events: Sequence[gw.Event]) -> bytes:
        out = b""
        for event in events:
            self.note(event)
            if isinstance(event, gw.TextDelta):
                self._texts.setdefault(event.index, []).append(event.text)
                if self.head.stream:
                    out += gw.frame(self._object([self._choice(event.index, event.text, None)]))
            elif isinstance(event, gw.Finished):
                self._texts.setdefault(event.index, [])
                self._reasons[event.index] = event.reason
        return out

    def finish(self) -> bytes:
        ends = sorted(self._reasons.items())
        if not self.head.stream:
            rows = [self._choice(index, "".join(self._texts[index]), why) for index, why in ends]
            return self._object(rows, usage_json(self.usage or gw.Usage(estimated=True)))
        out = b"".join(gw.frame(self._object([self._choice(i, "", why)])) for i, why in ends)
        if self.head.include_usage:
            usage = usage_json(self.usage or gw.Usage(estimated=True))
            out += gw.frame(self._object([], usage))
        return out + b"data: [DONE]\n\n"

    def _choice(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}

    def _object(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        made: dict[str, Any] = {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }
        return encode(made | ({"usage": usage} if usage is not None else {}))


class EmbeddingsRenderer(Base):
    """Vectors as lists of floats, or as little-endian float32 in base64."""

    def __init__(self, head: gw.RequestHead, packed: bool) -> None:
        super().__init__(head, "")
        self._packed = packed
        self._vectors: list[gw.EmbeddingVector] = []

    def render(self, events: Sequence[gw.Event]) -> bytes:
        for event in events:
            self.note(event)
            if isinstance(event, gw.EmbeddingVector):
                self._vectors.append(event)
        return b""

    def finish(self) -> bytes:
        usage = self.usage or gw.Usage(estimated=True)
        rows = [
            {"object": "embedding", "index": each.index, "embedding": self._value(each.values)}
            for each in sorted(self._vectors, key=lambda vector: vector.index)
        ]
        total = {"prompt_tokens": usage.input_total, "total_tokens": usage.input_total}
        return encode({"object": "list", "data": rows, "model": self.model, "usage": total})

    def _value(self, values: Sequence[float]) -> object:
        if not self._packed:
            return values
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
