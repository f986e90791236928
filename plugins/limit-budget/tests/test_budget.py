"""Budgets: what is held, what is charged, and that no crowd spends more than there is."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_limit_budget import counting as counting_module
from llm_gateway_limit_budget import limiter as limiter_module
from llm_gateway_limit_budget import outstanding as outstanding_module
from llm_gateway_limit_budget.estimate import NANO, Estimator
from llm_gateway_limit_budget.limiter import BudgetLimiter, Held
from llm_gateway_limit_budget.periods import window
from llm_gateway_limit_budget.repository import NewBudget, NewQuota, nano, read
from llm_gateway_limit_budget.settings import BudgetSettings
from llm_gateway_state_host.host import HostState
from llm_gateway_state_host.process import ProcessState
from llm_gateway_state_redis.state import RedisState
from llm_gateway_testkit import servers
from llm_gateway_testkit.virtualtime import Clock, VirtualLoop

# 1 USD per million in, 10 out.
PRICE = gw.Price("v1", {"input": Decimal(1), "output": Decimal(10)})
TARGET = gw.Target("p", "m")
_ids = itertools.count()


class Offers:
    """`Targets` and `Prices`: one model with these prices, None for an unknown one."""

    def __init__(self, *prices: gw.Price | None) -> None:
        self.prices = {f"m{number}": each for number, each in enumerate(prices)}

    def candidates(self) -> Sequence[gw.Target]:
        return [gw.Target("p", name) for name in self.prices]

    def named(self, name: str, asked: gw.Asked) -> Sequence[gw.Target]:
        raise AssertionError("nobody asked for a chain")

    def exists(self, name: str) -> bool:
        return True

    def info(self, target: gw.Target) -> gw.ModelInfo:
        return gw.ModelInfo(target.model)

    def price(self, target: gw.Target) -> gw.Price | None:
        return self.prices[target.model]


class Hook:
    """A `Fetch` that keeps what it is sent."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, url: str, **given: Any) -> gw.Fetched:
        self.bodies.append(json.loads(given["body"]))
        return gw.Fetched(url, 200, {}, b"")


class Gone:
    """A state backend that cannot be reached."""

    async def take(self, takes: Sequence[gw.Take], *, force: bool = False) -> gw.Grant:
        raise ConnectionError("gone")

    async def claim(self, key: str, seconds: float) -> bool:
        raise ConnectionError("gone")


def made(
    state: Any,
    *,
    store: gw.Store | None = None,
    offers: Offers | None = None,
    hook: Hook | None = None,
    workers: int = 1,
    metrics: gw.Metrics | None = None,
    **settings: Any,
) -> BudgetLimiter:
    offers = offers or Offers(PRICE)
    return BudgetLimiter(
        BudgetSettings(**settings),
        state,
        ProcessState(),
        workers,
        store,
        offers,
        offers,
        hook or Hook(),
        metrics or gw.Metrics(),
    )


def budget(usd: str, **more: Any) -> gw.Budget:
    given = {"id": "b1", "level": "tenant", "amount": nano(usd, "x"), "period": "day", **more}
    return gw.Budget(**given)


def arrival(*budgets: gw.Budget) -> gw.Arrival:
    caller = gw.Principal(key_id="k1", tenant="acme", budgets=budgets)
    return gw.Arrival("r", "POST", "/", "", {}, "", 0.0, caller)


def head(*, stream: bool = False, model: str = "m", **fields: Any) -> gw.RequestHead:
    body = json.dumps({"model": model, "messages": [], **fields}).encode()
    return gw.RequestHead("openai", "chat", model, stream, False, gw.top_level(body), body)


def answered(cost: str | None, target: gw.Target | None = TARGET, **more: Any) -> gw.Settlement:
    usage = gw.Usage(input=10, output=10)
    return gw.Settlement(target, usage, None if cost is None else Decimal(cost), **more)


async def asking(
    limiter: BudgetLimiter, *budgets: gw.Budget, **asked: Any
) -> gw.Reservation | gw.Refusal:
    """What comes of a request that `asked` describes."""
    body, offers = head(**asked), limiter._targets
    assert isinstance(offers, Offers)
    size = len(body.body)
    seen = gw.Asked(arrival(*budgets), body.model, "chat", body.stream, size, False, False)
    return await limiter.reserve(seen, body, offers.candidates())


