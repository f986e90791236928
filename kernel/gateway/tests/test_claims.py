"""Limiters that count in shared state, joined: asked and settled as one, or each by itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.claims import reserving
from llm_gateway.reserve import Reserved, Scope
from llm_gateway.routing import Considered

TARGET = gw.Target("p", "m")
HEAD = gw.RequestHead("d", "chat", "m", False, False, {}, b"{}")
ARRIVAL = gw.Arrival("r", "POST", "/", "", {}, "", 0.0)
ASKED = gw.Asked(ARRIVAL, "m", "chat", False, 2, False, False)
OVER = gw.Settlement(TARGET, None, None)


class State:
    """Answers as it is told, and writes down what it is asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.taken: list[list[str]] = []
        self.told: list[tuple[int, ...]] = []
        self.rest: Awaitable[None] = gw.DONE
        self.fails = False

    async def take(self, takes: Sequence[gw.Take], *, force: bool = False) -> Any:
        self.taken.append([each.key for each in takes])
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, gw.Denial):
            return answer
        return gw.Grant(tuple(takes), tuple(range(len(takes))))

    def settle(self, grant: gw.Grant, amounts: Sequence[int]) -> Awaitable[None]:
        if self.fails:
            raise ConnectionError("gone")
        self.told.append(tuple(amounts))
        return self.rest


class Wants(gw.Claim):
    """A claim that writes down what it is told; it came to ten times what it took."""

    name: str
    seen: list[Any]
    broken: bool = False

    def granted(self, remaining: Sequence[int]) -> gw.Headers:
        if self.broken:
            raise RuntimeError("a bug")
        self.seen.append((self.name, "granted", tuple(remaining)))
        return {f"x-{self.name}": str(remaining[0])}

    def refused(self, denial: gw.Denial) -> gw.Refusal:
        self.seen.append((self.name, "refused", denial.index, denial.remaining))
        return gw.Refusal(429, "rate_limit_exceeded", self.name, headers={f"x-{self.name}": "no"})

    async def fill(self, index: int) -> None:
        self.seen.append((self.name, "fill", index))
        if self.broken:
            raise gw.StoreError("No ledger.")

    def used(self, settlement: gw.Settlement) -> Sequence[int]:
        if self.broken:
            raise RuntimeError("a bug")
        return [each.amount * 10 for each in self.takes]

    def settled(self) -> None:
        self.seen.append((self.name, "settled"))

    def owed(self, error: Exception, grant: gw.Grant, amounts: Sequence[int]) -> None:
        self.seen.append((self.name, "owed", tuple(amounts)))


class Alone:
    """A limiter that has no claims; `reserve` gives its `answer`, or raises it."""

    def __init__(self, name: str, seen: list[Any], answer: object = None) -> None:
        self.name = name
        self.seen = seen
        self.answer = answer

    async def reserve(self, *asked: object) -> Any:
        self.seen.append((self.name, "reserve"))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or gw.Reservation(self.name)

    def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> Awaitable[None]:
        self.seen.append((self.name, "settle", reservation.token, settlement.target))
        return gw.DONE


class Counting(Alone):
    """One that claims one of each of its keys: `keys` None is a claim that it has not now."""

    def __init__(
        self, name: str, seen: list[Any], keys: str | None = "", *, broken: bool = False
    ) -> None:
        super().__init__(name, seen)
        self.keys = keys
        self.broken = broken
        self.fails: Exception | None = None

    def claim(self, *asked: object) -> gw.Claim | None:
        if self.fails is not None:
            raise self.fails
        if self.keys is None:
            return None
        takes = [gw.Take(key, 1, 9) for key in self.keys]
        return Wants(takes, self.name, self.seen, self.broken) if takes else gw.NO_CLAIM


class Covering(Counting):
    async def cover(self, reservation: gw.Reservation, target: gw.Target) -> gw.Reservation:
        assert isinstance(reservation.token, gw.Claim)
        self.seen.append((self.name, "cover"))
        return reservation


