"""Who counts as ill, who is left out, and how one comes back."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_health.monitor import Monitor
from llm_gateway_routing_health.service import INSERT, HealthService
from llm_gateway_routing_health.settings import HealthSettings
from llm_gateway_routing_health.state import (
    Rules,
    State,
    at,
    failed,
    share,
    succeeded,
    suspension,
)

RULES = Rules(3, 30.0, 60.0)
ASKED = gw.Asked(
    gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0), "m", "chat", False, 10, False, False
)
A, B = gw.Target("one", "m", region="us"), gw.Target("two", "m", region="eu")
ILL = gw.FailureClass.SERVER_ERROR


class World:
    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        self.metrics = gw.Metrics()
        self.notes: list[tuple[str, str]] = []
        self.draw = 0.5
        self.monitor = Monitor(
            HealthSettings.model_validate(settings),
            clock=lambda: self.now,
            metrics=self.metrics,
            chance=lambda: self.draw,
            changed=lambda member, detail: self.notes.append((member.state.name, detail)),
        )

    def attempt(
        self, target: gw.Target, failure: str | None = None, seconds: float = 0.1, **more: Any
    ) -> None:
        lease = self.monitor.admit(target, ASKED)
        self.now += seconds
        self.monitor.report(lease, gw.Outcome(target, failure, **more))

    def fail(self, target: gw.Target, times: int = 3, failure: str = ILL) -> None:
        for _ in range(times):
            self.attempt(target, failure)

    def state(self, target: gw.Target = A) -> str:
        return self.monitor.health(target).state

    def avoided(self, *targets: gw.Target) -> str:
        """Providers of those that are put behind."""
        scores = self.monitor.prefer(ASKED, targets) or [0.0] * len(targets)
        pairs = zip(targets, scores, strict=True)
        return " ".join(each.provider for each, score in pairs if score == gw.AVOIDED)


def test_ill_after_failures_in_a_row() -> None:
    world = World()
    world.fail(A, 2)
    assert (world.state(), world.avoided(A, B)) == ("degraded", "")
    world.attempt(A)
    assert world.state() == "ok"

    world.fail(A, 3)
    assert (world.state(), world.avoided(A, B)) == ("unhealthy", "one")
    assert world.notes[-1] == ("unhealthy", "server_error")
    assert World(unhealthy_after=1).state() == "unknown"


def test_settings_change_what_they_say() -> None:
    world = World(unhealthy_after=1, retry_seconds=5, recovery_seconds=10)
    world.fail(A, 1)
    assert world.state() == "unhealthy"
    world.now += 5
    assert world.state() == "recovering"
    world.now += 10
    assert world.state() == "ok"


@pytest.mark.parametrize("failure", list(gw.FailureClass))
def test_what_speaks_against_a_deployment(failure: gw.FailureClass) -> None:
    """What a breaker counts makes ill; refusals of us suspend."""
    world = World()
    world.fail(A, 3, failure)
    refused = ("credential_refused", "account_empty", "model_gone")

    assert (world.state() == "unhealthy") is gw.FAILURES[failure].breaker
    assert (world.state() == "suspended") is (failure in refused)


REFUSED, GONE = gw.FailureClass.CREDENTIAL_REFUSED, gw.FailureClass.MODEL_GONE
OTHER = gw.Target("one", "other")


def test_refused_before_any_answer_suspends_at_once() -> None:
    """For a minute, then twice as long each time; a success ends it and forgets the count."""
    world = World()
    lasts = []
    for _ in range(8):
        world.attempt(A, GONE)
        assert (world.state(), world.avoided(A, B)) == ("suspended", "one")
        since = world.now
        while world.state() == "suspended":
            world.attempt(A, GONE)  # asked for want of another: it makes it no longer
            world.now += 9.9
        lasts.append(world.now - since)
        assert world.state() == "recovering"
    assert lasts[:3] == [pytest.approx(each, abs=10) for each in (60, 120, 240)]
    assert lasts[-1] == pytest.approx(1800, abs=10)

    world.attempt(A)
    assert (world.state(), world.monitor.health(A).share) == ("ok", 1.0)
    world.fail(A, 3, GONE)
    since = world.now
    assert world.state() == "suspended"
    world.now = since + 61
    assert world.state() == "recovering"


def test_one_refused_request_is_no_proof_against_who_answered() -> None:
    """Some vendors refuse a single request in the words of a refused account."""
    world = World()
    world.attempt(A)
    for _ in range(20):
        world.fail(A, 2, REFUSED)
        assert (world.state(), world.avoided(A, B)) == ("degraded", "")
        world.attempt(A)

    world.fail(A, 3, REFUSED)
    assert (world.state(), world.avoided(A, B)) == ("suspended", "one")


def test_a_refused_account_is_refused_at_all_its_deployments() -> None:
    """Those that nobody asked too; a model that is gone speaks for itself alone."""
    world = World()
    world.attempt(A, GONE)
    assert world.avoided(A, OTHER, B) == "one"
    assert world.monitor.providers() == {"one": "suspended"}

    world.attempt(OTHER, REFUSED)
    third = gw.Target("one", "third")
    assert world.avoided(A, OTHER, third, B) == "one one one"
    assert world.monitor.health(third).state == "suspended"
    assert world.monitor.reasons() == {"one": REFUSED}

    world.attempt(OTHER)
    assert world.avoided(A, OTHER, third, B) == "one"
    assert world.monitor.providers() == {"one": "degraded"}


def test_invented_models_suspend_no_account() -> None:
    world = World()
    world.fail(gw.Target("one", "nonsense", known=False), 9, REFUSED)

    assert world.avoided(A, B) == ""


def test_suspended_where_all_are_is_asked() -> None:
    """The client then sees what the vendor says."""
    world = World()
    world.attempt(A, REFUSED)
    world.attempt(B, REFUSED)

    assert world.avoided(A, B) == ""


def test_good_probe_does_not_end_a_suspension() -> None:
    """A list of models is often had with a key that may ask nothing else."""
    world = World()
    world.attempt(A, REFUSED)
    world.monitor.probed("one", gw.Probed(None, 0.1, 200))

    assert world.state() == "suspended"


class Deployments:
    """The offer ``targets``, as far as a reload asks it."""

    def __init__(self, *targets: gw.Target) -> None:
        self._targets = targets

    def deployments(self) -> Sequence[gw.Target]:
        return self._targets


def test_reload_asks_at_once_and_forgets_what_is_gone() -> None:
    world = World()
    world.attempt(A, REFUSED)
    world.fail(B)
    shown = {f.name: f for f in world.metrics.families()}
    page = shown["gateway_routing_health_suspended"]
    assert {labels: page.value(*labels).value for labels in page.children} == {
        ("one",): 1.0,
        ("two",): 0.0,
    }

    given: Any = Deployments(A)
    world.monitor.reloaded(given)

    assert (world.state(), world.avoided(A, B)) == ("unknown", "")
    assert set(page.children) == {("one",)}


@pytest.mark.parametrize("failure", [REFUSED, GONE])
def test_suspended_while_ill(failure: gw.FailureClass) -> None:
    """Other failures of who is suspended change nothing of it."""
    world = World()
    world.attempt(A, failure)
    world.fail(A, 5)

    assert world.state() == "suspended"


def test_clients_and_requests_at_fault() -> None:
    """Who leaves, and a request that fails everywhere, speak against nobody."""
    world = World()
    for _ in range(9):
        world.attempt(A, ILL, cancelled=True)
        world.attempt(A, ILL, repeated=True)

    assert world.state() == "unknown"


def test_where_all_are_ill_all_are_asked() -> None:
    world = World()
    world.fail(A)
    world.fail(B)

    assert world.avoided(A, B) == ""


def test_coming_back_is_gradual() -> None:
    """5 % at first, all after `recovery_seconds`; the first failure ends it."""
    world = World()
    world.fail(A)
    world.now += 30
    shares = []
    for _ in range(7):
        shares.append(world.monitor.health(A).share)
        world.now += 10

    assert shares == sorted(shares) and shares[0] < 0.06 and shares[-1] == 1.0
    assert shares[3] == pytest.approx(0.525, abs=0.02)
    world = World()
    world.fail(A)
    world.now += 60
    world.draw = 0.9
    assert world.avoided(A, B) == "one"
    world.draw = 0.1
    assert world.avoided(A, B) == ""
    world.fail(A, 1)
    assert world.state() == "unhealthy"


def test_success_in_spite_of_it() -> None:
    """Whoever answers although it was left out begins to come back."""
    world = World()
    world.fail(A)
    world.attempt(A)

    assert world.state() == "recovering"


def test_probes() -> None:
    """A provider whose probes fail is ill as a whole, those that nobody asked too."""
    world = World()
    world.attempt(A)
    other = gw.Target("one", "other")
    for _ in range(3):
        world.monitor.probed("one", gw.Probed("connect", 0.1))
    assert (world.state(A), world.avoided(A, other, B)) == ("unhealthy", "one one")
    assert world.monitor.providers() == {"one": "unhealthy"}

    world.monitor.probed("one", gw.Probed(None, 0.1, 200))
    assert world.state(A) == "recovering"


def test_a_good_probe_is_no_proof() -> None:
    """Who failed by traffic comes back little by little, not at once."""
    world = World()
    world.fail(A)
    world.monitor.probed("one", gw.Probed(None, 0.1, 200))

    assert (world.state(), world.monitor.health(A).share) == ("recovering", 0.05)


def test_region() -> None:
    """Where most of a region fails, the rest of it is left out too, and comes back gradually."""
    world = World()
    us = [gw.Target(f"us{at}", "m", region="us") for at in range(3)]
    for each in (*us, B):
        world.attempt(each)
    world.fail(us[0])
    assert world.avoided(*us, B) == "us0"
    world.fail(us[1])
    assert world.avoided(*us, B) == "us0 us1 us2"

    world.attempt(us[0])
    world.attempt(us[1])
    world.draw = 0.9
    assert world.avoided(*us, B) == "us0 us1 us2"
    assert 0 < world.monitor.health(us[2]).share < 0.1
    world.now += 61
    assert world.avoided(*us, B) == ""


def test_a_stream_is_well_with_its_first_content() -> None:
    world = World()
    lease = world.monitor.admit(A, ASKED)
    world.now += 0.2
    world.monitor.answered(lease, {})

    assert (world.state(), world.monitor.health(A).latency_ms) == ("ok", pytest.approx(200))


def test_providers_and_metric() -> None:
    """A provider is degraded while one of its deployments is ill."""
    world = World()
    second = gw.Target("one", "n")
    world.attempt(second)
    world.fail(A)
    (family,) = (f for f in world.metrics.families() if f.name == "gateway_provider_unhealthy")

    assert world.monitor.providers() == {"one": "degraded"}
    assert family.value("one").value == 0.5


def test_invented_models_do_not_fill_the_memory() -> None:
    world = World()
    for number in range(1500):
        world.fail(gw.Target("one", f"m{number}", known=False), 1)

    assert len(world.monitor._members) == 1000


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "probe-fail", "refuse", "good"]), st.floats(0, 100)),
        max_size=80,
    )
)
def test_the_state_machine(steps: list[tuple[str, float]]) -> None:
    """Unhealthy only after failures; a share is never outside 0 to 1; time alone heals."""
    state, now, last = State(), 0.0, "good"
    for step, wait in steps:
        now += wait
        before = at(state, now, RULES)
        if step == "good":
            state = succeeded(before, now, RULES)
            assert state.name in ("ok", "recovering") and state.failures == 0
        else:
            failure = GONE if step == "refuse" else ILL
            state = failed(before, failure, now, RULES, probed=step == "probe-fail")
            assert state.name in ("degraded", "unhealthy", "suspended")
            assert state.name != "suspended" or before.name == "suspended" or step == "refuse"
            if last == "good" and before.name in ("ok", "unknown") and state.answered:
                assert state.name == "degraded"
        assert 0.0 <= share(state, now, RULES) <= 1.0
        last = step
    if state.name == "unhealthy":
        assert at(state, now + 91, RULES).name == "ok"
    if state.name == "suspended":
        assert 60 <= suspension(state, RULES) <= 1800
        assert at(state, now + 1800 + 61, RULES).name == "ok"


# --- probes and history beside requests -----------------------------------------------------


class Probing:
    seconds = 0.01
    providers: Sequence[str] = ("one",)

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.failure: str | None = None

    async def __call__(self, provider: str) -> gw.Probed:
        self.asked[provider] += 1
        return gw.Probed(self.failure, 0.001, 200, "why")


class Kept:
    """A store that fails while `down`."""

    def __init__(self) -> None:
        self.rows: list[gw.SQLParams] = []
        self.down = False
        self.pruned = 0

    async def execute_many(self, sql: str, rows: Sequence[gw.SQLParams]) -> None:
        assert sql == INSERT
        if self.down:
            raise gw.StoreError("down")
        self.rows += rows

    async def execute(self, sql: str, params: gw.SQLParams) -> int:
        self.pruned += 1
        return 0


class Shared:
    """State of two workers: the first who claims probes, news reach both."""

    def __init__(self) -> None:
        self.told: list[Callable[[bytes], None]] = []
        self.claims: set[str] = set()

    async def claim(self, key: str, seconds: float) -> bool:
        known = key in self.claims
        self.claims.add(key)
        return not known

    def publish(self, topic: str, message: bytes) -> None:
        for each in self.told:
            each(message)

    def listen(self, topic: str, told: Callable[[bytes], None]) -> None:
        self.told.append(told)


def service(
    probe: Probing, store: Kept | None = None, state: Shared | None = None
) -> HealthService:
    loop = asyncio.get_running_loop()
    given: Any = {"probe": probe, "store": store, "state": state}
    return HealthService(HealthSettings(), clock=loop.time, metrics=gw.Metrics(), **given)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_probes_on_an_interval() -> None:
    probe = Probing()
    probe.failure = "connect"
    made = service(probe)
    async with made.open():
        await until(lambda: made.providers() == {"one": "unhealthy"})
        probe.failure = None
        await until(lambda: made.providers() == {"one": "recovering"})

    assert probe.asked["one"] >= 4


async def test_interval_zero_probes_never() -> None:
    probe = Probing()
    probe.seconds = 0
    async with service(probe).open():
        await asyncio.sleep(0.05)

    assert not probe.asked


async def test_one_worker_probes_for_all() -> None:
    """The other hears of it."""
    shared, first, second = Shared(), Probing(), Probing()
    first.failure = "connect"
    one, other = service(first, state=shared), service(second, state=shared)
    async with one.open(), other.open():
        await until(lambda: "one" in other.providers())

    assert (first.asked["one"], second.asked["one"]) == (1, 0)
    assert other.providers() == {"one": "degraded"}


async def test_history_survives_a_store_that_is_down() -> None:
    """Changes wait; the end writes what is left."""
    store = Kept()
    store.down = True
    made = service(Probing(), store)
    async with made.open():
        await until(lambda: bool(made._rows))
        store.down = False

    assert [(row["provider"], row["model"], row["state"]) for row in store.rows] == [
        ("one", "", "probe ok")
    ]


@pytest.mark.parametrize("message", [b"", b"{", b"[]", msgspec.json.encode({"worker": "w"})])
async def test_unreadable_news_change_nothing(message: bytes) -> None:
    made = service(Probing())
    made.heard(message)

    assert made.providers() == {}
