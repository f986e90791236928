"""The breaker: its transitions, by example and for all histories."""

from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from llm_gateway_guard_circuit_breaker.guard import MAX_INVENTED, CircuitBreaker
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings

F = gw.FailureClass
TARGET = gw.Target("acme", "m-1")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m", "chat", False, 2, False, False
)
COUNTED = {
    F.OVERLOADED,
    F.SERVER_ERROR,
    F.CONNECT,
    F.CONNECT_TIMEOUT,
    F.NO_FIRST_CONTENT,
    F.BROKEN_BEFORE_COMMIT,
    F.BROKEN_AFTER_COMMIT,
}
GOOD = gw.Outcome(TARGET, None, status=200, duration=0.1)
BAD = gw.Outcome(TARGET, F.CONNECT, status=502, duration=0.1)
GONE = gw.Outcome(TARGET, None, cancelled=True, duration=0.1)


class Site:
    """A breaker with a clock in hand: 2 failures open it, 2 probes close it, 10 seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.metrics = gw.Metrics()
        self.guard = CircuitBreaker(
            BreakerSettings(failure_threshold=2, success_threshold=2, timeout_seconds=10),
            clock=lambda: self.now,
            metrics=self.metrics,
        )

    def admit(self, target: gw.Target = TARGET) -> gw.Lease | gw.Refusal:
        return self.guard.admit(target, ASKED)

    def lease(self) -> gw.Lease:
        answer = self.admit()
        assert isinstance(answer, gw.Lease)
        return answer

    def call(self, outcome: gw.Outcome) -> None:
        self.guard.report(self.lease(), outcome)

    def opened(self) -> "Site":
        self.call(BAD)
        self.call(BAD)
        return self

    def half_open(self) -> "Site":
        self.opened().now += 10
        return self

    @property
    def state(self) -> float:
        (family,) = self.metrics.families()
        return family.value("acme", "m-1").value


def test_failures_in_a_row_open_it() -> None:
    """A success between them begins the count anew; open, it says for how long."""
    site = Site()
    for outcome in (BAD, GOOD, BAD):
        site.call(outcome)
    assert site.state == 0

    site.call(BAD)

    answer = site.admit()
    assert isinstance(answer, gw.Refusal)
    assert (answer.status, answer.code, answer.retry_after) == (503, "circuit_open", 10)
    assert site.state == 2


@pytest.mark.parametrize("failure", list(F))
def test_only_what_speaks_against_the_deployment_counts(failure: gw.FailureClass) -> None:
    """Neither the caller's faults nor 429 nor a refused credential opens it."""
    site = Site()
    for _ in range(2):
        site.call(gw.Outcome(TARGET, failure))

    assert (site.state == 2) is (failure in COUNTED)


def test_failure_of_a_request_counts_once() -> None:
    """A server error that a request met before may be its own fault; no other failure is."""
    site = Site()
    for _ in range(5):
        site.call(gw.Outcome(TARGET, F.SERVER_ERROR, repeated=True))
    assert site.state == 0

    for _ in range(2):
        site.call(gw.Outcome(TARGET, F.CONNECT, repeated=True))

    assert site.state == 2


def test_one_probe_at_a_time_closes_it() -> None:
    """While a probe is under way nobody else is admitted; enough good ones close it."""
    site = Site().half_open()

    for _ in range(2):
        probe = site.lease()
        assert site.state == 1
        assert isinstance(site.admit(), gw.Refusal)
        site.guard.report(probe, GOOD)

    assert site.state == 0
    assert isinstance(site.admit(), gw.Lease)
    assert isinstance(site.admit(), gw.Lease)


def test_bad_probe_opens_it_again() -> None:
    """For the whole time, and the good probes before are forgotten."""
    site = Site().half_open()
    site.call(GOOD)
    site.call(BAD)

    assert site.state == 2
    site.now += 9.9
    assert isinstance(site.admit(), gw.Refusal)


@pytest.mark.parametrize("outcome", [GONE, gw.Outcome(TARGET, F.RATE_LIMITED)])
def test_neutral_probe_frees_its_place(outcome: gw.Outcome) -> None:
    """A client that leaves, or a 429, locks nobody out."""
    site = Site().half_open()
    site.call(outcome)

    assert site.state == 1
    assert isinstance(site.admit(), gw.Lease)


def test_stream_probe_is_over_with_its_first_content() -> None:
    """However long it then lasts; if it breaks later that counts."""
    site = Site().half_open()
    first, headers = site.lease(), {"x": "y"}
    site.guard.answered(first, headers)
    second = site.lease()
    site.guard.answered(second, headers)
    assert site.state == 0

    site.guard.report(first, GOOD)
    site.guard.report(second, gw.Outcome(TARGET, F.BROKEN_AFTER_COMMIT))

    assert site.state == 0
    assert isinstance(site.admit(), gw.Lease)


