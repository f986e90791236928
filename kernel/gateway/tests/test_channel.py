"""Questions between two processes, here two ends in one."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_gateway.channel import Channel, ChannelError, Handler


@asynccontextmanager
async def pair(handle: Handler) -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    asking, answering = Channel(handle), Channel(handle)
    tasks = [asyncio.create_task(asking.run(ours)), asyncio.create_task(answering.run(theirs))]
    await asyncio.gather(asking.opened.wait(), answering.opened.wait())
    yield asking, answering
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_slow_answer_does_not_hold_up_another() -> None:
    gate = asyncio.Event()

    async def handle(do: str, value: Any) -> Any:
        if do == "slow":
            await gate.wait()
        return [do, value]

    async with pair(handle) as (channel, _):
        slow = asyncio.create_task(channel.ask("slow", 1))
        assert await channel.ask("quick", {"a": 2}) == ["quick", {"a": 2}]
        gate.set()
        assert await slow == ["slow", 1]


async def test_a_refusal_is_told_with_its_reason() -> None:
    async def handle(do: str, value: Any) -> Any:
        raise ChannelError("the file is bad")

    async with pair(handle) as (channel, _):
        with pytest.raises(ChannelError, match="the file is bad"):
            await channel.ask("prepare")


async def test_no_answer_and_a_dead_other_side_are_errors_and_not_waits() -> None:
    asked = asyncio.Event()

    async def handle(do: str, value: Any) -> Any:
        asked.set()
        await asyncio.Event().wait()

    async with pair(handle) as (channel, other):
        with pytest.raises(ChannelError, match="no answer"):
            await channel.ask("metrics", seconds=0.01)
        asked.clear()
        waiting = asyncio.create_task(channel.ask("metrics"))
        await asked.wait()
        other.close()
        with pytest.raises(ChannelError, match="gone"):
            await waiting
