"""The way of a request through the gateway. Knows contracts, never plugins.

An `if` on the name of a provider does not belong here, but in that provider's `encode`
or decoder. Until the first content event nothing reached the client, so another target
may answer; afterwards a failure is an explicit error frame, never a clean end.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic

from llm_gateway_api import (
    FAILURES,
    Admission,
    Arrival,
    Asked,
    CanonicalRequest,
    Content,
    Event,
    FailureClass,
    Frontend,
    GatewayError,
    Guard,
    Lease,
    LedgerOpening,
    NoTargetError,
    Observer,
    Outcome,
    Refusal,
    RefusedError,
    RequestHead,
    RoutingStrategy,
    SecurityFilter,
    Seen,
    Settlement,
    Target,
    UpstreamError,
    Usage,
)
from msgspec import structs

from llm_gateway.accounting import Accounting
from llm_gateway.attempt import Attempts
from llm_gateway.client import Client
from llm_gateway.observe import Counts
from llm_gateway.reserve import Caching, Reserving, refused_error
from llm_gateway.routing import Router

log = logging.getLogger("llm_gateway.pipeline")


@dataclass(slots=True)
class Call:
    """One request under way: what is known of it so far."""

    arrival: Arrival
    frontend: Frontend
    client: Client
    head: RequestHead
    deadline: float = float("inf")
    request: CanonicalRequest | None = None
    target: Target | None = None
    attempts: int = 0
    usage: Usage | None = None
    cost: Decimal | None = None
    cache: str | None = None
    first_content: float | None = None
    upstream_seconds: float = 0.0
    error: GatewayError | None = None
    failures: list[GatewayError] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    events: Sequence[Event] = ()
    opening: LedgerOpening | None = None
    accounted: bool = False

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
    arrival_filters: tuple[tuple[str, SecurityFilter], ...]
    admission_filters: tuple[tuple[str, SecurityFilter], ...]
    content_filters: tuple[tuple[str, SecurityFilter], ...]
    reserving: Reserving
    accounting: Accounting
    caching: Caching
    router: Router
    guards: tuple[Guard, ...]
    attempts: Attempts
    observers: tuple[Observer, ...]
    counts: Counts
    request_seconds: float
    streaming_seconds: float

    async def execute(self, call: Call) -> None:
        """Answer `call`, or raise `GatewayError`. Returns when the last byte is written."""
        call.arrival = await self.arrive(call.arrival)
        call.head = call.frontend.parse(await call.client.body(), call.arrival)
        call.deadline = call.arrival.arrived + (
            self.streaming_seconds if call.head.stream else self.request_seconds
        )
        for name, each in self.admission_filters:
            await screen(name, each, Admission(call.arrival, call.head))
        reserved = await self.reserving.reserve(call)
        try:
            self.accounting.begin(call)
            await self._content(call)
            if await self.caching.replay(call):
                return
            for target in self.router.plan(asked(call, bool(self.router.filters))):
                if await self._try(call, target):
                    return
            raise failed(call.failures)
        finally:
            self.reserving.settle(reserved, Settlement(call.target, call.usage, call.cost))

    async def arrive(self, arrival: Arrival) -> Arrival:
        """CONNECTION and IDENTITY: what needs no body. Every route passes here."""
        for name, each in self.arrival_filters:
            seen = await screen(name, each, arrival)
            assert isinstance(seen, Arrival), f"{name} returned no Arrival"
            arrival = seen
        return arrival

    async def _content(self, call: Call) -> None:
        for name, each in self.content_filters:
            seen = await screen(name, each, Content(call.arrival, call.canonical()))
            assert isinstance(seen, Content), f"{name} returned no Content"
            call.request = seen.request

    async def _try(self, call: Call, target: Target) -> bool:
        """One attempt at `target`; False if another may be asked."""
        leases = await self._admit(call, target)
        if leases is None:
            return False
        call.attempts += 1
        call.target = target
        started = monotonic()
        outcome = Outcome(target, None, cancelled=True)
        try:
            await self.attempts.run(call, target)
            outcome = Outcome(target, None, status=200, usage=call.usage)
            if call.attempts > 1:
                self.counts.fallbacks.inc()
            self.caching.keep(call)
            return True
        except UpstreamError as error:
            if call.client.committed:
                error.failure = FailureClass.BROKEN_AFTER_COMMIT
            outcome = Outcome(
                target, error.failure, status=error.status, retry_after=error.retry_after
            )
            call.failures.append(error)
            if call.client.committed or not FAILURES[error.failure].try_next:
                raise
            return False
        except GatewayError:
            outcome = Outcome(target, FailureClass.CALLER_FAULT)
            raise
        except Exception as error:
            log.exception("attempt.failed provider=%s", target.provider)
            outcome = Outcome(target, FailureClass.SERVER_ERROR)
            call.failures.append(GatewayError("The gateway failed; its log says why."))
            if call.client.committed:
                raise call.failures[-1] from error
            return False
        finally:
            self._report(call, leases, structs.replace(outcome, duration=monotonic() - started))

    async def _admit(self, call: Call, target: Target) -> list[tuple[Guard, Lease]] | None:
        leases: list[tuple[Guard, Lease]] = []
        for guard in self.guards:
            try:
                answer = guard.admit(target)
                if isinstance(answer, asyncio.Future):
                    answer = await answer
            except Exception:
                log.exception("guard.failed target=%s", target.name)
                answer = Refusal(503, "no_target_available", "a guard failed")
            if isinstance(answer, Refusal):
                for other, lease in leases:
                    other.report(lease, Outcome(target, None, cancelled=True))
                call.failures.append(
                    NoTargetError(
                        f"{target.name} is not available: {answer.message}",
                        retry_after=answer.retry_after,
                    )
                )
                return None
            leases.append((guard, answer))
        return leases

    def _report(self, call: Call, leases: Sequence[tuple[Guard, Lease]], outcome: Outcome) -> None:
        target = outcome.target
        assert target is not None
        call.upstream_seconds += outcome.duration
        for guard, lease in leases:
            guard.report(lease, outcome)
        strategy: RoutingStrategy | None = self.router.strategy
        if strategy is not None:
            strategy.report(target, outcome)
        self.counts.attempts(target.provider).inc()
        self.counts.latency(target.provider).observe(outcome.duration)
        if outcome.failure is not None:
            self.counts.errors(target.provider, outcome.failure).inc()
        for observer in self.observers:
            try:
                observer.attempt(call.arrival, target, outcome)
            except Exception:
                self.counts.observer_errors.inc()


async def screen(name: str, each: SecurityFilter, seen: Seen) -> Seen:
    """Ask one filter; a refusal becomes its error, and so does a broken filter."""
    try:
        answer = await each.inspect(seen)
    except GatewayError:
        raise
    except Exception as error:
        log.exception("filter.failed name=%s", name)
        raise RefusedError(
            f"The filter {name} failed; the request was refused.", status=500, code="filter_failed"
        ) from error
    if isinstance(answer, Refusal):
        raise refused_error(answer)
    return answer


def asked(call: Call, looked_into: bool) -> Asked:
    """What routing sees; the body is searched only where a filter may ask."""
    head = call.head
    return Asked(
        call.arrival,
        head.model,
        head.operation,
        head.stream,
        len(head.body),
        looked_into and "tools" in head.fields,
        looked_into and b'"image' in head.body,
    )


def failed(failures: Sequence[GatewayError]) -> GatewayError:
    """The one answer for a run of failures (field lesson R2)."""
    if not failures:
        return NoTargetError("No deployment could be asked.")
    waits = [each.retry_after for each in failures if each.retry_after is not None]
    chosen = failures[-1]
    statuses = {each.status for each in failures}
    for status in (503, 504) if statuses != {429} else (429,):
        for each in failures:
            if each.status == status or (status == 503 and each.status == 429):
                chosen = each
                break
        else:
            continue
        break
    if chosen.status == 429 and statuses != {429}:
        chosen = NoTargetError("No deployment could answer; try again later.")
    if waits:
        chosen.retry_after = min(waits)
    return chosen
