"""The way of a request through the gateway. Knows contracts, never plugins.

An `if` on the name of a provider does not belong here, but in that provider's `encode`
or decoder. Until the first content event nothing reached the client, so another target
may answer; afterwards a failure is an explicit error frame, never a clean end.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from time import monotonic, time

from llm_gateway_api import (
    Arrival,
    Asked,
    CanonicalRequest,
    ClientGoneError,
    Event,
    FailureClass,
    Frontend,
    GatewayError,
    Headers,
    Lane,
    LedgerOpening,
    Lookup,
    NoTargetError,
    Observer,
    Outcome,
    Refusal,
    RequestHead,
    RoutingStrategy,
    Target,
    UpstreamError,
    Usage,
)
from msgspec import Struct, structs

from llm_gateway.accounting import Accounting
from llm_gateway.attempt import Attempts
from llm_gateway.caching import Caching, Flight
from llm_gateway.client import Client
from llm_gateway.continuing import Continuing, Joint, Partial
from llm_gateway.guarding import Guarding, Leases
from llm_gateway.lanes import TranslateLane
from llm_gateway.nesting import refuse_deep
from llm_gateway.observe import Counts
from llm_gateway.progress import Onward, Progress
from llm_gateway.racing import Race, Racing
from llm_gateway.reserve import Reserved, Reserving, settlement
from llm_gateway.routing import Considered, Decision, Router
from llm_gateway.screening import Screens
from llm_gateway.streaming import Streaming
from llm_gateway.tracing import Trace
from llm_gateway.unfinished import so_far

log = logging.getLogger("llm_gateway.pipeline")
REGION_HEADER = "x-gateway-region"


class Call(Struct, eq=False):
    """One request under way: what is known of it so far."""

    arrival: Arrival
    frontend: Frontend
    client: Client
    head: RequestHead
    deadline: float = float("inf")
    request: CanonicalRequest | None = None
    target: Target | None = None
    attempts: int = 0
    fallback: str | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    cost_usd: str | None = None  # the same as text
    cache: str | None = None
    lookup: Lookup | None = None
    flight: Flight | None = None
    repeated: Target | None = None  # who gave the answer that a cache repeats
    saved: Decimal | None = None
    first_content: float | None = None
    upstream_seconds: float = 0.0
    error: GatewayError | None = None
    failures: list[GatewayError] = []
    headers: dict[str, str] = {}
    events: Sequence[Event] = ()
    opening: LedgerOpening | None = None
    accounted: bool = False
    answered: Headers = {}
    reserved: Reserved = []
    leases: Leases = []
    trace: Trace | None = None
    race: Race | None = None
    sent: bool = False  # the attempt's request went out
    reading: Lane | None = None  # what reads the attempt's answer
    streaming: Streaming | None = None  # what passes it on, if it is a stream
    cut: bool = False  # it ended before its end, and what came of it counts
    hedge: str | None = None
    beside: bool = False  # this is a hedge itself
    given_up: list["Call"] = []  # attempts that another one outran
    continuing: Continuing | None = None  # where the stream shall go on, should it break
    lane: TranslateLane | None = None
    partial: Partial | None = None
    seam: Joint | None = None
    considered: Considered | None = None
    decision: Decision | None = None
    progress: Progress | None = None

    @property
    def moved(self) -> bool:
        """Whether another deployment is asked than the one that was chosen."""
        return self.beside or self.fallback is not None

    @property
    def eligible(self) -> Sequence[Target]:
        """The deployments that the request itself may go to."""
        return self.considered.kept if self.considered is not None else ()

    def going_out(self) -> None:
        """The attempt's request is sent now."""
        self.sent = True

    def canonical(self) -> CanonicalRequest:
        """The decoded request; decoded at most once."""
        if self.request is None:
            self.request = self.frontend.request(self.head)
        return self.request


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a request meets, in order; built once and shared by all requests.

    A change of settings builds another one: requests under way keep theirs.
    """

    generation: int
    screens: Screens
    reserving: Reserving
    accounting: Accounting
    caching: Caching
    router: Router
    guarding: Guarding
    onward: Onward
    attempts: Attempts
    observers: tuple[Observer, ...]
    counts: Counts
    request_seconds: float
    streaming_seconds: float
    max_json_depth: int = 256
    racing: Racing | None = None
    continuing: Continuing | None = None
    clock: Callable[[], float] = monotonic

    async def execute(self, call: Call) -> None:
        """Answer `call`, or raise `GatewayError`. Returns when the last byte is written."""
        call.arrival = arrival = await self.screens.enter(call.arrival)
        body = call.client.at_hand() or await call.client.body()
        refuse_deep(body, self.max_json_depth)
        call.head = head = call.frontend.parse(body, arrival)
        seconds = self.request_seconds
        if head.stream:
            seconds = self.streaming_seconds
            self.counts.streams.inc()
            call.client.watch(call.frontend.keep_alive(), monotonic())
        call.deadline = arrival.arrived + seconds
        # what is not installed is passed by without a coroutine
        if self.screens.admission:
            call.head = head = await self.screens.admit(arrival, head)
        seen = asked(arrival, head, self.router.looks)
        call.considered = considered = self.router.considered(seen)
        if self.reserving.limiters:
            call.reserved = await self.reserving.reserve(call, considered)
        try:
            self.accounting.begin(call)
            if self.screens.content:
                call.request = await self.screens.read(arrival, call.canonical())
            if not self.caching.caches or not await self.caching.replay(call):
                await self._answer(call, considered)
        finally:
            if call.flight is not None:
                self.caching.leave(call)
            if not call.accounted:
                self._unanswered(call)
            if call.reserved:
                self.reserving.settle(call.reserved, settlement(call))

    def _unanswered(self, call: Call) -> None:
        """Price what came of a request that was not answered whole, before limits settle it."""
        self.accounting.price(call)
        if call.usage is not None and call.usage.estimated and call.target is not None:
            self.counts.estimated(call.target.provider).inc()

    async def _answer(self, call: Call, considered: Considered) -> None:
        """Attempts, best target first, until one has answered or nobody may be asked."""
        call.decision = self.router.order(considered)
        seen, targets = considered.asked, self.router.targets(call.decision)
        call.progress = progress = Progress(seen, targets, targets[0])
        attempt = self._try if self.racing is None else self._race
        if self.continuing is not None and self.continuing.wanted(call, seen):
            call.continuing = self.continuing
        try:
            while not await attempt(call, progress):
                broken = call.failures if call.partial is None else [call.partial.error]
                await self.onward.move(progress, call.deadline, broken)
                call.headers.pop("x-gateway-dropped", None)
                call.answered = {}
                call.fallback = progress.reason()
                if call.fallback is not None:
                    call.headers["x-gateway-fallback"] = call.fallback
        finally:
            if progress.retrying:
                self.onward.leave(progress)

    async def _race(self, call: Call, progress: Progress) -> bool:
        assert self.racing is not None
        return await self.racing.run(call, progress, self._try)

    async def _try(self, call: Call, progress: Progress) -> bool:
        """One attempt; False if it failed and the client has seen nothing of it."""
        target = progress.target
        if progress.made or call.beside:
            if not await self._covered(call, progress):
                return False
            call.sent, call.cut, call.reading, call.streaming = False, False, None, None
        leases: Leases = []
        if self.guarding.guards:
            admitted = await self.guarding.admit(target, progress.asked, call.deadline)
            if isinstance(admitted, Refusal):
                self._refused(call, progress, admitted)
                return False
            leases = admitted
        call.attempts, call.target, call.leases = call.attempts + 1, target, leases
        started, failed, status = self.clock(), None, 0
        if call.trace is not None:
            call.trace.attempt(target, call.attempts)
        try:
            await self.attempts.run(call, target)
            status = 200
            if progress.made and progress.made[0].target.name != target.name:
                self.counts.fallbacks.inc()
            if call.partial is None:  # what was put together of two answers is nobody's
                self.caching.keep(call)
            return True
        except (asyncio.CancelledError, ClientGoneError):
            self._cut(call)
            raise
        except Exception as error:
            failed = self._failed(call, progress, error)
        finally:
            seconds, headers = self.clock() - started, call.answered
            if failed is not None:
                outcome = structs.replace(failed, duration=seconds, headers=headers)
            else:
                outcome = Outcome(
                    target,
                    None,
                    cancelled=not status,
                    status=status,
                    duration=seconds,
                    usage=call.usage,
                    headers=headers,
                )
            self._report(call, target, leases, outcome)
            if call.partial is not None and call.continuing is not None:
                call.continuing.told(target, outcome)
        self._over(call, progress, outcome)
        return False

    def _over(self, call: Call, progress: Progress, outcome: Outcome) -> None:
        """The attempt failed. Raises what it failed with where no other may be made."""
        progress.add(outcome, self.clock())
        if call.client.committed:
            going_on = call.continuing
            if going_on is None or not going_on.broken(call, progress, call.failures[-1]):
                raise call.failures[-1]
        elif outcome.failure == FailureClass.CALLER_FAULT:
            raise call.failures[-1]

    def _refused(self, call: Call, progress: Progress, refusal: Refusal) -> None:
        """A guard does not admit the attempt."""
        target = progress.target
        call.failures.append(unavailable(target, refusal))
        outcome = Outcome(target, None, status=refusal.status, retry_after=refusal.retry_after)
        progress.add(outcome, self.clock(), refused=True)

    async def _covered(self, call: Call, progress: Progress) -> bool:
        """Whether the limiters let the request go on to this target. What the client gets if
        they do not is the failure that led here: it was admitted, and nobody could answer."""
        refusal = await self.reserving.cover(call.reserved, progress.target)
        if refusal is None:
            return True
        log.info("attempt.uncovered target=%s code=%s", progress.target.name, refusal.code)
        outcome = Outcome(progress.target, None, status=refusal.status)
        progress.add(outcome, self.clock(), refused=True)
        return False

    def _failed(self, call: Call, progress: Progress, error: Exception) -> Outcome:
        """What `error` says about the target; its answer to the client joins the failures."""
        target = progress.target
        came = call.client.committed and (call.partial is None or call.partial.lane.committed)
        if isinstance(error, UpstreamError):
            if came:
                error.failure = FailureClass.BROKEN_AFTER_COMMIT
                self._cut(call)
            call.failures.append(error)
            return Outcome(
                target,
                error.failure,
                status=error.status,
                usage=call.usage if came else None,
                retry_after=error.retry_after,
                repeated=progress.repeats(error.failure),
            )
        if came or isinstance(error, GatewayError):
            self._cut(call)  # a filter that refuses an answer does not undo it
        if isinstance(error, GatewayError):
            call.failures.append(error)
            return Outcome(target, FailureClass.CALLER_FAULT, status=error.status)
        log.exception("attempt.failed provider=%s", target.provider)
        call.failures.append(GatewayError("The gateway failed; its log says why."))
        return Outcome(target, FailureClass.SERVER_ERROR, status=500)

    def _cut(self, call: Call) -> None:
        """The attempt ends before its answer does: what it used until now counts."""
        if call.accounted:
            return  # all of it came, but the client did not take it
        call.cut = True
        if call.seam is not None and call.continuing is not None and call.sent:
            call.usage = call.continuing.cut(call, call.seam)
        elif call.partial is None:
            call.usage = so_far(call)

    def _report(self, call: Call, target: Target, leases: Leases, outcome: Outcome) -> None:
        call.upstream_seconds += outcome.duration
        if leases:
            self.guarding.report(leases, outcome)
        strategy: RoutingStrategy | None = self.router.strategy
        if strategy is not None:
            strategy.report(target, outcome)
        self.counts.attempted(target.provider, outcome.duration)
        if outcome.failure is not None:
            self.counts.errors(target.provider, outcome.failure).inc()
        if call.trace is not None:
            call.trace.attempted(outcome)
        for observer in self.observers:
            try:
                observer.attempt(call.arrival, target, outcome)
            except Exception:
                self.counts.observer_errors.inc()


def asked(arrival: Arrival, head: RequestHead, looked_into: bool) -> Asked:
    """What routing sees; the body is searched only where a rule or filter may ask. The model is
    the one that the caller's name for it stands for."""
    principal, model = arrival.principal, head.model
    return Asked(
        arrival,
        principal.renamed.get(model, model) if principal.renamed else model,
        head.operation,
        head.stream,
        len(head.body),
        looked_into and "tools" in head.fields,
        looked_into and b'"image' in head.body,
        region(arrival) if principal.regions else arrival.headers.get(REGION_HEADER),
        time(),
        head.fields,
    )


def region(arrival: Arrival) -> str | None:
    """Where the caller says it is, or the only place it may be served from."""
    allowed = arrival.principal.regions
    if allowed is not None and len(allowed) == 1:
        return next(iter(allowed))
    return arrival.headers.get(REGION_HEADER)


def unavailable(target: Target, refusal: Refusal) -> NoTargetError:
    """A guard's refusal, as what the client sees if nobody else can be asked."""
    return NoTargetError(
        f"{target.name} is not available: {refusal.message}",
        status=refusal.status,
        code=refusal.code,
        retry_after=refusal.retry_after,
    )
