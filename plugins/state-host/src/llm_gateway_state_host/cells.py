"""The arithmetic of buckets, windows and slots on one cell each, whoever keeps the cells.

Times are seconds of a clock that all users of the cells share. This runs for every take of
every request, so it makes no object that it does not hand out.
"""

from collections.abc import Callable, Sequence
from math import floor
from typing import Any

from llm_gateway_api import Denial, Grant, Take

INFINITE = float("inf")


class Cell:
    """What is kept of one key.

    `value` is a bucket's level or a window's count; `until` when a bucket is full again or a
    window ends: from then on the cell says no more than a new one. `held` are the slots of
    all workers, `mine` those of this one.
    """

    __slots__ = ("held", "mine", "stamp", "until", "value")

    def __init__(
        self,
        value: float = 0.0,
        stamp: float = 0.0,
        until: float = 0.0,
        held: int = 0,
        mine: int = 0,
    ) -> None:
        self.value = value
        self.stamp = stamp
        self.until = until
        self.held = held
        self.mine = mine


def take_all(
    cells: Sequence[Cell], takes: Sequence[Take], now: float, force: bool
) -> Grant | Denial:
    """Take from every cell, or change none of them."""
    free: list[float] = []
    refused = -1
    for cell, take in zip(cells, takes, strict=True):
        spare = _free(cell, take, now)
        if refused < 0 and (take.amount > spare or take.limit <= 0):
            refused = len(free)
        free.append(spare)
    if refused >= 0 and not force:
        wait = _wait(cells[refused], takes[refused], free[refused], now)
        return Denial(refused, wait, tuple(map(floor, free)))
    left, ends = [], []
    for cell, take, spare in zip(cells, takes, free, strict=True):
        amount = take.amount
        if amount:
            _change(cell, take, amount, now)
        left.append(floor(spare - amount))
        # A window is known by its end: what is settled after it has ended belongs nowhere.
        ends.append(cell.until)
    return Grant(tuple(takes), tuple(left), tuple(ends))


Change = tuple[Take, int, float]


def changes(grant: Grant, amounts: Sequence[int]) -> list[Change]:
    """The takes that `amounts` change, by how much, and the ends of their windows."""
    ends: Any = grant.token
    return [
        (take, amount - take.amount, end)
        for take, amount, end in zip(grant.takes, amounts, ends, strict=True)
        if amount != take.amount
    ]


def settle_all(cells: Sequence[Cell], changed: Sequence[Change], now: float) -> None:
    for cell, (take, change, end) in zip(cells, changed, strict=True):
        if take.kind != "window" or end == cell.until:
            _free(cell, take, now)
            _change(cell, take, change, now)


def _free(cell: Cell, take: Take, now: float) -> float:
    """How much may be taken, after what the passing of time does."""
    kind, limit = take.kind, take.limit
    if kind == "bucket":
        level = limit if cell.stamp == 0.0 else cell.value + take.rate * (now - cell.stamp)
        cell.value = level = min(limit, level)
        cell.stamp = now
        return level
    if kind == "window":
        if now >= cell.until:
            cell.value, cell.stamp, cell.until = 0.0, now, now + take.seconds
        return limit - cell.value
    return limit - cell.held


def _change(cell: Cell, take: Take, amount: int, now: float) -> None:
    kind = take.kind
    if kind == "bucket":
        limit, rate = take.limit, take.rate
        value = cell.value = min(limit, cell.value - amount)
        cell.until = now + ((limit - value) / rate if rate > 0 else take.seconds)
    elif kind == "window":
        cell.value = max(0.0, cell.value + amount)
    else:
        amount = max(-cell.mine, amount)
        cell.mine += amount
        cell.held += amount
        cell.until = now


def _wait(cell: Cell, take: Take, free: float, now: float) -> float:
    """Seconds until it may fit; infinite where it never will."""
    if take.amount > take.limit or take.limit <= 0:
        return INFINITE
    if take.kind == "window":
        return max(0.0, cell.until - now)
    if take.kind == "slots":
        return 1.0
    return (take.amount - free) / take.rate if take.rate > 0 else INFINITE


Listener = Callable[[bytes], None]
