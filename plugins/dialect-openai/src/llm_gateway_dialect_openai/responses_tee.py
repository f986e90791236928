"""Reads along while a provider's bytes pass to a client of the Responses API.

Frames pass as they came. Those that hold the whole response (the first ones and the last)
are decoded, and written again where the model's name was exchanged.
"""

import re
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_dialect_openai.reading import OPENAI, Reading, mapping, objects
from llm_gateway_dialect_openai.responses import CALLS, ended
from llm_gateway_dialect_openai.tee import decoded, frames

# In a frame's strings a quote is escaped, so what is found is a member.
TELLING = re.compile(rb'"(?:response|error)"\s*:|"type"\s*:\s*"error"')
# What is added to an answer; where it is complete the whole of it is said again.
SAID = re.compile(rb'"delta"\s*:\s*"((?:[^"\\]|\\.)*)"')
# Before the first of these another provider may still be asked.
QUIET = frozenset({"response.created", "response.in_progress", "response.queued"})


class _Lane:
    """What both read: meets the contract `Lane` in part."""

    def __init__(self, head: gw.RequestHead, model: str, reading: Reading = OPENAI) -> None:
        self._reading = reading
        self._model = head.model if head.model != model else None
        self.committed = False
        self.usage: gw.Usage | None = None
        self.finish_reason: str | None = None

    def _note(self, response: dict[str, Any]) -> None:
        """The end of an answer: why, and what it took."""
        called = any(each.get("type") in CALLS for each in objects(response, "output"))
        for event in ended(response, self._reading, "tool_calls" if called else "stop"):
            if isinstance(event, gw.Finished):
                self.finish_reason = event.reason
            elif isinstance(event, gw.UsageReport):
                self.usage = event.usage
        self.committed = True

    def _renamed(self, response: dict[str, Any]) -> bool:
        if self._model is None or "model" not in response:
            return False
        response["model"] = self._model
        return True


class ResponsesStreamTee(_Lane):
    def __init__(self, head: gw.RequestHead, model: str, reading: Reading = OPENAI) -> None:
        super().__init__(head, model, reading)
        self._blocks = gw.SSEBlocks()

    def feed(self, data: bytes) -> bytes:
        whole = self._blocks.feed(data)
        if self.committed and TELLING.search(whole) is None:
            return whole
        return b"".join(self._frame(each) for each in frames(whole))

    def finish(self) -> bytes:
        rest = self.feed(b"\n\n") if self._blocks.begun else b""
        if self.finish_reason is None:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return rest

    def said(self, data: bytes) -> int:
        return gw.string_bytes(SAID, data)

    def _frame(self, frame: bytes) -> bytes:
        if b"data:" not in frame or b"[DONE]" in frame[:16]:
            return frame
        if self.committed and TELLING.search(frame) is None:
            return frame
        found = decoded(frame)
        kind = found.get("type")
        response = mapping(found, "response")
        if kind == "error" or kind == "response.failed":
            raise self._reading.failed(found if kind == "error" else response.get("error"))
        if kind in ("response.completed", "response.incomplete"):
            self._note(response)
        elif kind not in QUIET:
            self.committed = True
        if self._renamed(response):
            return gw.frame(msgspec.json.encode(found), str(kind).encode())
        return frame


class ResponsesWholeTee(_Lane):
    def __init__(self, head: gw.RequestHead, model: str, reading: Reading = OPENAI) -> None:
        super().__init__(head, model, reading)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        self._pieces.append(data)
        return b""

    def finish(self) -> bytes:
        body = b"".join(self._pieces)
        found = self._reading.decoded(body)
        if found.get("status") == "failed":
            raise self._reading.failed(found.get("error"))
        if found.get("status") not in ("completed", "incomplete"):
            raise gw.UpstreamTruncatedError("the answer is not complete")
        self._note(found)
        if self._renamed(found):
            return gw.replaced(gw.top_level(body), model=self._model)
        return body
