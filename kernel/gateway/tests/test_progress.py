"""What may follow a failed attempt, and what many failures mean together."""

from collections.abc import Callable, Sequence
from time import monotonic

import llm_gateway_api as gw
import pytest
from llm_gateway.observe import Counts
from llm_gateway.progress import MAX_PROPOSED, Onward, Progress, failed, permitted

F = gw.FailureClass
A, B, C = (gw.Target("acme", name) for name in "abc")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m", "chat", False, 2, False, False
)


class Says:
    """A policy that says what it is told."""

    def __init__(self, says: Callable[[gw.Plan], gw.Attempt | None]) -> None:
        self._says = says

    def next(
        self, plan: gw.Plan, failure: gw.FailureClass | None, time_left: float
    ) -> gw.Attempt | None:
        return self._says(plan)


def onward(*says: Callable[[gw.Plan], gw.Attempt | None]) -> Onward:
    policies = tuple((str(at), Says(each)) for at, each in enumerate(says))
    return Onward(policies, Counts(gw.Metrics()))


def progress(targets: Sequence[gw.Target], failure: str | None, **known: float) -> Progress:
    """A request whose first attempt ended like that."""
    made = Progress(ASKED, list(targets), targets[0])
    made.add(gw.Outcome(targets[0], failure, **known), monotonic(), refused=failure is None)  # type: ignore[arg-type]  # fields by name
    return made


def soon() -> float:
    return monotonic() + 10


async def test_plan_goes_on_without_policies() -> None:
    """Each target is tried once, in order, and then the failure is told."""
    made, error = progress([A, B], F.SERVER_ERROR), gw.UpstreamError(F.SERVER_ERROR, "no")

    await onward().move(made, soon(), [error])
    assert made.target is B
    made.add(gw.Outcome(B, F.SERVER_ERROR), monotonic())
    with pytest.raises(gw.UpstreamError):
        await onward().move(made, soon(), [error])


@pytest.mark.parametrize("failure", [each for each in F if not gw.FAILURES[each].try_next])
async def test_final_failure_tries_nobody(failure: gw.FailureClass) -> None:
    """Neither the plan nor a policy goes on where the class forbids it."""
    made, error = progress([A, B], failure), gw.UpstreamError(failure, "no")
    insist = [lambda _: gw.Attempt(A), lambda _: gw.Attempt(C)]

    with pytest.raises(gw.UpstreamError):
        await onward(*insist).move(made, soon(), [error])


@pytest.mark.parametrize("failure", [None, *F])
def test_table_decides(failure: gw.FailureClass | None) -> None:
    """Same target, another target, a larger one: as the table of the failure classes says."""
    plan = gw.Plan(ASKED, (A, B), (gw.Attempted(A, failure, 0, None, 0.1, 0.0),))
    row = gw.FAILURES[failure] if failure is not None else None

    assert permitted(gw.Attempt(A), plan) is (row is None or row.retry_same)
    assert permitted(gw.Attempt(B), plan) is (row is None or row.try_next)
    assert permitted(gw.Attempt(B, mode="fallback"), plan) is (
        row is None or row.try_next or row.larger
    )


def test_own_last_failure_of_a_target_counts() -> None:
    """A target whose credential was refused is not asked again after another's failure."""
    made = (
        gw.Attempted(A, F.CREDENTIAL_REFUSED, 502, None, 0.1, 0.0),
        gw.Attempted(B, F.SERVER_ERROR, 502, None, 0.1, 0.0),
    )
    plan = gw.Plan(ASKED, (A, B), made)

    assert not permitted(gw.Attempt(A), plan)
    assert permitted(gw.Attempt(B), plan)


async def test_first_policy_that_answers_wins() -> None:
    """One that has nothing to say, breaks or asks for the forbidden leaves it to the next."""

    def broken(plan: gw.Plan) -> gw.Attempt | None:
        raise RuntimeError("no")

    made = progress([A, B], F.CONNECT)
    policies = [lambda _: None, broken, lambda _: gw.Attempt(A), lambda _: gw.Attempt(C)]

    await onward(*policies).move(made, soon(), [])

    assert made.target is C
    assert made.targets == [A, B, C]


