"""When a second attempt goes out, to whom, and how many there may be."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_policy_hedging.observed import KEPT, Observed
from llm_gateway_policy_hedging.policy import HedgingPolicy, effects
from llm_gateway_policy_hedging.settings import HedgingSettings

A, B, C = (gw.Target(*name.split("/")) for name in ("acme/a", "beta/b", "beta/c"))
NAMED = ("gateway_policy_hedging_hedges_total", "gateway_policy_hedging_withheld_total")


class World:
    """A policy, the time, and what it counts."""

    def __init__(self, **settings: object) -> None:
        self.now = 0.0
        self.metrics = gw.Metrics()
        self.policy = HedgingPolicy(
            HedgingSettings.model_validate(settings), clock=lambda: self.now, metrics=self.metrics
        )
        self.follower = self.policy.follower()

    def answered(self, seconds: float, target: gw.Target = A, **asked: Any) -> None:
        """An attempt whose first content came after `seconds`."""
        lease = self._lease(target, **asked)
        self.now += seconds
        assert isinstance(self.follower, gw.SupportsAnswered)
        self.follower.answered(lease, {})
        self.now += 1000  # the rest of the stream
        self.follower.report(lease, gw.Outcome(target, None, status=200, duration=seconds + 1000))

    def ended(self, seconds: float, target: gw.Target = A, **outcome: Any) -> None:
        """An attempt that ended after `seconds` without first content."""
        lease = self._lease(target)
        self.now += seconds
        self.follower.report(lease, gw.Outcome(target, duration=seconds, **outcome))

    def _lease(self, target: gw.Target, **asked: Any) -> gw.Lease:
        lease = self.follower.admit(target, request(**asked))
        assert isinstance(lease, gw.Lease)
        return lease

    def counted(self, name: str) -> Mapping[tuple[str, ...], float]:
        family = next(each for each in self.metrics.families() if each.name == name)
        return {
            key: each.value for key, each in family.children.items() if isinstance(each, gw.Value)
        }


def request(
    *,
    model: str = "m",
    operation: str = "chat",
    stream: bool = True,
    headers: Mapping[str, str] | None = None,
    tenant: str | None = None,
    key: str | None = None,
    fields: Mapping[str, object] | None = None,
) -> gw.Asked:
    principal = gw.Principal(key, tenant)
    arrival = gw.Arrival("r", "POST", "/", "", headers or {}, "", 0.0, principal)
    raw = {name: msgspec.Raw(msgspec.json.encode(each)) for name, each in (fields or {}).items()}
    return gw.Asked(arrival, model, operation, stream, 2, False, False, fields=raw)


def plan(*targets: gw.Target, made: tuple[gw.Target, ...] = (), **asked: Any) -> gw.Plan:
    tried = tuple(gw.Attempted(each, None, 0, None, 0.0, 0.0) for each in made)
    return gw.Plan(request(**asked), targets, tried, running=(targets[0],))


def test_fixed_delay_holds_at_once() -> None:
    """Nothing needs to be observed for it."""
    assert World(delay_ms=300).policy.patience(request(), A) == 0.3


def test_observed_delay_is_the_percentile_of_the_deployment() -> None:
    """Of its own times to first content; too few of them are not believed."""
    world = World(min_samples=100)
    for number in range(99):
        world.answered(1.0 + number)
    assert world.policy.patience(request(), A) is None

    world.answered(100.0)

    assert world.policy.patience(request(), A) == pytest.approx(95.0)
    assert world.policy.patience(request(), B) is None
    assert world.policy.patience(request(stream=False), A) is None


def test_observed_delay_has_a_floor() -> None:
    """Quick deployments do not get a hedge for every hiccup."""
    world = World(min_samples=1, min_delay_ms=200)
    world.answered(0.01)

    assert world.policy.patience(request(), A) == 0.2


@given(st.lists(st.floats(0.001, 100), min_size=20, max_size=2 * KEPT))
def test_share_of_answers_within_the_delay(times: list[float]) -> None:
    """At least the percentile of what is remembered came within it; more is one of the times."""
    observed = Observed(95, 20)
    for each in times:
        observed.answered(("a", "chat", True), each)

    waits = observed._waits["a", "chat", True]
    waits._fresh = 0
    delay = observed.delay(("a", "chat", True))

    assert delay is not None
    kept = times[-KEPT:]
    within = sum(each <= delay for each in kept)
    assert delay in kept
    assert within >= 0.95 * len(kept) - 1e-9
    assert sum(each < delay for each in kept) < 0.95 * len(kept)


def test_cancelled_slow_attempts_count_with_the_time_they_had() -> None:
    """Else each hedge that wins would make the next one come sooner."""
    world = World(min_samples=20)
    for _ in range(20):
        world.answered(1.0)
    for _ in range(20):
        world.ended(5.0, failure=None, cancelled=True)

    assert world.policy.patience(request(), A) == pytest.approx(5.0)


def test_quick_ends_tell_nothing() -> None:
    """A client that leaves early and a refusal are no times to first content."""
    world = World(min_samples=20)
    for _ in range(20):
        world.answered(1.0)
    for _ in range(50):
        world.ended(0.01, failure=None, cancelled=True)
        world.ended(0.01, failure=gw.FailureClass.SERVER_ERROR)

    assert world.policy.patience(request(), A) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "asked",
    [
        {"operation": "embeddings"},
        {"model": "other"},
        {"tenant": "slow"},
        {"key": "k-1"},
        {"headers": {"x-gateway-hedge": "Off"}},
    ],
)
def test_who_says_no(asked: dict[str, Any]) -> None:
    """The request itself, its key, its tenant; models that are not named."""
    settings = {"delay_ms": 1, "models": ["m"], "except_tenants": ["slow"], "except_keys": ["k-1"]}

    assert World(**settings).policy.patience(request(**asked), A) is None
    assert World(**settings).policy.patience(request(), A) is not None


@pytest.mark.parametrize(
    ("fields", "more"),
    [
        ({}, False),
        ({"tools": [{"type": "function"}, {"type": "custom"}]}, False),
        ({"tools": [{"name": "anthropic's own form"}]}, False),
        ({"tools": None, "store": False, "background": None}, False),
        ({"tools": [{"type": "web_search_20250305"}]}, True),
        ({"tools": "nonsense"}, True),
        ({"store": True}, True),
        ({"previous_response_id": "resp_1"}, True),
        ({"web_search_options": {}}, True),
        ({"mcp_servers": [{"url": "https://mcp"}]}, True),
    ],
)
def test_effects_beside_the_answer_are_not_caused_twice(
    fields: dict[str, object], more: bool
) -> None:
    """What the vendor runs, keeps or continues is asked for once."""
    asked = request(fields=fields)
    policy = World(delay_ms=1).policy

    assert effects(asked.fields) is more
    assert (policy.beside(plan(A, B, fields=fields), 9.0) is None) is more


def test_next_of_the_plan_is_asked() -> None:
    """Neither who runs nor who refused; nobody where nobody is left."""
    policy = World(delay_ms=1).policy

    step = policy.beside(plan(A, B, C), 9.0)
    assert step == gw.Attempt(B, mode="hedge")
    policy.hedged(B, "refused")
    step = policy.beside(plan(A, B, C, made=(B,)), 9.0)
    assert step == gw.Attempt(C, mode="hedge")
    policy.hedged(C, "refused")
    assert policy.beside(plan(A, B, made=(B,)), 9.0) is None


@given(
    slow=st.lists(st.booleans(), max_size=400),
    percent=st.floats(0, 100),
    burst=st.floats(1, 20),
    refused=st.booleans(),
)
def test_budget_bounds_the_share_of_hedges(
    slow: list[bool], percent: float, burst: float, refused: bool
) -> None:
    """After any run of requests: at most one, and the share of what came. What a guard refused
    was no hedge; what is saved up has a bound."""
    world = World(delay_ms=1, budget_percent=percent, budget_burst=burst)
    sent = 0

    for each in slow:
        assert world.policy.patience(request(), A) is not None
        if not each:
            continue
        if refused and world.policy.beside(plan(A, B), 9.0) is not None:
            world.policy.hedged(B, "refused")
        if world.policy.beside(plan(A, B), 9.0) is not None:
            sent += 1
            world.policy.hedged(B, "won")

    assert sent <= (1 + len(slow) * percent / 100 if percent else 0)
    idle = 0
    while world.policy.beside(plan(A, B), 9.0) is not None:
        idle += 1
    assert idle <= burst


def test_counts() -> None:
    """Hedges by provider and result, and those that the budget did not allow."""
    world = World(delay_ms=1)
    assert world.policy.beside(plan(A, B), 9.0) is not None
    world.policy.hedged(B, "won")
    assert world.policy.beside(plan(A, B), 9.0) is None

    assert world.counted(NAMED[0]) == {("beta", "won"): 1}
    assert world.counted(NAMED[1]) == {(): 1}


def test_nothing_is_proposed_after_a_failure() -> None:
    """That is the business of other policies."""
    failed = (gw.Attempted(A, gw.FailureClass.SERVER_ERROR, 500, None, 0.1, 0.0),)

    assert World().policy.next(gw.Plan(request(), (A, B), failed), failed[0].failure, 9.0) is None
