"""What a service does beside its callers begins and ends with its block."""

import asyncio
import logging

import pytest
from llm_gateway_api import alongside


async def test_work_runs_while_the_block_lasts_and_has_ended_after_it() -> None:
    told: list[str] = []

    async def work(name: str) -> None:
        try:
            told.append(f"{name} began")
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append(f"{name} ended")

    async with alongside(work("one"), work("two"), name="test"):
        await asyncio.sleep(0)
        assert told == ["one began", "two began"]
    assert sorted(told[2:]) == ["one ended", "two ended"]

    async with alongside(name="nothing"):
        pass


async def test_work_that_fails_is_told_at_once_and_ends_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> None:
        raise ValueError("no")

    with caplog.at_level(logging.ERROR):
        async with alongside(failing(), name="test"):
            while not caplog.records:  # noqa: ASYNC110 - what is logged is no event
                await asyncio.sleep(0)
    assert [each.getMessage() for each in caplog.records] == ["test.failed"]


async def test_the_block_is_left_as_it_was_left() -> None:
    """By its own error or by a cancellation, which does not get lost."""
    with pytest.raises(KeyError):
        async with alongside(asyncio.sleep(60), name="test"):
            raise KeyError

    async def block() -> None:
        async with alongside(asyncio.sleep(60), name="test"):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
