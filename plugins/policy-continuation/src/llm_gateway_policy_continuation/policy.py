"""Who goes on with a stream that broke after content. Pure; what is safe the kernel knows."""

import llm_gateway_api as gw

from llm_gateway_policy_continuation.settings import ContinuationSettings

HEADER = "x-gateway-continuation"
NO = frozenset({"off", "no", "false", "0"})


class ContinuationPolicy:
    """Proposes nothing before the client has seen content."""

    def __init__(self, settings: ContinuationSettings, *, metrics: gw.Metrics) -> None:
        self._settings = settings
        self._ended = metrics.counter(
            "gateway_policy_continuation_attempts_total",
            "attempts that went on with a broken stream",
            ("provider", "result"),
        )

    def continues(self, asked: gw.Asked) -> bool:
        settings, principal = self._settings, asked.arrival.principal
        return (
            (settings.models is None or asked.model in settings.models)
            and principal.tenant not in settings.except_tenants
            and principal.key_id not in settings.except_keys
            and asked.arrival.headers.get(HEADER, "").lower() not in NO
        )

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        """Whoever was asked least goes on, in the order of the plan; nobody that refused."""
        if not plan.committed or self._made(plan) >= self._settings.max_continuations:
            return None
        able = [each for each in plan.continuable if self._may(plan, each)]
        if not able:
            return None
        return gw.Attempt(min(able, key=lambda each: len(plan.times(each))), mode="continuation")

    def continued(self, target: gw.Target, whole: bool) -> None:
        self._ended.value(target.provider, "whole" if whole else "broken").inc()

    def _made(self, plan: gw.Plan) -> int:
        """Attempts since the first one that broke after content."""
        broken = [each.failure is gw.FailureClass.BROKEN_AFTER_COMMIT for each in plan.made]
        since = plan.made[broken.index(True) + 1 :]
        return sum(each.failure is not None for each in since)

    def _may(self, plan: gw.Plan, target: gw.Target) -> bool:
        """A stream that broke may have been the network; any other failure tells of the target."""
        made = plan.times(target)
        return not made or made[-1].failure is gw.FailureClass.BROKEN_AFTER_COMMIT


_: type[gw.AttemptPolicy] = ContinuationPolicy
__: type[gw.SupportsContinuation] = ContinuationPolicy
