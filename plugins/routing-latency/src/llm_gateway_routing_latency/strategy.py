"""The quicker of two that are drawn, by time to the first content and requests under way."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import llm_gateway_api as gw

from llm_gateway_routing_latency.measured import Measured, middle, size_class
from llm_gateway_routing_latency.settings import LatencySettings

NEVER = float("-inf")
MAX_DEPLOYMENTS = 20_000  # clients may name models as they like
Kind: TypeAlias = tuple[str, bool, int]


@dataclass(slots=True)
class Token:
    """A lease's part: its class, when it began, and whether it was measured already."""

    kind: Kind
    began: float
    told: bool = False


class LatencyOptimized:
    """Power of two choices: both random enough that workers do not run to the same one
    together, and as good as asking all.

    Streams are measured to their first content and other answers to their end, apart by
    model and by the size of the prompt. Only successes count: a quick refusal attracts nobody.
    """

    def __init__(
        self,
        settings: LatencySettings,
        *,
        clock: Callable[[], float],
        chance: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._chance = chance or random.Random()
        self._kinds: dict[Kind, dict[str, Measured]] = {}
        self._active: dict[str, int] = {}
        self._size = 0

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        """-cost for each; the winner of the draw above all, then the one it beat."""
        known = self._kinds.get(kind_of(asked), {})
        costs = self._costs(known, candidates)
        scores = [
            -cost if each.weight > 0 else NEVER
            for cost, each in zip(costs, candidates, strict=True)
        ]
        drawn = self._drawn(known, candidates)
        if drawn:
            best = min(drawn, key=lambda at: costs[at])
            for at in drawn:
                scores[at] = 2.0 if at == best else 1.0
        return scores

    def _costs(self, known: dict[str, Measured], candidates: Sequence[gw.Target]) -> list[float]:
        oldest = self._clock() - self._settings.forget_seconds
        active = self._active
        found = [known.get(each.name) for each in candidates]
        fresh = [each.seconds if each and each.at >= oldest else None for each in found]
        unknown = middle([each for each in fresh if each is not None])
        return [
            (unknown if seconds is None else seconds)
            * (active.get(each.name, 0) + 1)
            / (each.weight or 1.0)
            for seconds, each in zip(fresh, candidates, strict=True)
        ]

    def _drawn(self, known: dict[str, Measured], candidates: Sequence[gw.Target]) -> list[int]:
        """Two to choose from, without replacement; sometimes the one that was measured last
        of all, since who lost once would else never be measured again."""
        if any(each.weight <= 0 for each in candidates):
            serving = [at for at, each in enumerate(candidates) if each.weight > 0]
        else:
            serving = list(range(len(candidates)))
        if len(serving) < 2:
            return serving
        if self._chance.random() < self._settings.exploration:
            ages = [(m.at if (m := known.get(candidates[at].name)) else NEVER) for at in serving]
            return [serving[ages.index(min(ages))]]
        return self._chance.sample(serving, 2)

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """Attempts are followed by their leases."""

    def follower(self) -> gw.Guard:
        return Follower(self)

    # --- what the follower tells ---------------------------------------------------------

    def began(self, target: gw.Target, asked: gw.Asked) -> Token:
        self._active[target.name] = self._active.get(target.name, 0) + 1
        return Token(kind_of(asked), self._clock())

    def measured(self, target: gw.Target, token: Token) -> None:
        """Its first content came, or its whole answer; counted once."""
        if token.told:
            return
        token.told = True
        now = self._clock()
        known = self._kinds.setdefault(token.kind, {})
        found = known.get(target.name)
        if found is None or now - found.at > self._settings.forget_seconds:
            self._add(known, target.name, Measured(now - token.began, now))
        else:
            found.add(now - token.began, now, self._settings.decay_seconds)

    def ended(self, target: gw.Target) -> None:
        left = self._active[target.name] - 1
        if left:
            self._active[target.name] = left
        else:
            del self._active[target.name]

    def _add(self, known: dict[str, Measured], name: str, measured: Measured) -> None:
        if name not in known:
            self._size += 1
        known[name] = measured
        if self._size > MAX_DEPLOYMENTS:
            self._kinds.clear()
            self._size = 0


class Follower:
    """Takes the time of each attempt."""

    def __init__(self, strategy: LatencyOptimized) -> None:
        self._strategy = strategy

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, self._strategy.began(target, asked))

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        self._strategy.measured(lease.target, lease.held(Token))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self._strategy.ended(lease.target)
        if outcome.failure is None and not outcome.cancelled:
            self._strategy.measured(lease.target, lease.held(Token))


def kind_of(asked: gw.Asked) -> Kind:
    return asked.operation, asked.stream, size_class(asked.prompt_bytes)


_: type[gw.RoutingStrategy] = LatencyOptimized
__: type[gw.SupportsFollowing] = LatencyOptimized
___: type[gw.SupportsAnswered] = Follower
