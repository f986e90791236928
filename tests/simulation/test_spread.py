"""How each strategy spreads load, and how a region's failure moves it, in virtual time."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.guarding import Guarding
from llm_gateway.routing import Router
from llm_gateway_routing_basic.strategies import SmoothWeighted
from llm_gateway_routing_cost.settings import CostSettings
from llm_gateway_routing_cost.strategy import CostOptimized
from llm_gateway_routing_health.monitor import Monitor
from llm_gateway_routing_health.settings import HealthSettings
from llm_gateway_routing_latency.settings import LatencySettings
from llm_gateway_routing_latency.strategy import LatencyOptimized
from llm_gateway_routing_least_connections.settings import LeastConnectionsSettings
from llm_gateway_routing_least_connections.strategy import LeastConnections

DEADLINE = 1e12
ILL = gw.FailureClass.SERVER_ERROR
TARGETS = (
    gw.Target("fast", "m", 1.0, "us"),
    gw.Target("slow", "m", 1.0, "us"),
    gw.Target("far", "m", 2.0, "eu"),
)
PRICES = {"fast": "3", "slow": "1", "far": "2"}


class World:
    """Requests one after another; each lasts as long as its deployment takes."""

    def __init__(self, seed: int, strategy: Callable[["World"], gw.RoutingStrategy]) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self.seconds = {"fast": 0.2, "slow": 1.0, "far": 0.4}
        self.down: set[str] = set()
        self.health = Monitor(
            HealthSettings(),
            clock=lambda: self.now,
            metrics=gw.Metrics(),
            chance=self.chance.random,
        )
        self.router = Router(
            {}, {"m": TARGETS}, None, (), (), strategy(self), scorers=(("health", self.health),)
        )
        self.guarding = Guarding.of(self.router.followers(), {})
        self._ending: list[tuple[float, int, Any, gw.Outcome]] = []
        self._number = count()

    def price(self, target: gw.Target) -> gw.Price:
        amount = Decimal(PRICES[target.provider])
        return gw.Price("v", {"input": amount, "output": amount})

    async def traffic(self, seconds: float, rate: float = 5.0) -> Counter[str]:
        """Who was asked first, of all requests in so many seconds."""
        firsts: Counter[str] = Counter()
        until = self.now + seconds
        while self.now < until:
            self._pass(self.chance.expovariate(rate))
            firsts[await self._request()] += 1
        return firsts

    async def _request(self) -> str:
        arrival = gw.Arrival("r", "POST", "/", "", {}, "", self.now)
        asked = gw.Asked(arrival, "m", "chat", False, 4000, False, False, "us")
        plan = self.router.plan(asked)
        for target in plan:
            leases = await self.guarding.admit(target, asked, DEADLINE)
            assert not isinstance(leases, gw.Refusal)
            if target.region in self.down:
                self.guarding.report(leases, gw.Outcome(target, ILL, status=500))
                continue
            lasts = self.seconds[target.provider] * (0.5 + self.chance.random())
            done = gw.Outcome(target, None, status=200, duration=lasts)
            heapq.heappush(self._ending, (self.now + lasts, next(self._number), leases, done))
            break
        return plan[0].provider

    def _pass(self, seconds: float) -> None:
        until = self.now + seconds
        while self._ending and self._ending[0][0] <= until:
            self.now, _, leases, outcome = heapq.heappop(self._ending)
            self.guarding.report(leases, outcome)
        self.now = until


def weighted(world: World) -> gw.RoutingStrategy:
    return SmoothWeighted()


def least(world: World) -> gw.RoutingStrategy:
    return LeastConnections(
        LeastConnectionsSettings(),
        clock=lambda: world.now,
        state=None,
        chance=world.chance.random,
    )


def latency(world: World) -> gw.RoutingStrategy:
    return LatencyOptimized(LatencySettings(), clock=lambda: world.now, chance=world.chance)


def cost(world: World) -> gw.RoutingStrategy:
    return CostOptimized(
        CostSettings(), clock=lambda: world.now, prices=world, chance=world.chance.random
    )


@pytest.mark.parametrize("seed", range(5))
async def test_weights_are_exact(seed: int) -> None:
    firsts = await World(seed, weighted).traffic(600)
    total = sum(firsts.values())

    assert abs(firsts["far"] - total / 2) <= 2 and abs(firsts["slow"] - total / 4) <= 2


@pytest.mark.parametrize("seed", range(5))
async def test_least_connections_fills_by_speed(seed: int) -> None:
    """Who answers sooner is free sooner: it gets more of the load."""
    firsts = await World(seed, least).traffic(600, rate=20)

    assert firsts["fast"] > 2 * firsts["slow"] and firsts["far"] > 2 * firsts["slow"]


@pytest.mark.parametrize("seed", range(5))
async def test_latency_leaves_the_slow_one(seed: int) -> None:
    """It gets little, and what it gets finds out when it is quick again."""
    world = World(seed, latency)
    firsts = await world.traffic(600)
    assert firsts["slow"] < 0.12 * sum(firsts.values())

    world.seconds["slow"] = 0.05
    await world.traffic(120)
    firsts = await world.traffic(600)
    assert firsts["slow"] > 0.3 * sum(firsts.values())


@pytest.mark.parametrize("seed", range(5))
async def test_cost_asks_the_cheapest_that_is_well(seed: int) -> None:
    world = World(seed, cost)

    assert set(await world.traffic(300)) == {"slow"}
    world.down.add("us")
    await world.traffic(10)
    assert (await world.traffic(20))["far"] > 0


@pytest.mark.parametrize("strategy", [weighted, least, latency, cost])
@pytest.mark.parametrize("seed", range(3))
async def test_a_region_fails_and_comes_back(
    seed: int, strategy: Callable[[World], gw.RoutingStrategy]
) -> None:
    """Its traffic moves within seconds, comes back little by little, and then whole."""
    world = World(seed, strategy)
    before = await world.traffic(300, rate=20)
    world.down.add("us")
    await world.traffic(10, rate=20)
    during = await world.traffic(19, rate=20)
    world.down.clear()
    while all(world.health.health(each).state == "unhealthy" for each in TARGETS[:2]):
        await world.traffic(1, rate=20)
    early = await world.traffic(10, rate=20)
    await world.traffic(420, rate=20)  # a floor of quality is forgotten too
    after = await world.traffic(300, rate=20)

    def in_us(firsts: Counter[str]) -> float:
        return (firsts["fast"] + firsts["slow"]) / sum(firsts.values())

    assert in_us(during) < 0.05
    assert in_us(early) < 0.75 * in_us(before)
    assert in_us(after) > 0.8 * in_us(before)
