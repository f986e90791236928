"""When a deployment is asked again, and after which wait. Pure: knows no clock but `ended`.

Backoff and jitter as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

import random
from collections.abc import Callable, Mapping

import llm_gateway_api as gw

from llm_gateway_policy_retry.settings import RetrySettings


class RetryPolicy:
    """Asks again once every eligible deployment was asked, the least asked one first."""

    def __init__(
        self,
        settings: RetrySettings,
        *,
        providers: Mapping[str, gw.ProviderSettings],
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._limits = {
            name: min(settings.max_attempts, own.max_retries + 1) for name, own in providers.items()
        }
        self._clock = clock
        self._chance = chance
        self._delay = _DELAYS[settings.strategy]

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        final = failure is not None and not gw.FAILURES[failure].try_next
        if final or plan.committed or plan.untried() or not self._affordable(plan):
            return None
        now = self._clock()
        tried = {each.target.name: each.target for each in plan.made}
        found: gw.Attempt | None = None
        fewest: tuple[int, float] | None = None
        for target in tried.values():
            made = plan.times(target)
            wait = self._wait(made, now)
            if wait is None or wait + made[-1].duration > time_left:
                continue
            if fewest is None or (len(made), wait) < fewest:
                fewest, found = (len(made), wait), gw.Attempt(target, wait)
        return found

    def _affordable(self, plan: gw.Plan) -> bool:
        """Retries are a bounded share of what is under way, so that they end no outage in a
        storm; the floor lets a quiet gateway retry at all."""
        share = plan.active * self._settings.budget_percent / 100
        return plan.retrying < max(share, self._settings.budget_min)

    def _wait(self, made: list[gw.Attempted], now: float) -> float | None:
        """Seconds from `now` until the target may be asked again; None for never."""
        last, settings = made[-1], self._settings
        sent = [each for each in made if each.failure is not None]
        limit = self._limits.get(last.target.provider, settings.max_attempts)
        if max(len(sent), len(made) - len(sent)) >= limit:
            return None
        if last.failure is None and last.retry_after is None:
            return None  # a guard that cannot say when
        if last.failure is not None and not gw.FAILURES[last.failure].retry_same:
            return None
        longest = settings.max_delay_ms / 1000
        asked_for = last.retry_after or 0.0
        if asked_for > longest:
            return None
        delay = min(longest, self._delay(settings, sent or made, self._chance()))
        return max(0.0, last.ended + max(delay, asked_for) - now)


def _fixed(settings: RetrySettings, made: list[gw.Attempted], chance: float) -> float:
    return settings.initial_delay_ms / 1000


def _exponential(settings: RetrySettings, made: list[gw.Attempted], chance: float) -> float:
    factor = settings.backoff_multiplier ** min(len(made) - 1, 64)
    return min(settings.initial_delay_ms * factor, settings.max_delay_ms) / 1000


def _jittered(settings: RetrySettings, made: list[gw.Attempted], chance: float) -> float:
    return _exponential(settings, made, chance) * chance


def _decorrelated(settings: RetrySettings, made: list[gw.Attempted], chance: float) -> float:
    least = settings.initial_delay_ms / 1000
    return least + chance * max(0.0, made[-1].waited * 3 - least)


_DELAYS = {
    "fixed": _fixed,
    "exponential": _exponential,
    "jittered": _jittered,
    "decorrelated": _decorrelated,
}
_: type[gw.AttemptPolicy] = RetryPolicy
