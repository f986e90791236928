"""Reads along while a provider's bytes pass to a client of the same dialect.

Bytes are forwarded as they came but for the model's name, where it was exchanged, and a
usage frame that the client did not ask for.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_dialect_openai.errors import inside
from llm_gateway_dialect_openai.reading import OPENAI, Reading, objects

END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
NO_USAGE = re.compile(rb'"usage"\s*:\s*null')
NULL_USAGE = re.compile(rb',\s*"usage"\s*:\s*null')
USAGE = re.compile(rb'"usage"\s*:\s*[^n\s]')
MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
STOP = re.compile(rb'("finish_reason"\s*:\s*)"stop"')
CALLED = re.compile(rb'"tool_calls"\s*:\s*\[\s*\{')
FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
FINISH_MEMBER = re.compile(rb'"finish_reason"\s*:\s*')
CONTENT = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|transcript)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{'
)


SAID = re.compile(
    rb'"(?:content|reasoning_content|reasoning|refusal|text|arguments|transcript)"\s*:\s*'
    rb'"((?:[^"\\]|\\.)*)"'
)


class StreamTee:
    """One stream; meets the contracts `Lane` and `SupportsSaid`.

    Until the first content each frame is decoded. Then a block of frames passes with a few
    byte searches, up to the first frame that may hold usage, an error or a finish reason.
    In a frame's strings a quote is escaped, so what is found is a member. With `finish_fix`
    a choice that called tools and stopped ends with ``tool_calls``.
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
        self._ended: set[object] = set()
        self._choices = choices(head)
        self._strip = not head.include_usage
        renamed = head.model != model
        self._rename = b'"model":' + json.dumps(head.model).encode() if renamed else None
        self._own = b""  # the member "model" as this stream spells it
        self._finish = b""  # what a finish reason begins with, as this stream spells it
        self._blocks = gw.SSEBlocks()
        self._done = False
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def feed(self, data: bytes) -> bytes:
        whole = self._blocks.feed(data)
        at = whole.find(b'"usage"')
        if self._strip and at >= 0 and NO_USAGE.search(whole, at):
            whole, at = NULL_USAGE.sub(b"", whole.replace(b',"usage":null', b"")), 0
        if self._rename is not None:
            whole, at = self._renamed(whole, self._rename), min(at, 0)
        return self._block(whole, at) if self.committed else self._beginning(whole, at)

    def finish(self) -> bytes:
        rest = self.feed(b"\n\n") if self._blocks.begun else b""
        if self.finish_reason is None or len(self._ended) < self._choices:
            raise gw.UpstreamTruncatedError("the stream ended without a finish reason")
        return rest if self._done else rest + b"data: [DONE]\n\n"

    def said(self, data: bytes) -> int:
        return gw.string_bytes(SAID, data)

    def _beginning(self, whole: bytes, usage: int) -> bytes:
        """Frame by frame up to the first content. There is no usage before the place `usage`,
        and none at all where that is negative."""
        out: list[bytes] = []
        start = 0
        while not self.committed and (end := END.search(whole, start)) is not None:
            out.append(self._frame(whole[start : end.end()]))
            start = end.end()
        out.append(self._block(whole[start:], max(0, usage - start) if usage >= 0 else usage))
        return b"".join(out)

    def _block(self, whole: bytes, usage: int) -> bytes:
        """Whole frames after the first content."""
        marked = self._marked(whole, usage)
        if marked == len(whole):
            return whole
        told = [self._frame(each) for each in frames(whole[marked:])]
        return b"".join((whole[:marked], *told))

    def _marked(self, whole: bytes, usage: int) -> int:
        """Where the frame with the first marker begins; the length if there is none."""
        if self.finish_reason is not None:
            return 0  # few frames follow, and each may matter
        first = len(whole)
        if self._fix and (found := CALLED.search(whole)) is not None:
            first = found.start()
        if usage >= 0 and (at := whole.find(b'"usage"', usage, first)) >= 0:
            found = USAGE.search(whole, at, first)
            first = first if found is None else found.start()
        if (at := whole.find(b'"error"', 0, first)) >= 0:
            first = at
        if self._finish:
            if (at := whole.find(self._finish, 0, first)) >= 0:
                first = at
        elif (found := FINISH.search(whole, 0, first)) is not None:
            first = found.start()
        return first if first == len(whole) else gw.last_end(whole[:first])

    def _frame(self, frame: bytes) -> bytes:
        if b"data:" not in frame:
            return frame
        if b"[DONE]" in frame and payload(frame) == b"[DONE]":
            self._done = True
            return frame
        if not self._finish and (member := FINISH_MEMBER.search(frame)) is not None:
            self._finish = member[0] + b'"'
        if not self.committed or self._telling(frame):
            found = decoded(frame)
            if self._note(found) and self._strip:
                return b""
            self.committed = self.committed or CONTENT.search(frame) is not None
            return self._fixed(frame, found) if self._fix else frame
        return frame

    def _telling(self, frame: bytes) -> bool:
        """Whether a frame after the first content says more than content."""
        if b'"usage"' in frame or b'"error"' in frame or FINISH.search(frame):
            return True
        return self._fix and CALLED.search(frame) is not None

    def _renamed(self, whole: bytes, name: bytes) -> bytes:
        """The frames with the model's name exchanged: at once while each has the same."""
        out = whole.replace(self._own, name) if self._own else whole
        if out.count(b'"model"') == out.count(name):
            return out
        if (found := MODEL.search(whole)) is not None:
            self._own = found[0]
        return b"".join(MODEL.sub(lambda _: name, each, count=1) for each in frames(whole))

    def _note(self, found: dict[str, Any]) -> bool:
        """Read along; True for a frame that carries usage and nothing else."""
        if (error := inside(found)) is not None:
            raise self._reading.errors.meaning(0, error)
        choices = found.get("choices")
        for choice in choices or ():
            if isinstance(choice, dict) and choice.get("finish_reason"):
                self.finish_reason = str(choice["finish_reason"])
                self._ended.add(choice.get("index"))
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


def frames(whole: bytes) -> Iterator[bytes]:
    start = 0
    for end in END.finditer(whole):
        yield whole[start : end.end()]
        start = end.end()


def payload(frame: bytes) -> bytes:
    """The data of one frame."""
    if frame.startswith(b"data:") and frame.find(b"\n") == len(frame) - 2:
        return frame[5:].strip()
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


def choices(head: gw.RequestHead) -> int:
    """How many choices must end: ``n`` of a chat; several prompts give more than it says."""
    given = head.fields.get("n")
    found = None if given is None else bytes(given)
    return int(found) if found is not None and found.isdigit() else 1


def fixed(body: bytes, reason: str) -> tuple[bytes, str]:
    """A whole answer in which a choice that called tools ends with ``tool_calls``."""
    members = gw.top_level(body)
    choices = msgspec.json.decode(members["choices"])
    for choice in choices:
        calls = (choice.get("message") or {}).get("tool_calls")
        if calls and choice.get("finish_reason") == "stop":
            choice["finish_reason"] = "tool_calls"
    return gw.replaced(members, choices=choices), str(choices[0].get("finish_reason") or reason)
