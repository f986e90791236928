"""One attempt at one target: encode, send, and carry the answer to the client."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from llm_gateway_api import (
    BODY_SEPARATOR,
    CanonicalRequest,
    ChatRequest,
    DirectProvider,
    EmbeddingsRequest,
    FailureClass,
    Finished,
    Lane,
    Observer,
    Provider,
    SupportsCountTokens,
    SupportsCredentials,
    SupportsEmbeddings,
    SupportsInline,
    SupportsPrefill,
    SupportsRelay,
    SupportsRerank,
    SupportsSecondTry,
    SupportsSigning,
    SupportsWatch,
    Target,
    UnsupportedParameterError,
    UpstreamError,
    UpstreamRequest,
    Usage,
    UsageReport,
)
from msgspec import structs

from llm_gateway import counting
from llm_gateway.accounting import Accounting
from llm_gateway.calling import authorised, mended, opened
from llm_gateway.guarding import Guarding
from llm_gateway.inlining import Inlining
from llm_gateway.lanes import TranslateLane
from llm_gateway.observe import Counts
from llm_gateway.states import DROPPED, readable, strangers
from llm_gateway.streaming import STREAM_TYPE, Streaming
from llm_gateway.transport import Transport

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

MAX_ANSWER_BYTES = 256 * 1024 * 1024
MOST_DROPPED = 4096  # characters of names that a header may tell
ANSWERING = frozenset({"chat", "completions"})  # whose answers have an output to count


@dataclass(frozen=True, slots=True)
class Abilities:
    """A provider's optional protocols, asked for once: asking costs more than a request may."""

    direct: DirectProvider | None
    relay: SupportsRelay | None
    embeddings: SupportsEmbeddings | None
    rerank: SupportsRerank | None
    counting: SupportsCountTokens | None
    inline: SupportsInline | None
    prefill: SupportsPrefill | None
    credentials: SupportsCredentials | None
    signing: SupportsSigning | None
    second_try: SupportsSecondTry | None

    @classmethod
    def of(cls, made: object) -> "Abilities":
        direct = made if isinstance(made, DirectProvider) else None
        return cls(
            direct,
            made if direct is None and isinstance(made, SupportsRelay) else None,
            made if isinstance(made, SupportsEmbeddings) else None,
            made if isinstance(made, SupportsRerank) else None,
            made if isinstance(made, SupportsCountTokens) else None,
            made if isinstance(made, SupportsInline) else None,
            made if isinstance(made, SupportsPrefill) else None,
            made if isinstance(made, SupportsCredentials) else None,
            made if isinstance(made, SupportsSigning) else None,
            made if isinstance(made, SupportsSecondTry) else None,
        )


