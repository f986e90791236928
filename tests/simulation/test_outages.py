"""Hours of traffic over deployments that fail, throttle, slow down and recover, in virtual time.

The kernel's own loop of attempts with the real policies and guards; only what an attempt meets
is made up, from a seed.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.guarding import Guarding
from llm_gateway.observe import Counts
from llm_gateway.pipeline import Call, Pipeline, asked
from llm_gateway.progress import Onward
from llm_gateway.routing import Router
from llm_gateway.screening import Screens
from llm_gateway_guard_bulkhead.guard import Bulkhead
from llm_gateway_guard_bulkhead.settings import BulkheadSettings
from llm_gateway_guard_circuit_breaker.guard import CircuitBreaker
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_policy_retry.policy import RetryPolicy
from llm_gateway_policy_retry.settings import RetrySettings
from llm_gateway_routing_basic.strategies import SmoothWeighted
from llm_gateway_testkit.virtualtime import Clock, VirtualLoop

F = gw.FailureClass
SECONDS = 3600.0
DEADLINE = 30.0
AFTERMATH = 90.0
NAMES = ("a", "b", "c")
STATE = "gateway_circuit_breaker_state"
FAULTS = (F.SERVER_ERROR, F.CONNECT, F.OVERLOADED, F.NO_FIRST_CONTENT, F.RATE_LIMITED)


@dataclass
class Deployment:
    """What attempts meet, by time: `spells` are (from, to, fault)."""

    spells: list[tuple[float, float, gw.FailureClass]]
    chance: random.Random
    slow: float = 0.1

    def fault(self, now: float) -> gw.FailureClass | None:
        return next((fault for start, end, fault in self.spells if start <= now < end), None)

    def well(self, start: float, end: float) -> bool:
        return not any(begin < end and start < over for begin, over, _ in self.spells)

    async def answer(self, clock: Clock) -> None:
        fault = self.fault(clock.now)
        wait = 2.0 if fault is F.NO_FIRST_CONTENT else self.slow * (0.5 + self.chance.random())
        await asyncio.sleep(wait)
        if fault is not None:
            raise gw.UpstreamError(
                fault,
                "no",
                retry_after=self.chance.choice((None, 0.5, 3.0, 20.0))
                if fault is F.RATE_LIMITED
                else None,
            )


@dataclass
class Reference:
    """What one breaker must do, by its specification alone: asked for each attempt, told its end.

    Only attempts that began after the last change of phase speak; server errors that a request
    met before do not. `wrong` is what it did besides: who asks guards keeps what they raise.
    """

    rules: BreakerSettings
    phase: str = "closed"
    epoch: int = 0
    failures: int = 0
    successes: int = 0
    opened: float = 0.0
    probe: str | None = None
    expected: str | None = None
    epochs: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)

    def begun(self, request: str) -> None:
        self.must(self.expected is None, f"it is not {self.expected}")
        self.must(self.phase != "open", "sent although it is open")
        if self.phase == "half_open":
            self.must(self.probe is None, "more than one probe at a time")
            self.probe = request
        self.epochs[request] = self.epoch

    def ended(self, request: str, outcome: gw.Outcome) -> None:
        if self.epochs.pop(request) != self.epoch:
            return
        if self.phase == "half_open":
            self.probe = None
        if outcome.failure is None and not outcome.cancelled:
            self.failures, self.successes = 0, self.successes + 1
            if self.phase == "half_open" and self.successes == self.rules.success_threshold:
                self.expected = "closed"
        elif outcome.failure is not None and gw.FAILURES[F(outcome.failure)].breaker:
            if outcome.repeated and outcome.failure == F.SERVER_ERROR:
                return
            self.failures += 1
            if self.phase == "half_open" or self.failures == self.rules.failure_threshold:
                self.expected = "open"

    def became(self, phase: str, now: float) -> None:
        if phase == "half_open":
            self.must(self.phase == "open", f"{self.phase} became half-open")
            due = self.opened + self.rules.timeout_seconds
            self.must(now >= due, "probed before its time")
        else:
            self.must(phase == self.expected, f"{self.phase} became {phase}, not {self.expected}")
        if phase == "open":
            self.opened = now
        self.phase, self.expected = phase, None
        self.epoch += 1
        self.failures = self.successes = 0


class Witness(logging.Handler):
    """Sees attempts as the guards do, and the changes of phase as they are logged.

    The last guard is asked only for what the others admitted, the first is told of an end
    before the breaker is: `first` and the witness itself.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.references = {name: Reference(BreakerSettings()) for name in NAMES}
        self.changes: Counter[str] = Counter()
        self.first: gw.Guard = Ends(self.references)
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        change, _, name = record.getMessage().partition(" target=")
        phase = change.removeprefix("breaker.")
        self.changes[phase] += 1
        self.references[name.partition("/")[0]].became(phase, self._clock.now)

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        self.references[target.provider].begun(asked.arrival.request_id)
        return gw.Lease(target)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        """What the first was told."""


