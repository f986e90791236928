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
    """Take from every cell, or from none of them.

    Mostly all of it is there, so each is changed as it is looked at, and given back where a
    later one refuses. The arithmetic is written out: a call for each take would cost more.
    """
    left: list[int] = []
    ends: list[float] = []
    for cell, take in zip(cells, takes):  # noqa: B905 (being strict costs a quarter more)
        kind, limit, amount = take.kind, take.limit, take.amount
        if kind == "bucket":
            rate, stamp = take.rate, cell.stamp
            level = cell.value + rate * (now - stamp) if stamp else limit
            rest = (level if level < limit else limit) - amount
            if (rest < 0 or limit <= 0) and not force:
                return _denied(cells, takes, len(left), now)
            cell.value, cell.stamp = rest, now
            cell.until = until = now + ((limit - rest) / rate if rate > 0 else take.seconds)
        elif kind == "slots":
            rest = limit - cell.held - amount
            if (rest < 0 or limit <= 0) and not force:
                return _denied(cells, takes, len(left), now)
            cell.held += amount
            cell.mine += amount
            cell.until = until = now
        else:
            until = cell.until
            if now >= until:
                if take.filled:
                    _give_back(cells, takes, len(left), now)
                    return Denial(len(left), 0.0, (), unfilled=True)
                cell.value, cell.until = 0, (until := now + take.seconds)
            rest = limit - cell.value - amount
            if (rest < 0 or limit <= 0) and not force:
                return _denied(cells, takes, len(left), now)
            cell.value += amount
        left.append(floor(rest))
        # A window is known by its end: what is settled after it has ended belongs nowhere.
        ends.append(until)
    return Grant(tuple(takes), tuple(left), tuple(ends))


def settle(cell: Cell, take: Take, more: int, end: float, now: float) -> None:
    """`more` than `take` was used of a cell whose window ended at `end` when it was taken from."""
    kind = take.kind
    if kind == "bucket":
        limit, rate, stamp = take.limit, take.rate, cell.stamp
        level = cell.value + rate * (now - stamp) if stamp else limit
        rest = (level if level < limit else limit) - more
        cell.value = rest = rest if rest < limit else limit
        cell.stamp = now
        cell.until = now + ((limit - rest) / rate if rate > 0 else take.seconds)
    elif kind == "slots":
        if more < -cell.mine:
            more = -cell.mine
        cell.mine += more
        cell.held += more
        cell.until = now
    elif end == cell.until:
        value = cell.value + more
        cell.value = value if value > 0 else 0


def _give_back(cells: Sequence[Cell], takes: Sequence[Take], many: int, now: float) -> None:
    """What was taken from the first `many`."""
    for cell, take in zip(cells[:many], takes, strict=False):
        settle(cell, take, -take.amount, cell.until, now)


def _denied(cells: Sequence[Cell], takes: Sequence[Take], refused: int, now: float) -> Denial:
    """Of what take number `refused` did not fit; those before it are given back."""
    _give_back(cells, takes, refused, now)
    free = [_free(cell, take, now) for cell, take in zip(cells, takes, strict=True)]
    wait = _wait(cells[refused], takes[refused], free[refused], now)
    return Denial(refused, wait, tuple(map(floor, free)))


def _free(cell: Cell, take: Take, now: float) -> float:
    """How much may be taken."""
    if take.kind == "slots":
        return take.limit - cell.held
    if take.kind == "window":
        return take.limit - (cell.value if now < cell.until else 0)
    level = cell.value + take.rate * (now - cell.stamp) if cell.stamp else take.limit
    return min(level, take.limit)


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