async def reserved(limiter: BudgetLimiter, *budgets: gw.Budget, **asked: Any) -> gw.Reservation:
    found = await asking(limiter, *budgets, **asked)
    assert isinstance(found, gw.Reservation), found
    return found


async def refused(limiter: BudgetLimiter, *budgets: gw.Budget, **asked: Any) -> gw.Refusal:
    found = await asking(limiter, *budgets, **asked)
    assert isinstance(found, gw.Refusal), found
    return found


async def used(state: gw.StateBackend, *budgets: gw.Budget) -> list[int]:
    return list(await state.used([window(each, "acme", time()).key for each in budgets]))


async def recorded(store: gw.Store, cost: int | None, **more: Any) -> None:
    given = {"tenant": "acme", "key_id": "k1", "model": "m", "at": int(time() * 1000), **more}
    await store.execute(
        "INSERT INTO usage_records (id, request_id, at, tenant, key_id, model, operation, "
        "status, stream, attempts, duration_ms, cost_nano) VALUES (:id, 'r', :at, :tenant, "
        ":key_id, :model, 'chat', 200, FALSE, 1, 1, :cost)",
        {**given, "id": f"led_{next(_ids)}", "cost": cost},
    )


async def test_the_true_cost_takes_the_place_of_the_hold() -> None:
    state, mine = ProcessState(), budget("1")
    limiter = made(state)
    held = await reserved(limiter, mine, max_tokens=1000)
    before = await used(state, mine)

    await limiter.settle(held, answered("0.0003"))

    assert before[0] > 1000 * 10 * NANO // 10**6
    assert await used(state, mine) == [300_000]


@pytest.mark.parametrize(
    ("settlement", "charged"),
    [
        (answered("0"), "nothing"),
        (answered(None), "the hold"),
        (answered(None, answered=False), "nothing"),
        (answered(None, target=None), "nothing"),
    ],
)
async def test_no_answer_is_free_and_an_unknown_cost_is_what_was_held(
    settlement: gw.Settlement, charged: str
) -> None:
    state, mine = ProcessState(), budget("1")
    limiter = made(state)
    held = await reserved(limiter, mine)
    before = await used(state, mine)

    await limiter.settle(held, settlement)

    assert await used(state, mine) == ([0] if charged == "nothing" else before)


async def test_all_budgets_of_a_request_or_none() -> None:
    """Those of its tenant and key, and those of its model."""
    state = ProcessState()
    wide, narrow = budget("1", id="wide"), budget("0.000001", id="narrow", level="key")
    other = budget("0", id="other", model="another")
    limiter = made(state)

    refusal = await refused(limiter, wide, narrow, other)
    await reserved(limiter, wide, other)

    assert (refusal.status, refusal.code) == (402, "insufficient_quota")
    assert "of this key" in refusal.message and "day" in refusal.message
    assert refusal.retry_after is None
    assert (await used(state, narrow, other)) == [0, 0]


async def test_a_budget_of_zero_blocks_what_costs_and_nothing_else() -> None:
    assert (await refused(made(ProcessState()), budget("0"))).status == 402
    free = gw.Price("v1", {"input": Decimal(0), "output": Decimal(0)})
    await reserved(made(ProcessState(), offers=Offers(free)), budget("0"))


async def test_a_model_without_a_price_is_refused_unless_allowed() -> None:
    unknown = Offers(None)
    refusal = await refused(made(ProcessState(), offers=unknown), budget("1"))
    await reserved(made(ProcessState(), offers=unknown, unknown_price="allow"), budget("1"))
    await reserved(made(ProcessState(), offers=unknown))  # no budget, no question

    assert (refusal.status, refusal.code, refusal.param) == (403, "price_unknown", "model")


async def test_the_dearest_deployment_decides() -> None:
    dear = gw.Price("v2", {"input": Decimal(1), "cache_write": Decimal(50), "output": Decimal(99)})
    for offers in (Offers(PRICE, dear, None), Offers(dear, PRICE)):
        state, mine = ProcessState(), budget("9")
        await reserved(made(state, offers=offers), mine, max_tokens=100)
        (held,) = await used(state, mine)
        assert held > 100 * 99 * 1000


DEAR = gw.Price("v2", {"input": Decimal(1), "output": Decimal(100)})