@dataclass
class Ends:
    """A guard that admits everybody, and hears how it ended."""

    references: dict[str, Reference]

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, asked.arrival.request_id)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        reference = self.references[lease.target.provider]
        if lease.token in reference.epochs:  # else another guard refused it
            reference.ended(str(lease.token), outcome)


class Nobody:
    """Stands where a request has a client and nothing is sent."""

    committed = False


@dataclass
class World:
    """One gateway in front of three deployments, and what became of the requests."""

    seed: int
    anchored: bool
    clock: Clock = field(default_factory=Clock)
    asked: int = 0
    attempts: int = 0
    failed: list[tuple[float, gw.GatewayError]] = field(default_factory=list)
    most_retrying: float = 0.0

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        self.chance = chance
        self.deployments = {
            name: Deployment(self._spells(at), random.Random(chance.random()))
            for at, name in enumerate(NAMES)
        }

        def now() -> float:
            return self.clock.now

        self.metrics = gw.Metrics()
        self.counts = Counts(self.metrics)
        providers = {name: gw.ProviderSettings() for name in NAMES}
        self.onward = Onward(
            (
                (
                    "retry",
                    RetryPolicy(
                        RetrySettings(), providers=providers, clock=now, chance=chance.random
                    ),
                ),
            ),
            self.counts,
            clock=now,
        )
        self.witness = Witness(self.clock)
        guards: list[gw.Guard] = [
            self.witness.first,
            CircuitBreaker(BreakerSettings(), clock=now, metrics=self.metrics),
            ProviderLimits(providers=providers, clock=now, metrics=self.metrics),
            Bulkhead(BulkheadSettings(max_concurrent=20, max_queue=50), metrics=self.metrics),
            self.witness,
        ]
        targets = tuple(gw.Target(name, "m") for name in NAMES)
        unused: Any = None
        self.pipeline = Pipeline(
            generation=1,
            screens=Screens(),
            reserving=self,  # type: ignore[arg-type]  # only `cover` is asked
            accounting=unused,
            caching=self,  # type: ignore[arg-type]  # only `keep` is asked
            router=Router({}, {"m": targets}, None, (), (), SmoothWeighted()),
            guarding=Guarding.of(guards, dict.fromkeys(NAMES, 10.0), clock=now),
            onward=self.onward,
            attempts=self,  # type: ignore[arg-type]  # only `run` is asked
            observers=(),
            counts=self.counts,
            request_seconds=DEADLINE,
            streaming_seconds=DEADLINE,
            clock=now,
        )

    def _spells(self, at: int) -> list[tuple[float, float, gw.FailureClass]]:
        if self.anchored and at == 0:
            return []
        found, now = [], 0.0
        while now < SECONDS:
            start = now + self.chance.expovariate(1 / 300)
            now = start + self.chance.expovariate(1 / 120)
            found.append((start, now, self.chance.choice(FAULTS)))
        return found

    # --- what the pipeline asks of its parts ---------------------------------------------

    async def run(self, call: Call, target: gw.Target) -> None:
        self.attempts += 1
        active = self.counts.in_flight.value
        self.most_retrying = max(self.most_retrying, self.onward.retrying - max(10, active * 0.2))
        await self.deployments[target.provider].answer(self.clock)

    def keep(self, call: Call) -> None:
        """No cache here."""

    async def cover(self, reserved: object, target: gw.Target) -> None:
        """No budgets either."""

    # --- traffic -----------------------------------------------------------------------

    async def request(self, number: int) -> None:
        principal = gw.Principal("k", f"tenant-{number % 3}")
        arrival = gw.Arrival(f"r{number}", "POST", "/", "", {}, "", self.clock.now, principal)
        head = gw.RequestHead("d", "chat", "m", False, False, {}, b"{}")
        unused: Any = None
        call = Call(arrival, unused, Nobody(), head, deadline=self.clock.now + DEADLINE)  # type: ignore[arg-type]  # no client
        self.counts.in_flight.inc()
        started = self.clock.now
        try:
            seen = asked(call.arrival, call.head, looked_into=False)
            await self.pipeline._answer(call, self.pipeline.router.considered(seen))
        except gw.GatewayError as error:
            self.failed.append((started, error))
        finally:
            self.counts.in_flight.inc(-1)

    async def traffic(self) -> None:
        async with asyncio.TaskGroup() as group:
            while self.clock.now < SECONDS:
                await asyncio.sleep(self.chance.expovariate(1.0))
                self.asked += 1
                group.create_task(self.request(self.asked))

    def shown(self, name: str, *labels: tuple[str, ...]) -> list[float]:
        """Of all providers, where no labels are given."""
        families = {each.name: each for each in self.metrics.families()}
        wanted = labels or tuple((each,) for each in NAMES)
        return [families[name].value(*each).value for each in wanted]


