"""Taking turns by weight. A turn is kept for every set of candidates."""

import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

import llm_gateway_api as gw

NEVER = float("-inf")
# Sets come from the configuration, and from filters that thin them out; this is far above
# what either makes, and only keeps a turn from being remembered for ever.
MAX_SETS = 4096
MAX_OFFSET = 64
Key: TypeAlias = tuple[tuple[str, float], ...]


class Turn:
    """What each candidate of one set has gained since it was last first."""

    __slots__ = ("current", "total", "weights")

    def __init__(self, candidates: Sequence[gw.Target]) -> None:
        self.weights = [each.weight if each.weight > 0 else 0.0 for each in candidates]
        self.total = sum(self.weights)
        self.current = [0.0 if weight else NEVER for weight in self.weights]

    def scores(self) -> tuple[list[float], int]:
        """The gains with this turn's weights, and whose turn it is."""
        gained = [has + weight for has, weight in zip(self.current, self.weights, strict=True)]
        return gained, gained.index(max(gained))

    def take(self) -> list[float]:
        """Like `scores`, and the first one pays the sum of all."""
        gained, first = self.scores()
        self.current = gained.copy()
        self.current[first] -= self.total
        return _alone(gained, first, self.total)

    def look(self) -> list[float]:
        return _alone(*self.scores(), self.total)


class SmoothWeighted:
    """Smooth weighted round robin (nginx's): 5, 1, 1 gives a a b a c a a.

    Each time a candidate gains its weight, and the first one pays the sum of all. One of
    several workers begins somewhere in the round, or all would ask the same one at once.
    """

    def __init__(
        self, *, workers: int = 1, chance: Callable[[int], int] = random.randrange
    ) -> None:
        self._turns: dict[Key, Turn] = {}
        self._same: dict[int, tuple[Sequence[gw.Target], Turn]] = {}
        self._offset = chance(MAX_OFFSET) if workers > 1 else 0

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        turn = self._turn(candidates)
        if turn.total <= 0:
            return [NEVER] * len(candidates)
        return turn.look() if asked.rehearsal else turn.take()

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """A turn is a turn, however it ended."""

    def _turn(self, candidates: Sequence[gw.Target]) -> Turn:
        """By identity first: to name each of a thousand candidates costs more than a turn."""
        same = self._same.get(id(candidates))
        if same is not None and same[0] is candidates:
            return same[1]
        key = tuple([(each.name, each.weight) for each in candidates])
        turn = self._turns.get(key)
        if turn is None:
            turn = self._new(key, candidates)
        if isinstance(candidates, tuple):
            self._same[id(candidates)] = candidates, turn
        return turn

    def _new(self, key: Key, candidates: Sequence[gw.Target]) -> Turn:
        if len(self._turns) >= MAX_SETS or len(self._same) >= MAX_SETS:
            self._turns.clear()
            self._same.clear()
        turn = self._turns[key] = Turn(candidates)
        if turn.total > 0:
            for _ in range(self._offset):
                turn.take()
        return turn


def _alone(scores: list[float], first: int, total: float) -> list[float]:
    """No tie: whoever is picked is who pays."""
    scores[first] += total
    return scores


_: type[gw.RoutingStrategy] = SmoothWeighted
