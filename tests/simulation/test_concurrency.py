"""Whether adaptive concurrency finds what a deployment takes, in virtual time."""

import heapq
import random
from itertools import count
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_guard_adaptive_concurrency.guard import AdaptiveConcurrency
from llm_gateway_guard_adaptive_concurrency.settings import AdaptiveConcurrencySettings

F = gw.FailureClass
TARGET = gw.Target("p", "m")
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))]
SERVICE = 1.0  # seconds of an answer without load
ASKED = gw.Asked(gw.Arrival("r", "POST", "/", "", {}, "", 0.0), "m", "chat", False, 9, False, False)


class World:
    """More requests than one deployment takes, which either refuses or slows down beyond
    `capacity` calls at once."""

    def __init__(self, seed: int, capacity: int, throttles: bool) -> None:
        self.now = 0.0
        self.capacity, self.throttles = capacity, throttles
        self.chance = random.Random(seed)
        self.guard = AdaptiveConcurrency(
            AdaptiveConcurrencySettings(min_limit=2),
            clock=lambda: self.now,
            metrics=gw.Metrics(),
        )
        self.running = self.sent = self.refused = self.answered = 0
        self.limits: list[float] = []
        self.seconds: list[float] = []
        self._ending: list[tuple[float, int, gw.Lease, str | None, float]] = []
        self._number = count()

    def traffic(self, seconds: float, rate: float) -> "World":
        """So many seconds of it; the figures are those of this time alone."""
        self.sent = self.refused = self.answered = 0
        self.limits, self.seconds = [], []
        until = self.now + seconds
        while self.now < until:
            self._pass(self.chance.expovariate(rate))
            self._ask()
            shown: Any = self.guard.look(TARGET, ASKED)["limit"]
            self.limits.append(shown)
        return self

    @property
    def limit(self) -> float:
        return sum(self.limits) / len(self.limits)

    def _ask(self) -> None:
        lease = self.guard.admit(TARGET, ASKED)
        if isinstance(lease, gw.Refusal):
            return
        self.sent += 1
        self.running += 1
        noise = 0.5 + self.chance.random()
        if self.throttles and self.running > self.capacity:
            lasts, failure = 0.02, str(F.RATE_LIMITED)
        else:
            lasts, failure = SERVICE * noise * max(1.0, self.running / self.capacity), None
        entry = (self.now + lasts, next(self._number), lease, failure, lasts)
        heapq.heappush(self._ending, entry)

    def _pass(self, seconds: float) -> None:
        until = self.now + seconds
        while self._ending and self._ending[0][0] <= until:
            self.now, _, lease, failure, lasts = heapq.heappop(self._ending)
            self.running -= 1
            self.refused += failure is not None
            self.answered += failure is None
            self.seconds.append(lasts)
            self.guard.report(lease, gw.Outcome(TARGET, failure, duration=lasts))
        self.now = until


@pytest.mark.parametrize("capacity", [5, 30, 120])
@pytest.mark.parametrize("seed", SEEDS)
def test_finds_the_limit_of_a_deployment_that_throttles(seed: int, capacity: int) -> None:
    """Close to what it takes, most of it used, few refusals."""
    world = World(seed, capacity, throttles=True)
    world.traffic(120, rate=2.0 * capacity)

    world.traffic(120, rate=2.0 * capacity)

    assert 0.7 * capacity <= world.limit <= 1.2 * capacity + 1
    assert world.answered >= 0.7 * capacity * 120 / SERVICE
    assert world.refused <= 0.1 * world.sent


@pytest.mark.parametrize("capacity", [10, 60])
@pytest.mark.parametrize("seed", SEEDS)
def test_finds_the_limit_of_a_deployment_that_slows_down(seed: int, capacity: int) -> None:
    """All of it is used, and answers take about as long as is tolerated."""
    world = World(seed, capacity, throttles=False)
    world.traffic(240, rate=4.0 * capacity)

    world.traffic(240, rate=4.0 * capacity)

    assert 0.9 * capacity <= world.limit <= 4.5 * capacity
    assert world.answered >= 0.8 * capacity * 240 / SERVICE
    assert sum(world.seconds) / len(world.seconds) <= 4.5 * SERVICE


@pytest.mark.parametrize("seed", SEEDS)
def test_follows_a_deployment_whose_capacity_changes(seed: int) -> None:
    world = World(seed, 60, throttles=True)
    before = world.traffic(180, rate=120).limit
    world.capacity = 15
    world.traffic(120, rate=120)
    during = world.traffic(60, rate=120).limit
    world.capacity = 60
    world.traffic(400, rate=120)
    after = world.traffic(60, rate=120).limit

    assert before > 35 and after > 35
    assert during < 25


@pytest.mark.parametrize("seed", SEEDS)
def test_leaves_a_quiet_deployment_alone(seed: int) -> None:
    """Nobody is kept back who needs less than it takes."""
    world = World(seed, 60, throttles=True).traffic(600, rate=5)

    assert world.answered >= 0.98 * 5 * 600 * 0.9
    assert world.refused == 0