def simulated(world: World) -> World:
    loop, log = VirtualLoop(world.clock), logging.getLogger("llm_gateway_guard_circuit_breaker")
    log.addHandler(world.witness)
    try:
        work: Coroutine[Any, Any, None] = world.traffic()
        loop.run_until_complete(work)
    finally:
        log.removeHandler(world.witness)
        loop.close()
    return world


def check(world: World) -> None:
    """What holds for every seed."""
    if world.anchored:
        assert world.failed == [], "one deployment was well all the time"
    for started, error in world.failed:
        # A breaker, or a retry-after, keeps a deployment away for a while after it is well.
        well = [
            name
            for name, each in world.deployments.items()
            if each.well(started - AFTERMATH, started + DEADLINE)
        ]
        assert not well, f"{error} at {started} although {well} was well"
        assert error.status in (429, 502, 503, 504)
    assert world.most_retrying <= 0, "more were in a retry than the budget has"
    assert world.attempts <= world.asked * len(NAMES) * RetrySettings().max_attempts
    assert world.onward.retrying == 0
    assert world.shown("gateway_guard_bulkhead_in_flight") == [0, 0, 0]
    assert world.shown("gateway_guard_bulkhead_queue_depth") == [0, 0, 0]
    phases = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
    for name, reference in world.witness.references.items():
        assert (reference.wrong, reference.expected, reference.epochs) == ([], None, {})
        assert world.shown(STATE, (name, "m")) == [phases[reference.phase]]


@pytest.mark.parametrize("decade", range(8))
def test_hours_of_outages(decade: int) -> None:
    """No request fails while a deployment is well; breakers change as specified; nothing leaks;
    retries stay in budget."""
    changes: Counter[str] = Counter()
    for seed in range(decade * 10, decade * 10 + 10):
        world = simulated(World(seed, seed % 2 == 0))
        check(world)
        changes += world.witness.changes

    # Otherwise the seeds would show nothing of breakers.
    assert min(changes[phase] for phase in ("open", "half_open", "closed")) > 20


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_thousands_of_hours_of_outages() -> None:
    """The same for many seeds."""
    for seed in range(100, 2100):
        check(simulated(World(seed, seed % 2 == 0)))
