"""One breaker for each deployment, decided from this process' memory; the others' news move it."""

import asyncio
import logging
from collections.abc import Callable, Mapping

import llm_gateway_api as gw

from llm_gateway_guard_circuit_breaker.fleet import Fleet
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings
from llm_gateway_guard_circuit_breaker.state import (
    LONGEST_SECONDS,
    Phase,
    Rules,
    State,
    admitted,
    closed,
    failed,
    opened,
    passed,
    succeeded,
)

log = logging.getLogger("llm_gateway_guard_circuit_breaker")

# Of models that only clients named: those must not fill the memory, nor push out the others.
MAX_INVENTED = 1000
PROBE_SECONDS = 1.0


class Breaker:
    """Where one deployment stands. All changes go through `become`."""

    __slots__ = ("_gauge", "_name", "state")

    def __init__(self, name: str, gauge: gw.Value | None) -> None:
        self._name = name
        self._gauge = gauge
        self.state = State()

    def become(self, state: State) -> None:
        if state.phase is not self.state.phase:
            log.warning("breaker.%s target=%s", state.phase.name.lower(), self._name)
            if self._gauge is not None:
                self._gauge.value = float(state.phase)
        self.state = state


class Token:
    """A lease's part: since which epoch, and whether its success was told already."""

    __slots__ = ("epoch", "told")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.told = False


class CircuitBreaker:
    """Admits to deployments that work; the others get one probe at a time when due."""

    def __init__(
        self,
        settings: BreakerSettings,
        *,
        clock: Callable[[], float],
        metrics: gw.Metrics,
        state: gw.StateBackend | None = None,
    ) -> None:
        self._fleet = Fleet(state, settings.timeout_seconds, self._heard) if state else None
        self._rules = Rules(
            settings.failure_threshold, settings.success_threshold, settings.timeout_seconds
        )
        self._clock = clock
        self._known: dict[str, Breaker] = {}
        self._invented: dict[str, Breaker] = {}
        self._gauge = metrics.gauge(
            "gateway_circuit_breaker_state",
            "0 closed, 1 half-open, 2 open",
            ("provider", "model"),
            merge="max",
        )

    def admit(
        self, target: gw.Target, asked: gw.Asked
    ) -> gw.Lease | gw.Refusal | asyncio.Future[gw.Lease | gw.Refusal]:
        breaker = self._find(target) or self._new(target)
        now = self._clock()
        state = admitted(breaker.state, now)
        if state is None:
            wait = breaker.state.until - now if breaker.state.phase is Phase.OPEN else PROBE_SECONDS
            return _open(wait)
        first = breaker.state.phase is Phase.OPEN
        breaker.become(state)
        if first and target.known and self._fleet is not None:
            return self._claimed(self._fleet, target, breaker)
        return gw.Lease(target, Token(state.epoch))

    def look(self, target: gw.Target, asked: gw.Asked) -> Mapping[str, object]:
        """The phase; nobody's probe is taken for it."""
        breaker = self._find(target)
        state = breaker.state if breaker is not None else State()
        admits = admitted(state, self._clock()) is not None
        return {"admits": admits, "state": state.phase.name.lower()}

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        """A stream may last: its first content is what a probe was to show."""
        token = lease.held(Token)
        token.told = True
        breaker = self._find(lease.target)
        if breaker is not None:
            self._change(breaker, lease.target, succeeded(breaker.state, token.epoch, self._rules))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        breaker = self._find(lease.target)
        if breaker is None:
            return
        token, state = lease.held(Token), breaker.state
        if counts(outcome):
            state = failed(state, token.epoch, self._rules, self._clock(), outcome.retry_after)
        elif token.told:
            return
        elif outcome.failure is None and not outcome.cancelled:
            state = succeeded(state, token.epoch, self._rules)
        else:
            state = passed(state, token.epoch)
        self._change(breaker, lease.target, state)

    def reloaded(self, targets: gw.Targets) -> None:
        """A deployment that the configuration has no more is neither remembered nor shown."""
        there = {each.name for each in targets.deployments()}
        for name in [each for each in self._known if each not in there]:
            del self._known[name]
        for labels in tuple(self._gauge.children):
            if "/".join(labels) not in there:
                self._gauge.forget(*labels)
            elif "/".join(labels) not in self._known:  # of breakers with other settings
                self._gauge.value(*labels).value = 0.0

    def _claimed(
        self, fleet: Fleet, target: gw.Target, breaker: Breaker
    ) -> asyncio.Future[gw.Lease | gw.Refusal]:
        """The probe, if no other worker makes it; if one does, its news are waited for."""
        epoch = breaker.state.epoch
        place: asyncio.Future[gw.Lease | gw.Refusal] = asyncio.get_running_loop().create_future()

        def answered(first: bool) -> None:
            same = breaker.state.epoch == epoch  # no news came meanwhile
            if not first and same:
                breaker.become(opened(breaker.state, self._clock() + fleet.claim_seconds))
            elif place.cancelled():
                breaker.become(passed(breaker.state, epoch))
            if place.cancelled():
                return
            if first and same:
                place.set_result(gw.Lease(target, Token(epoch)))
            else:
                place.set_result(_open(PROBE_SECONDS))

        fleet.ask(target, answered)
        return place

    def _change(self, breaker: Breaker, target: gw.Target, state: State) -> None:
        """What happened here is news to the others."""
        before = breaker.state
        breaker.become(state)
        if self._fleet is None or not target.known or state is before:
            return
        if state.phase is Phase.OPEN:
            self._fleet.tell(target, state.until - self._clock())
        elif state.phase is Phase.CLOSED and before.phase is Phase.HALF_OPEN:
            self._fleet.tell(target, None)

    def _heard(self, target: gw.Target, seconds: float | None) -> None:
        breaker = self._find(target) or self._new(target)
        if seconds is None:
            breaker.become(closed(breaker.state))
        else:
            breaker.become(opened(breaker.state, self._clock() + min(seconds, LONGEST_SECONDS)))

    def _find(self, target: gw.Target) -> Breaker | None:
        return (self._known if target.known else self._invented).get(target.name)

    def _new(self, target: gw.Target) -> Breaker:
        if target.known:
            gauge = self._gauge.value(target.provider, target.model)
            breaker = self._known[target.name] = Breaker(target.name, gauge)
            return breaker
        if len(self._invented) >= MAX_INVENTED:
            del self._invented[next(iter(self._invented))]
        breaker = self._invented[target.name] = Breaker(target.name, None)
        return breaker


def counts(outcome: gw.Outcome) -> bool:
    """Whether it speaks against the deployment. A server error that the same request met
    before may be the request's fault."""
    if outcome.failure is None or outcome.cancelled:
        return False
    failure = gw.FailureClass(outcome.failure)
    if outcome.repeated and failure is gw.FailureClass.SERVER_ERROR:
        return False
    return gw.FAILURES[failure].breaker


def _open(wait: float) -> gw.Refusal:
    return gw.Refusal(503, "circuit_open", "it failed too often", retry_after=wait)


_: type[gw.Guard] = CircuitBreaker
__: type[gw.SupportsAnswered] = CircuitBreaker
___: type[gw.SupportsReloaded] = CircuitBreaker
