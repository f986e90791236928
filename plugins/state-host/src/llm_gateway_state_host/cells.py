"""The arithmetic of buckets, windows and slots on one cell each, whoever keeps the cells.

Times are seconds of a clock that all users of the cells share.
"""

from collections.abc import Callable, Sequence
from math import floor

from llm_gateway_api import Denial, Grant, Take

INFINITE = float("inf")


class Cell:
    """What is kept of one key.

    `value` is a bucket's level or a window's count; `until` when a bucket is full again or a
    window ends: from then on the cell says no more than a new one. `held` are the slots of
    each worker.
    """

    __slots__ = ("held", "stamp", "until", "value")

    def __init__(
        self,
        value: float = 0.0,
        stamp: float = 0.0,
        until: float = 0.0,
        held: list[int] | None = None,
    ) -> None:
        self.value = value
        self.stamp = stamp
        self.until = until
        self.held = [0] if held is None else held

    @property
    def idle(self) -> bool:
        return not any(self.held)


def take_all(
    cells: Sequence[Cell], takes: Sequence[Take], now: float, worker: int, force: bool
) -> Grant | Denial:
    """Take from every cell, or change none of them."""
    free = [_free(cell, take, now) for cell, take in zip(cells, takes, strict=True)]
    if not force:
        for index, take in enumerate(takes):
            if take.amount > free[index] or take.limit <= 0:
                wait = _wait(cells[index], take, free[index], now)
                return Denial(index, wait, tuple(map(floor, free)))
    left, ends = [], []
    for cell, take, spare in zip(cells, takes, free, strict=True):
        _change(cell, take, take.amount, now, worker)
        left.append(floor(spare - take.amount))
        # A window is known by its end: what is settled after it has ended belongs nowhere.
        ends.append(repr(cell.until) if take.kind == "window" else "")
    return Grant(tuple(takes), tuple(left), ",".join(ends))


def settle_all(
    cells: Sequence[Cell], grant: Grant, amounts: Sequence[int], now: float, worker: int
) -> None:
    """Make `amounts` what was used of each take."""
    ends = grant.token.split(",")
    for cell, take, amount, end in zip(cells, grant.takes, amounts, ends, strict=True):
        if take.kind == "window" and end != repr(cell.until):
            continue
        _free(cell, take, now)
        _change(cell, take, amount - take.amount, now, worker)


def _free(cell: Cell, take: Take, now: float) -> float:
    """How much may be taken, after what the passing of time does."""
    kind = take.kind
    if kind == "bucket":
        if cell.stamp == 0.0:
            cell.value = take.limit
        cell.value = min(take.limit, cell.value + take.rate * (now - cell.stamp))
        cell.stamp = now
        return cell.value
    if kind == "window":
        if now >= cell.until:
            cell.value, cell.stamp, cell.until = 0.0, now, now + take.seconds
        return take.limit - cell.value
    return take.limit - sum(cell.held)


def _change(cell: Cell, take: Take, amount: int, now: float, worker: int) -> None:
    kind = take.kind
    if kind == "bucket":
        limit, rate = take.limit, take.rate
        value = cell.value = min(limit, cell.value - amount)
        cell.until = now + ((limit - value) / rate if rate > 0 else take.seconds)
    elif kind == "window":
        cell.value = max(0.0, cell.value + amount)
    else:
        cell.held[worker] = max(0, cell.held[worker] + amount)
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