@dataclass(frozen=True, slots=True)
class Bound:
    """A provider instance with everything an attempt needs, bound at start.

    `relays` holds the dialects of the relay lane; `seconds` the first-content deadline by
    operation.
    """

    name: str
    provider: Provider
    upstream: Transport
    can: "Abilities"
    relays: frozenset[str]
    seconds: Mapping[str, float]
    default_seconds: float
    chunk_gap_seconds: float
    headers: Mapping[str, str]
    bare: bool = field(init=False)  # what its provider encodes goes out as it is

    def __post_init__(self) -> None:
        bare = not (self.headers or self.can.credentials or self.can.signing)
        object.__setattr__(self, "bare", bare)

    def until(self, call: "Call") -> float:
        """When its first content has to be there."""
        seconds = self.seconds.get(call.head.operation, self.default_seconds)
        return min(call.deadline, monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Runs attempts; shared by all requests of a generation."""

    providers: Mapping[str, Bound]
    watchers: Sequence[SupportsWatch]
    observers: Sequence[Observer]
    counts: Counts
    accounting: Accounting
    inlining: Inlining
    guarding: Guarding

    async def run(self, call: "Call", target: Target) -> None:
        """Answer `call` from `target`, or raise; what was committed says `call.client`."""
        bound = self.providers[target.provider]
        counts = call.head.operation == "count_tokens"  # of a request, and nobody's usage
        call.headers["x-gateway-provider"] = target.provider
        call.headers["x-gateway-model"] = printable(target.model)
        call.headers["x-gateway-attempts"] = str(call.attempts)
        if counts and bound.can.counting is None:
            self._estimate(call, target)
            return
        inline = bound.can.inline if call.head.dialect not in bound.relays else None
        if inline is not None and self.inlining.concerns(call.canonical()):
            await self.inlining.apply(call, inline)
        if bound.can.direct is not None:
            await self._direct(call, target, bound, bound.can.direct)
            return
        sent, lane = self.prepared(call, target, bound)
        if call.trace is not None:
            sent = call.trace.carried(sent)
        deadline = bound.until(call)
        # as `opened` does, whose coroutine would be one more for every attempt
        signed = sent if bound.bare else await authorised(bound, sent)
        connection = await bound.upstream.send(signed, deadline, call.going_out)
        error = None
        if connection.status >= 300:
            answer = await mended(bound, sent, signed, connection, deadline, call.going_out)
            sent, connection, error = answer.asked, answer.connection, answer.error
        call.answered = connection.headers
        if sent.dropped:
            call.headers["x-gateway-dropped"] = named(sent.dropped)
        try:
            if error is not None:
                raise error
            call.reading = lane
            if call.head.stream:
                await Streaming(self, call, target, bound, connection, lane).run()
            else:
                out = lane.feed(await connection.read(MAX_ANSWER_BYTES))
                if sent.then:
                    out += await self._further(sent, lane, bound, deadline)
                out += lane.finish()
                if call.race is not None:
                    call.race.claim(call)
                if not counts:
                    call.events = getattr(lane, "events", ())
                    self.used(call, target, lane.usage, len(out) / counting.TEXT_BYTES_PER_TOKEN)
                self.accounting.end(call)
                call.client.send(200, call.headers, out)
        finally:
            connection.release()

    def _estimate(self, call: "Call", target: Target) -> None:
        """A count for a provider that has none, which a header tells."""
        lane = self._lane(call, None, target)
        usage = Usage(input=counting.estimate(call.canonical()), estimated=True)
        out = lane.render((UsageReport(usage), Finished("stop"))) + lane.finish()
        call.headers["x-gateway-estimated"] = "input_tokens"
        self.accounting.end(call)
        call.client.send(200, call.headers, out)

    def prepared(self, call: "Call", target: Target, bound: Bound) -> tuple[UpstreamRequest, Lane]:
        """What is sent, before its credentials, and what reads the answer."""
        head, relay = call.head, bound.can.relay
        if relay is not None and head.dialect in bound.relays and call.continuing is None:
            spliced = relay.splice(head, target.model)
            if spliced is not None and not strangers(call, target):
                return spliced, relay.tee(head, target.model)
        request = replaced_model(call.canonical(), target.model)
        if call.partial is not None:
            request = call.partial.goes_on(request)
        request, lost = readable(request, target.name, moved=call.moved)
        sent = self._encoded(bound, request, head.operation)
        if lost and DROPPED not in sent.dropped:
            sent = structs.replace(sent, dropped=(*sent.dropped, DROPPED))
        if isinstance(request, ChatRequest) and request.lost:
            sent = structs.replace(sent, dropped=(*sent.dropped, *request.lost))
        if call.continuing is not None:
            return sent, call.continuing.lane(call, target, sent, self._lane)
        return sent, self._lane(call, sent, target)

    def _encoded(self, bound: Bound, request: CanonicalRequest, operation: str) -> UpstreamRequest:
        if isinstance(request, ChatRequest):
            if operation != "count_tokens":
                return bound.provider.encode(request)
            if bound.can.counting is not None:
                return bound.can.counting.encode_count(request)
        elif isinstance(request, EmbeddingsRequest):
            if bound.can.embeddings is not None:
                return bound.can.embeddings.encode_embeddings(request)
        elif bound.can.rerank is not None:
            return bound.can.rerank.encode_rerank(request)
        raise UnsupportedParameterError(f"{bound.name} has no {operation}.", param="model")

    def _lane(self, call: "Call", sent: UpstreamRequest | None, target: Target) -> TranslateLane:
        watching = [each.watch(call.arrival) for each in self.watchers]
        decoder = sent.decoder() if sent is not None else None
        renderer = call.frontend.renderer(call.head)
        if call.head.operation not in ANSWERING:
            return TranslateLane(decoder, renderer, watching, target.name)
        guess = partial(counting.usage, call.canonical())
        return TranslateLane(decoder, renderer, watching, target.name, guess)

    async def _further(
        self, sent: UpstreamRequest, lane: Lane, bound: Bound, deadline: float
    ) -> bytes:
        """The rest of an answer that takes several calls; one that fails fails the attempt."""
        out = b""
        for each in sent.then:
            answer = await opened(bound, each, deadline)
            try:
                if answer.error is not None:
                    raise answer.error
                body = await answer.connection.read(MAX_ANSWER_BYTES)
            finally:
                answer.connection.release()
            out += lane.feed(BODY_SEPARATOR) + lane.feed(body)
        return out

    async def _direct(
        self, call: "Call", target: Target, bound: Bound, engine: DirectProvider
    ) -> None:
        """An engine that is not HTTP: its events, under the same deadlines."""
        lane = self._lane(call, None, target)
        held: list[bytes] = []
        request = replaced_model(call.canonical(), target.model)
        request, lost = readable(request, target.name, moved=call.moved)
        if lost:
            call.headers["x-gateway-dropped"] = DROPPED
        events = engine.stream(request)
        call.sent, call.reading = True, lane
        try:
            async with asyncio.timeout_at(bound.until(call)) as timer:
                async for event in events:
                    out = lane.render((event,))
                    if not call.head.stream or not lane.committed:
                        held.append(out)
                        continue
                    if not call.client.committed:
                        self.commit(call, target)
                        call.client.start(call.headers, STREAM_TYPE)
                        held.append(out)
                        out = b"".join(held)
                    call.client.write(out)
                    timer.reschedule(min(call.deadline, monotonic() + bound.chunk_gap_seconds))
                    await call.client.drained()
                out = lane.finish()
        except TimeoutError as error:
            raise UpstreamError(
                FailureClass.NO_FIRST_CONTENT, "the provider did not answer in time"
            ) from error
        finally:
            if (close := getattr(events, "aclose", None)) is not None:
                await close()
        if call.race is not None:
            call.race.claim(call)
        call.events = lane.events
        self.used(call, target, lane.usage, 0)
        self.accounting.end(call)
        if call.head.stream:
            call.client.write(out)
            call.client.end()
        else:
            call.client.send(200, call.headers, b"".join(held) + out)

    def used(self, call: "Call", target: Target, usage: Usage | None, output: float) -> None:
        """Keep what an answer used; where its vendor does not say, it was about `output`
        tokens long."""
        if usage is None and call.head.operation in ANSWERING:
            asked = counting.asked(call)
            usage = Usage(input=asked, output=math.ceil(output), estimated=True)
        if usage is not None and usage.estimated:
            self.counts.estimated(target.provider).inc()
            if not call.client.committed:
                call.headers["x-gateway-estimated"] = "usage"
        call.usage = usage

    def commit(self, call: "Call", target: Target) -> None:
        """The first content is here: from now on no other target can answer."""
        if call.race is not None:
            call.race.claim(call)
        call.first_content = monotonic()
        if call.leases:
            self.guarding.answered(call.leases, call.answered)
        self.counts.first(target.provider).observe(call.first_content - call.arrival.arrived)
        for observer in self.observers:
            try:
                observer.first_content(call.arrival, target)
            except Exception:
                self.counts.observer_errors.inc()


def replaced_model(request: CanonicalRequest, model: str) -> CanonicalRequest:
    """The same request under the upstream's own name of the model."""
    if request.model == model:
        return request
    return structs.replace(request, model=model)


def named(dropped: Sequence[str]) -> str:
    """Names that clients invented, as a header: as many as have room there."""
    text = printable(",".join(dropped))
    return text if len(text) <= MOST_DROPPED else text[:MOST_DROPPED].rpartition(",")[0]


def printable(text: str) -> str:
    """`text` as a header value: what is not printable ASCII is percent-encoded."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if " " < char < "\x7f" else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in text
    )
