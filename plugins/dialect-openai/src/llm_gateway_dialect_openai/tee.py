"""Reads along while a provider's bytes pass to a client of the same dialect.

Bytes are forwarded as they came but for the model's name, where it was exchanged, and a
usage frame that the client did not ask for. Only frames with a marker are decoded.
"""

import json
import re
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_dialect_openai.errors import inside
from llm_gateway_dialect_openai.reading import OPENAI, Reading, objects

END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null')
MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
STOP = re.compile(rb'("finish_reason"\s*:\s*)"stop"')
CALLED = re.compile(rb'"tool_calls"\s*:\s*\[\s*\{')
FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
CONTENT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|transcript)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{'
)
MARKS = (b'"usage"', b'"error"', b"[DONE]")
MAX_FRAME = 32 * 1024 * 1024


class StreamTee:
    """One stream; meets the contract `Lane`.

    With `finish_fix` a choice that called tools and stopped ends with ``tool_calls``.
    """

    def __init__(
        self,
        head: gw.RequestHead,
        model: str,
        reading: Reading = OPENAI,
        finish_fix: bool = False,
    ) -> None:
        self._reading = reading
        self._fix = finish_fix
        self._called: set[object] = set()
        self._strip = not head.include_usage
        self._rename = json.dumps(head.model).encode() if head.model != model else None
        self._buffer = b""
        self._done = False
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        buffer = self._buffer + data if self._buffer else data
        cut = self._last_end(buffer)
        if cut == 0:
            if len(buffer) > MAX_FRAME:
                raise gw.UpstreamTruncatedError("an event is larger than 32 MiB")
            self._buffer = buffer
            return b""
        self._buffer = buffer[cut:]
        whole = buffer[:cut] if cut < len(buffer) else buffer
        if self._strip and b'"usage"' in whole:
            whole = NULL_USAGE.sub(b"", whole)
        out = b""
        while not self.committed and whole:
            end = END.search(whole)
            assert end is not None
            out += self._frame(whole[: end.end()])
            whole = whole[end.end() :]
        return out + self._block(whole) if out else self._block(whole)

    def _block(self, whole: bytes) -> bytes:
        """Whole frames after the first content: up to the first marker they pass as they are."""
        if self._rename is not None or (self._fix and CALLED.search(whole)):
            return self._frames(whole)
        marked = self._marked(whole)
        if marked == len(whole):
            return whole
        return whole[:marked] + self._frames(whole[marked:])

    def _marked(self, whole: bytes) -> int:
        """Where the frame with the first marker begins; the length if there is none."""
        first = len(whole)
        for mark in MARKS:
            at = whole.find(mark, 0, first)
            if at >= 0:
                first = at
        if (finish := FINISH.search(whole, 0, first)) is not None:
            first = finish.start()
        if first == len(whole):
            return first
        lf, crlf = whole.rfind(b"\n\n", 0, first), whole.rfind(b"\r\n\r\n", 0, first)
        return max(lf + 2 if lf >= 0 else 0, crlf + 4 if crlf >= 0 else 0)

    def finish(self) -> bytes:
        out = self._frames(self._buffer + b"\n\n") if self._buffer.strip() else b""
        if self.finish_reason is None and not self._done:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        if self.finish_reason is None:
            raise gw.UpstreamTruncatedError("the stream ended without a finish reason")
        return out if self._done else out + b"data: [DONE]\n\n"

    def _last_end(self, buffer: bytes) -> int:
        """Where the last whole frame ends; 0 if none does."""
        lf, crlf = buffer.rfind(b"\n\n"), buffer.rfind(b"\r\n\r\n")
        return max(lf + 2 if lf >= 0 else 0, crlf + 4 if crlf >= 0 else 0)

    def _frames(self, whole: bytes) -> bytes:
        out: list[bytes] = []
        start = 0
        for end in END.finditer(whole):
            out.append(self._frame(whole[start : end.end()]))
            start = end.end()
        return b"".join(out)

    def _frame(self, frame: bytes) -> bytes:
        if b"data:" not in frame:
            return frame
        if b"[DONE]" in frame and payload(frame) == b"[DONE]":
            self._done = True
            return frame
        found: dict[str, Any] | None = None
        if not self.committed or self._telling(frame):
            found = decoded(frame)
        if found is not None and self._note(found) and self._strip:
            return b""
        if not self.committed and CONTENT.search(frame):
            self.committed = True
        if self._fix and found is not None:
            frame = self._fixed(frame, found)
        if self._rename is not None:
            frame = MODEL.sub(lambda _: b'"model":' + (self._rename or b""), frame, count=1)
        return frame

    def _telling(self, frame: bytes) -> bool:
        """Whether a frame after the first content says more than content."""
        if b'"usage"' in frame or b'"error"' in frame or FINISH.search(frame):
            return True
        return self._fix and CALLED.search(frame) is not None

    def _note(self, found: dict[str, Any]) -> bool:
        """Read along; True for a frame that carries usage and nothing else."""
        if (error := inside(found)) is not None:
            raise self._reading.errors.meaning(0, error)
        choices = found.get("choices")
        for choice in choices or ():
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self.finish_reason = str(choice["finish_reason"])
                self.committed = True
        usage = found.get("usage")
        if isinstance(usage, dict):
            self.usage = self._reading.meters(usage)
            return not choices
        return False

    def _fixed(self, frame: bytes, found: dict[str, Any]) -> bytes:
        """The frame with ``tool_calls`` as the end of a choice that called tools."""
        for choice in objects(found, "choices"):
            if (choice.get("delta") or {}).get("tool_calls"):
                self._called.add(choice.get("index"))
            if choice.get("finish_reason") == "stop" and choice.get("index") in self._called:
                self.finish_reason = "tool_calls"
                frame = STOP.sub(rb'\1"tool_calls"', frame, count=1)
        return frame


