"""Two attempts at a time: one answers, the other is gone; in virtual time, whatever the times."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_gateway.guarding import Guarding
from llm_gateway.observe import Counts
from llm_gateway.pipeline import Call, Pipeline, asked
from llm_gateway.progress import Onward
from llm_gateway.racing import Racing
from llm_gateway.reserve import Reserving, Scope
from llm_gateway.routing import Router
from llm_gateway.screening import Screens
from llm_gateway_testkit.virtualtime import Clock, VirtualLoop

F = gw.FailureClass
NAMES = ("a", "b", "c")
WEIGHTS = {"a": 3, "b": 2, "c": 1}
DEADLINE = 30.0


@dataclass(frozen=True)
class Behaviour:
    """What a deployment does: content after `first` seconds and the end after `rest` more, or
    a failure in the place of the one or the other. A guard may refuse it."""

    first: float
    rest: float = 0.0
    fails: gw.FailureClass | None = None
    breaks: bool = False
    refused: bool = False


class Hedges:
    """A policy that hedges after `delay`, with whom the plan has next."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.told: list[tuple[str, str]] = []

    def next(self, plan: gw.Plan, failure: object, time_left: float) -> gw.Attempt | None:
        return None

    def patience(self, asked: gw.Asked, target: gw.Target) -> float | None:
        return self.delay

    def beside(self, plan: gw.Plan, time_left: float) -> gw.Attempt | None:
        untried = plan.untried()
        return gw.Attempt(untried[0], mode="hedge") if untried else None

    def hedged(self, target: gw.Target, result: gw.Hedged) -> None:
        self.told.append((target.provider, result))


@dataclass
class Gate:
    """A guard that counts its leases and refuses whom the world says."""

    world: "World"
    held: dict[str, int] = field(default_factory=dict)
    outcomes: list[gw.Outcome] = field(default_factory=list)

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal:
        if self.world.behaviours[target.provider].refused:
            return gw.Refusal(503, "no", "not now")
        self.held[target.provider] = self.held.get(target.provider, 0) + 1
        return gw.Lease(target)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self.held[lease.target.provider] -= 1
        self.outcomes.append(outcome)


class Client:
    """Takes what is written, from one attempt only."""

    def __init__(self) -> None:
        self.committed = False
        self.written: list[str] = []
        self.ended = False
        self.on_end: Callable[[], object] = lambda: None

    def start(self, name: str) -> None:
        self.committed = True
        self.written.append(name)

    def write(self, name: str) -> None:
        self.written.append(name)

    def end(self) -> None:
        self.ended = True
        self.on_end()


class World:
    """The pipeline's own loop of attempts over made-up deployments, as one stream is answered."""

    def __init__(self, behaviours: dict[str, Behaviour], delay: float) -> None:
        self.behaviours = behaviours
        self.clock = Clock()
        self.policy = Hedges(delay)
        self.gate = Gate(self)
        self.client = Client()
        self.running: set[str] = set()
        self.most = 0
        self.sent: list[tuple[float, str]] = []

        def now() -> float:
            return self.clock.now

        counts = Counts(gw.Metrics())
        onward = Onward((("hedging", self.policy),), counts, clock=now)
        targets = tuple(gw.Target(name, "m", weight) for name, weight in WEIGHTS.items())
        unused: Any = None
        self.pipeline = Pipeline(
            generation=1,
            screens=Screens(),
            reserving=Reserving((), Scope()),
            accounting=unused,
            caching=self,  # type: ignore[arg-type]  # only `keep` is asked
            router=Router({}, {"m": targets}, None, (), (), ByWeight()),
            guarding=Guarding.of([self.gate], dict.fromkeys(NAMES, 10.0), clock=now),
            onward=onward,
            attempts=self,  # type: ignore[arg-type]  # only `run` is asked
            observers=(),
            counts=counts,
            request_seconds=DEADLINE,
            streaming_seconds=DEADLINE,
            racing=Racing([("hedging", self.policy)], onward, clock=now),
            clock=now,
        )
        arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0)
        head = gw.RequestHead("d", "chat", "m", True, False, {}, b"{}")
        self.call = Call(arrival, unused, self.client, head, deadline=DEADLINE)  # type: ignore[arg-type]  # no socket

    async def run(self, call: Call, target: gw.Target) -> None:
        """One attempt, as the kernel makes it."""
        name = target.provider
        does = self.behaviours[name]
        self.sent.append((self.clock.now, name))
        self.running.add(name)
        self.most = max(self.most, len(self.running))
        try:
            await asyncio.sleep(does.first)
            if does.fails is not None:
                raise gw.UpstreamError(does.fails, "no")
            if call.race is not None:
                call.race.claim(call)
            call.client.start(name)  # type: ignore[arg-type,call-arg]  # the test's own client
            await asyncio.sleep(does.rest)
            if does.breaks:
                raise gw.UpstreamError(F.BROKEN_BEFORE_COMMIT, "cut")
            call.usage = gw.Usage(output=1)
            call.client.write(name)  # type: ignore[arg-type]  # the test's own client
            call.client.end()
        finally:
            self.running.discard(name)

    def keep(self, call: Call) -> None:
        """No cache here."""

    async def request(self) -> gw.GatewayError | None:
        seen = asked(self.call.arrival, self.call.head, looked_into=False)
        try:
            await self.pipeline._answer(self.call, self.pipeline.router.considered(seen))
        except gw.GatewayError as error:
            return error
        return None


