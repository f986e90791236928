"""Slots and places: bounded, fair, and never lost."""

import asyncio
from collections import Counter

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_guard_bulkhead.guard import Bulkhead, Place
from llm_gateway_guard_bulkhead.settings import BulkheadSettings

TARGET = gw.Target("acme", "m-1")
DONE = gw.Outcome(TARGET, None, status=200, duration=0.1)


def asked(tenant: str) -> gw.Asked:
    arrival = gw.Arrival(
        "r-1", "POST", "/", "", {}, "127.0.0.1", 0.0, gw.Principal("k-1", tenant or None)
    )
    return gw.Asked(arrival, "m", "chat", False, 2, False, False)


class Site:
    def __init__(self, slots: int = 1, places: int = 2) -> None:
        self.metrics = gw.Metrics()
        settings = BulkheadSettings(max_concurrent=slots, max_queue=places)
        self.guard = Bulkhead(settings, metrics=self.metrics)

    def admit(self, tenant: str = "a") -> gw.Lease | gw.Refusal | Place:
        return self.guard.admit(TARGET, asked(tenant))

    def lease(self, tenant: str = "a") -> gw.Lease:
        answer = self.admit(tenant)
        assert isinstance(answer, gw.Lease)
        return answer

    def place(self, tenant: str = "a") -> Place:
        answer = self.admit(tenant)
        assert isinstance(answer, asyncio.Future)
        return answer

    def end(self, lease: gw.Lease) -> None:
        self.guard.report(lease, DONE)

    def shown(self, name: str) -> float:
        families = {each.name: each for each in self.metrics.families()}
        return families[f"gateway_guard_bulkhead_{name}"].value("acme").value


async def test_more_wait_and_then_are_refused() -> None:
    """Slots first, then places, then a clear no; providers are apart."""
    site = Site(slots=1, places=1)
    first, second = site.lease(), site.place()

    third = site.admit()

    assert isinstance(third, gw.Refusal)
    assert (third.status, third.code) == (503, "bulkhead_full")
    assert isinstance(site.guard.admit(gw.Target("beta", "m"), asked("a")), gw.Lease)
    assert [site.shown(n) for n in ("in_flight", "queue_depth", "refused_total")] == [1, 1, 1]
    site.end(first)
    site.end(await second)  # type: ignore[arg-type]  # a lease, or this fails
    assert [site.shown(n) for n in ("in_flight", "queue_depth")] == [0, 0]


async def test_who_gives_up_leaves_the_queue() -> None:
    """A cancelled place takes no slot and counts no longer."""
    site = Site(slots=1, places=1)
    first, gone = site.lease(), site.place()

    gone.cancel()
    await asyncio.sleep(0)
    last = site.place()
    site.end(first)

    assert isinstance(await last, gw.Lease)
    assert site.shown("queue_depth") == 0


async def test_slot_goes_past_one_that_was_cancelled_just_now() -> None:
    """Also before the loop has told the queue."""
    site = Site(slots=1, places=2)
    first, gone, last = site.lease(), site.place(), site.place()

    gone.cancel()
    site.end(first)

    assert isinstance(await last, gw.Lease)
    assert [site.shown(n) for n in ("in_flight", "queue_depth")] == [1, 0]


async def test_free_slot_goes_to_who_has_least() -> None:
    """One tenant's many do not hold up another's one."""
    site = Site(slots=2, places=5)
    running = [site.lease("a"), site.lease("a")]
    many = [site.place("a") for _ in range(3)]
    one = site.place("b")

    site.end(running[0])

    assert one.done()
    assert not any(each.done() for each in many)


async def test_full_queue_makes_room_for_who_has_less() -> None:
    """The newest of the longest gives way, and is told; equals do not push each other out."""
    site = Site(slots=1, places=3)
    site.lease("a")
    many = [site.place("a") for _ in range(3)]

    first = site.place("b")

    assert isinstance(await many[2], gw.Refusal)
    assert not first.done()
    assert isinstance(site.admit("b"), gw.Refusal)
    assert isinstance(site.admit("a"), gw.Refusal)
    assert isinstance(site.place("c"), asyncio.Future) is True


async def test_no_queue() -> None:
    """Without places the answer is at once."""
    site = Site(slots=1, places=0)
    site.lease()

    assert isinstance(site.admit(), gw.Refusal)


STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "end", "cancel"]), st.sampled_from("abc"), st.integers(0))
)


@given(steps=STEPS, slots=st.integers(1, 3), places=st.integers(0, 4))
def test_no_slot_is_lost_in_any_history(
    steps: list[tuple[str, str, int]], slots: int, places: int
) -> None:
    """Never more under way than slots, never more waiting than places, and nobody waits while
    a slot is free; in the end all is free."""

    async def history() -> None:
        site = Site(slots, places)
        leases: list[gw.Lease] = []
        queued: list[Place] = []
        for what, tenant, at in steps:
            if what == "admit":
                answer = site.admit(tenant)
                if isinstance(answer, gw.Lease):
                    leases.append(answer)
                elif isinstance(answer, asyncio.Future):
                    queued.append(answer)
            elif what == "end" and leases:
                site.end(leases.pop(at % len(leases)))
            elif what == "cancel" and queued:
                queued.pop(at % len(queued)).cancel()
            await asyncio.sleep(0)
            granted = [each for each in queued if each.done()]
            queued = [each for each in queued if not each.done()]
            leases += [each.result() for each in granted if isinstance(each.result(), gw.Lease)]  # type: ignore[misc]  # narrowed
            assert len(leases) <= slots
            assert len(queued) <= places
            assert not queued or len(leases) == slots
            assert (site.shown("in_flight"), site.shown("queue_depth")) == (
                len(leases),
                len(queued),
            )
        for place in queued:
            place.cancel()
        await asyncio.sleep(0)
        for lease in leases:
            site.end(lease)
        assert site.guard._bays.get("acme") is None or not site.guard._bays["acme"].running
        assert not any(bay.queues for bay in site.guard._bays.values())

    asyncio.run(history())


@pytest.mark.parametrize("others", [1, 4])
async def test_everybody_gets_a_share_of_a_long_run(others: int) -> None:
    """However many calls one tenant queues, each tenant is served alike."""
    site = Site(slots=2, places=100)
    names = ["greedy", *(f"t{at}" for at in range(others))]
    running = [site.lease("greedy"), site.lease("greedy")]
    places = {site.place("greedy"): "greedy" for _ in range(40)}
    for name in names[1:]:
        places |= {site.place(name): name for _ in range(10)}
    served: Counter[str] = Counter()
    for _ in range(10 * others):
        site.end(running.pop(0))
        granted = [each for each in places if each.done()]
        for each in granted:
            served[places.pop(each)] += 1
            lease = each.result()
            assert isinstance(lease, gw.Lease)
            running.append(lease)

    assert min(served[name] for name in names) >= 10 * others // len(names) - 1
