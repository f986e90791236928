"""The limiter of rates: every bucket that holds for a request, in one atomic take."""

import logging
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_rate.estimate import Estimator
from llm_gateway_limit_rate.rules import MINUTE, Rule, Rules
from llm_gateway_limit_rate.settings import RateLimitSettings

log = logging.getLogger("llm_gateway_limit_rate")
MAX_CALLERS = 10_000  # whose rules are kept
NOTHING = gw.Reservation()
UNITS = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "concurrency": "requests at once",
}
_HEADERS = {
    meter: tuple(f"x-ratelimit-{part}-{meter}" for part in ("limit", "remaining", "reset"))
    for meter in UNITS
}


class Taken(msgspec.Struct, frozen=True):
    """What a reservation remembers until it is settled."""

    grant: gw.Grant
    state: gw.StateBackend
    rules: Rules
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
        self._models = frozenset(settings.models)
        self._shadow = settings.shadow
        self._state = state
        self._local = local
        self._share = max(1, workers)
        self._alone = False
        self._estimator = Estimator()
        self._known: dict[tuple[str | None, ...], Rules] = {}
        exceeded = metrics.counter(
            "gateway_rate_limit_exceeded_total", "requests over a limit", ("scope",)
        )
        self._exceeded = exceeded.value
        self._degraded = metrics.counter(
            "gateway_limit_rate_degraded_total", "requests counted without shared state"
        ).value()

    async def reserve(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Reservation | gw.Refusal:
        known = self._rules(asked.arrival, head.model)
        if not known.rules:
            return NOTHING
        takes = known.takes(self._estimator.guess(head) if known.guessed else 0)
        state = self._state
        try:
            answer = await state.take(takes, force=self._shadow)
        except Exception as error:
            self._told(error)
            if self._settings.fail == "open":
                return NOTHING
            state, takes = self._local, [self._shared(each) for each in takes]
            answer = await state.take(takes, force=self._shadow)
        else:
            if self._alone:
                self._told(None)
        if isinstance(answer, gw.Denial):
            return self._refused(known, answer, head)
        if self._shadow:
            self._count_shadow(known.rules, answer)
        headers = headers_of(known, answer.remaining, head.dialect)
        return gw.Reservation(Taken(answer, state, known, len(head.body)), headers)

    def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> Awaitable[None]:
        taken = reservation.token
        if not isinstance(taken, Taken):
            return gw.DONE
        usage, tokens = settlement.usage, None
        if settlement.target is None:  # what no deployment answered used none
            tokens = 0
        elif usage is not None:
            asked, made = usage.input_total, usage.output_total
            tokens = asked + made
            if settlement.whole:
                self._estimator.learn(taken.size, asked, made)
        grant = taken.grant
        return taken.state.settle(grant, taken.rules.used(tokens, grant.takes))

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

    def _rules(self, arrival: gw.Arrival, model: str) -> Rules:
        """The rules of this caller, worked out when it first calls and when they change."""
        principal = arrival.principal
        key_id = principal.key_id
        peer = arrival.peer if key_id is None else None
        caller = principal.tenant, key_id, peer, model if model in self._models else None
        known = self._known.get(caller)
        if known is None or known.limits is not principal.limits:
            if len(self._known) >= MAX_CALLERS:
                self._known.clear()
            known = self._known[caller] = Rules.of(self._settings, principal, peer, model)
        return known

    def _shared(self, take: gw.Take) -> gw.Take:
        """This worker's share of a limit that is counted by all of them."""
        limit = max(1, take.limit // self._share) if take.limit > 0 else 0
        return msgspec.structs.replace(
            take, limit=limit, rate=take.rate / self._share, amount=min(take.amount, limit)
        )

    def _refused(self, known: Rules, denial: gw.Denial, head: gw.RequestHead) -> gw.Refusal:
        rule = known.rules[denial.index]
        self._exceeded(rule.scope).inc()
        never = denial.retry_after == float("inf")
        when = "" if never else f" Try again in {max(1, round(denial.retry_after))} s."
        limit = f"{rule.amount} {UNITS[rule.meter]} for this {rule.scope}"
        return gw.Refusal(
            429,
            "rate_limit_exceeded",
            f"The limit of {limit} is reached.{when}",
            retry_after=None if never else denial.retry_after,
            headers=headers_of(known, denial.remaining, head.dialect),
        )

    def _count_shadow(self, rules: tuple[Rule, ...], grant: gw.Grant) -> None:
        for rule, remaining in zip(rules, grant.remaining, strict=True):
            if remaining < 0:
                self._exceeded(f"{rule.scope} (shadow)").inc()


_: type[gw.Limiter] = RateLimiter


def _duration(ms: int) -> str:
    """As OpenAI writes it: ``6ms``, ``8.64s``."""
    if ms < 1000:
        return f"{ms}ms"
    return f"{ms / 1000:.3g}s" if ms < 100_000 else f"{ms // 1000}s"


def headers_of(known: Rules, remaining: Sequence[int], dialect: str) -> dict[str, str]:
    """The tightest limit of each meter, in the form that the client's SDK reads."""
    found: dict[str, str] = {}
    anthropic = dialect.startswith("anthropic")
    for meter, places in known.shown:
        place = places[0] if len(places) == 1 else min(places, key=remaining.__getitem__)
        amount, burst, each = known.told[place]
        left = max(0, remaining[place])
        seconds = max(0, burst - left) * each if each else MINUTE
        if anthropic:
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            prefix = f"anthropic-ratelimit-{meter}"
            found[f"{prefix}-limit"] = amount
            found[f"{prefix}-remaining"] = str(left)
            found[f"{prefix}-reset"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            limit, remains, reset = _HEADERS[meter]
            found[limit] = amount
            found[remains] = str(left)
            found[reset] = _duration(ceil(seconds * 1000))
    return found
