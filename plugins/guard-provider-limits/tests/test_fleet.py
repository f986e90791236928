"""Workers that share one account's limits."""

import asyncio
from collections.abc import Callable, Sequence

import llm_gateway_api as gw
import pytest
from llm_gateway_guard_provider_limits import fleet
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_state_host.process import ProcessState

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
        for _ in range(many):
            self.begin(many)

    def begin(self, workers: int = 1) -> None:
        guard = ProviderLimits(
            providers={"acme": gw.ProviderSettings(rate_limit=self.limit)},
            clock=lambda: self.now,
            wall=lambda: self.wall,
            metrics=gw.Metrics(),
            state=self.state,
            workers=workers,
        )
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
    """To one request for each further worker, however all of them press."""
    workers = Workers(4, requests_per_minute=limit)
    total = 0
    for _ in range(60):
        total += sum(len(workers.admitted(each, 1000)) for each in range(4))
        await news()

    assert limit <= total <= limit + 3


async def test_one_that_is_busy_alone_gets_all_of_it() -> None:
    workers = Workers(4, requests_per_minute=100)
    total = 0
    for _ in range(60):
        total += len(workers.admitted(2, 1000))
        await news()

    assert total == 100


async def test_what_is_given_back_is_told_with_the_next_that_is_taken() -> None:
    """Tokens that the vendor did not count."""
    workers = Workers(2, tokens_per_minute=5000)
    (lease,) = workers.admitted(0, 1)
    workers.admitted(1, 1)
    await news()
    before = workers.tokens(1)
    workers.guards[0].report(lease, gw.Outcome(TARGET, gw.FailureClass.CONNECT, duration=0.1))
    workers.admitted(0, 2)

    await until(lambda: workers.tokens(1) == pytest.approx(workers.tokens(0), abs=1))
    assert workers.tokens(0) == pytest.approx(1.5 * before)  # of three, and two before


async def test_a_worker_that_begins_knows_what_the_last_minute_took() -> None:
    """And when: it is not held back for longer than the others."""
    workers = Workers(1, requests_per_minute=100)
    workers.admitted(0, 100)
    await news()
    workers.pass_by(35.0)
    workers.begin()
    workers.admitted(1, 1)
    await news()

    assert workers.admitted(1, 1) == []
    workers.pass_by(40.0)  # the last minute of the first hundred is over
    assert len(workers.admitted(1, 1)) == 1


async def test_state_that_is_lost_leaves_each_to_itself_and_is_told_later() -> None:
    workers = Workers(2, requests_per_minute=100)
    workers.state.lost = True
    workers.admitted(1, 1)
    assert len(workers.admitted(0, 30)) == 30
    await news()
    assert workers.requests(1) == 1
    workers.state.lost = False

    await until(lambda: workers.requests(0) == workers.requests(1) == 31)


async def test_a_look_of_each_worker_is_all_that_a_fleet_costs() -> None:
    """Nobody is sent what another one took: the work grows with the workers, not with their
    square."""
    workers = Workers(20, requests_per_minute=10_000)
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
    workers = Workers(2, **limit)
    workers.admitted(0, 5)
    await until(lambda: workers.state.takes == 1)
    for _ in range(20):
        await news()

    assert workers.state.takes == 1


def test_a_large_fleet_looks_less_often() -> None:
    """All together never look more often than a Redis has time for."""
    assert fleet.pause(1) == fleet.LOOK_SECONDS
    assert all(n / fleet.pause(n) <= fleet.LOOKS_PER_SECOND for n in (200, 4000, 16_000))
