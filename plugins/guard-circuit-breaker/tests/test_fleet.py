"""Breakers of several workers that share state."""

import asyncio
from typing import Any

import llm_gateway_api as gw
from llm_gateway_guard_circuit_breaker.guard import CircuitBreaker
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings
from llm_gateway_state_host.process import ProcessState

TARGET = gw.Target("acme", "m-1")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m", "chat", False, 2, False, False
)
GOOD = gw.Outcome(TARGET, None, status=200, duration=0.1)
BAD = gw.Outcome(TARGET, gw.FailureClass.CONNECT, status=502, duration=0.1)


class Gone(ProcessState):
    """State that cannot be reached."""

    async def claim(self, key: str, seconds: float) -> bool:
        raise ConnectionError

    def publish(self, topic: str, message: bytes) -> None:
        return


class Workers:
    """Two breakers that open at the first failure and close at the first good probe."""

    def __init__(self, state: gw.StateBackend | None = None) -> None:
        self.now = 1000.0
        shared = state or ProcessState(lambda: self.now)
        self.metrics = gw.Metrics()
        settings = BreakerSettings(failure_threshold=1, success_threshold=1, timeout_seconds=10)
        self.guards = [
            CircuitBreaker(settings, clock=lambda: self.now, metrics=self.metrics, state=shared)
            for _ in range(2)
        ]

    async def admit(self, worker: int) -> gw.Lease | gw.Refusal:
        answer = self.guards[worker].admit(TARGET, ASKED)
        return await answer if isinstance(answer, asyncio.Future) else answer

    async def call(self, worker: int, outcome: gw.Outcome) -> None:
        lease = await self.admit(worker)
        assert isinstance(lease, gw.Lease)
        self.guards[worker].report(lease, outcome)
        await heard()


async def heard() -> None:
    """News are told in the loop's next turns."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_one_learns_the_others_know() -> None:
    workers = Workers()
    await workers.call(0, BAD)
    refused = await workers.admit(1)
    assert isinstance(refused, gw.Refusal)
    assert refused.retry_after == 10
    workers.now += 10
    await workers.call(0, GOOD)

    assert isinstance(await workers.admit(1), gw.Lease)


async def test_one_of_all_probes() -> None:
    """The other waits for news, and may claim it later where none come."""
    workers = Workers()
    await workers.call(0, BAD)
    workers.now += 10
    answers = await asyncio.gather(*(workers.admit(n % 2) for n in range(20)))
    again = [await workers.admit(n) for n in range(2)]
    workers.now += 11
    later = await workers.admit(1)

    assert sum(isinstance(each, gw.Lease) for each in answers) == 1
    assert all(isinstance(each, gw.Refusal) for each in again)
    assert isinstance(later, gw.Lease)


async def test_a_failed_probe_is_news_too() -> None:
    workers = Workers()
    await workers.call(0, BAD)
    workers.now += 10
    await workers.call(1, BAD)
    workers.now += 9

    assert isinstance(await workers.admit(0), gw.Refusal)
    assert isinstance(await workers.admit(1), gw.Refusal)


async def test_a_probe_that_nobody_waits_for_any_more_frees_its_place() -> None:
    workers = Workers()
    await workers.call(0, BAD)
    workers.now += 10
    place: Any = workers.guards[0].admit(TARGET, ASKED)
    place.cancel()
    await heard()

    assert isinstance(await workers.admit(0), gw.Lease)


async def test_without_the_state_each_probes_for_itself() -> None:
    workers = Workers(Gone())
    await workers.call(0, BAD)
    await workers.call(1, BAD)
    workers.now += 10

    assert isinstance(await workers.admit(0), gw.Lease)
    assert isinstance(await workers.admit(1), gw.Lease)


async def test_words_of_another_version_change_nothing() -> None:
    state = ProcessState()
    workers = Workers(state)
    state.publish("circuit_breaker", b'{"sender": 1}')
    await heard()

    assert isinstance(await workers.admit(0), gw.Lease)
