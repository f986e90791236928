"""Who goes on with a broken stream, and how often."""

from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_policy_continuation.policy import ContinuationPolicy
from llm_gateway_policy_continuation.settings import ContinuationSettings

F = gw.FailureClass
A, B, C = (gw.Target(*name.split("/")) for name in ("acme/a", "beta/b", "beta/c"))
BROKEN = (A, F.BROKEN_AFTER_COMMIT)


def policy(**settings: Any) -> ContinuationPolicy:
    return ContinuationPolicy(ContinuationSettings(**settings), metrics=gw.Metrics())


def asked(
    model: str = "m", tenant: str | None = None, key: str | None = None, **headers: str
) -> gw.Asked:
    who = gw.Principal(key, tenant)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    arrival = gw.Arrival("r", "POST", "/", "", named, "", 0.0, who)
    return gw.Asked(arrival, model, "chat", True, 2, False, False)


def plan(
    *made: tuple[gw.Target, gw.FailureClass | None],
    continuable: tuple[gw.Target, ...] = (A, B),
    committed: bool = True,
) -> gw.Plan:
    tried = tuple(gw.Attempted(target, why, 0, None, 0.1, 0.0) for target, why in made)
    return gw.Plan(asked(), (A, B, C), tried, committed=committed, continuable=continuable)


def test_whoever_was_not_asked_goes_on() -> None:
    """Then the one that broke; nobody who is not able."""
    assert policy().next(plan(BROKEN), F.BROKEN_AFTER_COMMIT, 9.0) == gw.Attempt(
        B, mode="continuation"
    )
    alone = plan(BROKEN, continuable=(A,))
    assert policy().next(alone, F.BROKEN_AFTER_COMMIT, 9.0) == gw.Attempt(A, mode="continuation")


def test_nothing_before_content() -> None:
    """Other policies know what to do then."""
    failed = plan((A, F.SERVER_ERROR), committed=False)

    assert policy().next(failed, F.SERVER_ERROR, 9.0) is None


@pytest.mark.parametrize("failure", [None, F.OVERLOADED, F.CALLER_FAULT, F.CONNECT])
def test_who_failed_otherwise_is_not_asked(failure: gw.FailureClass | None) -> None:
    """Neither before content nor at the continuation; a guard's refusal costs no attempt."""
    before = plan((B, failure), BROKEN)
    after = plan(BROKEN, (B, failure))

    assert policy().next(before, F.BROKEN_AFTER_COMMIT, 9.0) == gw.Attempt(A, mode="continuation")
    again = policy().next(after, failure, 9.0)
    assert again == (gw.Attempt(A, mode="continuation") if failure is None else None)


@given(
    limit=st.integers(1, 10),
    ends=st.lists(st.sampled_from([F.BROKEN_AFTER_COMMIT, F.OVERLOADED, None]), max_size=40),
    alone=st.booleans(),
)
def test_attempts_are_bounded(limit: int, ends: list[gw.FailureClass | None], alone: bool) -> None:
    """Whatever becomes of them, no more are sent than the limit, and only to who is able."""
    able = (A,) if alone else (A, B)
    own = policy(max_continuations=limit)
    made: list[tuple[gw.Target, gw.FailureClass | None]] = [BROKEN]
    for end in ends:
        step = own.next(plan(*made, continuable=able), made[-1][1], 9.0)
        if step is None:
            break
        assert step.mode == "continuation"
        assert step.target in able
        made.append((step.target, end))

    assert sum(end is not None for _, end in made[1:]) <= limit


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (asked(), True),
        (asked("other"), False),
        (asked(tenant="careful"), False),
        (asked(key="k-1"), False),
        (asked(x_gateway_continuation="off"), False),
        (asked(x_gateway_continuation="on"), True),
    ],
)
def test_who_wants_it(request_: gw.Asked, wanted: bool) -> None:
    """The configuration says for whom; a request may say no."""
    own = policy(models={"m"}, except_tenants={"careful"}, except_keys={"k-1"})

    assert own.continues(request_) is wanted


def test_counts() -> None:
    metrics = gw.Metrics()
    own = ContinuationPolicy(ContinuationSettings(), metrics=metrics)

    own.continued(B, True)
    own.continued(B, False)

    (family,) = metrics.families()
    assert set(family.children) == {("beta", "whole"), ("beta", "broken")}
