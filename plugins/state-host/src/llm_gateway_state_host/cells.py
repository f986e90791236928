"""The arithmetic of buckets, windows and slots on one cell each, whoever keeps the cells.

Times are seconds of a clock that all users of the cells share. This runs for every take of
every request, so it makes no object that it does not hand out.
"""

from collections.abc import Callable, Sequence
from math import floor

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
    """Take from every cell, or change none of them.

    Mostly all of it is there, so each is changed as it is looked at, and changed back where a
    later one refuses.
    """
    left: list[int] = []
    ends: list[float] = []
    for cell, take in zip(cells, takes, strict=True):
        kind, limit, amount = take.kind, take.limit, take.amount
        if kind == "bucket":
            free = _filled_up(cell, take, now)
        elif kind == "slots":
            free = limit - cell.held
        elif now < cell.until:
            free = limit - cell.value
        elif take.filled:
            _undo(cells, takes, len(left), now)
            return Denial(len(left), 0.0, (), unfilled=True)
        else:
            cell.value, cell.stamp, cell.until = 0.0, now, now + take.seconds
            free = limit
        if (amount > free or limit <= 0) and not force:
            _undo(cells, takes, len(left), now)
            return _denied(cells, takes, len(left), now)
        if amount:
            change(cell, take, amount, now)
        left.append(floor(free - amount))
        # A window is known by its end: what is settled after it has ended belongs nowhere.
        ends.append(cell.until)
    return Grant(tuple(takes), tuple(left), tuple(ends))


def _undo(cells: Sequence[Cell], takes: Sequence[Take], many: int, now: float) -> None:
    """Give back what was taken from the first `many`."""
    for cell, take in zip(cells[:many], takes, strict=False):
        change(cell, take, -take.amount, now)


def _denied(cells: Sequence[Cell], takes: Sequence[Take], refused: int, now: float) -> Denial:
    free = [_free(cell, take, now) for cell, take in zip(cells, takes, strict=True)]
    wait = _wait(cells[refused], takes[refused], free[refused], now)
    return Denial(refused, wait, tuple(map(floor, free)))


def _free(cell: Cell, take: Take, now: float) -> float:
    """How much may be taken; changes nothing but a bucket's level, by the passing of time."""
    if take.kind == "bucket":
        return _filled_up(cell, take, now)
    if take.kind == "slots":
        return take.limit - cell.held
    return take.limit - (cell.value if now < cell.until else 0.0)


def settle(cell: Cell, take: Take, more: int, end: float, now: float) -> None:
    """`more` than `take` was used of a cell whose window ended at `end` when it was taken from."""
    if take.kind == "bucket":
        _filled_up(cell, take, now)
    elif take.kind == "window" and end != cell.until:
        return
    change(cell, take, more, now)


def _filled_up(cell: Cell, take: Take, now: float) -> float:
    """A bucket's level, after what the passing of time does."""
    limit = take.limit
    level = limit if cell.stamp == 0.0 else cell.value + take.rate * (now - cell.stamp)
    cell.value = level = limit if level > limit else level
    cell.stamp = now
    return level


def change(cell: Cell, take: Take, amount: int, now: float) -> None:
    kind = take.kind
    if kind == "bucket":
        limit, rate = take.limit, take.rate
        value = cell.value - amount
        cell.value = value = limit if value > limit else value
        cell.until = now + ((limit - value) / rate if rate > 0 else take.seconds)
    elif kind == "window":
        value = cell.value + amount
        cell.value = 0.0 if value < 0 else value
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
