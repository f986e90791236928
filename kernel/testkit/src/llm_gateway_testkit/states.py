"""What every state backend must do: `StateSuite`, to be inherited by a test class.

The class gives a fixture `states`: two open backends that share their state, as two workers
do (one and the same object for state that lives in one process).
"""

import asyncio
import random
from typing import Literal

import pytest
from llm_gateway_api import Denial, Grant, StateBackend, Take
from msgspec import structs

Pair = tuple[StateBackend, StateBackend]
NEWS_SECONDS = 5.0
KINDS: tuple[Literal["bucket", "window", "slots"], ...] = ("bucket", "window", "slots")


class StateSuite:
    """The contract `StateBackend`, rule by rule."""

    async def test_a_bucket_admits_its_size_exactly(self, states: Pair) -> None:
        """However many ask at once, through whichever worker."""
        take = Take("suite:bucket", 1, 50)
        answers = await asyncio.gather(*(states[n % 2].take([take]) for n in range(200)))

        assert sum(isinstance(each, Grant) for each in answers) == 50

    async def test_a_bucket_refills(self, states: Pair) -> None:
        take = Take("suite:refill", 1, 1, rate=20.0)
        assert isinstance(await states[0].take([take]), Grant)
        denied = await states[1].take([take])
        assert isinstance(denied, Denial)
        assert 0 < denied.retry_after <= 0.06
        await asyncio.sleep(denied.retry_after + 0.02)

        assert isinstance(await states[1].take([take]), Grant)

    async def test_all_are_taken_or_none(self, states: Pair) -> None:
        wide, narrow = Take("suite:wide", 1, 10, "window"), Take("suite:narrow", 1, 1, "window")
        assert isinstance(await states[0].take([wide, narrow]), Grant)
        denied = await states[1].take([wide, narrow])

        assert isinstance(denied, Denial)
        assert (denied.index, tuple(denied.remaining)) == (1, (9, 0))
        assert list(await states[0].used([wide.key, narrow.key])) == [1, 1]

    async def test_a_window_ends(self, states: Pair) -> None:
        take = Take("suite:window", 2, 3, "window", seconds=0.2)
        assert isinstance(await states[0].take([take]), Grant)
        denied = await states[0].take([take])
        assert isinstance(denied, Denial)
        assert 0 < denied.retry_after <= 0.2
        await asyncio.sleep(denied.retry_after + 0.05)

        assert isinstance(await states[1].take([take]), Grant)

    async def test_what_was_not_used_comes_back(self, states: Pair) -> None:
        take = Take("suite:estimate", 80, 100, "window")
        grant = await states[0].take([take])
        assert isinstance(grant, Grant)
        await states[0].settle(grant, [30])

        assert list(await states[1].used([take.key])) == [30]

    async def test_more_than_was_taken_is_a_debt(self, states: Pair) -> None:
        """A bucket goes below zero, and refills from there."""
        take = Take("suite:debt", 10, 100)
        grant = await states[0].take([take])
        assert isinstance(grant, Grant)
        await states[1].settle(grant, [150])
        denied = await states[0].take([take])

        assert isinstance(denied, Denial)
        assert denied.remaining == (-50,)

    async def test_a_refund_does_not_reach_the_next_window(self, states: Pair) -> None:
        take = Take("suite:late", 5, 10, "window", seconds=0.1)
        old = await states[0].take([take])
        assert isinstance(old, Grant)
        await asyncio.sleep(0.15)
        assert isinstance(await states[0].take([take]), Grant)
        await states[0].settle(old, [0])

        assert list(await states[0].used([take.key])) == [5]

    async def test_a_window_that_has_to_be_filled(self, states: Pair) -> None:
        """Nobody takes from one that is not, even by force; asking does not make it."""
        plain = Take("suite:known", 1, 10, "window", seconds=30)
        wanted = structs.replace(plain, filled=True)
        other = Take("suite:beside", 1, 10, "window", seconds=30)
        for force in (False, True):
            denied = await states[0].take([other, wanted], force=force)
            assert isinstance(denied, Denial)
            assert (denied.index, denied.unfilled) == (1, True)
        assert list(await states[1].used([other.key])) == [0]
        await states[0].take([structs.replace(plain, amount=7)], force=True)
        first = await states[1].take([wanted])
        too_much = await states[0].take([structs.replace(wanted, amount=3)])

        assert isinstance(first, Grant)
        assert first.remaining == (2,)
        assert isinstance(too_much, Denial)
        assert not too_much.unfilled
        await states[1].settle(first, [0])
        assert list(await states[0].used([wanted.key])) == [7]

    @pytest.mark.parametrize("seed", range(10))
    async def test_takes_of_all_kinds_are_one_step(self, states: Pair, seed: int) -> None:
        """What does not fit leaves every cell as it was, wherever it stands among the others."""
        pick = random.Random(seed)
        free = dict[str, int]()
        takes = list[Take]()
        for number in range(pick.randint(1, 6)):
            key, kind = f"suite:mixed:{seed}:{number}", pick.choice(KINDS)
            filled = kind == "window" and pick.random() < 0.5
            limit = pick.randint(1, 12)
            takes.append(Take(key, 0, limit, kind, seconds=300.0, filled=filled))
            free[key] = limit
            if filled:
                start = structs.replace(takes[-1], filled=False)
                assert isinstance(await states[0].take([start]), Grant)
        for turn in range(30):
            wanted = [structs.replace(each, amount=pick.randint(0, 4)) for each in takes]
            fits = [each.amount <= free[each.key] for each in wanted]
            answer = await states[turn % 2].take(wanted)
            if all(fits):
                assert isinstance(answer, Grant)
                used = [pick.randint(0, each.amount) for each in wanted]
                await states[turn % 2].settle(answer, used)
                for each, amount in zip(wanted, used, strict=True):
                    free[each.key] -= amount
            else:
                assert isinstance(answer, Denial)
                assert (answer.index, answer.unfilled) == (fits.index(False), False)
                assert list(answer.remaining) == [free[each.key] for each in wanted]

    async def test_slots_are_given_back(self, states: Pair) -> None:
        take = Take("suite:slots", 1, 2, "slots", seconds=30)
        first, second = await states[0].take([take]), await states[1].take([take])
        assert isinstance(first, Grant)
        assert isinstance(second, Grant)
        assert isinstance(await states[1].take([take]), Denial)
        await states[0].settle(first, [0])

        assert isinstance(await states[1].take([take]), Grant)

    async def test_a_limit_of_zero_blocks(self, states: Pair) -> None:
        for kind in ("bucket", "window", "slots"):
            take = Take(f"suite:zero:{kind}", 0, 0, kind)
            denied = await states[0].take([take])
            assert isinstance(denied, Denial)
            assert denied.retry_after == float("inf")

    async def test_force_takes_what_does_not_fit(self, states: Pair) -> None:
        take = Take("suite:force", 7, 5, "window")

        assert isinstance(await states[0].take([take], force=True), Grant)
        assert list(await states[1].used([take.key])) == [7]

    async def test_the_first_claim_wins(self, states: Pair) -> None:
        claims = await asyncio.gather(*(states[n % 2].claim("suite:n", 30) for n in range(20)))
        await states[0].claim("suite:short", 0.05)
        await asyncio.sleep(0.1)

        assert claims.count(True) == 1
        assert await states[1].claim("suite:short", 30)

    async def test_news_reach_every_worker(self, states: Pair) -> None:
        heard: list[bytes] = []
        all_heard = asyncio.Event()

        def told(message: bytes) -> None:
            heard.append(message)
            if len(heard) == len({id(each) for each in states}):
                all_heard.set()

        for state in {id(each): each for each in states}.values():
            state.listen("suite", told)
            state.listen("other", lambda message: heard.append(b"wrong topic"))
        async with asyncio.timeout(NEWS_SECONDS):
            while not all_heard.is_set():  # a subscription may take a moment
                heard.clear()
                states[0].publish("suite", b"\0tripped")
                await asyncio.wait({asyncio.ensure_future(all_heard.wait())}, timeout=0.2)

        assert set(heard) == {b"\0tripped"}
