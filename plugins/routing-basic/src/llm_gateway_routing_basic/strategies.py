"""Strategies that take turns. Each keeps a turn for every set of candidates it meets.

A target of weight 0 scores minus infinity and moves no turn.
"""

from collections.abc import Sequence
from typing import TypeAlias, TypeVar

import llm_gateway_api as gw

NEVER = float("-inf")
# Sets come from the configuration, and from filters that thin them out; this is far above
# what either makes, and only keeps a turn from being remembered for ever.
MAX_SETS = 4096
T = TypeVar("T")
Key: TypeAlias = tuple[tuple[str, float], ...]


class RoundRobin:
    """Each candidate in turn; weights count only where they are 0."""

    def __init__(self) -> None:
        self._turns: dict[Key, int] = {}

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        scores = [NEVER] * len(candidates)
        serving = [at for at, each in enumerate(candidates) if each.weight > 0]
        if not serving:
            return scores
        key = _key(candidates)
        turn = self._turns.get(key, 0) % len(serving)
        _bounded(self._turns)[key] = turn + 1
        for position, at in enumerate(serving):
            scores[at] = float(len(serving) - (position - turn) % len(serving))
        return scores

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """A turn is a turn, however it ended."""


class Weighted:
    """Smooth weighted round robin (nginx's): 5, 1, 1 gives a a b a c a a.

    Each time a candidate gains its weight, and the first one pays the sum of all.
    """

    def __init__(self) -> None:
        self._currents: dict[Key, list[float]] = {}

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        total = sum(each.weight for each in candidates)
        if total <= 0:
            return [NEVER] * len(candidates)
        key = _key(candidates)
        current = self._currents.get(key)
        if current is None:
            current = _bounded(self._currents)[key] = [0.0] * len(candidates)
        for at, each in enumerate(candidates):
            current[at] += each.weight
        scores = [
            value if each.weight > 0 else NEVER
            for value, each in zip(current, candidates, strict=True)
        ]
        first = scores.index(max(scores))
        scores[first] += total  # no tie: whoever is picked is who pays
        current[first] -= total
        return scores

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """A turn is a turn, however it ended."""


def _key(candidates: Sequence[gw.Target]) -> Key:
    return tuple([(each.name, each.weight) for each in candidates])


def _bounded(turns: dict[Key, T]) -> dict[Key, T]:
    if len(turns) >= MAX_SETS:
        turns.clear()
    return turns


_: tuple[type[gw.RoutingStrategy], ...] = (RoundRobin, Weighted)
