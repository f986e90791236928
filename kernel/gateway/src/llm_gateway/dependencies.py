"""Whether what lies behind the gateway is well: asked in the background, told by the health."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

log = logging.getLogger("llm_gateway.dependencies")
EVERY_SECONDS = 2.0
ANSWER_SECONDS = 1.0  # slower than this is down, whatever its own limit
NAMES = {"store": "database", "state": "state"}  # the offer: the section it stands under


class Dependency(Protocol):
    async def healthy(self) -> bool: ...


class Dependencies:
    """`states` says ``ok`` or ``down`` of each. None is on the way of a request."""

    def __init__(self, offered: Callable[[], Mapping[str, Dependency | None]]) -> None:
        self._offered = offered
        self.states: dict[str, str] = {}

    async def watch(self) -> None:
        while True:
            offers = self._offered()
            asked = {
                name: offers[offer]
                for offer, name in NAMES.items()
                if offers.get(offer) is not None
            }
            answers = await asyncio.gather(*(well(each) for each in asked.values()))
            states = dict(zip(asked, answers, strict=True))
            for name, state in states.items():
                if state != self.states.get(name, "ok"):
                    log.warning("dependency.%s name=%s", state, name)
            self.states = states
            await asyncio.sleep(EVERY_SECONDS)

    @property
    def down(self) -> list[str]:
        return [name for name, state in self.states.items() if state != "ok"]


async def well(asked: Dependency | None) -> str:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return "ok" if asked is None or await asked.healthy() else "down"
    except Exception:
        return "down"
