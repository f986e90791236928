"""How a limit moves, whom it keeps back, and what is shown of it."""

from itertools import pairwise
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_guard_adaptive_concurrency.guard import MAX_INVENTED, OVERLOAD, AdaptiveConcurrency
from llm_gateway_guard_adaptive_concurrency.limit import Limit
from llm_gateway_guard_adaptive_concurrency.settings import AdaptiveConcurrencySettings

A, B = gw.Target("p", "a"), gw.Target("p", "b")
ASKED = gw.Asked(gw.Arrival("r", "POST", "/", "", {}, "", 0.0), "m", "chat", False, 9, False, False)
STREAM = gw.Asked(gw.Arrival("r", "POST", "/", "", {}, "", 0.0), "m", "chat", True, 9, False, False)
F = gw.FailureClass


class World:
    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.metrics = gw.Metrics()
        self.guard = AdaptiveConcurrency(
            AdaptiveConcurrencySettings.model_validate(settings),
            clock=lambda: self.now,
            metrics=self.metrics,
        )

    def admit(self, target: gw.Target = A, asked: gw.Asked = ASKED) -> gw.Lease | None:
        answer = self.guard.admit(target, asked)
        return answer if isinstance(answer, gw.Lease) else None

    def fill(self, target: gw.Target = A) -> list[gw.Lease]:
        leases = []
        while lease := self.admit(target):
            leases.append(lease)
        return leases

    def end(self, leases: list[gw.Lease], failure: str | None = None, seconds: float = 1.0) -> None:
        self.now += seconds
        for lease in leases:
            self.guard.report(lease, gw.Outcome(lease.target, failure, duration=seconds))

    def rounds(
        self, times: int, seconds: float = 1.0, failure: str | None = None
    ) -> list[gw.Lease]:
        """Rounds of as many calls as are let through; those that are let through after them."""
        leases = self.fill()
        for _ in range(times):
            self.end(leases, failure, seconds)
            leases = self.fill()
        return leases

    def shown(self) -> dict[tuple[str, ...], float]:
        families = {each.name: each for each in self.metrics.families()}
        found = families["gateway_guard_adaptive_concurrency_limit"]
        return {labels: found.value(*labels).value for labels in found.children}


def test_beyond_the_limit_another_is_asked() -> None:
    """With a wait of about the time until one of its calls ends; what ends makes room."""
    world = World(initial_limit=5, min_limit=5, max_limit=5)
    leases = world.fill()
    assert len(leases) == 5
    refusal = world.guard.admit(A, ASKED)
    assert isinstance(refusal, gw.Refusal)
    assert (refusal.status, refusal.code) == (503, "concurrency_limited")
    assert refusal.retry_after is not None
    assert world.admit(B) is not None

    world.end(leases[:2])
    assert len(world.fill()) == 2


def test_it_grows_while_answers_stay_quick() -> None:
    """By its root with each round, while it is in use; shown as it is."""
    world = World(initial_limit=10)

    leases = world.rounds(10)
    assert len(leases) > 25
    world.end(leases)
    limit = len(world.rounds(100))
    assert limit > 300
    assert world.shown()[("p", "a")] == limit


def test_it_does_not_grow_unused() -> None:
    """What nobody tried is not known to work."""
    world = World(initial_limit=20)
    for _ in range(200):
        lease = world.admit()
        assert lease is not None
        world.end([lease])

    assert len(world.fill()) == 20


def test_slow_answers_shrink_it() -> None:
    """As soon as they take longer than `latency_tolerance` lets them."""
    for seconds, shrinks in ((1.9, False), (6.0, True)):
        world = World(initial_limit=50, latency_tolerance=2.0)
        before = world.rounds(3)
        world.end(before, seconds=seconds)
        after = world.rounds(5, seconds=seconds)
        assert (len(after) < len(before) / 2) is shrinks


def test_it_never_falls_below_its_least() -> None:
    assert len(World(min_limit=7, initial_limit=50).rounds(60, failure=F.OVERLOADED)) == 7


@pytest.mark.parametrize("failure", list(F))
def test_what_cuts_it(failure: gw.FailureClass) -> None:
    """Limits, overloads and time-outs; no other failure says that it was too much."""
    world = World(initial_limit=20)

    assert (len(world.rounds(1, failure=failure)) < 20) is (failure in OVERLOAD)


def test_one_cut_a_round_trip() -> None:
    """Twenty refusals of calls that were sent together are one piece of news."""
    world = World(initial_limit=20)

    assert len(world.rounds(1, failure=F.RATE_LIMITED)) == 18


