"""Answers of the Chat Completions API as canonical events; tolerant of what servers vary.

What no table names is kept as `Unknown` events, whose `dialect` says where it stood:
``openai.chat`` in the message, ``openai.chat:choice`` beside it, ``openai.chat:answer`` at
the top, ``openai.chat:usage`` among the figures.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_dialect_openai.calls import Calls, chat_pieces
from llm_gateway_dialect_openai.reading import (
    OPENAI,
    Reading,
    WholeDecoder,
    mapping,
    objects,
    position,
)
from llm_gateway_dialect_openai.usage import KNOWN as USAGE
from llm_gateway_dialect_openai.writing import STATE

TOP = frozenset({"id", "object", "created", "model", "choices", "usage", "obfuscation"})
CHOICE = frozenset({"index", "delta", "message", "logprobs", "finish_reason", "text"})
MESSAGE = frozenset({"role", "content", "refusal", "tool_calls", "function_call", "index"})
MESSAGE |= {"reasoning_content", "reasoning", "reasoning_details"}
NOTHING, MAX_NOTHING = (b"", b"[DONE]"), 32  # payloads that are no piece, white space around
SPEECH = frozenset({"role", "content"})  # all that most pieces hold


class Choice:
    """What has come of one choice so far."""

    def __init__(self, index: int, reading: Reading) -> None:
        self._index = index
        self._reading = reading
        self._calls: Calls | None = None
        self._sent = 0

    def events(self, given: dict[str, Any]) -> list[gw.Event]:
        """The events of one piece: a delta, a whole message, or a message that grows."""
        delta = mapping(given, "delta")
        if not delta and given.get("delta") is None and isinstance(given.get("message"), dict):
            delta = self._grown(given["message"])
        index = self._index
        more = not delta.keys() <= SPEECH
        events = self._thoughts(delta) if more else []
        text, chances = delta.get("content"), given.get("logprobs")
        if isinstance(text, list):
            events += self._listed(text)
        elif (text := text if isinstance(text, str) else "") or chances is not None:
            self._sent += len(text)
            if chances is not None:
                chances = self._reading.logprobs(chances, text) if chances != {} else None
            events.append(gw.TextDelta(text, index, chances))
        if more:
            self._more(delta, events)
        if self._reading.keep_unknown and not given.keys() <= CHOICE:
            self._keep(events, given, CHOICE, "openai.chat:choice")
        if reason := given.get("finish_reason"):
            events.append(self._reading.finished(reason, index))
        return events

    def _more(self, delta: dict[str, Any], events: list[gw.Event]) -> None:
        """What a piece holds besides thoughts and text."""
        if isinstance(text := delta.get("refusal"), str) and text:
            events.append(gw.RefusalDelta(text, self._index))
        if delta.get("tool_calls"):
            events += self._called(objects(delta, "tool_calls"))
        if isinstance(old := delta.get("function_call"), dict):
            events += self._called([{"index": 0, "function": old}])
        self._keep(events, delta, MESSAGE, "openai.chat")

    def _called(self, pieces: list[dict[str, Any]]) -> list[gw.Event]:
        if self._calls is None:
            self._calls = Calls(self._index)
        return chat_pieces(self._calls, pieces)

    def _grown(self, message: dict[str, Any]) -> dict[str, Any]:
        """`message` without the text that has been sent: some servers repeat it whole."""
        text = message.get("content")
        if self._sent and isinstance(text, str):
            return {**message, "content": text[self._sent :]}
        return message

    def _thoughts(self, delta: dict[str, Any]) -> list[gw.Event]:
        """Reasoning from the first member that has it; opaque details are kept whole."""
        details = delta.get("reasoning_details") or None
        state = {STATE: details} if isinstance(details, list) else {}
        for name in self._reading.reasoning:
            if (value := delta.get(name)) and (text := thought(value)):
                return [gw.ReasoningDelta(text, self._index, state)]
        return [gw.ReasoningDelta("", self._index, state)] if state else []

    def _listed(self, parts: list[Any]) -> list[gw.Event]:
        """Content as a list of parts (Mistral's reasoning models, some gateways)."""
        events: list[gw.Event] = []
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str) and text:
                self._sent += len(text)
                events.append(gw.TextDelta(text, self._index))
            elif isinstance(part, dict) and (text := thought(part.get("thinking"))):
                events.append(gw.ReasoningDelta(text, self._index))
        return events

    def _keep(
        self, events: list[gw.Event], given: dict[str, Any], known: frozenset[str], where: str
    ) -> None:
        if self._reading.keep_unknown and (rest := unnamed(given, known)):
            events.append(gw.Unknown(where, rest, self._index))