class ByWeight:
    """The heaviest first."""

    def score(self, asked: gw.Asked, candidates: Any) -> list[float]:
        return [each.weight for each in candidates]

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None: ...


def played(world: World, leaves: float | None = None) -> gw.GatewayError | str | None:
    """How the request ended; ``left`` where its client went after `leaves` seconds."""
    loop = VirtualLoop(world.clock)

    async def play() -> gw.GatewayError | str | None:
        task = asyncio.ensure_future(world.request())
        await asyncio.wait((task,), timeout=leaves)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,))
        return "left"

    try:
        return loop.run_until_complete(play())
    finally:
        loop.close()


times = st.sampled_from([0.1, 0.5, 1.0, 1.5, 2.0, 4.0])
behaviours = st.builds(
    Behaviour,
    first=times,
    rest=times,
    fails=st.sampled_from([None, None, F.SERVER_ERROR, F.OVERLOADED, F.CALLER_FAULT, F.CONNECT]),
    breaks=st.booleans(),
    refused=st.sampled_from([False, False, True]),
)


@settings(max_examples=300, deadline=None)
@given(
    does=st.fixed_dictionaries(dict.fromkeys(NAMES, behaviours)),
    delay=times,
    leaves=st.none() | times,
)
def test_one_attempt_reaches_the_client(
    does: dict[str, Behaviour], delay: float, leaves: float | None
) -> None:
    """Whatever happens when: bytes of one attempt only, every lease back once, at most two at
    a time, nothing left running, and each hedge told once."""
    world = World(does, delay)

    ended = played(world, leaves)

    names = set(world.client.written)
    assert len(names) <= 1
    assert not world.running
    assert all(held == 0 for held in world.gate.held.values())
    assert world.most <= 2
    assert len(world.gate.outcomes) == len(world.sent)
    assert len([each for each in world.policy.told if each[1] != "refused"]) <= 1
    if ended is None:
        (name,) = names
        assert world.client.written == [name, name]
        assert world.client.ended
        assert world.call.target is not None
        assert world.call.target.provider == name
        assert world.call.usage == gw.Usage(output=1)
        assert world.call.attempts == len(world.sent)
        assert [each.failure for each in world.gate.outcomes if not each.cancelled].count(None) == 1
    elif names and ended != "left":
        assert does[names.pop()].breaks, "only its own failure ends what the client has seen"


