"""Work that outlives its request ends all the same."""

import asyncio

import pytest
from llm_gateway.reserve import Scope


async def test_what_takes_too_long_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    scope = Scope(seconds=0.02, sweep_seconds=0.01)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stuck() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set_result("ended")

    scope.spawn(stuck(), "stuck")
    async with asyncio.timeout(5):
        assert await ended == "ended"

    assert "stuck.too_long" in caplog.text


async def test_what_fails_is_told_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    scope = Scope()
    done: list[int] = []

    async def failing() -> None:
        raise ValueError

    async def good() -> None:
        done.append(1)

    scope.spawn(failing(), "first")
    scope.spawn(good(), "second")
    await scope.drain()

    assert done == [1]
    assert "first.failed" in caplog.text
