"""Declares the routing strategy ``{{id}}``.

The target that failed least of late comes first.
"""

from collections.abc import Sequence

import llm_gateway_api as gw

MEMORY = 0.8  # how much of the past an outcome leaves standing
NEVER = float("-inf")


class {{Class}}:
    """Shared by all requests and called on the event loop: no await, nothing slow."""

    def __init__(self) -> None:
        self._faults: dict[str, float] = {}

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float]:
        return [self._score(each) for each in candidates]

    def _score(self, target: gw.Target) -> float:
        return NEVER if target.weight <= 0 else -self._faults.get(target.name, 0.0)

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """A client that left speaks for and against nobody."""
        if outcome.cancelled:
            return
        fault = 0.0 if outcome.failure is None else 1.0
        past = self._faults.get(target.name, 0.0)
        self._faults[target.name] = MEMORY * past + (1 - MEMORY) * fault


_: type[gw.RoutingStrategy] = {{Class}}  # the type checker proves the contract


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [gw.RoutingStrategySpec("{{id}}", {{Class}})]
