"""No lease is lost, however the wait for a guard ends."""

import asyncio
from time import monotonic

import llm_gateway_api as gw
import pytest
from llm_gateway.guarding import Guarding

TARGET = gw.Target("acme", "m-1")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m-1", "chat", False, 2, False, False
)


class Door:
    """Gives what it is told to; remembers what came back."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.back: list[gw.Outcome] = []
        self.asked = asyncio.Event()

    def admit(
        self, target: gw.Target, asked: gw.Asked
    ) -> "gw.Lease | gw.Refusal | asyncio.Future[gw.Lease | gw.Refusal]":
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or gw.Lease(target)  # type: ignore[return-value]  # a test's choice

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self.back.append(outcome)


def guarding(*guards: gw.Guard, seconds: float = 5.0) -> Guarding:
    return Guarding.of(guards, {"acme": seconds})


async def test_leases_come_back_when_another_guard_refuses() -> None:
    """What was taken before the refusal is given back as never sent."""
    first, second = Door(), Door(gw.Refusal(503, "full", "full"))

    answer = await guarding(first, second).admit(TARGET, ASKED, monotonic() + 5)

    assert isinstance(answer, gw.Refusal)
    assert [(each.cancelled, each.duration) for each in first.back] == [(True, 0.0)]
    assert second.back == []


async def test_leases_come_back_when_the_client_leaves_the_queue() -> None:
    """A request that is cancelled while it queues gives back what it has, and its place."""
    place: asyncio.Future[gw.Lease | gw.Refusal] = asyncio.get_running_loop().create_future()
    first, queue = Door(), Door(place)
    waiting = asyncio.create_task(guarding(first, queue).admit(TARGET, ASKED, monotonic() + 5))
    await queue.asked.wait()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert place.cancelled()
    assert len(first.back) == 1


async def test_lease_that_comes_while_the_client_leaves_comes_back() -> None:
    """The guard counts it as given, so it has to be handed back."""
    place: asyncio.Future[gw.Lease | gw.Refusal] = asyncio.get_running_loop().create_future()
    queue = Door(place)
    waiting = asyncio.create_task(guarding(queue).admit(TARGET, ASKED, monotonic() + 5))
    await queue.asked.wait()

    place.set_result(gw.Lease(TARGET))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert len(queue.back) == 1


@pytest.mark.parametrize(("deadline", "seconds"), [(0.02, 5.0), (5.0, 0.02)])
async def test_wait_in_a_queue_is_bounded(deadline: float, seconds: float) -> None:
    """By the request's deadline and by the provider's time to a first content."""
    place: asyncio.Future[gw.Lease | gw.Refusal] = asyncio.get_running_loop().create_future()

    answer = await guarding(Door(place), seconds=seconds).admit(
        TARGET, ASKED, monotonic() + deadline
    )

    assert isinstance(answer, gw.Refusal)
    assert answer.code == "queue_timeout"
    assert place.cancelled()


async def test_lease_from_a_queue_admits() -> None:
    """A place that comes in time is a lease like any other."""
    place: asyncio.Future[gw.Lease | gw.Refusal] = asyncio.get_running_loop().create_future()
    queue = Door(place)
    waiting = asyncio.create_task(guarding(queue).admit(TARGET, ASKED, monotonic() + 5))
    await queue.asked.wait()

    lease = gw.Lease(TARGET, "place")
    place.set_result(lease)

    assert await waiting == [(queue, lease)]
    assert queue.back == []


async def test_broken_guard_skips_the_target() -> None:
    """A guard that raises refuses; one that raises on the way back harms nobody."""

    class Rude(Door):
        def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
            raise RuntimeError("no")

    first = Door()
    guards = guarding(first, Rude(), Door(RuntimeError("no")))

    answer = await guards.admit(TARGET, ASKED, monotonic() + 5)

    assert isinstance(answer, gw.Refusal)
    assert answer.status == 503
    assert len(first.back) == 1
