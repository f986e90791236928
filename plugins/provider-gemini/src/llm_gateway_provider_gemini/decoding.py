"""Answers of ``generateContent`` and its kin as canonical events.

A stream is server-sent events without names and without an end marker; each payload is a
whole response with what is new. An error may stand in it as an event, or as bare JSON over
several lines. Without ``alt=sse`` the vendor sends one JSON array, which is read as well.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_gemini import signatures
from llm_gateway_provider_gemini.errors import SIGNATURE_HELP, meaning
from llm_gateway_provider_gemini.logprobs import attach, tokens
from llm_gateway_provider_gemini.usage import count, meters

T = TypeVar("T")
BLOCKED = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER",
        "NO_IMAGE", "MODEL_ARMOR", "ESCALATION",
    }
)  # fmt: skip
MALFORMED = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"})
REASONS: dict[str, gw.FinishReason] = {
    "STOP": "stop",
    "TOO_MANY_TOOL_CALLS": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(BLOCKED, "content_filter"),
    **dict.fromkeys(MALFORMED, "error"),
}
# What an answer says about itself, for the client of OpenAI's dialect below `google`.
NOTES = ("groundingMetadata", "citationMetadata", "urlContextMetadata", "safetyRatings")


class Call(msgspec.Struct):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")


class Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Call | None = None
    inline_data: Blob | None = None
    executable_code: dict[str, Any] | None = None
    code_execution_result: dict[str, Any] | None = None


class Content(msgspec.Struct):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    logprobs_result: dict[str, Any] | None = None
    grounding_metadata: dict[str, Any] | None = None
    citation_metadata: dict[str, Any] | None = None
    url_context_metadata: dict[str, Any] | None = None
    safety_ratings: list[Any] | None = None


class Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Chunk(msgspec.Struct, rename="camel"):
    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: dict[str, Any] | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


CHUNK = msgspec.json.Decoder(Chunk)
CHUNKS = msgspec.json.Decoder(list[Chunk] | Chunk)
ANY = msgspec.json.Decoder()


def decoded(decoder: "msgspec.json.Decoder[T]", data: bytes) -> T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error


class Choice:
    """One candidate: what has been seen of it."""

    def __init__(self) -> None:
        self.calls = 0
        self.content = False
        self.code = False
        self.images: list[Any] = []
        self.notes: dict[str, Any] = {}


class Responses:
    """What has come of one answer. OPEN --finishReason or block--> FINISHED; an end while OPEN
    was a cut.

    `stream` says whether the client sees events before the end; `dialect` is the client's,
    `names` the client's names of renamed tools, `maker` the deployment that answers.
    """

    def __init__(self, dialect: str, names: Mapping[str, str], stream: bool, maker: str) -> None:
        self._maker = maker
        self._openai = dialect == "openai.chat"
        self._names = names
        self._stream = stream
        self._choices: dict[int, Choice] = {}
        self._started = False
        self._finished = False
        self._id = ""
        self._figures: dict[str, Any] | None = None

    def ended(self, rest: Sequence[Chunk]) -> list[gw.Event]:
        events = self.events(rest)
        if not self._finished:
            raise gw.UpstreamTruncatedError("the answer ended before its end")
        return events

    def events(self, chunks: Sequence[Chunk]) -> list[gw.Event]:
        events: list[gw.Event] = []
        for chunk in chunks:
            if chunk.error is not None:
                raise meaning(0, chunk.error if isinstance(chunk.error, dict) else {})
            if not self._started:
                self._started = True
                self._id = chunk.response_id or ""
                events.append(gw.Started(chunk.response_id, chunk.model_version))
            if chunk.usage_metadata is not None:
                self._figures = chunk.usage_metadata
                events.append(gw.UsageReport(meters(self._figures)))
            for each in chunk.candidates or ():
                self._candidate(each, events)
            if not chunk.candidates and chunk.prompt_feedback is not None:
                self._blocked(chunk.prompt_feedback, events)
        return events

    def _blocked(self, feedback: Feedback, events: list[gw.Event]) -> None:
        if reason := feedback.block_reason:
            self._finished = True
            events.append(gw.RefusalDelta(f"blocked: {reason}"))
            events.append(gw.Finished("content_filter", 0, reason))

    def _candidate(self, candidate: Candidate, events: list[gw.Event]) -> None:
        index = candidate.index or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice()
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._part(part, index, choice, events)
        if candidate.logprobs_result and self._openai:
            attach(events, index, tokens(candidate.logprobs_result))
        found = notes(candidate)
        if any(found):
            choice.notes |= {name: each for name, each in zip(NOTES, found, strict=True) if each}
        if candidate.finish_reason:
            self._finish(candidate.finish_reason, index, choice, events)

    def _part(self, part: Part, index: int, choice: Choice, events: list[gw.Event]) -> None:
        before = len(events)
        if part.function_call is not None:
            events.append(self._call(part, part.function_call, index, choice))
        elif part.text is not None:
            if part.thought:
                if part.text:
                    events.append(gw.ReasoningDelta(part.text, index))
            else:
                if part.text:
                    events.append(gw.TextDelta(part.text, index))
                if part.thought_signature and self._openai:
                    shown = signatures.shown(part.thought_signature, self._maker)
                    events.append(gw.Unknown("openai.chat", shown, index))
        elif part.inline_data is not None:
            blob = part.inline_data
            url = f"data:{blob.mime_type};base64,{blob.data}"
            choice.images.append({"type": "image_url", "image_url": {"url": url}})
            choice.content = True
        elif (code := part.executable_code) is not None:
            language = str(code.get("language") or "").lower()
            events.append(gw.TextDelta(f"\n```{language}\n{code.get('code') or ''}\n```\n", index))
        elif (result := part.code_execution_result) is not None:
            events.append(gw.TextDelta(f"\n```\n{result.get('output') or ''}\n```\n", index))
        if len(events) > before:
            choice.content = True

    def _call(self, part: Part, call: Call, index: int, choice: Choice) -> gw.Event:
        number = choice.calls
        choice.calls += 1
        text = bytes(call.args).decode()
        arguments = text if text not in ("", "null") else "{}"
        call_id = call.id or signatures.minted(self._id, str(index), str(number), call.name, text)
        extra: dict[str, Any] = {}
        if part.thought_signature:
            if self._openai:
                extra = signatures.shown(part.thought_signature, self._maker)
            else:
                call_id = signatures.packed(call_id, part.thought_signature, self._maker)
        name = self._names.get(call.name, call.name)
        return gw.ToolCallDelta(number, call_id, name, arguments, index, "function", extra)

    def _finish(self, raw: str, index: int, choice: Choice, events: list[gw.Event]) -> None:
        reason = REASONS.get(raw)
        if reason is None:
            reason = self._unusual(raw, choice)
        elif reason == "error" and not (self._stream and choice.content):
            raise gw.UpstreamTruncatedError(f"the model's answer is malformed ({raw.lower()})")
        elif raw == "STOP" and not choice.content and not meters(self._figures or {}).output_total:
            raise gw.UpstreamTruncatedError("the answer is empty")
        if self._openai:
            if choice.images:
                events.append(gw.Unknown("openai.chat", {"images": choice.images}, index))
            if choice.notes:
                events.append(gw.Unknown("openai.chat", {"google": choice.notes}, index))
        self._finished = True
        events.append(gw.Finished(reason, index, raw))

    def _unusual(self, raw: str, choice: Choice) -> gw.FinishReason:
        """A reason that is an error of its own, or one that this version does not know."""
        if raw == "PUP_LIMITED_DISABLED":
            raise gw.UpstreamError(
                gw.FailureClass.CREDENTIAL_REFUSED, "The provider restricts the gateway's account."
            )
        if raw == "MISSING_THOUGHT_SIGNATURE":
            raise gw.UpstreamError(
                gw.FailureClass.CALLER_FAULT, SIGNATURE_HELP, upstream_status=400
            )
        return "stop" if choice.content else "content_filter"


class GenerateDecoder:
    """Of a stream."""

    def __init__(self, dialect: str, names: Mapping[str, str], stream: bool, maker: str) -> None:
        self._answer = Responses(dialect, names, stream, maker)
        self._sse = gw.SSEParser(keep_stray=True)

    def feed(self, data: bytes) -> list[gw.Event]:
        return self._answer.events([decoded(CHUNK, each) for each in self._sse.feed(data)])

    def finish(self) -> list[gw.Event]:
        rest = [decoded(CHUNK, each) for _, each in self._sse.flush()]
        stray = b"\n".join(self._sse.stray or ()).strip()
        if stray[:1] in (b"{", b"["):
            rest += bare(stray)
        return self._answer.ended(rest)


class BodyDecoder:
    """Of an answer in one piece."""

    def __init__(self, dialect: str, names: Mapping[str, str], maker: str) -> None:
        self._answer = Responses(dialect, names, False, maker)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        return self._answer.ended(bare(b"".join(self._pieces)))


def bare(data: bytes) -> list[Chunk]:
    """One response as JSON, or an array of them."""
    found = decoded(CHUNKS, data)
    return found if isinstance(found, list) else [found]


def notes(candidate: Candidate) -> tuple[Any, ...]:
    """In the order of `NOTES`."""
    return (
        candidate.grounding_metadata,
        candidate.citation_metadata,
        candidate.url_context_metadata,
        candidate.safety_ratings,
    )


class WholeDecoder(ABC):
    """Base of the answers that are one JSON object; decoded at their end."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        found = decoded(ANY, b"".join(self._pieces))
        if not isinstance(found, dict):
            raise gw.UpstreamTruncatedError("the answer is no object")
        if isinstance(error := found.get("error"), dict):
            raise meaning(0, error)
        try:
            return self.events(found)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise gw.UpstreamTruncatedError("the answer could not be understood") from error

    @abstractmethod
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        """What `found` says; what it lacks is a fault of the vendor's."""