class Foreseen(Offers):
    """Only the first is among the candidates; others are what a policy may add."""

    def candidates(self) -> Sequence[gw.Target]:
        return super().candidates()[:1]


async def test_a_fallback_to_a_dearer_model_holds_what_that_may_cost() -> None:
    """In the same windows; what is charged in the end is what the answer cost."""
    state, mine = ProcessState(), budget("1")
    limiter = made(state, offers=Foreseen(PRICE, DEAR))
    held = await reserved(limiter, mine, max_tokens=1000)
    (first,) = await used(state, mine)
    same = await limiter.cover(held, gw.Target("p", "m0"))
    more = await limiter.cover(held, gw.Target("p", "m1"))
    assert isinstance(more, gw.Reservation)
    (both,) = await used(state, mine)
    again = await limiter.cover(more, gw.Target("p", "m1"))

    assert same is held and again is more
    assert both > 9 * first
    await limiter.settle(more, answered("0.05"))
    assert await used(state, mine) == [nano("0.05", "x")]


async def test_a_fallback_that_no_budget_is_left_for_is_refused() -> None:
    """What is held for the others stays; unknown prices are judged as ever."""
    state, mine = ProcessState(), budget("0.05")
    offers = Foreseen(PRICE, DEAR, None)
    limiter = made(state, offers=offers)
    held = await reserved(limiter, mine, max_tokens=1000)
    before = await used(state, mine)
    dear = await limiter.cover(held, gw.Target("p", "m1"))
    unknown = await limiter.cover(held, gw.Target("p", "m2"))
    lenient = made(ProcessState(), offers=offers, unknown_price="allow")

    assert isinstance(dear, gw.Refusal) and dear.code == "insufficient_quota"
    assert isinstance(unknown, gw.Refusal) and unknown.code == "price_unknown"
    assert await used(state, mine) == before
    held = await reserved(lenient, mine)
    assert await lenient.cover(held, gw.Target("p", "m2")) is held
    nobody = gw.Reservation()
    assert await limiter.cover(nobody, gw.Target("p", "m1")) is nobody


@pytest.mark.parametrize(
    ("full", "stream", "fields", "tokens"),
    [
        (False, False, {"max_tokens": 50_000}, 50_000),
        (False, True, {"max_tokens": 50_000}, 1001),
        (True, True, {"max_tokens": 50_000}, 50_000),
        (False, True, {"max_completion_tokens": 5}, 5),
        (False, False, {"max_tokens": 7, "n": 3}, 21),
        (False, False, {}, 1001),
    ],
)
def test_the_answer_is_guessed_high(
    full: bool, stream: bool, fields: Mapping[str, Any], tokens: int
) -> None:
    price = gw.Price("v", {"output": Decimal(1)})
    asked = head(stream=stream, **fields)

    found = Estimator(full=full).hold(asked, None, [(price, gw.ModelInfo("m"))])

    assert found == tokens * 1000


async def test_an_answer_that_ended_early_is_charged_and_teaches_nothing() -> None:
    """Holds for others stay as long as answers are that come whole."""
    state = ProcessState()
    limiter, mine = made(state), budget("10")
    holds = []
    for _ in range(50):
        reservation = await reserved(limiter, mine, stream=True)
        holds.append((await used(state, mine))[0])
        await limiter.settle(reservation, answered("0.001", whole=False))

    assert (await used(state, mine))[0] == 50 * nano("0.001", "x")
    assert holds[-1] - holds[0] == 49 * nano("0.001", "x")


def test_it_learns_how_long_answers_are() -> None:
    """Nineteen of twenty shall be shorter than what is held."""
    estimator, price = Estimator(full=False), gw.Price("v", {"output": Decimal(1)})
    for number in range(2000):
        estimator.learn(head(), "acme", 20, 100 + number % 20)

    tokens = estimator.hold(head(), "acme", [(price, gw.ModelInfo("m"))]) / 1000

    assert 105 < tokens < 150


