"""The windows of budgets: days, weeks (from Monday), months of a time zone, or all time."""

from datetime import datetime, timedelta
from functools import cached_property
from time import time
from zoneinfo import ZoneInfo

import msgspec
from llm_gateway_api import Budget, Principal, Take

# Late settlements still find their window for so long after its end.
LATE_SECONDS = 86400.0
FOR_EVER_SECONDS = 10 * 365 * 86400.0
MAX_CALLERS = 10_000  # whose windows are kept


class Window(msgspec.Struct, frozen=True, dict=True):
    """One budget in one period; `start` and `end` in Unix seconds, `end` None for all time.

    `key` is where shared state counts, `marker` says there that it was filled from the
    ledger: without the marker, the state has been lost.
    """

    budget: Budget
    owner: str
    start: int
    end: int | None

    @cached_property
    def key(self) -> str:
        return f"budget:{self.budget.id}:{self.budget.period}:{self.start}"

    @cached_property
    def marker(self) -> str:
        return f"{self.key}:filled"

    @cached_property
    def kept(self) -> float:
        """`seconds` from when it was first needed: long enough whenever it is taken from."""
        return self.seconds(time())

    @cached_property
    def mark(self) -> Take:
        """Looks whether the marker is there."""
        return Take(self.marker, 0, 1, "window", seconds=self.kept)

    def seconds(self, now: float) -> float:
        """For how long shared state has to keep it."""
        return FOR_EVER_SECONDS if self.end is None else self.end - now + LATE_SECONDS


def window(budget: Budget, owner: str, now: float) -> Window:
    if budget.period == "total":
        return Window(budget, owner, 0, None)
    there = datetime.fromtimestamp(now, ZoneInfo(budget.zone))
    day = there.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if budget.period == "day":
        first, last = day, day + timedelta(days=1)
    elif budget.period == "week":
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        last = (first + timedelta(days=32)).replace(day=1)
    return Window(budget, owner, int(first.timestamp()), int(last.timestamp()))


class Windows:
    """The windows that requests are charged to, worked out once for a caller and a period."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | None, str | None, str], _Known] = {}

    def of(self, principal: Principal, model: str, now: float) -> tuple[Window, ...]:
        if not principal.budgets:
            return ()
        caller = principal.tenant, principal.key_id, model
        known = self._known.get(caller)
        if (
            known is None
            or known.budgets is not principal.budgets
            or not known.start <= now < known.end
        ):
            if len(self._known) >= MAX_CALLERS:
                self._known.clear()
            known = self._known[caller] = _known(principal, model, now)
        return known.windows


class _Known(msgspec.Struct, frozen=True):
    """`windows` of `budgets`; they are those of any time from `start` until `end`."""

    budgets: tuple[Budget, ...]
    windows: tuple[Window, ...]
    start: float
    end: float


def _known(principal: Principal, model: str, now: float) -> _Known:
    owners = {"tenant": principal.tenant, "key": principal.key_id}
    windows = tuple(
        window(each, owners.get(each.level) or "", now)
        for each in principal.budgets
        if each.model is None or each.model == model
    )
    start = max((each.start for each in windows), default=0)
    end = min((each.end for each in windows if each.end is not None), default=float("inf"))
    return _Known(principal.budgets, windows, start, end)
