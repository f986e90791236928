"""Whose turn it is."""

from collections import Counter

import llm_gateway_api as gw
import msgspec
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_basic.strategies import NEVER, SmoothWeighted

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
    """Equal weights are a circle; a heavier one comes more often and not in a burst."""
    strategy = SmoothWeighted()

    assert "".join(order(strategy, targets(1, 1, 1))[0] for _ in range(6)) == "abcabc"
    assert "".join(order(strategy, targets(2, 1))[0] for _ in range(6)) == "abaaba"


def test_round_robin_weight_zero() -> None:
    """Weight 0 takes no traffic and no turn."""
    strategy = SmoothWeighted()

    assert [order(strategy, targets(1, 0, 1)) for _ in range(3)] == ["ac", "ca", "ac"]
    assert order(strategy, targets(0, 0)) == ""


def test_a_rehearsal_moves_no_turn() -> None:
    """Whoever asks what would happen changes nothing of what will."""
    strategy = SmoothWeighted()
    candidates = targets(1, 1)
    asked = msgspec.structs.replace(ASKED, rehearsal=True)

    looked = [strategy.score(asked, candidates) for _ in range(3)]

    assert looked[0] == looked[1] == looked[2]
    assert order(strategy, candidates) == "ab"


def test_workers_begin_apart() -> None:
    """One of several workers begins elsewhere in the round; shares stay exact."""
    candidates = targets(3, 1)

    starts = {
        order(SmoothWeighted(workers=4, chance=lambda _, at=at: at), candidates)[0]
        for at in range(4)
    }
    firsts = Counter(
        order(strategy, candidates)[0]
        for strategy in [SmoothWeighted(workers=2, chance=lambda _: 3)]
        for _ in range(400)
    )

    assert starts == {"a", "b"}
    assert firsts == {"a": 300, "b": 100}


def test_one_set_is_one_turn_whatever_holds_it() -> None:
    """A tuple that is met again, an equal one and a list share their turn."""
    strategy = SmoothWeighted()
    held = tuple(targets(1, 1))

    firsts = [
        strategy.score(ASKED, each) for each in (held, held, tuple(targets(1, 1)), list(held))
    ]

    assert [each.index(max(each)) for each in firsts] == [0, 1, 0, 1]


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=12), st.integers(1, 200))
def test_no_candidate_is_ever_far_from_its_share(weights: list[float], times: int) -> None:
    """After any number of requests each had its share, give or take one round's turn."""
    strategy = SmoothWeighted()
    candidates = tuple(gw.Target("p", str(at), each) for at, each in enumerate(weights))
    firsts: Counter[int] = Counter()
    for _ in range(times):
        scores = strategy.score(ASKED, candidates)
        firsts[scores.index(max(scores))] += 1

    for at, weight in enumerate(weights):
        assert abs(firsts[at] - times * weight / sum(weights)) <= len(weights)


def test_turns_apart() -> None:
    """Requests for other candidates do not move a turn."""
    strategy = SmoothWeighted()

    first = [order(strategy, targets(1, 1)), order(strategy, targets(1, 1, 1))]

    assert first == ["ab", "abc"]
    assert order(strategy, targets(1, 1)) == "ba"


def test_weighted_smooth() -> None:
    """The shares are exact over a round, and the heavy one does not come in a burst."""
    strategy = SmoothWeighted()
    candidates = targets(5, 1, 1)

    assert "".join(order(strategy, candidates)[0] for _ in range(7)) == "aabacaa"


def test_weighted_shares() -> None:
    """Fractions are weights too; weight 0 takes nothing."""
    strategy = SmoothWeighted()
    candidates = targets(0.5, 0, 1.5)

    firsts = Counter(order(strategy, candidates)[0] for _ in range(400))

    assert firsts == {"a": 100, "c": 300}
    assert order(strategy, targets(0, 0)) == ""
    assert strategy.score(ASKED, []) == []


def test_weighted_no_tie() -> None:
    """The first has the highest score alone, whatever breaks ties after it."""
    scores = SmoothWeighted().score(ASKED, targets(1, 1, 1))

    assert sorted(scores)[-1] > sorted(scores)[-2]