class Answer:
    """What has come of one answer; shared by the streamed and the whole form."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._choices: dict[int, Choice] = {}
        self._known: dict[str, Any] = {}
        self._figures: dict[str, Any] = {}
        self._held: list[gw.Event] | None = []
        self._started = False
        self._early: dict[str, Any] = {}
        self._open: set[int] = set()

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its end, and one did."""
        return bool(self._choices) and not self._open

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = []
        if not self._started:
            if not (found.get("id") or found.get("choices")):
                self._early |= found  # what Azure says of the prompt comes before the answer's id
                return []
            events.append(self._start({**self._early, **found} if self._early else found))
        late = self._top(found)
        for each in objects(found, "choices"):
            index = position(each)
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = Choice(index, self._reading)
                self._open.add(index)
            late += choice.events(each)
            if each.get("finish_reason"):
                self._open.discard(index)
        if isinstance(usage := found.get("usage"), dict):
            late += self._usage(usage)
        return events + (late if self._held is None else self._let_go(late))

    def _start(self, found: dict[str, Any]) -> gw.Event:
        self._started = True
        created = found.get("created")
        when = int(created) if isinstance(created, (int, float)) and created > 0 else None
        id_, model = found.get("id"), found.get("model")
        keep = self._reading.keep_unknown
        self._known = unnamed(found, TOP) if keep else {}
        return gw.Started(
            str(id_) if id_ else None, str(model) if model else None, when, self._known
        )

    def _top(self, found: dict[str, Any]) -> list[gw.Event]:
        if not self._reading.keep_unknown or found.keys() <= TOP:
            return []
        new = len(found.keys() - TOP) != len(self._known)
        if not new and self._known.items() <= found.items():
            return []  # the same as before, as in most pieces
        rest = unnamed(found, TOP)
        changed = {key: value for key, value in rest.items() if self._known.get(key) != value}
        self._known = {**self._known, **changed}
        return [gw.Unknown("openai.chat:answer", changed)] if changed else []

    def _usage(self, usage: dict[str, Any]) -> list[gw.Event]:
        events: list[gw.Event] = [gw.UsageReport(self._reading.meters(usage))]
        rest = unnamed(usage, USAGE) if self._reading.keep_unknown else {}
        if rest and rest != self._figures:
            self._figures = rest
            events.append(gw.Unknown("openai.chat:usage", rest))
        return events

    def _let_go(self, events: list[gw.Event]) -> list[gw.Event]:
        """Keep what is unknown until something is answered: it must not commit by itself."""
        assert self._held is not None
        for each in events:
            if type(each) is not gw.Unknown and gw.is_content(each):
                held, self._held = self._held, None
                return held + events
        self._held += [each for each in events if isinstance(each, gw.Unknown)]
        return [each for each in events if not isinstance(each, gw.Unknown)]


class ChatStreamDecoder:
    """OPEN --finish reason--> FINISHED; an end while OPEN was a cut.

    A server that answers a streamed request with one plain object is understood too.
    """

    def __init__(self, reading: Reading = OPENAI) -> None:
        self._reading = reading
        self._sse = gw.SSEParser()
        self._answer = Answer(reading)
        self._start = b""
        self._whole: ChatBodyDecoder | None = None
        self._begun = False

    def feed(self, data: bytes) -> list[gw.Event]:
        if not self._begun:
            data = self._start + data
            first = data.lstrip()[:1]
            self._begun = bool(first)
            self._start = b"" if first else data
            if first == b"{":
                self._whole = ChatBodyDecoder(self._reading)
        if self._whole is not None:
            return self._whole.feed(data)
        if not self._begun:
            return []
        return [event for each in self._sse.feed(data) for event in self._payload(each)]

    def finish(self) -> list[gw.Event]:
        if self._whole is not None:
            return self._whole.finish()
        events = [event for _, each in self._sse.flush() for event in self._payload(each)]
        if not self._answer.finished:
            raise gw.UpstreamTruncatedError("the stream ended before its end")
        return events

    def _payload(self, data: bytes) -> list[gw.Event]:
        if len(data) < MAX_NOTHING and data.strip() in NOTHING:
            return []
        return self._answer.events(self._reading.decoded(data))


class ChatBodyDecoder(WholeDecoder):
    """A chat completion that is no stream."""

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        choices = objects(found, "choices")
        for each in choices:
            if not isinstance(each.get("message"), dict):
                raise gw.UpstreamTruncatedError("the answer holds no message")
            each["finish_reason"] = each.get("finish_reason") or "stop"
        if not choices:
            raise gw.UpstreamTruncatedError("the answer holds no message")
        return Answer(self._reading).events(found)


def unnamed(given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The members that say something and that no table names."""
    if given.keys() <= known:
        return {}
    return {
        key: value
        for key, value in given.items()
        if key not in known and value is not None and value != [] and value != ""
    }


def thought(value: object) -> str:
    """Reasoning as text: a string, or the texts of a list of details."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    rows = [each for each in value if isinstance(each, dict)]
    texts = [each.get("text") or each.get("summary") for each in rows]
    return "".join(each for each in texts if isinstance(each, str))
