"""The order of candidates: the best at once, the others only when an attempt failed."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias, overload

from llm_gateway_api import Asked, RoutingScorer, RoutingStrategy, Target
from msgspec import structs

log = logging.getLogger("llm_gateway.ranking")

Scorers: TypeAlias = Sequence[tuple[str, RoutingScorer]]
Score: TypeAlias = Callable[[Asked, Sequence[Target]], Sequence[float]]


class Ranking(Sequence[Target]):
    """Candidates, best first.

    `preferences` is what scorers said in sum, None where all are alike; `scores` is what the
    strategy said of the preferred ones in `top`, None where it was not asked. Sorting is left
    until somebody asks for more than the first.
    """

    __slots__ = (
        "_asked",
        "_ordered",
        "_score",
        "candidates",
        "first",
        "preferences",
        "scores",
        "top",
    )

    def __init__(
        self,
        asked: Asked,
        candidates: Sequence[Target],
        preferences: Sequence[float] | None,
        score: Score | None,
    ) -> None:
        self.candidates = candidates
        self.preferences = preferences
        self._asked = asked
        self._score = score
        self._ordered: list[Target] | None = None
        self.top = candidates if preferences is None else _alike(candidates, preferences)
        self.scores: Sequence[float] | None = None
        if score is not None and len(self.top) > 1:
            self.scores = score(asked, self.top)
            self.first = best(self.scores, self.top)
        else:
            self.first = self.top[0]

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Target]: ...
    def __getitem__(self, index: int | slice) -> Target | Sequence[Target]:
        if index == 0:
            return self.first
        return self._order()[index]

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def sorted(self) -> Sequence[Target]:
        """All, best first, where somebody has asked for more than the first; else empty."""
        return self._ordered or ()

    def _order(self) -> list[Target]:
        if self._ordered is None:
            self._ordered = ordered(self.scores, self.top)
            if self.preferences is not None:
                self._ordered += self._others(self.preferences)
        return self._ordered

    def _others(self, preferences: Sequence[float]) -> list[Target]:
        """Those that are less preferred, level by level; no turn moves for them."""
        rehearsed = structs.replace(self._asked, rehearsal=True)
        levels: dict[float, list[Target]] = {}
        for level, target in zip(preferences, self.candidates, strict=True):
            levels.setdefault(level, []).append(target)
        found: list[Target] = []
        for level in sorted(levels, reverse=True)[1:]:
            alike = levels[level]
            scores = self._score(rehearsed, alike) if self._score and len(alike) > 1 else None
            found += ordered(scores, alike)
        return found


def ranked(
    asked: Asked, candidates: Sequence[Target], scorers: Scorers, strategy: RoutingStrategy | None
) -> Ranking:
    preferences = preferred(asked, candidates, scorers) if len(candidates) > 1 else None
    return Ranking(asked, candidates, preferences, strategy.score if strategy else None)


def preferred(
    asked: Asked, candidates: Sequence[Target], scorers: Scorers
) -> Sequence[float] | None:
    """The sum of what scorers say; None where all candidates are alike to them."""
    total: Sequence[float] | None = None
    for name, scorer in scorers:
        try:
            said = scorer.prefer(asked, candidates)
            if said is not None:
                total = said if total is None else [a + b for a, b in zip(total, said, strict=True)]
        except Exception:
            log.exception("scorer.failed name=%s", name)
    return total


def best(scores: Sequence[float], candidates: Sequence[Target]) -> Target:
    """The one with the highest score; then the heaviest, then by name."""
    top = max(scores)
    at = scores.index(top)
    if scores.count(top) == 1:
        return candidates[at]
    alike = (each for score, each in zip(scores, candidates, strict=True) if score == top)
    return min(alike, key=lambda each: (-each.weight, each.name))


def ordered(scores: Sequence[float] | None, candidates: Sequence[Target]) -> list[Target]:
    if scores is None:
        return list(candidates)
    pairs = zip(scores, candidates, strict=True)
    keyed = sorted(pairs, key=lambda pair: (-pair[0], -pair[1].weight, pair[1].name))
    return [target for _, target in keyed]


def _alike(candidates: Sequence[Target], preferences: Sequence[float]) -> Sequence[Target]:
    """Those that are preferred most."""
    top = max(preferences)
    kept = [each for level, each in zip(preferences, candidates, strict=True) if level == top]
    return candidates if len(kept) == len(candidates) else kept
