"""What all decoders of the dialect share: how a vendor's answers differ, and checked access."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_dialect_openai.errors import ErrorRules, inside
from llm_gateway_dialect_openai.usage import meters

REASONS: Mapping[str, gw.FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
}
# Codes of a failed response that speak of the request.
POLICY = frozenset({"invalid_prompt", "bio_policy", "misalignment_policy_violation"})
# No end of an answer but a failure of the server.
FAILURES = frozenset({"error", "abort", "insufficient_system_resource"})
_ANSWERED = frozenset({"choices", "data", "type"})
_ERROR = b'"error"'  # stands in whatever holds an error


@dataclass(frozen=True, slots=True)
class Reading:
    """How one provider's answers are read. `logprobs` brings what stands beside a text into
    OpenAI's form."""

    errors: ErrorRules = field(default_factory=ErrorRules)
    meters: Callable[[Mapping[str, Any]], gw.Usage] = meters
    reasoning: tuple[str, ...] = ("reasoning_content", "reasoning", "reasoning_details")
    keep_unknown: bool = True
    logprobs: Callable[[Any, str], object] = lambda given, text: given

    def decoded(self, data: bytes) -> dict[str, Any]:
        """The object of one answer or frame.

        Raises:
            UpstreamTruncatedError: it is no object.
            UpstreamError: it holds an error.
        """
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error
        if not isinstance(found, dict):
            raise gw.UpstreamTruncatedError("the answer is no object")
        if _ANSWERED.isdisjoint(found):  # a bare error of what stands before
            words = found.get("detail") or found.get("message")
            if words:
                raise self.errors.meaning(0, {**found, "message": str(words)})
        if _ERROR in data and (problem := inside(found)) is not None:
            raise self.errors.meaning(0, problem)
        return found

    def failed(self, error: object) -> gw.UpstreamError:
        """What a response's ``error`` means."""
        found = error if isinstance(error, dict) else {}
        return self.errors.meaning(400 if found.get("code") in POLICY else 0, found)

    def finished(self, reason: object, index: int) -> gw.Event:
        """The end of a choice; a reason that is a failure is raised."""
        raw = str(reason)
        if raw in FAILURES:
            busy = raw == "insufficient_system_resource"
            kind = gw.FailureClass.OVERLOADED if busy else gw.FailureClass.SERVER_ERROR
            raise gw.UpstreamError(kind, "The provider broke off its answer.")
        return gw.Finished(REASONS.get(raw, "stop"), index, raw)


OPENAI = Reading()


def objects(holder: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of the list `key`, which may be absent or null."""
    found = holder.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise gw.UpstreamTruncatedError(f"{key!r} of the answer is no list of objects")
    for each in found:
        if not isinstance(each, dict):
            raise gw.UpstreamTruncatedError(f"{key!r} of the answer is no list of objects")
    return found


def mapping(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object `key`; empty where there is none."""
    found = holder.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError(f"{key!r} of the answer is no object")
    return found


def position(holder: Mapping[str, Any]) -> int:
    """The index of a choice, 0 where it is missing."""
    found = holder.get("index", 0)
    if type(found) is int and 0 <= found < 65536:
        return found
    if found is not None:
        raise gw.UpstreamTruncatedError("the answer numbers its choices strangely")
    return 0


class WholeDecoder:
    """An answer that is no stream: collected, and read at its end by `events`."""

    def __init__(self, reading: Reading = OPENAI) -> None:
        self._reading = reading
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        return self.events(self._reading.decoded(b"".join(self._pieces)))

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        """Of a probe's answer nothing is wanted."""
        return [gw.Finished("stop")]
