"""Deadlines without a timer object per chunk: one coarse tick for all that waits."""

import asyncio
from time import monotonic
from typing import Protocol

TICK_SECONDS = 0.05


class Waiting(Protocol):
    """Something with a deadline on the loop's clock; `expire` is called once it passed."""

    deadline: float

    def expire(self) -> None: ...


class Watchdog:
    """Looks at everything that waits, twenty times a second, and only while anything does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: set[Waiting] = set()
        self._ticking = False

    def add(self, waiting: Waiting) -> None:
        self._waiting.add(waiting)
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_SECONDS, self._tick)

    def discard(self, waiting: Waiting) -> None:
        self._waiting.discard(waiting)

    def _tick(self) -> None:
        now = monotonic()
        for waiting in [each for each in self._waiting if each.deadline <= now]:
            self._waiting.discard(waiting)
            waiting.expire()
        if self._waiting:
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._ticking = False
