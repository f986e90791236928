"""Writes streamed text completions and embeddings (openai.md, section 9)."""

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec
from llm_gateway_api.events import (
    EmbeddingVector,
    Event,
    Finished,
    RefusalDelta,
    Started,
    TextDelta,
    Usage,
    UsageReport,
)
from llm_gateway_api.requests import RequestHead
from llm_gateway_api.sse import frame

from llm_gateway_frontend_openai.wire import DONE, Identity, encode, usage_object

_TEXT_REASONS = {"length": "length", "content_filter": "content_filter"}


class CompletionStreamRenderer:
    def __init__(self, head: RequestHead) -> None:
        self._identity = Identity(head.model, "cmpl-")
        self._include_usage = head.include_usage
        self._usage: Usage | None = None
        self._open: set[int] = set()
        self._closed: set[int] = set()

    def render(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if isinstance(event, Started):
                self._identity.take(event)
            elif isinstance(event, UsageReport):
                self._usage = event.usage
            elif isinstance(event, (TextDelta, RefusalDelta)):
                if event.text and event.index not in self._closed:
                    self._open.add(event.index)
                    out.append(self._chunk(event.index, event.text))
            elif isinstance(event, Finished) and event.index not in self._closed:
                self._closed.add(event.index)
                out.append(self._chunk(event.index, "", _TEXT_REASONS.get(event.reason, "stop")))
        return b"".join(out)

    def finish(self) -> bytes:
        out = [self._chunk(each, "", "stop") for each in sorted(self._open - self._closed)]
        if self._include_usage:
            head = self._identity.head("text_completion")
            usage = usage_object(self._usage or Usage())
            out.append(frame(encode({**head, "choices": [], "usage": usage})))
        out.append(DONE)
        return b"".join(out)

    def _chunk(self, index: int, text: str, reason: str | None = None) -> bytes:
        choice = {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        return self._identity.chunk("text_completion", choice)


class EmbeddingsRenderer:
    """A list of floats, or base64 of little-endian float32 where the caller asked for it."""

    def __init__(self, head: RequestHead) -> None:
        self._model = head.model
        raw = head.fields.get("encoding_format")
        self._base64 = raw is not None and msgspec.json.decode(raw) == "base64"
        self._vectors: dict[int, EmbeddingVector] = {}
        self._usage = Usage()

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            if isinstance(event, EmbeddingVector):
                self._vectors[event.index] = event
            elif isinstance(event, UsageReport):
                self._usage = event.usage
        return b""

    def finish(self) -> bytes:
        data = [
            {"object": "embedding", "index": index, "embedding": self._packed(each)}
            for index, each in sorted(self._vectors.items())
        ]
        tokens = self._usage.input_total
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return encode({"object": "list", "model": self._model, "data": data, "usage": usage})

    def _packed(self, vector: EmbeddingVector) -> Any:
        if not self._base64:
            return vector.values
        packed = struct.pack(f"<{len(vector.values)}f", *vector.values)
        return base64.b64encode(packed).decode()