def payload(frame: bytes) -> bytes:
    """The data of one frame."""
    lines = [line[5:].strip() for line in frame.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def decoded(frame: bytes) -> dict[str, Any]:
    """The JSON object of one frame, or the error that it is none."""
    try:
        found = msgspec.json.decode(payload(frame))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the stream holds invalid JSON") from error
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError("the stream holds something that is no object")
    return found


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    data: msgspec.Raw = msgspec.Raw(b"")
    usage: dict[str, Any] | None = None
    error: Any = None
    model: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


class WholeTee:
    """One answer that is no stream: checked, counted, forwarded byte for byte."""

    def __init__(
        self,
        head: gw.RequestHead,
        model: str,
        reading: Reading = OPENAI,
        finish_fix: bool = False,
    ) -> None:
        self._reading = reading
        self._fix = finish_fix
        self._head = head
        self._rename = head.model != model
        self._pieces: list[bytes] = []
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        self._pieces.append(data)
        return b""

    def finish(self) -> bytes:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        try:
            found = _ANSWER.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise gw.UpstreamTruncatedError("the answer is not what was asked for") from error
        if found.error:
            self._reading.decoded(body)
        if not found.choices and not bytes(found.data):
            raise gw.UpstreamTruncatedError("the answer is empty")
        if found.usage:
            self.usage = self._reading.meters(found.usage)
        self.finish_reason = found.choices[0].finish_reason if found.choices else "stop"
        self.committed = True
        if self._fix and self.finish_reason == "stop" and CALLED.search(body):
            body, self.finish_reason = fixed(body, self.finish_reason)
        if self._rename and found.model is not None:
            return gw.replaced(gw.top_level(body), model=self._head.model)
        return body


def fixed(body: bytes, reason: str) -> tuple[bytes, str]:
    """A whole answer in which a choice that called tools ends with ``tool_calls``."""
    members = gw.top_level(body)
    choices = msgspec.json.decode(members["choices"])
    for choice in choices:
        calls = (choice.get("message") or {}).get("tool_calls")
        if calls and choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
    return gw.replaced(members, choices=choices), str(choices[0].get("finish_reason") or reason)
