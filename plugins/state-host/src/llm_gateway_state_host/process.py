"""State of one process: cells in a dictionary."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from llm_gateway_api import DONE, Denial, Done, Grant, Take

from llm_gateway_state_host.cells import Cell, Listener, settle, take_all

log = logging.getLogger("llm_gateway_state_host")
SWEEP_EVERY = 10_000


class Cells(dict[str, Cell]):
    """By key; a new one where there is none."""

    def __missing__(self, key: str) -> Cell:
        cell = self[key] = Cell()
        return cell


class ProcessState:
    """Meets `StateBackend` within one process; a restart forgets it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cells = Cells()
        self._calls = 0
        self._news = News()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    async def healthy(self) -> bool:
        return True

    async def take(self, takes: Sequence[Take], *, force: bool = False) -> Grant | Denial:
        self._calls += 1
        if self._calls % SWEEP_EVERY == 0:
            self._sweep()
        known = self._cells
        return take_all([known[each.key] for each in takes], takes, self._clock(), force)

    def settle(self, grant: Grant, amounts: Sequence[int]) -> Done:
        now = self._clock()
        ends: Any = grant.token
        for take, amount, end in zip(grant.takes, amounts, ends):  # noqa: B905 (quick)
            if more := amount - take.amount:
                settle(self._cells[take.key], take, more, end, now)
        return DONE

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        now = self._clock()
        return [used_of(self._cells.get(key), now) for key in keys]

    async def claim(self, key: str, seconds: float) -> bool:
        return claimed(self._cells[f"claim {key}"], self._clock(), seconds)

    def publish(self, topic: str, message: bytes) -> None:
        self._news.tell(topic, message)

    def listen(self, topic: str, told: Listener) -> None:
        self._news.listen(topic, told)

    def _sweep(self) -> None:
        """Now and then, forget the cells that say no more than new ones."""
        now = self._clock()
        used = (each for each in self._cells.items() if each[1].until > now or each[1].held)
        self._cells = Cells(used)


class News:
    """Who listens in this process. What a listener raises is logged and stops no other."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def listen(self, topic: str, told: Listener) -> None:
        self._listeners.setdefault(topic, []).append(told)

    def tell(self, topic: str, message: bytes) -> None:
        """Soon, and not within the caller's own turn."""
        asyncio.get_running_loop().call_soon(self.deliver, topic, message)

    def deliver(self, topic: str, message: bytes) -> None:
        for told in self._listeners.get(topic, ()):
            try:
                told(message)
            except Exception:
                log.exception("news.failed topic=%s", topic)


def used_of(cell: Cell | None, now: float) -> int:
    """What a window or slots hold; nothing where the window has ended."""
    if cell is None:
        return 0
    return cell.held + (int(cell.value) if cell.until > now else 0)


def claimed(cell: Cell, now: float, seconds: float) -> bool:
    if now < cell.until:
        return False
    cell.until = now + seconds
    return True
