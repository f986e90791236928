"""Reads along while the vendor's bytes pass to a client of the same dialect.

Bytes go on as they came, whole events at a time, but for the model's name where it was
exchanged. Before the first content each event is decoded; afterwards only those after the
first that may end the message or break it.
"""

import re
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_anthropic.decoding import REASONS, decoded, part, text
from llm_gateway_provider_anthropic.usage import merged, meters

END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
MARK = re.compile(rb"message_(?:delta|stop)|\berror\b")
MODEL = re.compile(rb'("model"\s*:\s*)"(?:[^"\\]|\\.)*"')
SAID = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"((?:[^"\\]|\\.)*)"')
TEXTS = ("text", "thinking", "partial_json", "signature")


class StreamTee:
    """One stream; meets the contracts `Lane` and `SupportsSaid`."""

    def __init__(self, head: gw.RequestHead, model: str) -> None:
        self._name = msgspec.json.encode(head.model) if head.model != model else None
        self._blocks = gw.SSEBlocks()
        self._usage: dict[str, Any] = {}
        self._done = False
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        whole = self._blocks.feed(data)
        if self.committed and MARK.search(whole) is None:
            return whole
        return b"".join([self._event(each) for each in _events(whole)])

    def finish(self) -> bytes:
        out = self.feed(b"\n\n") if self._blocks.begun else b""
        if not self._done:
            raise gw.UpstreamTruncatedError("the stream ended before message_stop")
        return out

    def said(self, data: bytes) -> int:
        return gw.string_bytes(SAID, data)

    def _event(self, event: bytes) -> bytes:
        if self.committed and MARK.search(event) is None:
            return event
        data = [payload for _, payload in _parsed(event)]
        for each in data:
            if self._note(decoded(each)) and self._name is not None:
                event = _renamed(event, self._name)
        return event

    def _note(self, found: dict[str, Any]) -> bool:
        """Read along; True for the event that names the model."""
        kind = found.get("type")
        if kind == "message_start":
            self._count(part(found, "message").get("usage"))
            return True
        if kind == "content_block_start":
            block = part(found, "content_block")
            plain = block.get("type") in ("text", "thinking")
            self.committed |= not plain or bool(text(block, "text") or text(block, "thinking"))
        elif kind == "content_block_delta":
            delta = part(found, "delta")
            self.committed |= any(delta.get(name) for name in TEXTS)
        elif kind == "message_delta":
            if reason := text(part(found, "delta"), "stop_reason"):
                self.finish_reason = REASONS.get(reason, "stop")
                self.committed = True
            self._count(found.get("usage"))
        elif kind == "message_stop":
            self._done = True
            self.finish_reason = self.finish_reason or "stop"
            self.committed = True
        return False

    def _count(self, usage: object) -> None:
        self._usage = merged(self._usage, usage)
        self.usage = meters(self._usage)


def _events(whole: bytes) -> list[bytes]:
    start, found = 0, []
    for end in END.finditer(whole):
        found.append(whole[start : end.end()])
        start = end.end()
    return [*found, whole[start:]] if start < len(whole) else found


def _renamed(event: bytes, name: bytes) -> bytes:
    return MODEL.sub(lambda found: found[1] + name, event, count=1)


def _parsed(event: bytes) -> list[tuple[bytes, bytes]]:
    parser = gw.SSEParser()
    return [*parser.feed_events(event), *parser.flush()]


class _Answer(msgspec.Struct):
    type: str = ""
    model: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    input_tokens: int | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class WholeTee:
    """One answer that is no stream: checked, counted, forwarded byte for byte."""

    def __init__(self, head: gw.RequestHead, model: str) -> None:
        self._name = head.model if head.model != model else None
        self._pieces: list[bytes] = []
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        self._pieces.append(data)
        return b""

    def finish(self) -> bytes:
        body = b"".join(self._pieces)
        try:
            found = _ANSWER.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise gw.UpstreamTruncatedError("the answer is not what was asked for") from error
        if found.type == "error":
            decoded(body)
        self.committed = True
        return self._checked(found, body)

    def _checked(self, found: _Answer, body: bytes) -> bytes:
        if found.type != "message" or bytes(found.content)[:1] != b"[":
            raise gw.UpstreamTruncatedError("the answer is no message")
        self.usage = meters(found.usage or {})
        self.finish_reason = REASONS.get(found.stop_reason or "", "stop")
        if self._name is not None and found.model is not None:
            return gw.replaced(gw.top_level(body), model=self._name)
        return body


class CountTee(WholeTee):
    """The answer of count_tokens: a figure, which no one is charged for."""

    def _checked(self, found: _Answer, body: bytes) -> bytes:
        if found.input_tokens is None:
            raise gw.UpstreamTruncatedError("the answer holds no count")
        self.finish_reason = "stop"
        return body
