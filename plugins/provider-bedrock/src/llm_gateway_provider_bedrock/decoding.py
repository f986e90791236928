"""Answers of Converse, ConverseStream and CountTokens as canonical events."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock import errors
from llm_gateway_provider_bedrock.blocks import DIALECT, REDACTED, SIGNATURE
from llm_gateway_provider_bedrock.eventstream import Frame, FrameParser

MAX_JSON = 1024 * 1024
REASONS: dict[str, gw.FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}


def decoded(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError("the answer is no object")
    return found


def checked(found: dict[str, Any]) -> dict[str, Any]:
    """`found`, unless it is an error that came with a status of 200."""
    output = found.get("Output")
    if isinstance(output, dict) and "__type" in output:
        raise errors.meaning(errors.named({}, output), output, 0)
    return found


def count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def meters(usage: Mapping[str, Any]) -> gw.Usage:
    """Disjoint meters. `inputTokens` excludes the cache, unless the total says otherwise."""
    fresh, made = count(usage.get("inputTokens")), count(usage.get("outputTokens"))
    read = count(usage.get("cacheReadInputTokens"))
    wrote = count(usage.get("cacheWriteInputTokens"))
    if not (read or wrote):
        return gw.Usage(input=fresh, output=made)
    if fresh + made == count(usage.get("totalTokens")):
        fresh = max(0, fresh - read - wrote)
    details = usage.get("cacheDetails") or ()
    hour = sum(count(each.get("inputTokens")) for each in details if each.get("ttl") == "1h")
    hour = min(hour, wrote)
    return gw.Usage(
        input=fresh, cache_read=read, cache_write=wrote - hour, cache_write_1h=hour, output=made
    )


class Reader:
    """Reads blocks and their pieces; both decoders share it.

    `answer` is the tool whose input is the answer itself: its pieces are text.
    """

    def __init__(self, answer: str | None = None) -> None:
        self._answer = answer
        self._calls = 0
        self._call: dict[int, int] = {}  # a block's number -> the call's
        self._silent: set[int] = set()  # calls whose input has not begun
        self._skipped: set[int] = set()
        self._answers: set[int] = set()
        self._content = False
        self.stopped = False

    def start(self, block: int, start: Mapping[str, Any]) -> list[gw.Event]:
        use = start.get("toolUse")
        if not isinstance(use, dict):
            return []
        if use.get("type") == "server_tool_use":
            self._skipped.add(block)
            return []
        if use["name"] == self._answer:
            self._answers.add(block)
            return []
        self._call[block] = call = self._calls
        self._calls += 1
        self._silent.add(block)
        self._content = True
        return [gw.ToolCallDelta(call, use["toolUseId"], use["name"])]

    def delta(self, block: int, delta: Mapping[str, Any]) -> list[gw.Event]:
        if (text := delta.get("text")) is not None:
            return self._said(gw.TextDelta(text)) if text else []
        if (use := delta.get("toolUse")) is not None:
            return self._input(block, use.get("input") or "")
        if (thought := delta.get("reasoningContent")) is not None:
            return [event for event in self.thought(thought) for event in self._said(event)]
        if block in self._skipped:
            return []
        return self._said(gw.Unknown(DIALECT, dict(delta)))

    def thought(self, given: Mapping[str, Any]) -> list[gw.Event]:
        if text := given.get("text"):
            return [gw.ReasoningDelta(text)]
        if signature := given.get("signature"):
            return [gw.ReasoningDelta("", state={DIALECT: {SIGNATURE: signature}})]
        if redacted := given.get("redactedContent"):
            return [gw.ReasoningDelta("", state={DIALECT: {REDACTED: redacted}})]
        return []

    def stop_block(self, block: int) -> list[gw.Event]:
        """A call that never said its input has none."""
        if block not in self._silent:
            return []
        self._silent.discard(block)
        return [gw.ToolCallDelta(self._call[block], arguments="{}")]

    def whole(self, block: int, given: Mapping[str, Any]) -> list[gw.Event]:
        """A block of an answer that is no stream."""
        if len(given) == 1 and "text" in given:  # as most are
            return self.delta(block, given)
        if (use := given.get("toolUse")) is not None:
            events = self.start(block, given)
            text = msgspec.json.encode(use.get("input") or {}).decode()
            return events + self._input(block, text)
        if (thought := given.get("reasoningContent")) is not None:
            inner = thought.get("reasoningText")
            if inner is None:
                return self.thought(thought)
            return self.thought({"text": inner.get("text")}) + self.thought(
                {"signature": inner.get("signature")}
            )
        if (cited := given.get("citationsContent")) is not None:
            said = [gw.TextDelta(each.get("text") or "") for each in cited.get("content") or ()]
            return [*said, gw.Unknown(DIALECT, dict(given))]
        return self.delta(block, given)

    def stop(self, given: Mapping[str, Any]) -> list[gw.Event]:
        """The end of the message.

        Raises:
            UpstreamError: the model broke off before it said anything of use.
        """
        self.stopped = True
        raw = str(given["stopReason"])
        reason = REASONS.get(raw, "stop")
        if reason == "error" and not self._content:
            raise gw.UpstreamError(
                gw.FailureClass.SERVER_ERROR, "The model's output was malformed."
            )
        if reason == "tool_calls" and not self._calls:
            reason = "stop"
        return [gw.Finished(reason, raw=raw)]

    def metadata(self, given: Mapping[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = []
        if isinstance(usage := given.get("usage"), dict):
            events.append(gw.UsageReport(meters(usage)))
        if trace := given.get("trace"):
            events.append(gw.Unknown(DIALECT, {"trace": trace}))
        return events

    def _said(self, event: gw.Event) -> list[gw.Event]:
        self._content = True
        return [event]

    def _input(self, block: int, text: str) -> list[gw.Event]:
        if block in self._skipped or not text:
            return []
        if block in self._answers:
            return self._said(gw.TextDelta(text))
        self._silent.discard(block)
        return [gw.ToolCallDelta(self._call[block], arguments=text)]


class StreamDecoder:
    """OPEN --messageStop--> STOPPED; an end while OPEN was a cut.

    Usage comes behind the stop. An answer that is JSON although a stream was asked for is
    an error that came with a status of 200; no frame can begin with its first byte.
    """

    def __init__(self, answer: str | None = None) -> None:
        self._frames = FrameParser()
        self._json: bytearray | None = None
        self._begun = False
        reader = self._reader = Reader(answer)
        self._kinds: Mapping[str, Callable[[dict[str, Any]], list[gw.Event]]] = {
            "messageStart": lambda given: [gw.Started()],
            "contentBlockStart": lambda given: reader.start(
                given["contentBlockIndex"], given["start"]
            ),
            "contentBlockDelta": lambda given: reader.delta(
                given["contentBlockIndex"], given["delta"]
            ),
            "contentBlockStop": lambda given: reader.stop_block(given["contentBlockIndex"]),
            "messageStop": reader.stop,
            "metadata": reader.metadata,
        }

    def feed(self, data: bytes) -> list[gw.Event]:
        if not self._begun and data:
            self._begun = True
            if data[:1] == b"{":
                self._json = bytearray()
        if self._json is not None:
            self._json += data
            if len(self._json) > MAX_JSON:
                raise gw.UpstreamTruncatedError("the answer is no event stream")
            return []
        events: list[gw.Event] = []
        for frame in self._frames.feed(data):
            events += self._event(frame)
        return events

    def finish(self) -> list[gw.Event]:
        if self._json is not None:
            checked(decoded(bytes(self._json)))
            raise gw.UpstreamTruncatedError("the answer is no event stream")
        if not self._reader.stopped:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return []

    def _event(self, frame: Frame) -> list[gw.Event]:
        headers = frame.headers
        kind = headers.get(":message-type")
        if kind == "exception":
            raise errors.meaning(
                headers.get(":exception-type", ""), errors.parsed(frame.payload), 0
            )
        if kind == "error":
            found = {"message": headers.get(":error-message", "")}
            raise errors.meaning(headers.get(":error-code", ""), found, 0)
        read = self._kinds.get(headers.get(":event-type", ""))
        if read is None:
            return []
        given = decoded(frame.payload)
        try:
            return read(given)
        except (KeyError, TypeError, AttributeError) as error:
            raise gw.UpstreamTruncatedError("an event of the stream makes no sense") from error


class BodyDecoder(ABC):
    """An answer that is no stream; the bytes are decoded at their end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        found = checked(decoded(b"".join(self._pieces)))
        try:
            return self.events(found)
        except (KeyError, TypeError, AttributeError) as error:
            raise gw.UpstreamTruncatedError("the answer makes no sense") from error

    @abstractmethod
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        """What `found` says; what it lacks is a fault of the vendor's."""


class ConverseDecoder(BodyDecoder):
    def __init__(self, answer: str | None = None) -> None:
        super().__init__()
        self._reader = Reader(answer)

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = [gw.Started()]
        for number, block in enumerate(found["output"]["message"]["content"]):
            events += self._reader.whole(number, block)
        return events + self._reader.stop(found) + self._reader.metadata(found)


class CountDecoder(BodyDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        return [gw.UsageReport(gw.Usage(input=int(found["inputTokens"]))), gw.Finished("stop")]


class ProbeDecoder(BodyDecoder):
    """Reads nothing: the status says it all."""

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        return [gw.Finished("stop")]
