"""What observers are told of a decision."""

import llm_gateway_api as gw
from llm_gateway.ranking import ranked
from llm_gateway.trails import candidates

TARGETS = [gw.Target("p", name) for name in "abc"]


def ask() -> gw.Asked:
    arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0)
    return gw.Asked(arrival, "m", "chat", False, 10, False, False)


class Scores:
    """A strategy that says what it was told to, and counts how often it is asked."""

    def __init__(self, *scores: float) -> None:
        self._scores = scores
        self.asked = 0

    def score(self, asked: gw.Asked, candidates: object) -> tuple[float, ...]:
        self.asked += 1
        return self._scores

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None: ...


def test_the_first_stands_first_and_nothing_is_sorted_for_it() -> None:
    strategy = Scores(1.0, 3.0, 2.0)
    ranking = ranked(ask(), TARGETS, (), strategy)

    found = candidates(ranking)

    assert [(each.target, each.score) for each in found] == [
        ("p/b", 3.0),
        ("p/a", 1.0),
        ("p/c", 2.0),
    ]
    assert strategy.asked == 1
    assert not ranking.sorted


def test_what_was_put_in_order_is_told_in_order() -> None:
    ranking = ranked(ask(), TARGETS, (), Scores(1.0, 3.0, 2.0))
    assert ranking[1].name == "p/c"

    assert [each.target for each in candidates(ranking)] == ["p/b", "p/c", "p/a"]


def test_there_are_never_too_many() -> None:
    many = [gw.Target("p", f"m{number}") for number in range(1000)]

    assert len(candidates(ranked(ask(), many, (), None))) == gw.MOST_CANDIDATES
