"""What is said of an account's minute, and that nothing is taken for it."""

import llm_gateway_api as gw
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_guard_provider_limits.guard import ProviderLimits

A = gw.Target("acme", "a")
ARRIVAL = gw.Arrival("r", "POST", "/", "", {}, "", 0.0)


def asked(prompt_bytes: int) -> gw.Asked:
    return gw.Asked(ARRIVAL, "m", "chat", False, prompt_bytes, False, False)


steps = st.tuples(
    st.floats(0, 30),
    st.integers(1, 4000),
    st.sampled_from([None, gw.FailureClass.RATE_LIMITED]),
    st.sampled_from([None, 3.0]),
)


@given(
    st.lists(steps, max_size=30),
    st.none() | st.integers(0, 5),
    st.none() | st.integers(0, 3000),
)
def test_look_says_what_admit_does(
    history: list[tuple[float, int, gw.FailureClass | None, float | None]],
    requests: int | None,
    tokens: int | None,
) -> None:
    """At any time, however often it is asked."""
    now = 0.0
    limit = gw.RateLimit(requests_per_minute=requests, tokens_per_minute=tokens)
    guard = ProviderLimits(
        providers={"acme": gw.ProviderSettings(rate_limit=limit)},
        clock=lambda: now,
        metrics=gw.Metrics(),
    )
    for wait, prompt_bytes, failure, retry_after in history:
        now += wait
        looks = [guard.look(A, asked(prompt_bytes)) for _ in range(2)]

        answer = guard.admit(A, asked(prompt_bytes))

        assert looks[0] == looks[1]
        assert looks[0]["admits"] is isinstance(answer, gw.Lease)
        if isinstance(answer, gw.Lease):
            outcome = gw.Outcome(A, failure, duration=0.1, retry_after=retry_after)
            guard.report(answer, outcome)


def test_look_at_an_account_without_limits() -> None:
    """It admits, unless the deployment itself asked to be left alone."""
    guard = ProviderLimits(
        providers={"acme": gw.ProviderSettings()}, clock=lambda: 0.0, metrics=gw.Metrics()
    )
    assert guard.look(A, asked(9)) == {"admits": True}
    lease = guard.admit(A, asked(9))
    assert isinstance(lease, gw.Lease)

    guard.report(lease, gw.Outcome(A, gw.FailureClass.RATE_LIMITED, duration=0.1, retry_after=7))

    assert guard.look(A, asked(9)) == {"admits": False, "told_to_wait_seconds": 7.0}
