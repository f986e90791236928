"""The windows of budgets: days, weeks (from Monday), months of a time zone, or all time."""

from datetime import datetime, timedelta
from functools import cached_property
from time import time
from zoneinfo import ZoneInfo

import msgspec
from llm_gateway_api import Budget

# Late settlements still find their window for so long after its end.
LATE_SECONDS = 86400.0
FOR_EVER_SECONDS = 10 * 365 * 86400.0


class Window(msgspec.Struct, frozen=True, dict=True):
    """One budget in one period; `start` and `end` in Unix seconds, `end` None for all time.

    `key` is where shared state counts.
    """

    budget: Budget
    owner: str
    start: int
    end: int | None

    @cached_property
    def key(self) -> str:
        return f"budget:{self.budget.id}:{self.budget.period}:{self.start}"

    @cached_property
    def kept(self) -> float:
        """`seconds` from when it was first needed: long enough whenever it is taken from."""
        return self.seconds(time())

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