class EmbeddingsDecoder(WholeDecoder):
    """``embedding``, ``embeddings`` or ``predictions``, in the order of the inputs.

    `expected` is their number; with `normalise` each is brought to unit length. `estimate`
    stands in where the vendor counts no tokens.
    """

    def __init__(self, expected: int, normalise: bool, estimate: int) -> None:
        super().__init__()
        self._expected = expected
        self._normalise = normalise
        self._estimate = estimate

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        if "predictions" in found:
            rows = [each["embeddings"] for each in found["predictions"]]
        else:
            rows = found["embeddings"] if "embeddings" in found else [found["embedding"]]
        if len(rows) != self._expected:
            raise gw.UpstreamTruncatedError("the answer has another number of embeddings")
        events: list[gw.Event] = [
            gw.EmbeddingVector(at, self._vector(row["values"])) for at, row in enumerate(rows)
        ]
        return [*events, gw.UsageReport(self._usage(found, rows)), gw.Finished("stop")]

    def _vector(self, values: Sequence[float]) -> tuple[float, ...]:
        numbers = tuple(float(each) for each in values)
        length = math.sqrt(math.fsum(each * each for each in numbers))
        if not self._normalise or not length:
            return numbers
        return tuple(each / length for each in numbers)

    def _usage(self, found: dict[str, Any], rows: list[dict[str, Any]]) -> gw.Usage:
        told = count((found.get("usageMetadata") or {}).get("promptTokenCount"))
        told = told or sum(tokens_of(each.get("statistics")) for each in rows)
        return gw.Usage(input=told) if told else gw.Usage(input=self._estimate, estimated=True)


def tokens_of(statistics: object) -> int:
    if not isinstance(statistics, dict):
        return 0
    found = statistics.get("tokenCount", statistics.get("token_count"))
    return int(found) if isinstance(found, (int, float)) else 0


class CountDecoder(WholeDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        total = found["totalTokens"]
        if type(total) is not int:
            raise gw.UpstreamTruncatedError("the answer holds no count")
        return [gw.UsageReport(gw.Usage(input=total)), gw.Finished("stop")]


class ListDecoder(WholeDecoder):
    """Of a probe: any object is a good answer."""

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        return [gw.Finished("stop")]