class Request:
    """What limiters see of a call, and the headers of its answer."""

    def __init__(self, state: State, *limiters: Alone, fail: Any = "closed") -> None:
        named = [(each.name, each, fail) for each in limiters]
        self.reserving = reserving(named, Scope(), state)  # type: ignore[arg-type]
        self.head = HEAD
        self.headers: dict[str, str] = {}

    async def reserve(self) -> Reserved:
        considered = Considered(ASKED, kept=(TARGET,))
        return await self.reserving.reserve(self, considered)  # type: ignore[arg-type]

    async def over(self, taken: Reserved) -> None:
        self.reserving.settle(taken, OVER)
        await self.reserving.scope.drain()


async def test_all_claims_are_one_take_and_one_settlement() -> None:
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen, "xy"), Counting("b", seen, "z"))

    await request.over(await request.reserve())

    assert state.taken == [["x", "y", "z"]]
    assert state.told == [(10, 10, 10)]
    assert request.headers == {"x-a": "0", "x-b": "2"}
    assert seen == [
        ("a", "granted", (0, 1)),
        ("b", "granted", (2,)),
        ("a", "settled"),
        ("b", "settled"),
    ]


async def test_a_denial_is_the_refusal_of_the_one_whose_take_it_was() -> None:
    """The others have taken nothing, and are told nothing."""
    state, seen = State(gw.Denial(2, 7.0, (4, 5, 0))), list[Any]()
    request = Request(state, Counting("a", seen, "xy"), Counting("b", seen, "z"))

    with pytest.raises(gw.RefusedError, match="b"):
        await request.reserve()

    assert seen == [("b", "refused", 0, (0,))]
    assert request.headers == {"x-b": "no"}
    assert state.told == []


async def test_who_is_under_no_limit_asks_nobody() -> None:
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen), Counting("b", seen))

    assert await request.reserve() == []
    assert (state.taken, seen) == ([], [])


@pytest.mark.parametrize(
    "trouble", ["state", "none", "raises", "fill", "unfilled for ever", "no take's denial"]
)
async def test_whatever_is_out_of_the_ordinary_each_answers_by_itself(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    unfilled = gw.Denial(0, 0.0, (), unfilled=True)
    answers: dict[str, list[object]] = {
        "state": [ConnectionError("gone")],
        "fill": [unfilled],
        "unfilled for ever": [unfilled] * 100,
        "no take's denial": [gw.Denial(7, 1.0, ())],
    }
    state, seen = State(*answers.get(trouble, [])), list[Any]()
    first = Counting("a", seen, "x", broken=trouble == "fill")
    second = Counting("b", seen, None if trouble == "none" else "z")
    second.fails = RuntimeError("a bug") if trouble == "raises" else None
    request = Request(state, first, second)

    taken = await request.reserve()
    await request.over(taken)

    assert [limiter for limiter, _ in taken] == [first, second]
    assert [each for each in seen if each[1] != "fill"] == [
        ("a", "reserve"),
        ("b", "reserve"),
        ("a", "settle", "a", TARGET),
        ("b", "settle", "b", TARGET),
    ]
    assert state.told == []
    assert len(state.taken) < 10
    assert ("a bug" in caplog.text) == (trouble == "raises")


async def test_a_window_is_filled_by_the_one_that_takes_from_it() -> None:
    """And the whole is asked for again."""
    state, seen = State(gw.Denial(2, 0.0, (), unfilled=True)), list[Any]()
    request = Request(state, Counting("a", seen, "xy"), Counting("b", seen, "z"))

    await request.over(await request.reserve())

    assert state.taken == [["x", "y", "z"]] * 2
    assert seen[0] == ("b", "fill", 0)
    assert state.told == [(10, 10, 10)]


def future(error: BaseException | None = None) -> "asyncio.Future[None]":
    """The answer of a backend that comes soon."""
    made = asyncio.get_running_loop().create_future()

    def answer() -> None:
        if isinstance(error, asyncio.CancelledError):
            made.cancel()
        elif error is not None:
            made.set_exception(error)
        else:
            made.set_result(None)

    asyncio.get_running_loop().call_soon(answer)
    return made


async def lost() -> None:
    raise ConnectionError("gone")


@pytest.mark.parametrize("later", ["at once", "coroutine", "future", "cancelled"])
async def test_what_cannot_be_settled_is_owed_by_each_for_its_own_part(later: str) -> None:
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen, "xy"), Counting("b", seen, "z"))
    taken = await request.reserve()
    rests: dict[str, Callable[[], Awaitable[None]]] = {
        "coroutine": lost,
        "future": lambda: future(ConnectionError("gone")),
        "cancelled": lambda: future(asyncio.CancelledError()),
    }
    if later in rests:
        state.rest = rests[later]()
    else:
        state.fails = True

    await request.over(taken)
    await asyncio.sleep(0)

    assert seen[2:] == [("a", "owed", (10, 10, 1)), ("b", "owed", (1, 1, 10))]