def test_after_a_cut_it_grows_by_one_a_round() -> None:
    """And quickly again when it was quiet for a minute."""
    world = World(initial_limit=20)
    leases = world.rounds(1, failure=F.RATE_LIMITED)
    limits = []
    for _ in range(70):
        world.end(leases)
        leases = world.fill()
        limits.append(len(leases))

    steps = [after - before for before, after in pairwise(limits)]
    assert set(steps[:50]) <= {0, 1} and sum(steps[:50]) > 40
    assert min(steps[-5:]) > 5


def test_a_stream_is_measured_to_its_first_content() -> None:
    """However long it then goes on."""
    world = World(initial_limit=8, min_limit=8)
    for _ in range(10):
        leases = [world.guard.admit(A, STREAM) for _ in range(8)]
        world.now += 0.5
        for lease in leases:
            assert isinstance(lease, gw.Lease)
            world.guard.answered(lease, {})
        world.now += 100.0
        for lease in leases:
            assert isinstance(lease, gw.Lease)
            world.guard.report(lease, gw.Outcome(A, None, duration=100.5))

    member = world.guard._known[A.name]
    assert member.limit.seconds == pytest.approx(0.5)


def test_who_left_says_nothing_and_frees_the_place() -> None:
    world = World(initial_limit=8, min_limit=8)
    for lease in world.fill():
        world.guard.report(lease, gw.Outcome(A, None, cancelled=True))

    assert len(world.fill()) == 8
    assert world.guard._known[A.name].limit.seconds == 0.0


def test_look_takes_no_place() -> None:
    world = World(initial_limit=4)
    assert world.guard.look(A, ASKED) == {"admits": True, "running": 0, "limit": 4}
    world.fill()

    assert world.guard.look(A, ASKED) == {"admits": False, "running": 4, "limit": 4}


def test_invented_models_do_not_fill_the_memory() -> None:
    world = World()
    for number in range(MAX_INVENTED + 50):
        world.admit(gw.Target("p", f"m{number}", known=False))

    assert len(world.guard._invented) == MAX_INVENTED
    assert world.shown() == {}


def test_reload_forgets_what_is_gone() -> None:
    world = World()
    world.admit(A)
    lease = world.admit(B)
    assert lease is not None

    class Deployments:
        def deployments(self) -> list[gw.Target]:
            return [A]

    given: Any = Deployments()
    world.guard.reloaded(given)

    assert set(world.shown()) == {("p", "a")}
    world.end([lease])  # a call that was under way ends in peace


@pytest.mark.parametrize(
    "settings",
    [{"min_limit": 30}, {"initial_limit": 2000}, {"min_limit": 5, "max_limit": 4}],
)
def test_limits_out_of_order_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match="must not fall"):
        AdaptiveConcurrencySettings.model_validate(settings)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["quick", "slow", "stream", "overload"]),
        st.floats(0.001, 100),
        st.integers(1, 300),
    ),
    max_size=300,
)


@given(STEPS)
def test_the_limit_stays_between_its_ends(steps: list[tuple[str, float, int]]) -> None:
    """An overload never raises it, an answer lowers it at most to half."""
    limit, now = Limit(20, 3, 100, 2.0), 0.0
    for step, seconds, running in steps:
        now += seconds
        before = limit.value
        if step == "overload":
            limit.overloaded(running, now)
            assert limit.value <= max(before, 3)
        else:
            took = seconds * (10 if step == "slow" else 1)
            limit.answered(took, running, step == "stream", now)
            assert limit.value >= min(before, max(3, before / 2))
            assert limit.value <= before + before**0.5 + 1
        assert 3 <= limit.value <= 100


@given(st.lists(st.sampled_from(["admit", "end", "fail", "leave"]), max_size=300))
def test_no_place_is_lost(steps: list[str]) -> None:
    """What is under way is what was admitted and has not ended, whatever happened."""
    world, open_ = World(initial_limit=6, max_limit=20), list[gw.Lease]()
    for step in steps:
        if step == "admit":
            lease = world.admit()
            assert (lease is not None) or len(open_) >= 4
            open_ += [lease] if lease else []
        elif open_:
            lease = open_.pop(0)
            failure = F.OVERLOADED if step == "fail" else None
            world.now += 0.3
            outcome = gw.Outcome(A, failure, cancelled=step == "leave", duration=0.3)
            world.guard.report(lease, outcome)
    assert world.guard.look(A, ASKED)["running"] == len(open_)