async def test_retry_after_is_a_floor() -> None:
    """A target is not asked again before it said, and not at all if that is too late."""
    again = onward(lambda _: gw.Attempt(A, wait=0.0))
    error = gw.UpstreamError(F.RATE_LIMITED, "slowly", retry_after=0.05)
    made = progress([A], F.RATE_LIMITED, retry_after=0.05)
    start = monotonic()

    await again.move(made, soon(), [error])

    assert made.target is A
    assert monotonic() - start >= 0.045
    late = progress([A], F.RATE_LIMITED, retry_after=30.0)
    with pytest.raises(gw.UpstreamError) as told:
        await again.move(late, soon(), [error])
    assert told.value.status == 429


async def test_wait_beyond_the_deadline_is_not_begun() -> None:
    """The plan goes on with whom it can still ask."""
    made = progress([A, B], F.SERVER_ERROR)

    await onward(lambda _: gw.Attempt(A, wait=60)).move(made, soon(), [])

    assert made.target is B


async def test_policy_that_never_ends_is_ended() -> None:
    """What policies may propose for one request is bounded."""
    again = onward(lambda _: gw.Attempt(A))
    made, error = progress([A], F.SERVER_ERROR), gw.UpstreamError(F.SERVER_ERROR, "no")

    with pytest.raises(gw.UpstreamError):
        for _ in range(MAX_PROPOSED + 1):
            await again.move(made, soon(), [error])
            made.add(gw.Outcome(A, F.SERVER_ERROR), monotonic())

    assert len(made.made) == MAX_PROPOSED + 1
    assert again.retrying == 0


@pytest.mark.parametrize(
    ("failures", "status"),
    [
        ([F.RATE_LIMITED, F.RATE_LIMITED], 429),
        ([F.RATE_LIMITED, F.SERVER_ERROR], 503),
        ([F.SERVER_ERROR, F.OVERLOADED, F.CONNECT], 503),
        ([F.NO_FIRST_CONTENT, F.SERVER_ERROR], 504),
        ([F.OVERLOADED, F.NO_FIRST_CONTENT], 503),
        ([F.CONNECT, F.CREDENTIAL_REFUSED], 502),
        ([F.CONTEXT_TOO_LONG, F.SERVER_ERROR], 400),
    ],
)
def test_many_failures_are_one_answer(failures: list[gw.FailureClass], status: int) -> None:
    """All limits: 429; any: 503; a timer: 504; else 502. A caller's fault stays."""
    assert failed([gw.UpstreamError(each, "no") for each in failures]).status == status


def test_earliest_wait_is_told() -> None:
    """The client hears of the target that is back first."""
    waits = (9.0, None, 3.0)
    errors = [gw.UpstreamError(F.RATE_LIMITED, "no", retry_after=each) for each in waits]

    assert failed(errors).retry_after == 3.0


@pytest.mark.parametrize("failure", [F.OVERLOADED, F.RATE_LIMITED])
def test_a_wait_is_told_where_the_vendor_named_none(failure: gw.FailureClass) -> None:
    """Who is to come back hears when."""
    assert failed([gw.UpstreamError(failure, "no")]).retry_after == 1.0


def test_what_another_try_may_mend_comes_before_what_it_cannot() -> None:
    """In whichever order they failed, the client is not told to give up."""
    for order in ([F.SERVER_ERROR, F.CREDENTIAL_REFUSED], [F.CREDENTIAL_REFUSED, F.SERVER_ERROR]):
        error = failed([gw.UpstreamError(each, "no") for each in order])
        assert (error.code, error.retryable) == ("upstream_error", True)

    assert not failed([gw.UpstreamError(F.CREDENTIAL_REFUSED, "no")]).retryable
