"""The account's limits: never passed, corrected by usage, learned from answers."""

from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_guard_provider_limits.headers import exhausted
from llm_gateway_guard_provider_limits.window import Window

F = gw.FailureClass
TARGET = gw.Target("acme", "m-1")
DATE = "Tue, 24 Nov 2026 10:00:00 GMT"


def asked(prompt_bytes: int = 400) -> gw.Asked:
    arrival = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)
    return gw.Asked(arrival, "m", "chat", False, prompt_bytes, False, False)


class Site:
    def __init__(self, requests: int | None = None, tokens: int | None = None) -> None:
        self.now = 1000.0
        limit = gw.RateLimit(requests_per_minute=requests, tokens_per_minute=tokens)
        self.guard = ProviderLimits(
            providers={"acme": gw.ProviderSettings(rate_limit=limit)},
            clock=lambda: self.now,
            metrics=gw.Metrics(),
        )

    def admit(self, prompt_bytes: int = 400) -> gw.Lease | gw.Refusal:
        return self.guard.admit(TARGET, asked(prompt_bytes))

    def lease(self, prompt_bytes: int = 400) -> gw.Lease:
        answer = self.admit(prompt_bytes)
        assert isinstance(answer, gw.Lease)
        return answer

    def refused(self, prompt_bytes: int = 400) -> gw.Refusal:
        answer = self.admit(prompt_bytes)
        assert isinstance(answer, gw.Refusal)
        return answer


def outcome(failure: str | None = None, duration: float = 0.1, **known: object) -> gw.Outcome:
    return gw.Outcome(TARGET, failure, duration=duration, **known)  # type: ignore[arg-type]  # by name


def test_requests_of_a_minute() -> None:
    """The one too many is told when there is room; then it is admitted."""
    site = Site(requests=2)
    site.lease()
    site.now += 10
    site.lease()

    refusal = site.refused()

    assert (refusal.status, refusal.code) == (429, "rate_limit_exceeded")
    assert refusal.retry_after is not None
    site.now += refusal.retry_after
    site.lease()
    site.refused()


def test_null_is_unlimited_and_zero_blocks() -> None:
    """Two different things."""
    site = Site()
    for _ in range(1000):
        site.lease()

    assert Site(requests=0).refused().retry_after is None
    assert Site(tokens=0).refused().retry_after is None


def test_estimate_is_corrected_by_usage() -> None:
    """400 bytes are taken for 100 tokens, and 256 more for the answer, until it is known."""
    site = Site(tokens=500)
    first = site.lease()
    site.refused()

    site.guard.report(first, outcome(usage=gw.Usage(input=100, output=10)))

    site.lease()


@pytest.mark.parametrize(
    "ended",
    [outcome(F.RATE_LIMITED), outcome(F.CALLER_FAULT), outcome(duration=0.0, cancelled=True)],
)
def test_what_cost_nothing_is_given_back(ended: gw.Outcome) -> None:
    """Refused and unsent calls take no tokens."""
    site = Site(tokens=500)
    site.guard.report(site.lease(), ended)

    site.lease()


@pytest.mark.parametrize("ended", [outcome(F.NO_FIRST_CONTENT), outcome(cancelled=True)])
def test_what_may_have_cost_stays_taken(ended: gw.Outcome) -> None:
    """A call that was cut may be billed all the same."""
    site = Site(tokens=500)
    site.guard.report(site.lease(), ended)

    site.refused()


def test_unsent_request_is_given_back() -> None:
    """Another guard refused, or the client left the queue."""
    site = Site(requests=1)
    site.guard.report(site.lease(), outcome(duration=0.0, cancelled=True))

    site.lease()


def test_request_over_the_limit_goes_alone() -> None:
    """It could never go otherwise."""
    site = Site(tokens=500)
    site.lease(prompt_bytes=40_000)

    wait = site.refused(prompt_bytes=40_000).retry_after
    assert wait is not None
    site.now += wait
    site.lease(prompt_bytes=40_000)


def test_estimates_learn() -> None:
    """Long answers make room for fewer."""
    site = Site(tokens=100_000)
    for _ in range(60):
        site.guard.report(site.lease(), outcome(usage=gw.Usage(input=100, output=3000)))
        site.now += 61

    for _ in range(32):
        site.lease()
    site.refused()


