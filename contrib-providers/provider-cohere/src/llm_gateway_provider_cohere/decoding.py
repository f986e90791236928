"""Answers of /v2/chat as canonical events, streamed or whole.

Source: the events of Cohere's v2 stream as its SDK 7.3 types them. An event's ``index`` is
a position in the content or among the calls, never a choice: there is one choice.
"""

from collections.abc import Callable
from typing import Any

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F

from llm_gateway_provider_cohere import errors
from llm_gateway_provider_cohere.tools import Names
from llm_gateway_provider_cohere.values import decoded, member, meters, rows, words

REASONS: dict[str, gw.FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
}
USAGE = "openai.chat:usage"  # members that stand in the usage
EXTENSION = "openai.chat"  # the dialect whose clients may be shown members of the vendor's own


class Reading:
    """What both forms of an answer share: names, the tool plan, numbers of calls, endings."""

    def __init__(self, model: str, names: Names, plan_as_text: bool) -> None:
        self.model = model
        self.names = names
        self.plan_as_text = plan_as_text
        self._calls = 0

    def plan(self, text: str) -> list[gw.Event]:
        if not text:
            return []
        return [gw.TextDelta(text) if self.plan_as_text else gw.ReasoningDelta(text)]

    def call(self, given: dict[str, Any]) -> gw.ToolCallDelta:
        """The first piece of a call, under the next number."""
        function = member(given, "function")
        number, self._calls = self._calls, self._calls + 1
        name = self.names.given(words(function, "name"))
        call_id = words(given, "id") or f"{name}_{number}"
        return gw.ToolCallDelta(number, call_id, name, arguments(function))

    def ended(self, raw: object, problem: object, usage: object) -> list[gw.Event]:
        """The end of the answer; a finish that is a failure is raised."""
        if raw == "TIMEOUT":
            raise gw.UpstreamError(F.NO_FIRST_CONTENT, "The provider gave up after its own limit.")
        if problem or raw == "ERROR":
            raise errors.broken(problem)
        if not isinstance(raw, str):
            raise gw.UpstreamTruncatedError("the answer has no finish reason")
        found: list[gw.Event] = []
        usage = member(usage)
        counted = meters(usage)
        if counted is not None and (billed := member(usage, "billed_units")):
            found.append(gw.Unknown(USAGE, {"billed_units": billed}))
        found.append(gw.Finished(REASONS.get(raw, "stop"), raw=raw))
        if counted is not None:
            found.append(gw.UsageReport(counted))
        return found


def arguments(function: dict[str, Any]) -> str:
    given = function.get("arguments")
    if isinstance(given, str):
        return given
    return "" if given is None else msgspec.json.encode(given).decode()


def logprobs(given: object) -> object:
    """OpenAI's form: an entry for each item, which may span several of the vendor's tokens."""
    if given is None:
        return None
    entries = [
        {
            "token": words(each, "text"),
            "logprob": sum(one for one in each.get("logprobs") or () if isinstance(one, float)),
            "bytes": list(words(each, "text").encode()),
            "top_logprobs": [],
        }
        for each in rows(given)
    ]
    return {"content": entries} if entries else None


def cited(citations: list[dict[str, Any]]) -> list[gw.Event]:
    """Citations as the vendor gives them, and beside them those of web pages in OpenAI's form."""
    if not citations:
        return []
    extension: dict[str, Any] = {"citations": citations}
    if notes := [note for each in citations for note in _annotations(each)]:
        extension["annotations"] = notes
    return [gw.Unknown(EXTENSION, extension)]


