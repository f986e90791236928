"""The limiter of rates: every bucket that holds for a request, in one atomic take."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_rate.estimate import Estimator
from llm_gateway_limit_rate.settings import RateLimitSettings, Rates

log = logging.getLogger("llm_gateway_limit_rate")
MINUTE = 60.0
# A slot is lost to a holder that died after this time; a stream may hold one for longer.
SLOT_SECONDS = 900.0
Meter = Literal["requests", "tokens", "concurrency"]
_KINDS: dict[Meter, Literal["bucket", "slots"]] = {
    "requests": "bucket",
    "tokens": "bucket",
    "concurrency": "slots",
}
_UNITS = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "concurrency": "requests at once",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit that holds for a request. `scope` is its kind, for people and for metrics."""

    scope: str
    key: str
    meter: Meter
    amount: int
    burst: int


class Taken(msgspec.Struct, frozen=True):
    """What a reservation remembers until it is settled."""

    grant: gw.Grant
    state: gw.StateBackend
    rules: tuple[Rule, ...]
    size: int


class RateLimiter:
    """Meets `Limiter`. Its own fail policy is one of its settings."""

    def __init__(
        self,
        settings: RateLimitSettings,
        state: gw.StateBackend,
        local: gw.StateBackend,
        workers: int,
        metrics: gw.Metrics,
    ) -> None:
        self._settings = settings
        self._state = state
        self._local = local
        self._share = max(1, workers)
        self._alone = False
        self._estimator = Estimator()
        exceeded = metrics.counter(
            "gateway_rate_limit_exceeded_total", "requests over a limit", ("scope",)
        )
        self._exceeded = exceeded.value
        self._degraded = metrics.counter(
            "gateway_limit_rate_degraded_total", "requests counted without shared state"
        ).value()

    async def reserve(
        self, arrival: gw.Arrival, head: gw.RequestHead
    ) -> gw.Reservation | gw.Refusal:
        rules = tuple(self._rules(arrival, head.model))
        if not rules:
            return gw.Reservation()
        takes = [self._take(each, head) for each in rules]
        state = self._state
        try:
            answer = await state.take(takes, force=self._settings.shadow)
            self._told(None)
        except Exception as error:
            self._told(error)
            if self._settings.fail == "open":
                return gw.Reservation()
            state, takes = self._local, [self._shared(each) for each in takes]
            answer = await state.take(takes, force=self._settings.shadow)
        if isinstance(answer, gw.Denial):
            return self._refused(rules, answer, head)
        self._count_shadow(rules, answer)
        headers = headers_of(rules, answer.remaining, head.dialect)
        return gw.Reservation(Taken(answer, state, rules, len(head.body)), headers)

    async def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> None:
        taken = reservation.token
        if not isinstance(taken, Taken):
            return
        usage = settlement.usage
        if usage is not None and settlement.target is not None:
            self._estimator.learn(taken.size, usage)
        amounts = [
            self._used(rule, take, settlement)
            for rule, take in zip(taken.rules, taken.grant.takes, strict=True)
        ]
        await taken.state.settle(taken.grant, amounts)

    def _told(self, error: Exception | None) -> None:
        """Whether shared state can be reached: a line for each change, a count for each request.

        Raises:
            GatewayError: 503, where the settings want that.
        """
        if (error is not None) != self._alone:
            self._alone = error is not None
            policy = self._settings.fail
            if error is not None:
                log.warning("limit.alone fail=%s error=%s", policy, type(error).__name__)
            else:
                log.warning("limit.shared")
        if error is None:
            return
        self._degraded.inc()
        if self._settings.fail == "closed":
            raise gw.GatewayError(
                "Limits cannot be counted now; try again later.",
                status=503,
                code="limiter_unavailable",
                retry_after=1.0,
            ) from error

    def _used(self, rule: Rule, take: gw.Take, settlement: gw.Settlement) -> int:
        """Requests stay counted; tokens become what was used, the guess where an answer does
        not say; what no deployment answered used none."""
        if rule.meter == "concurrency":
            return 0
        if rule.meter == "requests":
            return take.amount
        if settlement.usage is not None:
            return settlement.usage.input_total + settlement.usage.output_total
        return take.amount if settlement.target is not None else 0

    def _rules(self, arrival: gw.Arrival, model: str) -> Iterator[Rule]:
        principal = arrival.principal
        for limit in principal.limits:
            owner = principal.tenant if limit.level == "tenant" else principal.key_id
            burst = limit.amount if limit.burst is None else limit.burst
            key = f"rate:{limit.level}:{owner}:{limit.meter}"
            yield Rule(limit.level, key, limit.meter, limit.amount, burst)
        settings = self._settings
        if not settings.enabled:
            return
        scope, caller = (
            ("key", principal.key_id) if principal.key_id is not None else ("ip", arrival.peer)
        )
        yield from _of(settings, scope, f"{scope}:{caller}", settings.burst_size)
        if (own := settings.models.get(model)) is not None:
            yield from _of(own, "model", f"{scope}:{caller}:{model}", None)

    def _take(self, rule: Rule, head: gw.RequestHead) -> gw.Take:
        amount = self._estimator.guess(head) if rule.meter == "tokens" else 1
        if rule.meter == "tokens" and rule.amount > 0:
            amount = min(amount, rule.burst)  # a guess alone must not refuse for ever
        return gw.Take(
            rule.key,
            amount,
            rule.burst if rule.amount > 0 else 0,
            _KINDS[rule.meter],
            rate=rule.amount / MINUTE,
            seconds=SLOT_SECONDS,
        )

    def _shared(self, take: gw.Take) -> gw.Take:
        """This worker's share of a limit that is counted by all of them."""
        limit = max(1, take.limit // self._share) if take.limit > 0 else 0
        return msgspec.structs.replace(
            take, limit=limit, rate=take.rate / self._share, amount=min(take.amount, limit)
        )

    def _refused(
        self, rules: tuple[Rule, ...], denial: gw.Denial, head: gw.RequestHead
    ) -> gw.Refusal:
        rule = rules[denial.index]
        self._exceeded(rule.scope).inc()
        never = denial.retry_after == float("inf")
        when = "" if never else f" Try again in {max(1, round(denial.retry_after))} s."
        limit = f"{rule.amount} {_UNITS[rule.meter]} for this {rule.scope}"
        return gw.Refusal(
            429,
            "rate_limit_exceeded",
            f"The limit of {limit} is reached.{when}",
            retry_after=None if never else denial.retry_after,
            headers=headers_of(rules, denial.remaining, head.dialect),
        )

    def _count_shadow(self, rules: tuple[Rule, ...], grant: gw.Grant) -> None:
        if self._settings.shadow:
            for rule, remaining in zip(rules, grant.remaining, strict=True):
                if remaining < 0:
                    self._exceeded(f"{rule.scope} (shadow)").inc()


def _of(rates: Rates, scope: str, caller: str, burst: int | None) -> Iterator[Rule]:
    given: tuple[tuple[Meter, int | None], ...] = (
        ("requests", rates.requests_per_minute),
        ("tokens", rates.tokens_per_minute),
        ("concurrency", rates.max_concurrent),
    )
    for meter, amount in given:
        if amount is None:
            continue
        size = min(burst, amount) if meter == "requests" and burst is not None else amount
        yield Rule(scope, f"rate:{caller}:{meter}", meter, amount, size)


def headers_of(rules: tuple[Rule, ...], remaining: tuple[int, ...], dialect: str) -> dict[str, str]:
    """The tightest limit of each meter, in the form that the client's SDK reads."""
    tightest: dict[str, tuple[Rule, int]] = {}
    for rule, left in zip(rules, remaining, strict=True):
        known = tightest.get(rule.meter)
        if rule.meter != "concurrency" and (known is None or left < known[1]):
            tightest[rule.meter] = (rule, max(0, left))
    found: dict[str, str] = {}
    for meter, (rule, left) in tightest.items():
        missing = max(0, rule.burst - left)
        seconds = missing * MINUTE / rule.amount if rule.amount > 0 else MINUTE
        if dialect.startswith("anthropic"):
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            prefix = f"anthropic-ratelimit-{meter}"
            found[f"{prefix}-limit"] = str(rule.amount)
            found[f"{prefix}-remaining"] = str(left)
            found[f"{prefix}-reset"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            found[f"x-ratelimit-limit-{meter}"] = str(rule.amount)
            found[f"x-ratelimit-remaining-{meter}"] = str(left)
            found[f"x-ratelimit-reset-{meter}"] = f"{seconds:.3g}s"
    return found
