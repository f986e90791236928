"""The arithmetic of buckets, windows and slots on one cell each, whoever keeps the cells.

Times are seconds of a clock that all users of the cells share.
"""

from collections.abc import Callable, Sequence

from llm_gateway_api import Denial, Grant, Take


class Cell:
    """What is kept of one key.

    `value` is a bucket's level or a window's count; `until` when a bucket is full again or a
    window ends: from then on the cell says no more than a new one. `held` are the slots of
    each worker.
    """

    __slots__ = ("held", "stamp", "until", "value")

    def __init__(
        self, value: float = 0.0, stamp: float = 0.0, until: float = 0.0, held: Sequence[int] = (0,)
    ) -> None:
        self.value = value
        self.stamp = stamp
        self.until = until
        self.held = list(held)

    @property
    def idle(self) -> bool:
        return not any(self.held)


def take_all(
    cells: Sequence[Cell], takes: Sequence[Take], now: float, worker: int, force: bool
) -> Grant | Denial:
    """Take from every cell, or change none of them."""
    for cell, take in zip(cells, takes, strict=True):
        _refresh(cell, take, now)
    free = [_free(cell, take) for cell, take in zip(cells, takes, strict=True)]
    if not force:
        for index, (cell, take) in enumerate(zip(cells, takes, strict=True)):
            if take.amount > free[index] or take.limit <= 0:
                return Denial(index, _wait(cell, take, free[index], now), _whole(free))
    for cell, take in zip(cells, takes, strict=True):
        _change(cell, take, take.amount, now, worker)
    left = [_free(cell, take) for cell, take in zip(cells, takes, strict=True)]
    # A window is known by its end: what is settled after it has ended belongs nowhere.
    token = ",".join(
        repr(cell.until) if t.kind == "window" else "" for cell, t in zip(cells, takes, strict=True)
    )
    return Grant(tuple(takes), _whole(left), token)


def settle_all(
    cells: Sequence[Cell], grant: Grant, amounts: Sequence[int], now: float, worker: int
) -> None:
    """Make `amounts` what was used of each take."""
    ends = grant.token.split(",")
    for cell, take, amount, end in zip(cells, grant.takes, amounts, ends, strict=True):
        if take.kind == "window" and end != repr(cell.until):
            continue
        _refresh(cell, take, now)
        _change(cell, take, amount - take.amount, now, worker)


def _refresh(cell: Cell, take: Take, now: float) -> None:
    """What the passing of time does."""
    if take.kind == "bucket":
        if cell.until == 0.0 and cell.stamp == 0.0:
            cell.value = take.limit
        cell.value = min(take.limit, cell.value + take.rate * (now - cell.stamp))
        cell.stamp = now
    elif take.kind == "window" and now >= cell.until:
        cell.value, cell.stamp, cell.until = 0.0, now, now + take.seconds


def _change(cell: Cell, take: Take, amount: int, now: float, worker: int) -> None:
    if take.kind == "slots":
        cell.held[worker] = max(0, cell.held[worker] + amount)
        cell.until = now
    elif take.kind == "window":
        cell.value = max(0.0, cell.value + amount)
    else:
        cell.value = min(take.limit, cell.value - amount)
        missing = take.limit - cell.value
        cell.until = now + (missing / take.rate if take.rate > 0 else take.seconds)


def _free(cell: Cell, take: Take) -> float:
    if take.kind == "slots":
        return take.limit - sum(cell.held)
    return cell.value if take.kind == "bucket" else take.limit - cell.value


def _wait(cell: Cell, take: Take, free: float, now: float) -> float:
    """Seconds until it may fit; infinite where it never will."""
    if take.amount > take.limit or take.limit <= 0:
        return float("inf")
    if take.kind == "window":
        return max(0.0, cell.until - now)
    if take.kind == "slots":
        return 1.0
    return (take.amount - free) / take.rate if take.rate > 0 else float("inf")


def _whole(numbers: Sequence[float]) -> tuple[int, ...]:
    return tuple(int(each // 1) for each in numbers)


Listener = Callable[[bytes], None]