def _annotations(citation: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for source in rows(citation.get("sources")):
        document = member(source, "document")
        if url := words(document, "url"):
            place = {"start_index": citation.get("start"), "end_index": citation.get("end")}
            inner = {**place, "url": url, "title": words(document, "title")}
            found.append({"type": "url_citation", "url_citation": inner})
    return found


class StreamDecoder:
    """OPEN --message-end--> ENDED. An end while OPEN was a cut; what follows ENDED is ignored."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._sse = gw.SSEParser()
        self._reading = reading()
        self._ended = False
        self._calls: dict[object, int] = {}
        self._silent: set[object] = set()
        self._handlers: dict[object, Callable[[dict[str, Any]], list[gw.Event]]] = {
            "message-start": self._start,
            "content-start": self._content,
            "content-delta": self._content,
            "tool-plan-delta": self._plan,
            "tool-call-start": self._call_start,
            "tool-call-delta": self._call_piece,
            "tool-call-end": self._call_end,
            "citation-start": self._citation,
            "message-end": self._end,
        }

    def feed(self, data: bytes) -> list[gw.Event]:
        return [event for each in self._sse.feed(data) for event in self._payload(each)]

    def finish(self) -> list[gw.Event]:
        events = [event for _, each in self._sse.flush() for event in self._payload(each)]
        if not self._ended:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return events

    def _payload(self, data: bytes) -> list[gw.Event]:
        if self._ended or not data or data.strip() == b"[DONE]":
            return []
        event = decoded(data)
        kind = event.get("type")
        if kind is None:
            raise errors.broken(event.get("message"))
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        return handler(event) if handler else []

    def _start(self, event: dict[str, Any]) -> list[gw.Event]:
        return [gw.Started(words(event, "id") or None, self._reading.model)]

    def _content(self, event: dict[str, Any]) -> list[gw.Event]:
        content = member(event, "delta", "message", "content")
        events: list[gw.Event] = []
        if thought := words(content, "thinking"):
            events.append(gw.ReasoningDelta(thought))
        if text := words(content, "text"):
            events.append(gw.TextDelta(text, logprobs=logprobs(event.get("logprobs"))))
        return events

    def _plan(self, event: dict[str, Any]) -> list[gw.Event]:
        return self._reading.plan(words(member(event, "delta", "message"), "tool_plan"))

    def _call_start(self, event: dict[str, Any]) -> list[gw.Event]:
        given = rows(member(event, "delta", "message").get("tool_calls"))
        piece = self._reading.call(given[0] if given else {})
        place = _place(event)
        self._calls[place] = piece.call
        if not piece.arguments:
            self._silent.add(place)
        return [piece]

    def _call_piece(self, event: dict[str, Any]) -> list[gw.Event]:
        place = _place(event)
        if place not in self._calls:
            raise gw.UpstreamTruncatedError("a piece of a tool call came before its start")
        given = rows(member(event, "delta", "message").get("tool_calls"))
        text = arguments(member(given[0], "function")) if given else ""
        if not text:
            return []
        self._silent.discard(place)
        return [gw.ToolCallDelta(self._calls[place], arguments=text)]

    def _call_end(self, event: dict[str, Any]) -> list[gw.Event]:
        place = _place(event)
        if place not in self._silent:
            return []
        self._silent.discard(place)
        return [gw.ToolCallDelta(self._calls[place], arguments="{}")]

    def _citation(self, event: dict[str, Any]) -> list[gw.Event]:
        return cited(rows(member(event, "delta", "message").get("citations")))

    def _end(self, event: dict[str, Any]) -> list[gw.Event]:
        delta = member(event, "delta")
        self._ended = True
        events: list[gw.Event] = []
        for place in sorted(self._silent, key=lambda each: self._calls[each]):
            events.append(gw.ToolCallDelta(self._calls[place], arguments="{}"))
        reason, problem = delta.get("finish_reason"), delta.get("error")
        return events + self._reading.ended(reason, problem, delta.get("usage"))


def _place(event: dict[str, Any]) -> object:
    index = event.get("index")
    return index if isinstance(index, (int, str)) else None


class BodyDecoder:
    """An answer that is no stream; the bytes are decoded at their end."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading()
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        found, reading = decoded(b"".join(self._pieces)), self._reading
        if isinstance(found.get("message"), str):
            raise errors.broken(found["message"])
        message = member(found, "message")
        events: list[gw.Event] = [gw.Started(words(found, "id") or None, reading.model)]
        events += _content(message, logprobs(found.get("logprobs")))
        events += reading.plan(words(message, "tool_plan"))
        for each in rows(message.get("tool_calls")):
            piece = reading.call(each)
            events.append(msgspec.structs.replace(piece, arguments=piece.arguments or "{}"))
        events += cited(rows(message.get("citations")))
        return events + reading.ended(
            found.get("finish_reason"), found.get("error"), found.get("usage")
        )


def _content(message: dict[str, Any], chances: object) -> list[gw.Event]:
    events: list[gw.Event] = []
    for item in rows(message.get("content")):
        if thought := words(item, "thinking"):
            events.append(gw.ReasoningDelta(thought))
        if text := words(item, "text"):
            events.append(gw.TextDelta(text, logprobs=chances))
            chances = None
    return events
