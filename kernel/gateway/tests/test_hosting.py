"""Services are opened once, closed when nobody uses them, and all or none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from llm_gateway.hosting import Hosting, NotOpenedError
from llm_gateway_api import PluginError


class Service:
    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.told: list[str] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self.broken:
            raise RuntimeError(self.broken)
        self.told.append("open")
        yield
        self.told.append("close")


async def test_a_service_of_two_generations_is_opened_once() -> None:
    hosting, service = Hosting(), Service()
    await hosting.open([("one", service)])
    await hosting.open([("one", service)])

    assert hosting.states == {"one": "open"}
    await hosting.close([("one", service)])
    await hosting.close([("one", service)])
    assert service.told == ["open", "close"]
    assert hosting.states == {}


async def test_one_that_does_not_open_closes_what_opened_before_it() -> None:
    hosting, good, bad = Hosting(), Service(), Service("no disk")

    with pytest.raises(PluginError, match="no disk"):
        await hosting.open([("good", good), ("bad", bad)])

    assert good.told == ["open", "close"]
    assert hosting.states == {}


async def test_all_that_do_not_open_are_told() -> None:
    hosting = Hosting()

    with pytest.raises(NotOpenedError) as caught:
        await hosting.open([("a", Service("no disk")), ("b", Service()), ("c", Service("no net"))])

    assert set(caught.value.broken) == {"a", "c"}