@pytest.mark.parametrize("rest", [lambda: asyncio.sleep(0.001), future])
async def test_a_settlement_that_takes_its_time_is_awaited(rest: Any) -> None:
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen, "x"))
    taken = await request.reserve()
    state.rest = rest()

    request.reserving.settle(taken, OVER)
    before = len(seen)
    await request.reserving.scope.drain()
    await asyncio.sleep(0)

    assert (before, seen[1:]) == (1, [("a", "settled")])


async def test_a_claim_that_breaks_harms_no_other() -> None:
    """What it took stays taken."""
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen, "x", broken=True), Counting("b", seen, "z"))

    await request.over(await request.reserve())

    assert state.told == [(1, 10)]
    assert request.headers == {"x-b": "1"}


async def test_limiters_without_claims_are_asked_afterwards() -> None:
    state, seen = State(), list[Any]()
    request = Request(state, Alone("a", seen), Counting("b", seen, "z"))

    await request.over(await request.reserve())

    order = [each[:2] for each in seen]
    assert order == [("b", "granted"), ("a", "reserve"), ("b", "settled"), ("a", "settle")]


async def test_what_was_taken_together_is_given_back_where_another_refuses() -> None:
    state, seen = State(), list[Any]()
    no = gw.Refusal(429, "rate_limit_exceeded", "no")
    request = Request(state, Counting("a", seen, "x"), Alone("b", seen, no))

    with pytest.raises(gw.RefusedError):
        await request.reserve()

    assert state.told == [(10,)]


class Waiting(Alone):
    async def reserve(self, *asked: object) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("joined", [True, False])
async def test_a_client_that_leaves_meanwhile_loses_no_slot(joined: bool) -> None:
    """What was taken for it is given back, whichever limiter waits."""
    state, seen = State(), list[Any]()
    first = Counting("a", seen, "x") if joined else Alone("a", seen)
    request = Request(state, first, Waiting("b", seen))
    asking = asyncio.create_task(request.reserve())
    for _ in range(10):  # more turns than it takes
        await asyncio.sleep(0)

    asking.cancel()
    await asyncio.wait({asking})

    assert asking.cancelled()
    assert (state.told == [(10,)]) if joined else (seen[-1] == ("a", "settle", "a", None))


async def test_what_is_taken_beside_a_claim_is_settled_by_its_limiter() -> None:
    """However often more has to be taken, and after the claim."""
    state, seen = State(), list[Any]()
    request = Request(state, Counting("a", seen, "x"), Covering("b", seen, "z"))
    taken = await request.reserve()

    for _ in range(2):
        assert await request.reserving.cover(taken, TARGET) is None
    await request.over(taken)

    (_, claim) = taken[-1]
    assert [each[:2] for each in seen[2:]] == [
        ("b", "cover"),
        ("b", "cover"),
        ("a", "settled"),
        ("b", "settled"),
        ("b", "settle"),
    ]
    assert seen[-1] == ("b", "settle", claim.token, TARGET)
    assert state.told == [(10, 10)]