@pytest.mark.parametrize("ended", [{"cancelled": True}, {"failure": F.BROKEN_AFTER_COMMIT}])
def test_an_answer_that_ended_early_counts_and_says_nothing_of_others(
    ended: dict[str, Any],
) -> None:
    site = Site(tokens=500)
    for _ in range(3):
        usage = gw.Usage(input=10, output=1, estimated=True)
        site.guard.report(site.lease(), outcome(usage=usage, **ended))

    site.lease()  # 33 + 356
    site.refused()


def test_429_closes_the_gate() -> None:
    """For as long as it says, a longer wait extends it, a shorter one does not, a day is most."""
    site = Site()
    leases = [site.lease() for _ in range(4)]
    for lease, seconds in zip(leases, (20.0, 30.0, 5.0), strict=False):
        site.guard.report(lease, outcome(F.RATE_LIMITED, retry_after=seconds))

    assert site.refused().retry_after == 30
    assert isinstance(site.guard.admit(gw.Target("acme", "m-2"), asked()), gw.Lease)
    site.guard.report(leases[3], outcome(F.RATE_LIMITED, retry_after=1e9))
    assert site.refused().retry_after == 24 * 3600
    site.now += 24 * 3600
    site.lease()


def test_headers_close_the_gate() -> None:
    """A stream's when its content begins, and not again when it ends."""
    site = Site()
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "12s"}
    first = site.lease()
    site.guard.answered(first, headers)
    assert site.refused().retry_after == 12

    site.now += 12
    site.guard.report(first, outcome(headers=headers))
    second = site.lease()
    site.guard.report(second, outcome(headers=headers))

    assert site.refused().retry_after == 12


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("20ms", 0.02),
        ("17", 17),
        ("2026-11-24T10:00:30Z", 30),
        ("2026-11-24T09:00:00Z", 0),
        ("1795514430", 30),
        ("", None),
        ("soon", None),
        ("-T-", None),
    ],
)
def test_forms_of_a_reset(reset: str, seconds: float | None) -> None:
    """Durations, numbers, and times by the answer's own clock; nonsense is nothing."""
    for name in (
        "x-ratelimit-{}-tokens",
        "x-ratelimit-{}-requests-day",
        "x-ratelimit-{}",
        "ratelimit-{}",
        "anthropic-ratelimit-tokens-{}",
        "anthropic-ratelimit-output-tokens-{}",
    ):
        headers = {name.format("remaining"): "0", name.format("reset"): reset, "date": DATE}
        assert exhausted(headers) == seconds
        assert exhausted({**headers, name.format("remaining"): "1"}) is None


def test_a_reset_that_is_spelt_in_another_way() -> None:
    """Azure's; and what it says to be left may be less than nothing, which closes no gate."""
    headers = {"x-ratelimit-remaining-tokens": "0", "x-rate-limit-reset-tokens": "7"}

    assert exhausted(headers) == 7
    assert exhausted({**headers, "x-ratelimit-remaining-tokens": "-1"}) is None


@given(st.text())
def test_no_header_breaks_it(text: str) -> None:
    """Whatever a provider writes."""
    exhausted({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": text, "date": text})


@given(
    limit=st.integers(1, 20),
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=60),
)
def test_no_minute_passes_the_limit(limit: int, steps: list[tuple[int, int]]) -> None:
    """In no 60 seconds is more taken than the limit, but for one that goes alone; and a
    refused amount fits after the wait that it was told."""
    window, now, taken = Window(limit), 0.0, list[tuple[float, int]]()
    for seconds, amount in steps:
        now += seconds
        wait = window.wait(amount, now)
        assert wait is not None
        if wait > 0:
            assert window.wait(amount, now + wait - 0.001) or amount > limit
            now += wait
            assert window.wait(amount, now) == 0.0
        window.add(amount, now)
        taken.append((now, amount))

    for start, _ in taken:
        within = [amount for at, amount in taken if start <= at < start + 60]
        assert sum(within) <= limit or len(within) == 1
