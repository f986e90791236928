"""The writes of a turn of the loop go out at its end, those of one transport in one piece."""

import asyncio
from typing import Any, cast

from llm_gateway.outbox import MOST_BYTES, Outbox


class Taking:
    """A transport that keeps what it was told to write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.written.append(data)


def put(outbox: Outbox, transport: Taking, *pieces: bytes) -> None:
    for data in pieces:
        outbox.put(cast(Any, transport), data)


async def test_a_turn_writes_each_transport_once_and_in_order() -> None:
    outbox, first, second = Outbox(), Taking(), Taking()
    put(outbox, first, b"a")
    put(outbox, second, b"b")
    put(outbox, first, b"c", b"d")
    assert (first.written, second.written) == ([], [])

    await asyncio.sleep(0)

    assert (first.written, second.written) == ([b"acd"], [b"b"])


async def test_what_comes_after_goes_out_in_the_next_turn() -> None:
    outbox, taking = Outbox(), Taking()
    for data in (b"a", b"b"):
        put(outbox, taking, data)
        await asyncio.sleep(0)

    assert taking.written == [b"a", b"b"]


async def test_a_transport_that_closed_is_written_nothing_and_holds_up_nobody() -> None:
    outbox, gone, there = Outbox(), Taking(), Taking()
    put(outbox, gone, b"lost")
    put(outbox, there, b"kept")
    gone.closing = True

    await asyncio.sleep(0)

    assert (gone.written, there.written) == ([], [b"kept"])


async def test_what_was_written_early_is_not_written_again() -> None:
    outbox, taking = Outbox(), Taking()
    put(outbox, taking, b"a")
    outbox.flush()
    assert taking.written == [b"a"]

    await asyncio.sleep(0)

    assert taking.written == [b"a"]


async def test_much_does_not_wait_for_the_end_of_the_turn() -> None:
    """Or nobody would know that its reader is slow before there is more of it still."""
    outbox, taking = Outbox(), Taking()
    half = b"x" * (MOST_BYTES // 2)
    put(outbox, taking, half, half)
    assert taking.written == []

    put(outbox, taking, b"y")
    assert taking.written == [half + half + b"y"]


async def test_what_has_to_be_done_before_the_answers_is_done_before_them() -> None:
    outbox, taking = Outbox(), Taking()
    done: list[bytes] = []
    put(outbox, taking, b"answer")

    def broken() -> None:
        done.extend(taking.written)
        raise ValueError("a plugin's bug")

    outbox.before_answers(broken)
    outbox.before_answers(lambda: done.append(b"after it"))
    await asyncio.sleep(0)

    assert (done, taking.written) == ([b"after it"], [b"answer"])


async def test_a_turn_without_an_answer_ends_too() -> None:
    outbox = Outbox()
    done: list[int] = []
    outbox.before_answers(lambda: done.append(1))
    await asyncio.sleep(0)

    assert done == [1]
