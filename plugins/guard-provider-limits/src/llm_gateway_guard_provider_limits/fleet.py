"""What the workers of one account have taken together, added up in the state they share.

Each worker adds what it took and reads the sum, ten times a second at most while it is asked,
and once a second while it is not; so a fleet's work grows with its workers, and not with their
square, as it would if each told all others. Nobody waits for it: until it has looked again a
worker takes at most half its share of what is left, so that together they keep the limit in
whatever order they look.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import llm_gateway_api as gw

log = logging.getLogger("llm_gateway_guard_provider_limits")
TOPIC = "provider_limits"
LOOK_SECONDS = 0.1
REST_SECONDS = 1.0
LOOKS_PER_SECOND = 1000  # of all workers together
# Sums are by slots of so many seconds of the wall clock; the last SLOTS are the last minute.
SLOT_SECONDS = 10.0
SLOTS = 7
# After a slot's end others may still add to it for so long.
LATE_SECONDS = 3.0
MOST = 2**53
Amounts = tuple[float, float]  # requests, tokens
Told = Callable[[Mapping[str, Amounts], float], None]


def pause(peers: float) -> float:
    """Seconds between two looks of a worker, one of `peers`."""
    return max(LOOK_SECONDS, peers / LOOKS_PER_SECOND)


class Fleet:
    """The other workers. `told` gets what they have taken, by account, and how many seconds
    ago; `accounts` has the meters (0: requests, 1: tokens) that each of them limits."""

    def __init__(
        self,
        state: gw.StateBackend,
        workers: int,
        accounts: Mapping[str, Sequence[int]],
        told: Told,
        wall: Callable[[], float],
    ) -> None:
        self._state = state
        self._workers = workers
        self._accounts = accounts
        self._counted = [(name, meter) for name, meters in accounts.items() for meter in meters]
        self._told = told
        self._wall = wall
        self._peers = workers
        self._taken: dict[str, list[float]] = {}
        self._sums: dict[int, list[int]] = {}  # by slot, as they were at the last look
        self._read = 0.0  # when, by the wall clock, it was looked last
        self._asked = asyncio.Event()
        self._alone = False  # while the state cannot be reached

    @property
    def pause(self) -> float:
        return pause(self._peers)

    def fits(self, account: str, meter: int, amount: float, spare: float) -> bool:
        """Whether `amount` is within half of this worker's share: the other half is for what all
        have taken and not told yet. Its first in a while always is, as none could be taken where
        less is left than there are workers."""
        mine = self._taken.get(account)
        if self._alone or self._peers == 1 or mine is None or mine[meter] <= 0:
            return True
        return mine[meter] + amount <= (spare + mine[meter]) / (2 * self._peers)

    def took(self, account: str, requests: float, tokens: float) -> None:
        """What is given back (below zero) is told with the next that is taken."""
        mine = self._taken.setdefault(account, [0.0, 0.0])
        for meter in self._accounts[account]:
            mine[meter] += tokens if meter else requests
        self._asked.set()

    async def looking(self) -> None:
        """Look for as long as it runs."""
        while True:
            self._asked.clear()
            await self._look()
            await asyncio.sleep(self.pause)
            if not any(map(_tellable, self._taken.values())):
                with suppress(TimeoutError):
                    async with asyncio.timeout(REST_SECONDS):
                        await self._asked.wait()

    async def _look(self) -> None:
        """Add what was taken here, and hear what the others took since the last look."""
        added = [self._addable(name, meter) for name, meter in self._counted]
        wall, read = self._wall(), self._read
        slot = int(wall / SLOT_SECONDS)
        slots = self._slots(slot, read)
        own = {each: added if each == slot else [0] * len(added) for each in slots}
        takes = [
            _count("workers", slot, int(slot not in self._sums)),
            _count("workers", slot - 1, 0),
        ]
        for each, amounts in own.items():
            takes += [
                _count(f"{name}:{meter}", each, amount)
                for (name, meter), amount in zip(self._counted, amounts, strict=True)
            ]
        try:
            answer = await self._state.take(takes, force=True)
        except Exception as error:
            log.debug("limits.alone error=%s", type(error).__name__)
            self._alone = True
            return
        self._alone = False
        now, before, *sums = [MOST - left for left in answer.remaining]
        self._peers = max(self._workers, now, before)
        self._read = wall
        for (name, meter), amount in zip(self._counted, added, strict=True):
            if amount:
                self._taken[name][meter] -= amount
        for each, mine in own.items():
            found, sums = sums[: len(mine)], sums[len(mine) :]
            known = self._sums.get(each, [0] * len(mine))
            others = [a - b - c for a, b, c in zip(found, known, mine, strict=True)]
            self._hear(others, max(0.0, wall - SLOT_SECONDS * (each + 1)))
            self._sums[each] = found
        self._sums = {each: sums for each, sums in self._sums.items() if each > slot - SLOTS}

    def _addable(self, name: str, meter: int) -> int:
        return max(0, round(self._taken[name][meter])) if name in self._taken else 0

    def _slots(self, slot: int, read: float) -> range:
        """Those that may have changed since `read`; at first, all of the last minute."""
        first = slot - SLOTS + 1
        return range(max(first, int(max(0.0, read - LATE_SECONDS) / SLOT_SECONDS)), slot + 1)

    def _hear(self, others: Sequence[int], age: float) -> None:
        accounts: dict[str, list[float]] = {}
        for (name, meter), amount in zip(self._counted, others, strict=True):
            if amount > 0:  # less than before: the state has been lost, and begins anew
                accounts.setdefault(name, [0.0, 0.0])[meter] = float(amount)
        if accounts:
            self._told({name: (each[0], each[1]) for name, each in accounts.items()}, age)


def _tellable(taken: Sequence[float]) -> bool:
    return max(taken) >= 0.5


def _count(name: str, slot: int, amount: int) -> gw.Take:
    seconds = SLOT_SECONDS * (SLOTS + 2)
    return gw.Take(f"{TOPIC}:{name}:{slot}", amount, MOST, "window", seconds=seconds)
