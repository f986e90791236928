"""What limiters took, before an attempt at a deployment that nobody foresaw."""

from collections.abc import Sequence
from typing import Literal

import pytest
from llm_gateway.reserve import Reserved, Reserving, Scope
from llm_gateway_api import Asked, Refusal, RequestHead, Reservation, Settlement, Target

TARGET = Target("p", "dear")
FIRST, SECOND = Reservation("first"), Reservation("second")


class Plain:
    """A limiter that does not care who answers."""

    async def reserve(
        self, asked: Asked, head: RequestHead, candidates: Sequence[Target]
    ) -> Reservation | Refusal:
        return FIRST

    async def settle(self, reservation: Reservation, settlement: Settlement) -> None: ...


class Caring(Plain):
    def __init__(self, answer: Reservation | Refusal | None) -> None:
        self.answer = answer

    async def cover(self, reservation: Reservation, target: Target) -> Reservation | Refusal:
        assert (reservation, target) == (FIRST, TARGET)
        if self.answer is None:
            raise ConnectionError("gone")
        return self.answer


def reserving(*limiters: Plain, fail: Literal["open", "closed"] = "closed") -> Reserving:
    return Reserving(tuple((f"l{n}", each, fail) for n, each in enumerate(limiters)), Scope())


async def test_more_takes_the_place_of_what_was_taken() -> None:
    plain, caring = Plain(), Caring(SECOND)
    taken: Reserved = [(plain, FIRST), (caring, FIRST)]

    assert await reserving(plain, caring).cover(taken, TARGET) is None
    assert taken == [(plain, FIRST), (caring, SECOND)]


async def test_a_refusal_leaves_what_was_taken() -> None:
    no = Refusal(402, "insufficient_quota", "Nothing is left.")
    caring = Caring(no)
    taken: Reserved = [(caring, FIRST)]

    assert await reserving(caring).cover(taken, TARGET) is no
    assert taken == [(caring, FIRST)]


@pytest.mark.parametrize(("fail", "refused"), [("open", False), ("closed", True)])
async def test_a_limiter_that_breaks_does_what_it_declares(
    fail: Literal["open", "closed"], refused: bool
) -> None:
    caring = Caring(None)

    found = await reserving(caring, fail=fail).cover([(caring, FIRST)], TARGET)

    assert (found is not None) is refused
    assert found is None or found.code == "limiter_unavailable"
