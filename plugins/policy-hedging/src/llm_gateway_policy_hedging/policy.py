"""When a second attempt goes out beside a first one, and to whom. Knows no socket and no timer.

The share of hedges is a token bucket: each request that may have a hedge adds its share of
one, each hedge takes one. See "The Tail at Scale" (Dean and Barroso, 2013).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import llm_gateway_api as gw
import msgspec

from llm_gateway_policy_hedging.observed import Kind, Observed
from llm_gateway_policy_hedging.settings import HedgingSettings

HEADER = "x-gateway-hedge"
NO = frozenset({"off", "no", "false", "0"})
OPERATIONS = frozenset({"chat", "completions"})
# What makes the vendor do or keep something beside the answer: twice would be once too often.
EFFECTS = (
    "background",
    "container",
    "conversation",
    "mcp_servers",
    "previous_response_id",
    "store",
    "web_search_options",
)
NOTHING = frozenset({b"null", b"false", b"[]"})
OWN_TOOLS = frozenset({"function", "custom"})  # the client runs them


class HedgingPolicy:
    """Proposes no attempt after a failure; only one beside an attempt that is slow."""

    def __init__(
        self, settings: HedgingSettings, *, clock: Callable[[], float], metrics: gw.Metrics
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._observed = Observed(settings.percentile, settings.min_samples)
        self._share = settings.budget_percent / 100
        self._tokens = 1.0 if self._share else 0.0
        self._hedges = metrics.counter(
            "gateway_policy_hedging_hedges_total", "second attempts", ("provider", "result")
        )
        self._withheld = metrics.counter(
            "gateway_policy_hedging_withheld_total", "hedges that the budget did not allow"
        ).value()

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        return None

    # --- hedges ------------------------------------------------------------------------

    def patience(self, asked: gw.Asked, target: gw.Target) -> float | None:
        if not self._wanted(asked):
            return None
        self._tokens = min(self._settings.budget_burst, self._tokens + self._share)
        if self._settings.delay_ms is not None:
            return self._settings.delay_ms / 1000
        delay = self._observed.delay(kind_of(asked, target))
        return None if delay is None else max(delay, self._settings.min_delay_ms / 1000)

    def beside(self, plan: gw.Plan, time_left: float) -> gw.Attempt | None:
        untried = plan.untried()
        if not untried or effects(plan.asked.fields):
            return None
        if self._tokens < 1:
            self._withheld.inc()
            return None
        self._tokens -= 1
        return gw.Attempt(untried[0], mode="hedge")

    def hedged(self, target: gw.Target, result: gw.Hedged) -> None:
        self._hedges.value(target.provider, result).inc()
        if result == "refused":  # nothing was sent
            self._tokens = min(self._settings.budget_burst, self._tokens + 1)

    def _wanted(self, asked: gw.Asked) -> bool:
        settings, principal = self._settings, asked.arrival.principal
        return (
            asked.operation in OPERATIONS
            and (settings.models is None or asked.model in settings.models)
            and principal.tenant not in settings.except_tenants
            and principal.key_id not in settings.except_keys
            and asked.arrival.headers.get(HEADER, "").lower() not in NO
        )

    # --- what deployments take ----------------------------------------------------------

    def follower(self) -> gw.Guard:
        return Follower(self._observed, self._clock)


@dataclass(slots=True)
class Timed:
    """A lease's part."""

    kind: Kind
    began: float
    told: bool = False


class Follower:
    """Takes the time of each attempt to its first content; admits everybody."""

    def __init__(self, observed: Observed, clock: Callable[[], float]) -> None:
        self._observed = observed
        self._clock = clock

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, Timed(kind_of(asked, target), self._clock()))

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        timed = _timed(lease)
        if not timed.told:
            timed.told = True
            self._observed.answered(timed.kind, self._clock() - timed.began)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        timed = _timed(lease)
        if timed.told:
            return
        if outcome.cancelled:
            if outcome.duration:  # it was sent
                self._observed.given_up(timed.kind, outcome.duration)
        elif outcome.failure is None:
            self._observed.answered(timed.kind, self._clock() - timed.began)


def kind_of(asked: gw.Asked, target: gw.Target) -> Kind:
    return target.name, asked.operation, asked.stream


class _Tool(msgspec.Struct):
    type: str = "function"


def effects(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the answer is not all that the request is for; what cannot be read may be."""
    for name in EFFECTS:
        raw = fields.get(name)
        if raw is not None and bytes(raw).strip() not in NOTHING:
            return True
    tools = fields.get("tools")
    if tools is None:
        return False
    try:
        found = msgspec.json.decode(tools, type=list[_Tool] | None)
    except msgspec.DecodeError:
        return True
    return any(each.type not in OWN_TOOLS for each in found or ())


def _timed(lease: gw.Lease) -> Timed:
    assert isinstance(lease.token, Timed)
    return lease.token


_: type[gw.AttemptPolicy] = HedgingPolicy
__: type[gw.SupportsHedging] = HedgingPolicy
___: type[gw.SupportsFollowing] = HedgingPolicy
____: type[gw.SupportsAnswered] = Follower
