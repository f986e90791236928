"""An event loop whose time moves only when nothing is left to do: hours pass in seconds."""

import asyncio
import selectors
from typing import Any


class Clock(selectors.DefaultSelector):
    """A selector that does not wait but moves the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` is that of `clock`; sleeps and timers wait in it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.now
