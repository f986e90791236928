"""Who has the fewest requests under way."""

from collections import Counter
from collections.abc import Callable

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_least_connections.settings import LeastConnectionsSettings
from llm_gateway_routing_least_connections.strategy import (
    DELIVERIES_PER_SECOND,
    NEVER,
    LeastConnections,
    Report,
    pause,
)

ASKED = gw.Asked(
    gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0), "m", "chat", False, 10, False, False
)
DONE = gw.Outcome(None, None, status=200)


class Net:
    """Carries reports between strategies at once."""

    def __init__(self) -> None:
        self.told: list[Callable[[bytes], None]] = []
        self.messages = 0

    def publish(self, topic: str, message: bytes) -> None:
        self.messages += 1
        for each in self.told:
            each(message)


class Now:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(net: Net | None = None, now: Now | None = None) -> LeastConnections:
    strategy = LeastConnections(LeastConnectionsSettings(), clock=now or Now(), state=None)
    if net is not None:
        net.told.append(strategy.heard)
    return strategy


def targets(*weights: float) -> list[gw.Target]:
    return [gw.Target("p", "abcdefgh"[at], weight) for at, weight in enumerate(weights)]


def first(strategy: LeastConnections, candidates: list[gw.Target]) -> gw.Target:
    scores = strategy.score(ASKED, candidates)
    return candidates[scores.index(max(scores))]


def test_fewest_under_way() -> None:
    """Whoever has none is asked before who has one, and again when a lease came back."""
    strategy, candidates = made(), targets(1, 1)
    guard = strategy.follower()
    lease = guard.admit(candidates[0], ASKED)
    assert isinstance(lease, gw.Lease)

    assert first(strategy, candidates).model == "b"
    guard.admit(candidates[1], ASKED)
    guard.admit(candidates[1], ASKED)
    assert first(strategy, candidates).model == "a"
    guard.report(lease, DONE)
    assert first(strategy, candidates).model == "a"


def test_weight_is_room() -> None:
    """A deployment of three times the weight holds three times the requests."""
    strategy, candidates = made(), targets(3, 1)
    guard = strategy.follower()
    held: Counter[str] = Counter()
    for _ in range(40):
        target = first(strategy, candidates)
        guard.admit(target, ASKED)
        held[target.model] += 1

    assert held == {"a": 30, "b": 10}
    assert made().score(ASKED, targets(0))[0] == NEVER


def test_equals_share_by_weight() -> None:
    """Idle deployments are not asked in the order of their names."""
    strategy, candidates = made(), targets(1, 1, 1)

    firsts = Counter(first(strategy, candidates).model for _ in range(3000))

    assert all(800 < firsts[name] < 1200 for name in "abc")


def test_workers_count_together() -> None:
    """What another worker has under way counts here."""
    net = Net()
    one, other = made(net), made(net)
    candidates = targets(1, 1)
    one.follower().admit(candidates[0], ASKED)
    one.tell(net)  # type: ignore[arg-type]  # only `publish` is asked

    assert first(other, candidates).model == "b"
    assert first(one, candidates).model == "b"


def test_a_dead_worker_leaves_nothing() -> None:
    """Its last report is void after three intervals."""
    net, now = Net(), Now()
    dying, other = made(net, now), made(net, now)
    candidates = targets(1, 1)
    dying.follower().admit(candidates[0], ASKED)
    dying.tell(net)  # type: ignore[arg-type]  # only `publish` is asked
    now.now = 2.9
    assert {first(other, candidates).model for _ in range(20)} == {"b"}

    now.now = 3.1
    assert {first(other, candidates).model for _ in range(50)} == {"a", "b"}


def test_an_idle_worker_is_silent() -> None:
    """It says once that nothing is under way, which takes back what it said before."""
    net = Net()
    one, other = made(net), made(net)
    candidates = targets(1, 1)
    guard = one.follower()
    lease = guard.admit(candidates[0], ASKED)
    assert isinstance(lease, gw.Lease)
    one.tell(net)  # type: ignore[arg-type]  # only `publish` is asked
    guard.report(lease, DONE)
    for _ in range(5):
        one.tell(net)  # type: ignore[arg-type]  # only `publish` is asked

    assert net.messages == 2
    assert {first(other, candidates).model for _ in range(50)} == {"a", "b"}


def test_a_large_fleet_reports_less_often() -> None:
    """What all are sent stays bounded, and a report is good until the next one."""
    now = Now()
    strategy, candidates = made(now=now), targets(1, 1)
    for worker in range(999):
        strategy.heard(msgspec.json.encode(Report(f"w{worker}", {"p/a": 1}, 50.0)))

    assert strategy.seconds == pause(1000) == 50.0
    assert all(n * n / pause(n) <= DELIVERIES_PER_SECOND for n in (150, 400, 4000))
    assert pause(100) == 1.0
    now.now = 149.0
    assert {first(strategy, candidates).model for _ in range(20)} == {"b"}
    now.now = 151.0
    assert {first(strategy, candidates).model for _ in range(50)} == {"a", "b"}


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.dictionaries(st.sampled_from(["p/a", "p/b"]), st.integers(1, 9))
        )
    )
)
def test_the_newest_report_of_each_worker_counts(told: list[tuple[int, dict[str, int]]]) -> None:
    """However reports come, what is reckoned with is the sum of the last ones."""
    strategy, candidates = made(), targets(1, 1)
    last: dict[int, dict[str, int]] = {}
    for worker, counts in told:
        strategy.heard(msgspec.json.encode(Report(f"w{worker}", counts)))
        last[worker] = counts

    expected = [sum(each.get(target.name, 0) for each in last.values()) for target in candidates]
    assert [round(-score) - 1 for score in strategy.score(ASKED, candidates)] == expected


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b'{"worker": 1}', b"\xff"])
def test_unreadable_reports_change_nothing(message: bytes) -> None:
    strategy = made()
    strategy.heard(message)

    assert first(strategy, targets(1)).model == "a"


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_no_count_is_ever_left_over(steps: list[tuple[int, bool]]) -> None:
    """Whatever order leases come and go in, all back means idle."""
    strategy, candidates = made(), targets(1, 1, 1, 1)
    guard = strategy.follower()
    leases: list[gw.Lease] = []
    for at, come in steps:
        if come or not leases:
            lease = guard.admit(candidates[at], ASKED)
            assert isinstance(lease, gw.Lease)
            leases.append(lease)
        else:
            guard.report(leases.pop(at % len(leases)), DONE)
    for lease in leases:
        guard.report(lease, DONE)

    assert all(score > -1.1 for score in strategy.score(ASKED, candidates))
