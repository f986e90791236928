"""What requests under way hold of each window, by the word of the workers that live.

A worker that is killed, or an answer of shared state that was lost, leaves a hold that nobody
settles. It shows as what is counted beyond the ledger's sum and the holds that workers report;
what is always there for longer than a request can last is none of a request, and is given back.
"""

from collections import deque
from collections.abc import Sequence
from time import time

from llm_gateway_api import StateBackend, Take

from llm_gateway_limit_budget.accounts import Account

# Twenty looks in half-minutes are ten minutes, as long as the longest stream.
SLOT_SECONDS = 30.0
LOOKS = 20
# Reports of a slot are read two slots later, when every worker has made its own.
LATE_SLOTS = 2


class Outstanding:
    """Tells of this worker's holds, and looks at those of all."""

    def __init__(self, state: StateBackend) -> None:
        self._state = state
        self._looks: dict[str, deque[int]] = {}

    async def report(self, accounts: Sequence[Account]) -> None:
        """Add what this worker holds to the sum of all; forget what was seen of others."""
        seconds = SLOT_SECONDS * (LATE_SLOTS + 2)
        keys = {each.key for each in accounts}
        self._looks = {key: looks for key, looks in self._looks.items() if key in keys}
        for each in accounts:
            if each.held:
                take = Take(_slot(each.key, 0), each.held, 1, "window", seconds=seconds)
                await self._state.take([take], force=True)

    async def of_all(self, key: str) -> int:
        return (await self._state.used([_slot(key, LATE_SLOTS)]))[0]

    def left_over(self, key: str, excess: int) -> int:
        """How much of `excess`, what is counted and nobody answers for, was there at each of
        the last looks; 0 while there were not enough of them."""
        looks = self._looks.setdefault(key, deque(maxlen=LOOKS))
        looks.append(excess)
        least = min(looks)
        if len(looks) < LOOKS or least <= 0:
            return 0
        looks.clear()
        return least


def _slot(key: str, before: int) -> str:
    return f"{key}:out:{int(time() / SLOT_SECONDS) - before}"
