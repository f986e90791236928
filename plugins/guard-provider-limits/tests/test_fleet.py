"""Workers that share one account's limits."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import llm_gateway_api as gw
import pytest
from llm_gateway_guard_provider_limits import fleet
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_state_host.process import ProcessState
from llm_gateway_state_redis.state import RedisState
from llm_gateway_testkit import servers

TARGET = gw.Target("acme", "m-1")


def asked(prompt_bytes: int = 400) -> gw.Asked:
    arrival = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)
    return gw.Asked(arrival, "m", "chat", False, prompt_bytes, False, False)


class State(ProcessState):
    """Can be lost, and counts what is published."""

    lost = False
    published = 0
    takes = 0

    async def take(self, takes: Sequence[gw.Take], *, force: bool = False) -> gw.Grant | gw.Denial:
        if self.lost:
            raise ConnectionError
        self.takes += 1
        return await super().take(takes, force=force)

    def publish(self, topic: str, message: bytes) -> None:
        self.published += 1


class Workers:
    def __init__(self, many: int, **limit: int) -> None:
        self.now = self.wall = 1000.0
        self.limit = gw.RateLimit(**limit)
        self.state = State(lambda: self.now)
        self.guards: list[ProviderLimits] = []
        self._many = many
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Workers":
        for _ in range(self._many):
            await self.begin(self._many)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def begin(self, workers: int = 1) -> None:
        guard = ProviderLimits(
            providers={"acme": gw.ProviderSettings(rate_limit=self.limit)},
            clock=lambda: self.now,
            wall=lambda: self.wall,
            metrics=gw.Metrics(),
            state=self.state,
            workers=workers,
        )
        await self._stack.enter_async_context(guard.open())
        self.guards.append(guard)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def requests(self, worker: int) -> float:
        window = self.guards[worker]._accounts["acme"].requests
        assert window is not None
        return window.total

    def tokens(self, worker: int) -> float:
        window = self.guards[worker]._accounts["acme"].tokens
        assert window is not None
        return window.total

    def admitted(self, worker: int, tries: int) -> list[gw.Lease]:
        answers = [self.guards[worker].admit(TARGET, asked()) for _ in range(tries)]
        return [each for each in answers if isinstance(each, gw.Lease)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(fleet, "REST_SECONDS", 0.002)


async def news() -> None:
    await asyncio.sleep(0.01)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("limit", [3, 40, 1000])
async def test_together_they_keep_the_limit(limit: int) -> None:
    """To two requests for each further worker, however all of them press: the first after a
    look, and one that is not told yet."""
    async with Workers(4, requests_per_minute=limit) as workers:
        total = 0
        async with asyncio.timeout(60):
            while total < limit:
                total += sum(len(workers.admitted(each, 1000)) for each in range(4))
                await asyncio.sleep(0.001)  # some have looked, and some have not
            for _ in range(20):
                total += sum(len(workers.admitted(each, 1000)) for each in range(4))
                await asyncio.sleep(0.001)

        assert limit <= total <= limit + 2 * 3


async def test_one_that_is_busy_alone_gets_all_of_it() -> None:
    async with Workers(4, requests_per_minute=100) as workers:
        total = 0
        async with asyncio.timeout(60):
            while total < 100:
                total += len(workers.admitted(2, 1000))
                await news()

        assert total == 100


async def test_what_is_given_back_is_told_with_the_next_that_is_taken() -> None:
    """Tokens that the vendor did not count."""
    async with Workers(2, tokens_per_minute=50_000) as workers:
        (lease,) = workers.admitted(0, 1)
        one = workers.tokens(0)
        workers.admitted(1, 1)
        await until(lambda: workers.tokens(0) == workers.tokens(1) == 2 * one)

        workers.guards[0].report(lease, gw.Outcome(TARGET, gw.FailureClass.CONNECT, duration=0.1))
        workers.admitted(0, 2)

        await until(lambda: workers.tokens(0) == workers.tokens(1) == 3 * one)


async def test_a_worker_that_begins_knows_what_the_last_minute_took() -> None:
    """And when: it is not held back for longer than the others."""
    async with Workers(1, requests_per_minute=100) as workers:
        workers.admitted(0, 100)
        await news()
        workers.pass_by(35.0)
        await workers.begin()
        workers.admitted(1, 1)
        await news()

        assert workers.admitted(1, 1) == []
        workers.pass_by(40.0)  # the last minute of the first hundred is over
        assert len(workers.admitted(1, 1)) == 1


async def test_state_that_is_lost_leaves_each_to_itself_and_is_told_later() -> None:
    async with Workers(2, requests_per_minute=100) as workers:
        workers.state.lost = True
        workers.admitted(1, 1)
        workers.admitted(0, 1)
        await news()
        assert len(workers.admitted(0, 90)) == 90
        assert workers.requests(1) == 1
        workers.state.lost = False

        await until(lambda: workers.requests(0) == workers.requests(1) == 92)


async def test_a_look_of_each_worker_is_all_that_a_fleet_costs() -> None:
    """Nobody is sent what another one took: the work grows with the workers, not with their
    square."""
    async with Workers(20, requests_per_minute=10_000) as workers:
        for _ in range(10):
            for each in range(20):
                workers.admitted(each, 3)
            await news()

        await until(lambda: {workers.requests(each) for each in range(20)} == {600.0})

        assert workers.state.published == 0


@pytest.mark.parametrize("limit", [{"requests_per_minute": 100}, {"tokens_per_minute": 100_000}])
async def test_a_worker_that_is_not_asked_looks_now_and_then(
    limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took is told once, whichever meters are limited."""
    monkeypatch.setattr(fleet, "REST_SECONDS", 3600.0)
    async with Workers(2, **limit) as workers:
        await until(lambda: workers.state.takes == 2)  # of each as it began
        workers.admitted(0, 5)
        await until(lambda: workers.state.takes == 3)
        for _ in range(20):
            await news()

        assert workers.state.takes == 3


