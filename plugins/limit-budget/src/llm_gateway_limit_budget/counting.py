"""Budgets in shared state: windows that are filled from the ledger when the state is new.

Lost state is seen in the very step that would have counted from nothing.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import time

from llm_gateway_api import Denial, Grant, StateBackend, Store, StoreError, Take

from llm_gateway_limit_budget.accounts import Account
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

    async def take(self, accounts: Sequence[Account], takes: Sequence[Take]) -> Grant | Denial:
        """What `takes` says out of the window of each account, or nothing.

        Raises what the state and the store raise: they cannot be reached.
        """
        tries = TRIES * len(takes)
        while isinstance(answer := await self._state.take(takes), Denial) and answer.unfilled:
            if (tries := tries - 1) < 0:
                raise StoreError("Budgets cannot be read now.", retry_after=1.0)
            await self.fill(accounts[answer.index])
        return answer

    async def fill(self, account: Account) -> None:
        """One worker asks the ledger; the others wait for it. After it failed nobody waits."""
        now = asyncio.get_running_loop().time()
        if now < self._hopeless_until:
            raise StoreError("Budgets cannot be read now.", retry_after=1.0)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._filled(account)
        except (StoreError, TimeoutError):
            self._hopeless_until = now + FILL_SECONDS
            raise

    async def _filled(self, account: Account) -> None:
        window = account.window
        if not await self._state.claim(f"{window.key}:filling", FILL_SECONDS):
            while True:
                if await self._is_filled(account):
                    return
                await asyncio.sleep(0.02)
        used = await spent(self._store, window) if self._store is not None else 0
        await self._add(window, used, filled=False)

    async def _is_filled(self, account: Account) -> bool:
        """Nothing is taken of it, so it matters not whether there is any left."""
        answer = await self._state.take([account.take(0)])
        return isinstance(answer, Grant) or not answer.unfilled

    async def true_up(self, window: Window, seconds: float) -> None:
        """Add what the ledger has and the state lacks: records of a worker that died arrive
        late. Less in the ledger is no fault, for it hears of everything later, unless nobody
        holds the rest."""
        if self._store is None or not await self._state.claim(f"{window.key}:truing", seconds):
            return
        ledger = await spent(self._store, window)
        used = (await self._state.used([window.key]))[0]
        if ledger > used:
            if await self._add(window, ledger - used, filled=True):
                log.info("budget.trued budget=%s amount=%d", window.budget.id, ledger - used)
            return
        under_way = await self.outstanding.of_all(window.key)
        over = self.outstanding.left_over(window.key, used - ledger - under_way)
        if over and await self._add(window, -over, filled=True):
            log.info("budget.given_back budget=%s amount=%d", window.budget.id, over)

    async def _add(self, window: Window, used: int, *, filled: bool) -> bool:
        """False where the window has to be `filled` and is not."""
        most, seconds = max(1, window.budget.amount), window.seconds(time())
        take = Take(window.key, used, most, "window", 0.0, seconds, filled)
        return isinstance(await self._state.take([take], force=True), Grant)