@settings(max_examples=200, deadline=None)
@given(
    does=st.fixed_dictionaries(dict.fromkeys(NAMES, st.builds(Behaviour, first=times, rest=times))),
    delay=times,
)
def test_the_first_with_content_answers(does: dict[str, Behaviour], delay: float) -> None:
    """With two that are well, the client waits for the quicker one, and the other is told lost."""
    world = World(does, delay)

    assert played(world) is None

    first, hedge = does["a"].first, delay + does["b"].first
    if first < delay:
        assert world.sent == [(0.0, "a")]
    if first != hedge and first != delay:
        assert world.client.written[0] == ("a" if first < hedge else "b")
    if len(world.sent) == 2:
        won = world.client.written[0] == "b"
        assert world.policy.told == [("b", "won" if won else "lost")]
        assert world.call.hedge == ("won" if won else "lost")
        assert world.call.headers["x-gateway-hedge"] == world.call.hedge
        assert len(world.call.given_up) == 1
        assert sorted(each.cancelled for each in world.gate.outcomes) == [False, True]


@pytest.mark.parametrize("delay", [0.5, 4.0])
def test_client_that_leaves_with_its_answer_has_one(delay: float) -> None:
    """Who hangs up when it has read all of it did not leave before the end."""
    world = World({"a": Behaviour(3.0), "b": Behaviour(0.5), "c": Behaviour(9.0)}, delay)
    loop = VirtualLoop(world.clock)

    async def play() -> None:
        task = asyncio.ensure_future(world.request())
        world.client.on_end = lambda: loop.call_soon(task.cancel)
        assert await task is None

    try:
        loop.run_until_complete(play())
    finally:
        loop.close()

    hedged = delay < 3.0
    assert world.call.hedge == ("won" if hedged else None)
    assert world.policy.told == ([("b", "won")] if hedged else [])
    assert not world.running


def test_refused_hedge_goes_to_the_next() -> None:
    """A guard that says no costs the hedge nothing."""
    world = World(
        {"a": Behaviour(9.0), "b": Behaviour(0.1, refused=True), "c": Behaviour(0.1)}, delay=1.0
    )

    assert played(world) is None

    assert world.sent == [(0.0, "a"), (1.0, "c")]
    assert world.policy.told == [("b", "refused"), ("c", "won")]


def test_failed_first_leaves_the_hedge_to_answer() -> None:
    """Nobody else is asked meanwhile."""
    world = World(
        {"a": Behaviour(2.0, fails=F.SERVER_ERROR), "b": Behaviour(4.0), "c": Behaviour(0.1)}, 1.0
    )

    assert played(world) is None

    assert world.client.written[0] == "b"
    assert [name for _, name in world.sent] == ["a", "b"]


def test_failed_hedge_leaves_the_first_to_answer() -> None:
    """There is one hedge, not one after the other."""
    world = World(
        {"a": Behaviour(3.0), "b": Behaviour(0.5, fails=F.OVERLOADED), "c": Behaviour(0.1)}, 1.0
    )

    assert played(world) is None

    assert world.client.written[0] == "a"
    assert [name for _, name in world.sent] == ["a", "b"]
    assert world.policy.told == [("b", "failed")]


def test_both_failed_and_the_plan_goes_on() -> None:
    """With whom neither of them was."""
    broken = Behaviour(2.0, fails=F.SERVER_ERROR)
    world = World({"a": broken, "b": broken, "c": Behaviour(0.1)}, delay=1.0)

    assert played(world) is None

    assert [name for _, name in world.sent] == ["a", "b", "c"]
    assert world.call.attempts == 3


def test_callers_fault_ends_both() -> None:
    """What the caller has to mend is told at once."""
    world = World(
        {"a": Behaviour(2.0, fails=F.CALLER_FAULT), "b": Behaviour(9.0), "c": Behaviour(9.0)}, 1.0
    )

    ended = played(world)

    assert isinstance(ended, gw.UpstreamError)
    assert world.clock.now == pytest.approx(2.0)


def test_no_hedge_beyond_the_deadline() -> None:
    """A delay that the request does not last is none."""
    world = World({name: Behaviour(4.0) for name in NAMES}, delay=DEADLINE)

    assert played(world) is None

    assert [name for _, name in world.sent] == ["a"]


def test_policies_that_hedge_nothing_cost_nothing() -> None:
    """Without a hedging policy there is no race on the way of a request."""

    class Retries:
        def next(self, plan: gw.Plan, failure: object, time_left: float) -> gw.Attempt | None:
            return None

    onward = Onward((), Counts(gw.Metrics()))

    assert Racing.of([("retry", Retries())], onward) is None
