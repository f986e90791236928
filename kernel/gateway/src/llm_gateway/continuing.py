"""A stream that broke after content, continued by another attempt where that is safe.

Safe is plain text: what the client has becomes the beginning of the next attempt's answer, and
both become one stream of the same renderer. Bound only where a policy continues streams.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llm_gateway_api import (
    Asked,
    AttemptPolicy,
    CanonicalRequest,
    ChatRequest,
    Event,
    Finished,
    GatewayError,
    Message,
    Outcome,
    Prefill,
    ReasoningDelta,
    Started,
    SupportsContinuation,
    SupportsPrefill,
    Target,
    TextDelta,
    TextPart,
    UnsupportedParameterError,
    UpstreamError,
    UpstreamRequest,
    UpstreamTruncatedError,
    Usage,
    UsageReport,
)
from msgspec import structs

from llm_gateway import counting
from llm_gateway.lanes import TranslateLane

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call
    from llm_gateway.progress import Progress

log = logging.getLogger("llm_gateway.continuing")
FREE = frozenset({None, "text"})  # forms of an answer that may be cut anywhere
METERS = tuple(name for name, value in structs.asdict(Usage()).items() if type(value) is int)


@dataclass(slots=True)
class Partial:
    """An answer that the client has the beginning of, and what its parts used so far."""

    lane: TranslateLane
    error: GatewayError
    parts: list[tuple[Target, Usage]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.lane.events if isinstance(each, TextDelta))

    def usage(self) -> Usage:
        return added([usage for _, usage in self.parts])

    def goes_on(self, request: CanonicalRequest) -> ChatRequest:
        """What another attempt is asked: the same, with the text as its answer's beginning."""
        assert isinstance(request, ChatRequest)
        start = Message("assistant", (TextPart(self.text.rstrip()),), text_only=True)
        limit = request.params.get("max_tokens")
        params = request.params
        if isinstance(limit, int):
            left = limit - self.usage().output_total
            params = {**params, "max_tokens": max(1, left)}
        return structs.replace(request, messages=(*request.messages, start), params=params)


