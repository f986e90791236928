"""Whose turn it is."""

from collections import Counter

import llm_gateway_api as gw
from llm_gateway_routing_basic.strategies import NEVER, RoundRobin, Weighted

ASKED = gw.Asked(
    gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0), "m", "chat", False, 10, False, False
)


def targets(*weights: float) -> list[gw.Target]:
    names = "abcdefgh"
    return [gw.Target("p", names[at], weight) for at, weight in enumerate(weights)]


def order(strategy: gw.RoutingStrategy, candidates: list[gw.Target]) -> str:
    """The candidates as the kernel would try them, without those that take no traffic."""
    scores = strategy.score(ASKED, candidates)
    ranked = sorted(zip(scores, candidates, strict=True), key=lambda pair: -pair[0])
    return "".join(target.model for score, target in ranked if score != NEVER)


def test_round_robin() -> None:
    """Each is first in turn, the others follow in a circle."""
    strategy = RoundRobin()
    candidates = targets(1, 9, 1)

    assert [order(strategy, candidates) for _ in range(4)] == ["abc", "bca", "cab", "abc"]


def test_round_robin_weight_zero() -> None:
    """Weight 0 takes no traffic and no turn."""
    strategy = RoundRobin()

    assert [order(strategy, targets(1, 0, 1)) for _ in range(3)] == ["ac", "ca", "ac"]
    assert order(strategy, targets(0, 0)) == ""


def test_turns_apart() -> None:
    """Requests for other candidates do not move a turn."""
    strategy = RoundRobin()

    first = [order(strategy, targets(1, 1)), order(strategy, targets(1, 1, 1))]

    assert first == ["ab", "abc"]
    assert order(strategy, targets(1, 1)) == "ba"


def test_weighted_smooth() -> None:
    """The shares are exact over a round, and the heavy one does not come in a burst."""
    strategy = Weighted()
    candidates = targets(5, 1, 1)

    assert "".join(order(strategy, candidates)[0] for _ in range(7)) == "aabacaa"


def test_weighted_shares() -> None:
    """Fractions are weights too; weight 0 takes nothing."""
    strategy = Weighted()
    candidates = targets(0.5, 0, 1.5)

    firsts = Counter(order(strategy, candidates)[0] for _ in range(400))

    assert firsts == {"a": 100, "c": 300}
    assert order(strategy, targets(0, 0)) == ""
    assert strategy.score(ASKED, []) == []


def test_weighted_no_tie() -> None:
    """The first has the highest score alone, whatever breaks ties after it."""
    scores = Weighted().score(ASKED, targets(1, 1, 1))

    assert sorted(scores)[-1] > sorted(scores)[-2]
