"""Hours of traffic over deployments that fail, throttle, slow down and recover, in virtual time.

The kernel's own loop of attempts with the real policies and guards; only what an attempt meets
is made up, from a seed.
"""

import asyncio
import random
import selectors
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

F = gw.FailureClass
SECONDS = 3600.0
DEADLINE = 30.0
AFTERMATH = 90.0
NAMES = ("a", "b", "c")
FAULTS = (F.SERVER_ERROR, F.CONNECT, F.OVERLOADED, F.NO_FIRST_CONTENT, F.RATE_LIMITED)


class Clock(selectors.DefaultSelector):
    """A selector that does not wait but moves the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now


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
        guards: list[gw.Guard] = [
            CircuitBreaker(BreakerSettings(), clock=now, metrics=self.metrics),
            ProviderLimits(providers=providers, clock=now, metrics=self.metrics),
            Bulkhead(BulkheadSettings(max_concurrent=20, max_queue=50), metrics=self.metrics),
        ]
        targets = tuple(gw.Target(name, "m") for name in NAMES)
        unused: Any = None
        self.pipeline = Pipeline(
            generation=1,
            screens=Screens(),
            reserving=unused,
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

    def keep(self, call: Call, seen: gw.Asked) -> None:
        """No cache here."""

    # --- traffic -----------------------------------------------------------------------

    async def request(self, number: int) -> None:
        principal = gw.Principal("k", f"tenant-{number % 3}")
        arrival = gw.Arrival("r", "POST", "/", "", {}, "", self.clock.now, principal)
        head = gw.RequestHead("d", "chat", "m", False, False, {}, b"{}")
        unused: Any = None
        call = Call(arrival, unused, Nobody(), head, deadline=self.clock.now + DEADLINE)  # type: ignore[arg-type]  # no client
        self.counts.in_flight.inc()
        started = self.clock.now
        try:
            await self.pipeline._answer(call, asked(call.arrival, call.head, looked_into=False))
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

    def shown(self, name: str) -> list[float]:
        families = {each.name: each for each in self.metrics.families()}
        return [families[name].value(each).value for each in NAMES]


def simulated(world: World) -> World:
    loop = VirtualLoop(world.clock)
    try:
        work: Coroutine[Any, Any, None] = world.traffic()
        loop.run_until_complete(work)
    finally:
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


@pytest.mark.parametrize("anchored", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_hour_of_outages(seed: int, anchored: bool) -> None:
    """No request fails while a deployment is well; nothing leaks; retries stay in budget."""
    check(simulated(World(seed, anchored)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_hours_of_outages() -> None:
    """The same for many seeds."""
    for seed in range(1000):
        check(simulated(World(seed, seed % 2 == 0)))