class Joint:
    """Joins a part to what the client has: nothing twice, nothing lost; meets `Seam`."""

    def __init__(self, partial: Partial, target: Target, prefill: Prefill) -> None:
        text = partial.text
        known = text.rstrip()
        self.before = partial.usage()
        self._echo = known if prefill == "repeats" else ""
        self._space = text[len(known) :]  # the client has it, and the next part may begin with it
        self.own: Usage | None = None
        self.mark = f": continued by {target.provider}\n\n".encode()

    def guessed(self, whole: Usage) -> Usage:
        rest = max(0, whole.output_total - self.before.output_total)
        self.own = structs.replace(whole, output=rest)
        return added([self.before, self.own])

    def joined(self, events: Sequence[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                if text := self._new(event.text):
                    found.append(structs.replace(event, text=text))
            elif isinstance(event, UsageReport):
                self.own = event.usage
                found.append(UsageReport(added([self.before, event.usage])))
            elif isinstance(event, Finished) and self._echo:
                raise UpstreamTruncatedError("the continuation ended before it began")
            elif not isinstance(event, Started | ReasoningDelta):
                found.append(event)
        return found

    def _new(self, text: str) -> str:
        """What of `text` the client does not have."""
        if self._echo:
            size = min(len(text), len(self._echo))
            if text[:size] != self._echo[:size]:
                raise UpstreamTruncatedError("the continuation begins with another text")
            text, self._echo = text[size:], self._echo[size:]
        while text and self._space:
            if text[0] != self._space[0]:
                self._space = ""
                break
            text, self._space = text[1:], self._space[1:]
        return text


@dataclass(frozen=True, slots=True)
class Continuing:
    """Decides what can be continued; shared by all requests of a generation."""

    policies: Sequence[tuple[str, SupportsContinuation]]
    prefills: Mapping[str, SupportsPrefill]

    @classmethod
    def of(
        cls,
        policies: Sequence[tuple[str, AttemptPolicy]],
        prefills: Mapping[str, SupportsPrefill],
    ) -> "Continuing | None":
        """None where no policy continues streams, or no provider could."""
        found = [(name, each) for name, each in policies if isinstance(each, SupportsContinuation)]
        return cls(found, prefills) if found and prefills else None

    def wanted(self, call: "Call", asked: Asked) -> bool:
        """Whether this stream shall be continued, should it break."""
        if not call.head.stream or call.head.operation != "chat":
            return False
        return any(self._ask(name, each.continues, asked) for name, each in self.policies)

    def lane(
        self,
        call: "Call",
        target: Target,
        sent: UpstreamRequest,
        make: Callable[["Call", UpstreamRequest, Target], TranslateLane],
    ) -> TranslateLane:
        """The lane of a stream that others may go on with, or of the one that goes on."""
        request, partial = call.canonical(), call.partial
        if partial is None:
            call.lane = make(call, sent, target)
            return call.lane
        assert isinstance(request, ChatRequest)
        prefill = self.prefill(target, request)
        if prefill is None:
            raise UnsupportedParameterError(f"{target.name} continues no text.", param="model")
        call.seam = Joint(partial, target, prefill)
        partial.lane.go_on(sent.decoder(), call.seam)
        return partial.lane

    def broken(self, call: "Call", progress: "Progress", error: Exception | None) -> bool:
        """Whether others may be asked to go on; then `call.partial` and `progress` say so."""
        lane, target = call.lane, progress.target
        if lane is None or not isinstance(error, UpstreamError) or not safe(call, lane):
            return False
        if call.partial is None:
            call.partial = Partial(lane, error)
        partial = call.partial
        if lane.committed:
            partial.parts.append((target, self._used(call, partial)))
            progress.continuable = self._continuable(call, partial, progress.targets)
        call.usage, call.seam = partial.usage(), None
        return bool(progress.continuable)

    def cut(self, call: "Call", seam: Joint) -> Usage:
        """What the answer used that ends in the part behind `seam`."""
        assert call.partial is not None
        seam.own = self._used(call, call.partial)
        return added([seam.before, seam.own])

    def prefill(self, target: Target, request: ChatRequest) -> Prefill | None:
        """How `target` would take the beginning of an answer to `request`."""
        able = self.prefills.get(target.provider)
        if able is None:
            return None
        try:
            return able.prefill(structs.replace(request, model=target.model))
        except Exception:
            log.exception("prefill.failed target=%s", target.name)
            return None

    def told(self, target: Target, outcome: Outcome) -> None:
        """An attempt that continued an answer ended."""
        whole = outcome.failure is None and not outcome.cancelled
        for name, policy in self.policies:
            self._ask(name, policy.continued, target, whole)

    def _continuable(
        self, call: "Call", partial: Partial, targets: Sequence[Target]
    ) -> tuple[Target, ...]:
        request = call.canonical()
        assert isinstance(request, ChatRequest)
        if not partial.text.strip() or request.messages[-1].role == "assistant":
            return ()
        return tuple(each for each in targets if self.prefill(each, request) is not None)

    def _used(self, call: "Call", partial: Partial) -> Usage:
        """What the part that broke used; its output is estimated, as no vendor has told it."""
        seam = call.seam
        told = (seam.own if seam is not None else partial.lane.usage) or Usage()
        if not told.input_total:
            told = structs.replace(told, input=counting.estimate(call.canonical()))
        before = sum(usage.output_total for _, usage in partial.parts)
        output = max(told.output, counting.text_tokens(partial.text) - before)
        return structs.replace(told, output=output, estimated=True)

    def _ask(self, name: str, ask: Callable[..., object], *args: object) -> bool:
        try:
            return bool(ask(*args))
        except Exception:
            log.exception("policy.failed name=%s", name)
            return False


def safe(call: "Call", lane: TranslateLane) -> bool:
    """Whether the answer so far, and what it is an answer to, can be cut where it was."""
    request = call.canonical()
    if not isinstance(request, ChatRequest) or lane.finish_reason is not None:
        return False
    params = request.params
    form = params.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else form
    choice = request.tool_choice
    return (
        kind in FREE
        and params.get("n") in (None, 1)
        and not params.get("logprobs")
        and not params.get("audio")
        and (choice is None or choice.mode in ("auto", "none", "allowed"))
        and all(_plain(each) for each in lane.events)
    )


def _plain(event: Event) -> bool:
    if isinstance(event, TextDelta):
        return event.index == 0 and event.logprobs is None
    return isinstance(event, Started | UsageReport)


def added(parts: Sequence[Usage]) -> Usage:
    """The sum of disjoint meters; estimated where a part of it is."""
    if len(parts) == 1:
        return parts[0]
    sums = {name: sum(getattr(each, name) for each in parts) for name in METERS}
    charged = any(each.charged is not each for each in parts)
    if charged:
        sums["billed_input"] = sum(
            each.input_total if each.billed_input is None else each.billed_input for each in parts
        )
        sums["billed_output"] = sum(
            each.output_total if each.billed_output is None else each.billed_output
            for each in parts
        )
    return Usage(**sums, estimated=any(each.estimated for each in parts))
