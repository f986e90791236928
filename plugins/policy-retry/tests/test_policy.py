"""When a deployment is asked again, and after which wait."""

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_policy_retry.policy import RetryPolicy
from llm_gateway_policy_retry.settings import RetrySettings
from pydantic import ValidationError

F = gw.FailureClass
A, B = gw.Target("acme", "a"), gw.Target("beta", "b")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m", "chat", False, 2, False, False
)
NOW = 100.0
RETRIED = {F.RATE_LIMITED, F.OVERLOADED, F.SERVER_ERROR, F.BROKEN_BEFORE_COMMIT}


def policy(chance: float = 1.0, max_retries: int = 9, **settings: object) -> RetryPolicy:
    own = gw.ProviderSettings(max_retries=max_retries)
    return RetryPolicy(
        RetrySettings.model_validate(settings),
        providers={"acme": own, "beta": own},
        clock=lambda: NOW,
        chance=lambda: chance,
    )


def made(
    target: gw.Target = A,
    failure: gw.FailureClass | None = F.SERVER_ERROR,
    retry_after: float | None = None,
    ended: float = NOW,
    waited: float = 0.0,
    duration: float = 0.1,
) -> gw.Attempted:
    return gw.Attempted(target, failure, 0, retry_after, duration, ended, waited)


def next_of(
    asked: RetryPolicy,
    *attempts: gw.Attempted,
    targets: tuple[gw.Target, ...] = (A,),
    left: float = 60.0,
    active: int = 1,
    retrying: int = 0,
) -> gw.Attempt | None:
    plan = gw.Plan(ASKED, targets, attempts, active=active, retrying=retrying)
    return asked.next(plan, attempts[-1].failure, left)


@pytest.mark.parametrize("failure", list(F))
def test_only_what_another_try_may_mend(failure: gw.FailureClass) -> None:
    """The class decides whether the same deployment is asked again."""
    answer = next_of(policy(), made(failure=failure))

    assert (answer is not None) is (failure in RETRIED)


def test_siblings_come_first() -> None:
    """Nobody is asked twice before everybody was asked once."""
    both = (A, B)

    assert next_of(policy(), made(A), targets=both) is None
    answer = next_of(policy(), made(A), made(B), targets=both)
    assert answer is not None
    answer = next_of(policy(), made(A), made(B), made(A), targets=both)
    assert answer is not None
    assert answer.target == B


def test_attempts_are_counted_for_each_deployment() -> None:
    """`max_attempts`, or the provider's own `max_retries` and the first if that is fewer."""
    assert next_of(policy(), made(), made()) is not None
    assert next_of(policy(), made(), made(), made()) is None
    assert next_of(policy(max_retries=0), made()) is None
    assert next_of(policy(max_retries=1), made(), made()) is None


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("fixed", [0.1, 0.1, 0.1, 0.1]),
        ("exponential", [0.1, 0.3, 0.9, 1.0]),
        ("jittered", [0.05, 0.15, 0.45, 0.5]),
    ],
)
def test_backoff(strategy: str, waits: list[float]) -> None:
    """The delay grows by the multiplier up to its longest; jitter takes a share of it."""
    asked = policy(0.5, strategy=strategy, backoff_multiplier=3, max_delay_ms=1000, max_attempts=9)

    answers = [next_of(asked, *[made()] * count) for count in range(1, 5)]

    assert [each and round(each.wait, 9) for each in answers] == waits


@given(chance=st.floats(0, 1), waited=st.floats(0, 10))
def test_decorrelated_stays_between_the_first_delay_and_thrice_the_last(
    chance: float, waited: float
) -> None:
    """And never goes over the longest."""
    asked = policy(chance, strategy="decorrelated", max_delay_ms=2000, max_attempts=9)

    answer = next_of(asked, made(waited=waited))

    assert answer is not None
    assert 0.1 - 1e-9 <= answer.wait <= min(2.0, max(0.1, 3 * waited)) + 1e-9


def test_time_since_the_failure_counts() -> None:
    """A wait that passed while others were asked is not waited again."""
    asked = policy(strategy="fixed", initial_delay_ms=500)

    answer = next_of(asked, made(ended=NOW - 0.4))

    assert answer is not None
    assert answer.wait == pytest.approx(0.1)


def test_retry_after_is_a_floor_and_not_waited_for_when_too_long() -> None:
    """A deployment that asks for more than `max_delay_ms` is left alone."""
    short = next_of(policy(), made(failure=F.RATE_LIMITED, retry_after=3))

    assert short is not None
    assert short.wait == pytest.approx(3)
    assert next_of(policy(), made(failure=F.RATE_LIMITED, retry_after=6)) is None


def test_guard_that_says_when_is_asked_again() -> None:
    """One that does not, is not."""
    soon = next_of(policy(strategy="fixed"), made(failure=None, retry_after=0.3))

    assert soon is not None
    assert soon.wait == pytest.approx(0.3)
    assert next_of(policy(), made(failure=None)) is None


def test_refusal_of_a_guard_is_no_attempt() -> None:
    """Neither for the count of attempts nor for the delay, but its own count ends too."""
    asked = policy(strategy="exponential", max_attempts=3)
    refused = made(failure=None, retry_after=0.3)

    answer = next_of(asked, made(), refused, refused, made())

    assert answer is not None
    assert answer.wait == pytest.approx(0.2)
    assert next_of(asked, refused, refused, refused) is None


def test_retry_that_cannot_end_in_time_is_not_begun() -> None:
    """The wait and what the last attempt took have to fit."""
    asked = policy(strategy="fixed")

    assert next_of(asked, made(duration=2.0), left=2.2) is not None
    assert next_of(asked, made(duration=2.0), left=2.0) is None


@given(active=st.integers(1, 10_000), retrying=st.integers(0, 10_000))
def test_budget_bounds_what_retries_add(active: int, retrying: int) -> None:
    """No more are in a retry than the share of what is under way, or the floor."""
    allowed = next_of(policy(), made(), active=active, retrying=retrying) is not None

    assert allowed is (retrying < max(active * 0.2, 10))


def test_settings_that_contradict_are_refused() -> None:
    """A first delay above the longest is a mistake."""
    with pytest.raises(ValidationError, match="initial_delay_ms is above max_delay_ms"):
        RetrySettings(initial_delay_ms=9000)
