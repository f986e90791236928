"""One breaker for each deployment, decided from this process' memory alone."""

import logging
from collections.abc import Callable

import llm_gateway_api as gw

from llm_gateway_guard_circuit_breaker.settings import BreakerSettings
from llm_gateway_guard_circuit_breaker.state import (
    Phase,
    Rules,
    State,
    admitted,
    failed,
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
        self, settings: BreakerSettings, *, clock: Callable[[], float], metrics: gw.Metrics
    ) -> None:
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

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal:
        breaker = self._find(target) or self._new(target)
        now = self._clock()
        state = admitted(breaker.state, now)
        if state is None:
            wait = breaker.state.until - now if breaker.state.phase is Phase.OPEN else PROBE_SECONDS
            return gw.Refusal(503, "circuit_open", "it failed too often", retry_after=wait)
        breaker.become(state)
        return gw.Lease(target, Token(state.epoch))

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        """A stream may last: its first content is what a probe was to show."""
        token = _token(lease)
        token.told = True
        breaker = self._find(lease.target)
        if breaker is not None:
            breaker.become(succeeded(breaker.state, token.epoch, self._rules))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        breaker = self._find(lease.target)
        if breaker is None:
            return
        token, state = _token(lease), breaker.state
        if counts(outcome):
            state = failed(state, token.epoch, self._rules, self._clock(), outcome.retry_after)
        elif token.told:
            return
        elif outcome.failure is None and not outcome.cancelled:
            state = succeeded(state, token.epoch, self._rules)
        else:
            state = passed(state, token.epoch)
        breaker.become(state)

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


def _token(lease: gw.Lease) -> Token:
    assert isinstance(lease.token, Token)
    return lease.token


_: type[gw.Guard] = CircuitBreaker
__: type[gw.SupportsAnswered] = CircuitBreaker
