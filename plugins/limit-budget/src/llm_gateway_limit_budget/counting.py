"""Budgets in shared state: windows that are filled from the ledger when the state is new.

Each window is taken together with its marker, so that lost state is seen in the very step
that would have counted from nothing.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import time

from llm_gateway_api import Denial, Grant, StateBackend, Store, StoreError, Take

from llm_gateway_limit_budget.outstanding import Outstanding
from llm_gateway_limit_budget.periods import Window
from llm_gateway_limit_budget.spending import spent

log = logging.getLogger("llm_gateway_limit_budget")
FILL_SECONDS = 5.0
WAIT_SECONDS = 1.0
TRIES = 3


class Counting:
    def __init__(self, state: StateBackend, store: Store | None) -> None:
        self._state = state
        self._store = store
        self._hopeless_until = 0.0
        self.outstanding = Outstanding(state)

    async def take(self, windows: Sequence[Window], amounts: Sequence[int]) -> Grant | Denial:
        """Its amount out of each window, or nothing; `remaining` begins with the windows'.

        Raises what the state and the store raise: they cannot be reached.
        """
        takes = [
            Take(each.key, amount, each.budget.amount, "window", seconds=each.kept)
            for each, amount in zip(windows, amounts, strict=True)
        ]
        takes += [each.mark for each in windows]
        for _ in range(TRIES):
            answer = await self._state.take(takes)
            marks = answer.remaining[len(windows) :]
            if max(marks) <= 0:
                return answer
            empty = [each for each, left in zip(windows, marks, strict=True) if left > 0]
            if isinstance(answer, Grant):
                await self._state.settle(answer, [0] * len(takes))
            for each in empty:
                await self._fill(each)
        raise StoreError("Budgets cannot be read now.", retry_after=1.0)

    async def _fill(self, window: Window) -> None:
        """One worker asks the ledger; the others wait for it. After it failed nobody waits."""
        now = asyncio.get_running_loop().time()
        if now < self._hopeless_until:
            raise StoreError("Budgets cannot be read now.", retry_after=1.0)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._filled(window)
        except (StoreError, TimeoutError):
            self._hopeless_until = now + FILL_SECONDS
            raise

    async def _filled(self, window: Window) -> None:
        if not await self._state.claim(f"{window.key}:filling", FILL_SECONDS):
            while True:
                if (await self._state.used([window.marker]))[0]:
                    return
                await asyncio.sleep(0.02)
        used = await spent(self._store, window) if self._store is not None else 0
        await self._add(window, used, 1)

    async def true_up(self, window: Window, seconds: float) -> None:
        """Add what the ledger has and the state lacks: records of a worker that died arrive
        late. Less in the ledger is no fault, for it hears of everything later, unless nobody
        holds the rest."""
        if self._store is None or not await self._state.claim(f"{window.key}:truing", seconds):
            return
        ledger = await spent(self._store, window)
        used, filled = await self._state.used([window.key, window.marker])
        if filled and ledger > used:
            log.info("budget.trued budget=%s amount=%d", window.budget.id, ledger - used)
            await self._add(window, ledger - used, 0)
        elif filled:
            under_way = await self.outstanding.of_all(window.key)
            over = self.outstanding.left_over(window.key, used - ledger - under_way)
            if over:
                log.info("budget.given_back budget=%s amount=%d", window.budget.id, over)
                await self._add(window, -over, 0)

    async def _add(self, window: Window, used: int, mark: int) -> None:
        seconds = window.seconds(time())
        takes = [Take(window.key, used, max(1, window.budget.amount), "window", seconds=seconds)]
        takes.append(Take(window.marker, mark, 1, "window", seconds=seconds))
        await self._state.take(takes, force=True)