def test_retry_after_is_a_floor() -> None:
    """A longer wait extends it, also one that is told late; a day is the most."""
    site = Site()
    early = site.lease()
    site.call(BAD)
    site.call(gw.Outcome(TARGET, F.OVERLOADED, retry_after=30))
    site.now += 5
    site.guard.report(early, gw.Outcome(TARGET, F.OVERLOADED, retry_after=60))

    answer = site.admit()

    assert isinstance(answer, gw.Refusal)
    assert answer.retry_after == 60
    site.now += 60
    site.call(gw.Outcome(TARGET, F.OVERLOADED, retry_after=1e9))
    answer = site.admit()
    assert isinstance(answer, gw.Refusal)
    assert answer.retry_after == 24 * 3600


def test_late_reports_change_nothing() -> None:
    """What began before it opened neither closes nor opens it, and frees no probe's place."""
    site = Site()
    early = [site.lease() for _ in range(3)]
    site.half_open()
    probe = site.lease()

    for lease, outcome in zip(early, (GOOD, BAD, GONE), strict=True):
        site.guard.report(lease, outcome)

    assert site.state == 1
    assert isinstance(site.admit(), gw.Refusal)
    site.guard.report(probe, GOOD)
    assert isinstance(site.admit(), gw.Lease)


def test_reload_forgets_deployments_that_are_gone() -> None:
    """Neither memory nor metric tells of them; of the others nothing changes."""
    gone, stays = gw.Target("p", "gone"), gw.Target("p", "stays")
    metrics = gw.Metrics()
    made = CircuitBreaker(BreakerSettings(failure_threshold=1), clock=lambda: 0.0, metrics=metrics)
    for target in (gone, stays):
        lease = made.admit(target, ASKED)
        assert isinstance(lease, gw.Lease)
        made.report(lease, gw.Outcome(target, gw.FailureClass.CONNECT))

    class Deployments:
        def deployments(self) -> list[gw.Target]:
            return [stays]

    given: Any = Deployments()
    made.reloaded(given)
    (family,) = metrics.families()
    assert {labels: family.value(*labels).value for labels in family.children} == {
        ("p", "stays"): 2.0
    }
    assert isinstance(made.admit(stays, ASKED), gw.Refusal)

    fresh = CircuitBreaker(BreakerSettings(), clock=lambda: 0.0, metrics=metrics)
    fresh.reloaded(given)  # of other settings: it knows nothing of the failures
    assert family.value("p", "stays").value == 0.0


def test_deployments_are_apart_and_invented_names_bounded() -> None:
    """One breaker each; names that only clients know have no metric and push nobody out."""
    site = Site().opened()
    assert isinstance(site.admit(gw.Target("acme", "m-2")), gw.Lease)

    for at in range(MAX_INVENTED + 10):
        site.admit(gw.Target("acme", f"invented-{at}", known=False))

    assert isinstance(site.admit(), gw.Refusal)
    (family,) = site.metrics.families()
    assert set(family.children) == {("acme", "m-1"), ("acme", "m-2")}
    assert len(site.guard._invented) == MAX_INVENTED


class Histories(RuleBasedStateMachine):
    """Any interleaving of requests, answers and time."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()
        self.under_way: list[gw.Lease] = []
        self.row = 0

    @rule()
    def admit(self) -> None:
        before = self.site.state
        answer = self.site.admit()
        if isinstance(answer, gw.Lease):
            self.under_way.append(answer)
        else:
            assert before > 0, "a closed breaker refuses nobody"
            assert answer.retry_after is not None
            assert 0 < answer.retry_after <= 10

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from([GOOD, BAD, GONE]))
    def end(self, data: st.DataObject, outcome: gw.Outcome) -> None:
        at = data.draw(st.integers(0, len(self.under_way) - 1))
        before = self.site.state
        self.site.guard.report(self.under_way.pop(at), outcome)
        if before == 2:
            assert self.site.state == 2, "only time and a probe end it"
        if outcome is GONE:
            assert self.site.state == before, "a client that leaves speaks for nobody"

    @rule(seconds=st.integers(0, 11))
    def wait(self, seconds: int) -> None:
        before = self.site.state
        self.site.now += seconds
        assert self.site.state == before, "time alone changes nothing that is shown"

    @invariant()
    def half_open_has_one_probe(self) -> None:
        if self.site.state == 1:
            epoch = self.site.guard._known[TARGET.name].state.epoch
            probes = [
                each for each in self.under_way if getattr(each.token, "epoch", None) == epoch
            ]
            assert len(probes) <= 1

    def teardown(self) -> None:
        """Nobody is locked out: once all came back and time passed, a request is admitted."""
        for each in self.under_way:
            self.site.guard.report(each, GONE)
        self.site.now += 10
        assert isinstance(self.site.admit(), gw.Lease)


Histories.TestCase.settings = hypothesis_settings(max_examples=200, stateful_step_count=40)
TestHistories = Histories.TestCase