@pytest.mark.parametrize("limit", [3, 200])
async def test_hosts_keep_a_limit_together_on_one_redis(
    limit: int, redis_server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that begins later knows that it is full."""
    monkeypatch.setattr(fleet, "TOPIC", f"provider_limits:{limit}")
    async with AsyncExitStack() as stack:

        async def begun() -> ProviderLimits:
            state = RedisState(redis_server.url)
            await stack.enter_async_context(state.open())
            guard = ProviderLimits(
                providers={
                    "acme": gw.ProviderSettings(rate_limit=gw.RateLimit(requests_per_minute=limit))
                },
                clock=time.monotonic,
                metrics=gw.Metrics(),
                state=state,
                workers=2,
            )
            await stack.enter_async_context(guard.open())
            return guard

        def admits(guard: ProviderLimits) -> bool:
            return isinstance(guard.admit(TARGET, asked()), gw.Lease)

        def counted(guard: ProviderLimits) -> float:
            window = guard._accounts["acme"].requests
            assert window is not None
            return window.total

        guards = [await begun() for _ in range(4)]
        fleets = [each._fleet for each in guards]
        await until(lambda: all(each is not None and each._peers == 4 for each in fleets))
        total = 0
        async with asyncio.timeout(60):
            while total < limit or {*map(counted, guards)} != {float(total)}:
                total += sum(admits(guard) for guard in guards for _ in range(1000))
                await asyncio.sleep(0.001)
        late = await begun()
        await until(lambda: counted(late) == total)

        assert limit <= total <= limit + 2 * 3
        assert not admits(late)


def test_a_large_fleet_looks_less_often() -> None:
    """All together never look more often than a Redis has time for."""
    assert fleet.pause(1) == fleet.LOOK_SECONDS
    assert all(n / fleet.pause(n) <= fleet.LOOKS_PER_SECOND for n in (200, 4000, 16_000))
