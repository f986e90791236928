"""Who steps in when a model's own deployments have failed. Pure; nobody is asked twice."""

import logging
from collections.abc import Iterator, Mapping

import llm_gateway_api as gw

from llm_gateway_policy_fallback.settings import FallbackSettings

log = logging.getLogger("llm_gateway_policy_fallback")


class FallbackPolicy:
    """Walks the chains of what was asked for, then those of whom it led to.

    Nobody is asked twice, so chains may lead back to where they came from.
    """

    def __init__(self, settings: FallbackSettings, *, targets: gw.Targets) -> None:
        self._chains: Mapping[str, tuple[str, ...]] = settings.root
        self._targets = targets
        unknown = sorted(
            {*self._names()} - {each for each in self._names() if targets.exists(each)}
        )
        if unknown:
            raise gw.ConfigurationError(
                f"routing.fallbacks: nothing is called {unknown[0]!r}; name a model of "
                "routing.models, a provider/model, or a provider."
            )

    def _names(self) -> Iterator[str]:
        for name, chain in self._chains.items():
            yield name
            yield from chain

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        if plan.committed:
            return None
        row = gw.FAILURES[failure] if failure is not None else None
        if row is not None and not row.try_next:
            return self._larger(plan) if row.larger else None
        if plan.untried():
            return None
        return _first([each for group in self._offered(plan) for each in group])

    def _offered(self, plan: gw.Plan) -> Iterator[list[gw.Target]]:
        """For each name of the chains, its deployments that are not in the plan yet."""
        seen = {each.name for each in plan.targets}
        asked_for = [plan.asked.model]
        for target in plan.targets:
            asked_for += [target.name, target.provider]
        for key in dict.fromkeys(asked_for):
            for name in self._chains.get(key, ()):
                found = [e for e in self._targets.named(name, plan.asked) if e.name not in seen]
                seen |= {each.name for each in found}
                yield found

    def _larger(self, plan: gw.Plan) -> gw.Attempt | None:
        """Those with a larger context window than what was too small, the plan's own first."""
        windows = [self._targets.info(each.target).context_window or 0 for each in plan.made]
        candidates = plan.untried()
        candidates += [each for group in self._offered(plan) for each in group]
        return _first(
            [
                each
                for each in candidates
                if (self._targets.info(each).context_window or 0) > max(windows)
            ]
        )


def _first(targets: list[gw.Target]) -> gw.Attempt | None:
    if not targets:
        return None
    return gw.Attempt(targets[0], mode="fallback", more=tuple(targets[1:]))


_: type[gw.AttemptPolicy] = FallbackPolicy