@asynccontextmanager
async def sharing(backend: str, folder: Path, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A state backend of one worker; those of one folder, or of one server, share it."""
    made_of: HostState | RedisState
    if backend == "host":
        made_of = HostState(folder / "state")
    else:
        made_of = RedisState(request.getfixturevalue("redis_server").url)
    async with made_of.open():
        yield made_of


@pytest.mark.parametrize("backend", ["host", "redis"])
async def test_a_crowd_on_four_workers_never_spends_more_than_there_is(
    store: gw.Store,
    tmp_path: Path,
    backend: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """200 clients; each holds the worst case, so the bound is the budget itself, in each of the
    windows that a request is charged to."""
    monkeypatch.setattr(counting_module, "WAIT_SECONDS", 60.0)  # no disk is too slow here
    day = budget("0.5", id=f"day-{next(_ids)}")
    mine = (day, budget("9", id=f"week-{next(_ids)}", period="week"))
    cost, spent, under_way, top = Decimal("0.004"), Decimal(0), 0, 0
    async with AsyncExitStack() as stack:
        states = [
            await stack.enter_async_context(sharing(backend, tmp_path, request)) for _ in range(4)
        ]
        limiters = [made(each, store=store, hold="full") for each in states]

        async def client(number: int) -> int:
            nonlocal spent, under_way, top
            good = 0
            limiter = limiters[number % 4]
            for _ in range(5):
                found = await asking(limiter, *mine, max_tokens=400)
                if isinstance(found, gw.Refusal):
                    continue
                under_way += 1
                top = max(top, under_way)
                await asyncio.sleep(0)
                under_way -= 1
                spent += cost
                good += 1
                await limiter.settle(found, answered(str(cost)))
            return good

        counts = await asyncio.gather(*(client(number) for number in range(200)))
        left = await used(states[0], *mine)

    assert top > 1
    assert Decimal("0.49") <= spent <= Decimal("0.5")
    assert sum(counts) == spent / cost
    assert left == [int(spent * NANO)] * 2


@pytest.mark.parametrize("backend", ["host", "redis"])
@pytest.mark.parametrize("period", ["day", "week", "month", "total"])
async def test_what_is_given_back_goes_to_the_window_that_was_charged(
    tmp_path: Path,
    backend: str,
    period: Any,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it ends meanwhile, in the budget's own time zone."""
    mine = budget("1", id=f"b-{next(_ids)}", period=period, zone="Asia/Kolkata")
    # Five minutes to midnight there, of a Sunday that is the last of its month.
    clock = utc("2027-02-28T18:25:00")
    monkeypatch.setattr(limiter_module, "time", lambda: clock)
    async with sharing(backend, tmp_path, request) as state:
        limiter = made(state)
        before = window(mine, "acme", clock).key
        held = await reserved(limiter, mine, max_tokens=1000)
        clock += 600
        after = window(mine, "acme", clock).key
        if period != "total":
            assert await state.used([after]) == [0]
        other = await reserved(limiter, mine, max_tokens=10)
        await limiter.settle(held, answered("0.25"))
        await limiter.settle(other, answered("0.5"))
        found = await state.used([before, after])

    assert (before == after) is (period == "total")
    total = nano("0.75", "x")
    assert found == ([total, total] if period == "total" else [total // 3, total // 3 * 2])


@pytest.mark.parametrize("fault", ["stop", "freeze"])
@pytest.mark.parametrize("fail", ["degrade", "open", "closed"])
async def test_without_redis_it_does_what_it_declares(fault: str, fail: Any) -> None:
    """And counts in Redis again once that is back, with what was spent meanwhile."""
    mine = budget("0.1")
    with servers.redis() as server:
        state = RedisState(server.url)
        async with state.open():
            limiter = made(state, fail=fail, workers=2)
            held = await reserved(limiter, mine, max_tokens=1000)  # a hundredth of a dollar
            await limiter.settle(held, answered("0.06"))
            getattr(server, fault)()
            # Of the 0.04 that are left this worker has the half.
            counts = [await alone(limiter, mine) for _ in range(3)]
            server.start() if fault == "stop" else server.thaw()
            async with asyncio.timeout(10):
                while not await state.healthy():  # noqa: ASYNC110  # a server's doing
                    await asyncio.sleep(0.02)
            again = await reserved(limiter, mine, max_tokens=1000)

    expected = {"degrade": [200, 402, 402], "open": [200, 200, 200], "closed": [503, 503, 503]}
    assert counts == expected[fail]
    assert isinstance(again.token, Held) and again.token.holds[0].state is state


async def alone(limiter: BudgetLimiter, mine: gw.Budget) -> int:
    """How a request of more than half of this worker's share is answered."""
    try:
        found = await asking(limiter, mine, max_tokens=1000)
    except ConnectionError:
        return 503
    return found.status if isinstance(found, gw.Refusal) else 200


async def test_lost_state_is_filled_from_the_ledger(store: gw.Store) -> None:
    """At a start, and when it is lost while the gateway runs."""
    state, mine = ProcessState(), budget("1", id="mine")
    only = budget("1", id="only", model="m", period="total")
    await recorded(store, nano("0.4", "x"))
    await recorded(store, None)
    await recorded(store, nano("0.2", "x"), model="another")
    await recorded(store, nano("0.1", "x"), tenant="other")
    await recorded(store, nano("0.1", "x"), at=int((time() - 3 * 86400) * 1000))
    limiter = made(state, store=store)

    held = await reserved(limiter, mine, only)
    await limiter.settle(held, answered("0"))
    first = await used(state, mine, only)
    state._cells.clear()
    held = await reserved(limiter, mine, only)
    await limiter.settle(held, answered("0"))

    expected = [nano("0.6", "x"), nano("0.5", "x")]
    assert first == expected
    assert await used(state, mine, only) == expected


@pytest.mark.parametrize(("unit", "amount"), [("tokens", 3000), ("requests", 2)])
async def test_a_quota_counts_what_is_used_and_not_what_it_costs(unit: Any, amount: int) -> None:
    """Of what was answered; where nobody was asked nothing is used. Prices do not matter."""
    state, mine = ProcessState(), gw.Budget("q", "tenant", amount, "day", unit=unit)
    limiter = made(state, offers=Offers(None))
    held = await reserved(limiter, mine, max_tokens=2000)
    (first,) = await used(state, mine)
    await limiter.settle(held, answered(None))
    (second,) = await used(state, mine)
    held = await reserved(limiter, mine, max_tokens=2000)
    await limiter.settle(held, gw.Settlement(None, None, None))
    held = await reserved(limiter, mine, max_tokens=2900)
    refusal = await refused(limiter, mine, max_tokens=2900)

    assert (first > 2000, second) == ((True, 20) if unit == "tokens" else (False, 1))
    assert (refusal.status, refusal.code) == (402, "insufficient_quota")
    assert f"day quota of this tenant, {amount} {unit}," in refusal.message
    assert await limiter.cover(held, TARGET) is held


async def test_a_budget_and_quotas_hold_together(store: gw.Store) -> None:
    """Each in its own unit, and filled from the ledger each in its own."""
    money, tokens = budget("1", id="money"), gw.Budget("t", "tenant", 10_000, "day", unit="tokens")
    requests = gw.Budget("r", "tenant", 5, "day", unit="requests")
    await recorded(store, nano("0.25", "x"))
    await store.execute("UPDATE usage_records SET input_tokens = 7, reasoning_tokens = 4")
    state = ProcessState()
    limiter = made(state, store=store)
    held = await reserved(limiter, money, tokens, requests, max_tokens=100)
    during = await used(state, money, tokens, requests)
    await limiter.settle(held, answered("0.5"))

    assert during[0] > nano("0.25", "x") and during[1] > 111 and during[2] == 2
    assert await used(state, money, tokens, requests) == [nano("0.75", "x"), 31, 2]


async def test_a_free_model_uses_its_quota(store: gw.Store) -> None:
    free = gw.Price("v1", {"input": Decimal(0), "output": Decimal(0)})
    state, quota = ProcessState(), gw.Budget("r", "tenant", 1, "day", unit="requests")
    limiter = made(state, offers=Offers(free))
    await reserved(limiter, budget("0"), quota)

    assert (await refused(limiter, budget("0"), quota)).code == "insufficient_quota"
    assert await used(state, budget("0"), quota) == [0, 1]


async def test_records_that_arrive_late_are_added(store: gw.Store) -> None:
    state, mine = ProcessState(), budget("1")
    limiter = made(state, store=store)
    held = await reserved(limiter, mine)
    await limiter.settle(held, answered("0.1"))
    await recorded(store, nano("0.1", "x"))
    await limiter._true_up()
    same = await used(state, mine)
    for name in [each for each in state._cells if "truing" in each]:
        del state._cells[name]  # its turn has passed
    await recorded(store, nano("0.3", "x"))

    await limiter._true_up()

    assert same == [nano("0.1", "x")]
    assert await used(state, mine) == [nano("0.4", "x")]


def test_sums_take_a_worker_a_hundredth_of_its_time() -> None:
    """However long a period's records take the database, which then looks the more seldom."""
    clock = Clock()
    looks: list[float] = []

    class Slow:
        """A store that takes nine seconds for a sum."""

        async def fetch(self, sql: str, params: gw.SQLParams) -> list[gw.Row]:
            looks.append(clock.now)
            await asyncio.sleep(9)
            return [{"used": 0}]

    async def hours() -> None:
        slow: Any = Slow()
        limiter = made(ProcessState(lambda: clock.now), store=slow)
        held = await reserved(limiter, budget("1", period="total"))
        await limiter.settle(held, answered("0.1"))
        async with limiter.open():
            await asyncio.sleep(3000)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        runner.run(hours())

    pauses = [b - a for a, b in itertools.pairwise(looks)]
    assert 3 <= len(pauses) <= 5
    assert all(900 <= each <= 911 for each in pauses[1:])


class Minutes:
    """Half-minutes that pass when told, for the limiters and for their shared state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time()
        for module in (limiter_module, counting_module, outstanding_module):
            monkeypatch.setattr(module, "time", lambda: self.now)
        self.state = ProcessState(lambda: self.now)

    async def pass_by(self, count: int, *limiters: BudgetLimiter) -> None:
        for _ in range(count):
            self.now += 30.0
            for each in limiters:
                await each._true_up()


async def test_what_a_dead_worker_held_is_given_back(
    store: gw.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has been there for longer than a request can last. What lives holds on, and what
    was spent stays."""
    minutes, mine = Minutes(monkeypatch), budget("1", period="total")
    state = minutes.state
    dead, alive = (made(state, store=store) for _ in range(2))
    await reserved(dead, mine, max_tokens=5000)
    (lost,) = await used(state, mine)
    held = await reserved(alive, mine, max_tokens=2000)
    settled = await reserved(alive, mine)
    await alive.settle(settled, answered("0.1"))
    await recorded(store, nano("0.1", "x"))
    (before,) = await used(state, mine)

    await minutes.pass_by(19, alive)
    assert await used(state, mine) == [before]
    await minutes.pass_by(3, alive)
    assert await used(state, mine) == [before - lost]
    await minutes.pass_by(50, alive)
    assert await used(state, mine) == [before - lost]
    await alive.settle(held, answered("0.2"))
    await recorded(store, nano("0.2", "x"))
    await minutes.pass_by(30, alive)
    assert await used(state, mine) == [nano("0.3", "x")]


async def test_holds_of_all_workers_count_however_long_they_last(
    store: gw.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes, mine = Minutes(monkeypatch), budget("1", period="total")
    workers = [made(minutes.state, store=store) for _ in range(3)]
    for each in workers:
        await reserved(each, mine, max_tokens=1000)
    before = await used(minutes.state, mine)

    await minutes.pass_by(100, *workers)

    assert await used(minutes.state, mine) == before


async def test_without_shared_state_each_worker_has_its_share() -> None:
    mine, metrics = budget("0.04"), gw.Metrics()
    limiter = made(Gone(), workers=2, metrics=metrics)  # 0.02 USD; each request holds 0.01
    held = [await reserved(limiter, mine, max_tokens=950) for _ in range(2)]
    assert (await refused(limiter, mine, max_tokens=950)).status == 402
    for each in held:
        await limiter.settle(each, answered("0"))
    await reserved(limiter, mine, max_tokens=950)

    await reserved(made(Gone(), fail="open"), budget("0"))
    with pytest.raises(ConnectionError):
        await asking(made(Gone(), fail="closed"), mine)


async def test_what_was_last_known_to_be_left_is_shared_out() -> None:
    mine, state = budget("1"), ProcessState()
    limiter = made(state)
    held = await reserved(limiter, mine)
    await limiter.settle(held, answered("0.995"))
    held = await reserved(limiter, mine, max_tokens=10)
    await limiter.settle(held, answered("0"))
    limiter._counting._state = Gone()  # type: ignore[assignment]  # it dies under way

    assert (await refused(limiter, mine, max_tokens=2000)).status == 402
    await reserved(limiter, mine, max_tokens=100)


async def test_a_settlement_that_fails_is_made_later() -> None:
    state, mine = ProcessState(), budget("1")
    limiter = made(state)
    held = await reserved(limiter, mine)
    working, state.settle = state.settle, Gone().take  # type: ignore[method-assign,assignment]
    await limiter.settle(held, answered("0.25"))
    await limiter._pay()
    kept = await used(state, mine)
    state.settle = working  # type: ignore[method-assign]

    await limiter._pay()

    assert kept != [nano("0.25", "x")]
    assert await used(state, mine) == [nano("0.25", "x")]


@asynccontextmanager
async def alerting(hook: Hook, state: ProcessState, metrics: gw.Metrics) -> AsyncIterator[Any]:
    limiter = made(state, hook=hook, metrics=metrics, webhook_url="https://ops.example/hook")
    async with limiter.open():
        yield limiter


async def test_people_are_told_once_of_each_limit() -> None:
    """By all workers together."""
    hook, state, metrics = Hook(), ProcessState(), gw.Metrics()
    mine = budget("0.1", soft=nano("0.05", "x"))
    async with alerting(hook, state, metrics) as one, alerting(hook, state, metrics) as two:
        for limiter in (one, two, one, two):
            held = await reserved(limiter, mine)
            await limiter.settle(held, answered("0.02"))
        for limiter in (one, two, one):
            await refused(limiter, mine, max_tokens=50_000)

    assert [each["event"] for each in hook.bodies] == ["budget.warned", "budget.exhausted"]
    assert hook.bodies[0]["soft_usd"] == "0.05"
    (family,) = [e for e in metrics.families() if e.name == "gateway_limit_budget_alerts_total"]
    assert sorted(family.children) == [("tenant", "hard"), ("tenant", "soft")]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "zone", "now", "start", "end"),
    [
        ("day", "UTC", "2026-03-01T23:59:59", "2026-03-01T00:00", "2026-03-02T00:00"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("week", "UTC", "2026-03-01T12:00", "2026-02-23T00:00", "2026-03-02T00:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "America/New_York", "2026-03-01T04:59", "2026-02-01T05:00", "2026-03-01T05:00"),
    ],
)
def test_periods_are_the_calendars(period: Any, zone: str, now: str, start: str, end: str) -> None:
    """Also on the days that have 23 or 25 hours."""
    found = window(budget("1", period=period, zone=zone), "acme", utc(now))

    assert (found.start, found.end) == (utc(start), utc(end))


def test_a_new_period_is_a_new_window() -> None:
    mine = budget("1")
    keys = {window(mine, "acme", utc(f"2026-03-0{day}T12:00")).key for day in (1, 2, 3)}
    total = budget("1", period="total")
    assert len(keys) == 3
    assert window(total, "acme", 1e9).key == window(total, "acme", 2e9).key


@pytest.mark.parametrize("amount", ["-1", "1e99", "NaN", "0.0000000001", "much", -1])
def test_what_is_no_money_is_named(amount: str | int) -> None:
    with pytest.raises(gw.MalformedBodyError, match="amount_usd"):
        nano(amount, "amount_usd")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"unit": "euros"}, "unit"),
        ({"amount": -1}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"soft": "many"}, "soft"),
        ({"soft": 8}, "soft"),
        ({"amount_usd": 1}, "amount_usd"),
    ],
)
def test_a_wrong_field_of_a_quota_is_named(change: dict[str, Any], names: str) -> None:
    good = {"level": "key", "owner": "a", "amount": 7, "unit": "tokens", "period": "day"}
    assert read(json.dumps(good).encode(), NewQuota).amounts() == (7, None)
    with pytest.raises(gw.MalformedBodyError, match=names):
        read(json.dumps({**good, **change}).encode(), NewQuota).amounts()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"zone": "Mars/Base"}, "Mars"),
        ({"period": "year"}, "period"),
        ({"level": "model"}, "level"),
        ({"owner": ""}, "owner"),
        ({"colour": 1}, "colour"),
        ({"amount_usd": None}, "amount_usd"),
        ({"soft_usd": "1.51"}, "soft_usd"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], names: str) -> None:
    good = {"level": "tenant", "owner": "a", "amount_usd": 1.5, "period": "day"}
    assert nano(read(json.dumps(good).encode(), NewBudget).amount_usd, "x") == 1_500_000_000
    with pytest.raises(gw.MalformedBodyError, match=names):
        read(json.dumps({**good, **change}).encode(), NewBudget).amounts()
