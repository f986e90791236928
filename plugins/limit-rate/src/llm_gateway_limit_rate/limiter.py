"""The limiter of rates: every bucket that holds for a request, in one atomic take."""

import logging
from collections.abc import Awaitable, Sequence

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_rate.claims import RateClaim
from llm_gateway_limit_rate.estimate import Estimator
from llm_gateway_limit_rate.rules import Rule, Rules
from llm_gateway_limit_rate.settings import RateLimitSettings

log = logging.getLogger("llm_gateway_limit_rate")
MAX_CALLERS = 10_000  # whose rules are kept
NOTHING = gw.Reservation()


class Taken(msgspec.Struct, frozen=True):
    """What a reservation remembers until it is settled."""

    grant: gw.Grant
    state: gw.StateBackend
    claim: RateClaim


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

    def claim(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Claim | None:
        """Not where more is taken than there is, and not before shared state is back."""
        return None if self._shadow or self._alone else self._claim(asked.arrival, head)

    async def reserve(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Reservation | gw.Refusal:
        claim = self._claim(asked.arrival, head)
        if not isinstance(claim, RateClaim):
            return NOTHING
        state = self._state
        try:
            answer = await state.take(claim.takes, force=self._shadow)
        except Exception as error:
            self._told(error)
            if self._settings.fail == "open":
                return NOTHING
            state, claim.takes = self._local, [self._shared(each) for each in claim.takes]
            answer = await state.take(claim.takes, force=self._shadow)
        else:
            if self._alone:
                self._told(None)
        if isinstance(answer, gw.Denial):
            return claim.refused(answer)
        if self._shadow:
            self._count_shadow(claim.known.rules, answer)
        return gw.Reservation(Taken(answer, state, claim), claim.granted(answer.remaining))

    def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> Awaitable[None]:
        taken = reservation.token
        if not isinstance(taken, Taken):
            return gw.DONE
        return taken.state.settle(taken.grant, taken.claim.used(settlement))

    def _claim(self, arrival: gw.Arrival, head: gw.RequestHead) -> gw.Claim:
        known = self._rules(arrival, head.model)
        if not known.rules:
            return gw.NO_CLAIM
        estimator = self._estimator
        takes = known.takes(estimator.guess(head)) if known.guessed else known.fixed
        return RateClaim(takes, known, head.dialect, len(head.body), estimator, self._exceeded)

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

    def _count_shadow(self, rules: tuple[Rule, ...], grant: gw.Grant) -> None:
        for rule, remaining in zip(rules, grant.remaining, strict=True):
            if remaining < 0:
                self._exceeded(f"{rule.scope} (shadow)").inc()


_: type[gw.Limiter] = RateLimiter
__: type[gw.SupportsClaims] = RateLimiter
