"""Rates and budgets of a request, taken in one step, over each kind of shared state."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.claims import Joined, reserving
from llm_gateway.reserve import Reserved, Scope
from llm_gateway.routing import Considered
from llm_gateway_limit_budget.limiter import BudgetLimiter
from llm_gateway_limit_budget.periods import window
from llm_gateway_limit_budget.settings import BudgetSettings
from llm_gateway_limit_rate.limiter import RateLimiter
from llm_gateway_limit_rate.settings import RateLimitSettings
from llm_gateway_state_host.host import HostState
from llm_gateway_state_host.process import ProcessState
from llm_gateway_state_redis.state import RedisState
from llm_gateway_testkit import servers

CHEAP, DEAR = gw.Target("p", "cheap"), gw.Target("p", "dear")
USAGE = gw.Usage(input=10, output=20)
NANO = 10**9
_numbers = itertools.count()


class Offers:
    """`Prices` and `Targets`: 1 USD for a million tokens of the one model, 100 of the other."""

    def price(self, target: gw.Target) -> gw.Price:
        usd = Decimal(1 if target is CHEAP else 100)
        return gw.Price(target.model, {"input": usd, "output": usd})

    def info(self, target: gw.Target) -> gw.ModelInfo:
        return gw.ModelInfo(target.model)


class Request:
    """What limiters see of a call whose answer may have so many tokens."""

    def __init__(self, tokens: int) -> None:
        body = json.dumps({"model": "m", "max_tokens": tokens}).encode()
        self.head = gw.RequestHead("openai", "chat", "m", False, False, gw.top_level(body), body)
        self.headers: dict[str, str] = {}


class Site:
    """Both limiters over one state, and a caller who has limits of all kinds. The bucket of
    requests does not refill within a test."""

    def __init__(self, state: Any, **amounts: int) -> None:
        self.state, self.owner = state, f"tenant-{next(_numbers)}"
        offers: Any = Offers()
        unused: Any = None
        shared = (state, ProcessState(), 1)
        rates = RateLimiter(RateLimitSettings(), *shared, gw.Metrics())
        budgets = BudgetLimiter(
            BudgetSettings(), *shared, None, offers, offers, unused, gw.Metrics()
        )
        named: Any = (("budget", budgets, "closed"), ("rate", rates, "closed"))
        self.reserving = reserving(named, Scope(), state)
        given = {"requests": 1000, "tokens": 10**6, "concurrency": 100, "usd": NANO, **amounts}
        self.budget = gw.Budget(self.owner, "tenant", given.pop("usd"), "total")
        meters: Any = given.items()
        limits = tuple(gw.Limit("tenant", meter, amount) for meter, amount in meters)
        self.caller = gw.Principal(
            key_id="k", tenant=self.owner, limits=limits, budgets=(self.budget,)
        )

    async def reserve(self, tokens: int = 100) -> Reserved:
        arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0, self.caller)
        asked = gw.Asked(arrival, "m", "chat", False, 2, False, False)
        call: Any = Request(tokens)
        return await self.reserving.reserve(call, Considered(asked, kept=(CHEAP,)))

    async def refused(self, tokens: int = 100) -> int:
        with pytest.raises(gw.RefusedError) as refused:
            await self.reserve(tokens)
        return refused.value.status

    async def settle(self, taken: Reserved, usd: str | None = "0.001") -> None:
        cost = None if usd is None else Decimal(usd)
        over = gw.Settlement(CHEAP if usd else None, USAGE if usd else None, cost)
        self.reserving.settle(taken, over)
        await self.reserving.scope.drain()

    async def left(self) -> tuple[int, int, int, int]:
        """Nano-dollars used, slots held, requests left, and tokens left."""
        slots = f"rate:tenant:{self.owner}:concurrency"
        keys = [window(self.budget, self.owner, time()).key, slots]
        nano, held = await self.state.used(keys)
        buckets = []
        for meter in ("requests", "tokens"):
            (limit,) = (each.amount for each in self.caller.limits if each.meter == meter)
            key = f"rate:tenant:{self.owner}:{meter}"
            answer = await self.state.take([gw.Take(key, 0, limit, rate=0.0)], force=True)
            buckets.append(answer.remaining[0])
        return nano, held, buckets[0], buckets[1]


@pytest.fixture(scope="module")
def redis() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@pytest.fixture(params=["process", "host", "redis"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made: Any = ProcessState()
    if request.param == "host":
        made = HostState(tmp_path / "state")
    if request.param == "redis":
        made = RedisState(request.getfixturevalue("redis").url)
    async with made.open():
        yield made


async def test_a_request_asks_once_and_settles_once(state: Any) -> None:
    """The first one a second time, for its budget's window has to be filled."""
    site = Site(state)
    takes: list[int] = []
    working = state.take

    async def counted(asked: Any, *, force: bool = False) -> Any:
        takes.append(len(asked))
        return await working(asked, force=force)

    state.take = counted
    for _ in range(3):
        takes.clear()
        (joined,) = await site.reserve()
        assert isinstance(joined[0], Joined)
        await site.settle([joined])
    state.take = working

    assert takes == [4]
    nano, held, requests, tokens = await site.left()
    assert (nano, held) == (3 * NANO // 1000, 0)
    assert 997 <= requests < 1000
    assert 10**6 - 90 <= tokens <= 10**6


@pytest.mark.parametrize(
    ("limit", "status"),
    [({"requests": 0}, 429), ({"tokens": 0}, 429), ({"concurrency": 1}, 429), ({"usd": 1}, 402)],
)
async def test_a_refusal_takes_nothing_of_any_limit(
    state: Any, limit: dict[str, int], status: int
) -> None:
    site = Site(state, **limit)
    if limit == {"concurrency": 1}:
        await site.reserve()
    elif limit == {"usd": 1}:
        await site.refused()  # fills the window
    before = await site.left()

    for _ in range(5):
        assert await site.refused() == status

    after = await site.left()
    assert after[:2] == before[:2]
    assert all(now >= then for now, then in zip(after[2:], before[2:], strict=True))


@pytest.mark.parametrize("seed", range(5))
async def test_a_crowd_gets_exactly_what_there_is(state: Any, seed: int) -> None:
    """Some hang up while they wait: no slot, and nothing of the budget, is lost with them."""
    pick = random.Random(seed)
    site = Site(state, concurrency=10, requests=10**6)
    held: set[int] = set()
    most = 0

    async def client(number: int) -> None:
        nonlocal most
        with suppress(gw.RefusedError):
            taken = await site.reserve()
            held.add(number)
            most = max(most, len(held))
            try:
                await asyncio.sleep(pick.random() / 100)
            finally:
                held.discard(number)
                site.reserving.settle(taken, gw.Settlement(CHEAP, USAGE, Decimal(0)))

    running = [asyncio.create_task(client(number)) for number in range(60)]
    for _ in running:
        await asyncio.sleep(0)
        if pick.random() < 0.5:
            pick.choice(running).cancel()
    await asyncio.wait(running)
    await site.reserving.scope.drain()
    async with asyncio.timeout(10):
        while (await site.left())[:2] != (0, 0):  # what was answered to nobody is given back
            await asyncio.sleep(0.01)

    assert 0 < most <= 10
    assert all(each.cancelled() or each.exception() is None for each in running)


async def test_a_dearer_fallback_is_charged_once(state: Any) -> None:
    """What it takes beside the joined step is given back, and the windows pay the true cost."""
    site = Site(state)
    taken = await site.reserve(tokens=1000)
    (before, *_) = await site.left()
    for _ in range(2):
        assert await site.reserving.cover(taken, DEAR) is None
    (covered, *_) = await site.left()
    await site.settle(taken, "0.05")

    assert covered > 50 * before
    assert (await site.left())[:2] == (NANO // 20, 0)


async def test_an_unknown_cost_of_a_dearer_fallback_is_what_was_held(state: Any) -> None:
    site = Site(state)
    taken = await site.reserve(tokens=1000)
    await site.reserving.cover(taken, DEAR)
    (covered, *_) = await site.left()
    site.reserving.settle(taken, gw.Settlement(DEAR, USAGE, None))
    await site.reserving.scope.drain()

    (charged, held, *_) = await site.left()
    assert held == 0
    assert 0.98 * covered <= charged <= covered


async def test_a_fallback_that_no_budget_is_left_for_is_passed_over(state: Any) -> None:
    site = Site(state, usd=NANO // 100)
    taken = await site.reserve(tokens=1000)

    refusal = await site.reserving.cover(taken, DEAR)
    await site.settle(taken, None)

    assert refusal is not None and refusal.code == "insufficient_quota"
    assert (await site.left())[:2] == (0, 0)


async def test_without_shared_state_each_limiter_does_what_it_declares() -> None:
    """And they are joined again once it is back; what could not be settled is settled then."""
    with servers.redis() as server:
        state = RedisState(server.url)
        async with state.open():
            site = Site(state)
            await site.settle(await site.reserve())
            owing = await site.reserve()
            server.stop()
            async with asyncio.timeout(10):
                while await state.healthy():  # a server's doing
                    await asyncio.sleep(0.02)
            await site.settle(owing)
            alone = [await site.reserve() for _ in range(2)]
            for each in alone:
                await site.settle(each)
            server.start()
            async with asyncio.timeout(10):
                while not await state.healthy():  # a server's doing
                    await asyncio.sleep(0.02)
            await site.settle(await site.reserve())  # by itself; says that all is well
            again = await site.reserve()

    assert [len(each) for each in alone] == [2, 2]
    assert [type(each) for each, _ in again] == [Joined]
