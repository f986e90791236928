"""Who answers sooner, and how that is found out."""

import random
from collections import Counter

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_latency.measured import Measured
from llm_gateway_routing_latency.settings import LatencySettings
from llm_gateway_routing_latency.strategy import NEVER, LatencyOptimized

ASKED = gw.Asked(
    gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0), "m", "chat", True, 10, False, False
)
A, B, C = (gw.Target("p", name) for name in "abc")


class World:
    """A strategy and its clock."""

    def __init__(self, **settings: float) -> None:
        self.now = 0.0
        self.strategy = LatencyOptimized(
            LatencySettings.model_validate(settings),
            clock=lambda: self.now,
            chance=random.Random(7),
        )
        self.guard = self.strategy.follower()

    def attempt(
        self,
        target: gw.Target,
        seconds: float,
        failure: str | None = None,
        asked: gw.Asked = ASKED,
        rest: float = 0.0,
    ) -> None:
        lease = self.guard.admit(target, asked)
        assert isinstance(lease, gw.Lease)
        self.now += seconds
        if asked.stream and failure is None:
            assert isinstance(self.guard, gw.SupportsAnswered)
            self.guard.answered(lease, {})
        self.now += rest
        self.guard.report(lease, gw.Outcome(target, failure))

    def firsts(
        self, *candidates: gw.Target, times: int = 1000, asked: gw.Asked = ASKED
    ) -> Counter[str]:
        found: Counter[str] = Counter()
        for _ in range(times):
            scores = self.strategy.score(asked, candidates)
            found[candidates[scores.index(max(scores))].model] += 1
        return found


def test_the_quicker_one() -> None:
    """Of two, the one with the sooner first content gets all but the exploration."""
    world = World()
    world.attempt(A, 0.1)
    world.attempt(B, 0.5)

    firsts = world.firsts(A, B)

    assert firsts["a"] > 950
    assert World(exploration=0).firsts(A)["a"] == 1000


def test_a_stream_is_measured_to_its_first_content() -> None:
    """How long it goes on says nothing about the deployment."""
    world = World(exploration=0)
    world.attempt(A, 0.1, rest=60.0)
    world.attempt(B, 0.2, rest=0.0)

    assert world.firsts(A, B) == {"a": 1000}


def test_a_quick_failure_attracts_nobody() -> None:
    """Only successes count."""
    world = World(exploration=0)
    world.attempt(A, 0.5)
    world.attempt(B, 0.6)
    for _ in range(50):
        world.attempt(B, 0.001, failure="server_error")

    assert world.firsts(A, B) == {"a": 1000}


def test_requests_under_way_count() -> None:
    """The quicker one is left when what waits for it makes it the later one."""
    world = World(exploration=0)
    world.attempt(A, 0.1)
    world.attempt(B, 0.25)
    assert world.firsts(A, B) == {"a": 1000}
    for _ in range(2):
        world.guard.admit(A, ASKED)

    assert world.firsts(A, B) == {"b": 1000}


def test_who_is_not_measured_is_the_median() -> None:
    """A new one is neither flooded nor left out."""
    world = World(exploration=0)
    world.attempt(A, 0.1)
    world.attempt(B, 0.5)

    assert 600 < world.firsts(A, B, C)["a"] < 730  # of three drawn pairs it wins two
    costs = world.strategy._costs(world.strategy._kinds["chat", True, 0], (A, B, C))
    assert costs == pytest.approx([0.1, 0.5, 0.3])


def test_exploration_measures_the_oldest() -> None:
    """A slow one that recovered is found out, with the share that was configured."""
    world = World(exploration=0.1)
    world.attempt(B, 2.0)
    world.attempt(A, 0.1)

    firsts = world.firsts(A, B, times=5000)

    assert 400 < firsts["b"] < 600
    assert World(exploration=0).firsts(A, times=1) == {"a": 1}


def test_old_measurements_are_forgotten() -> None:
    """After `forget_seconds` it counts as not measured: the median, no matter how slow it was."""
    world = World(exploration=0, forget_seconds=100)
    world.attempt(B, 5.0)
    world.now += 99
    world.attempt(A, 0.1)
    assert world.firsts(A, B) == {"a": 1000}

    world.now += 50

    assert world.firsts(A, B)["b"] > 300


def test_classes_are_apart() -> None:
    """Long prompts and answers that are no stream are measured for themselves."""
    world = World(exploration=0)
    large = msgspec.structs.replace(ASKED, prompt_bytes=100_000)
    plain = msgspec.structs.replace(ASKED, stream=False)
    for asked, quick, slow in ((ASKED, A, B), (large, B, A), (plain, B, A)):
        world.attempt(quick, 0.1, asked=asked)
        world.attempt(slow, 0.9, asked=asked)

    assert world.firsts(A, B) == {"a": 1000}
    assert world.firsts(A, B, asked=large) == {"b": 1000}
    assert world.firsts(A, B, asked=plain) == {"b": 1000}


def test_weight_zero() -> None:
    """It takes no traffic, whatever it costs."""
    world = World()
    idle = gw.Target("p", "idle", 0.0)

    assert world.firsts(A, idle) == {"a": 1000}
    assert world.strategy.score(ASKED, [idle]) == [NEVER]


def test_invented_models_do_not_fill_the_memory() -> None:
    world = World()
    for number in range(20_001):
        world.attempt(gw.Target("p", f"m{number}", known=False), 0.001)

    assert sum(map(len, world.strategy._kinds.values())) <= 20_000


@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 1000)), min_size=1, max_size=50))
def test_the_mean_jumps_up_and_comes_down(steps: list[tuple[float, float]]) -> None:
    """It is never below the last value, and never above the highest."""
    now, highest = 0.0, steps[0][0]
    measured = Measured(highest, now)
    for seconds, wait in steps:
        now += wait
        before = measured.seconds
        measured.add(seconds, now, 10.0)
        highest = max(highest, seconds)
        assert seconds - 1e-9 <= measured.seconds <= max(before, seconds) + 1e-9
    assert measured.seconds <= highest + 1e-9
