"""What this worker writes down of the windows that are taken from, whom it tells, what it owes."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_budget.accounts import Account
from llm_gateway_limit_budget.alerts import Alerts
from llm_gateway_limit_budget.counting import Counting
from llm_gateway_limit_budget.estimate import Estimator
from llm_gateway_limit_budget.spending import written

log = logging.getLogger("llm_gateway_limit_budget")
MAX_OWED = 10_000


class Debt(msgspec.Struct, frozen=True):
    """A settlement that has to be made yet: `amounts` of all that `grant` took, of which `takes`
    were out of `accounts` and came to what was `used`."""

    state: gw.StateBackend
    grant: gw.Grant
    amounts: Sequence[int]
    accounts: Sequence[Account]
    takes: Sequence[gw.Take]
    used: Sequence[int]


class Books:
    """Shared by all that the requests of this worker hold."""

    def __init__(
        self,
        state: gw.StateBackend,
        counting: Counting,
        estimator: Estimator,
        alerts: Alerts,
        metrics: gw.Metrics,
    ) -> None:
        self.state = state
        self.counting = counting
        self.estimator = estimator
        self.alerts = alerts
        self._owed: list[Debt] = []
        self._refused = metrics.counter(
            "gateway_limit_budget_refused_total", "requests that no budget was left for", ("level",)
        ).value

    def note(
        self,
        accounts: Sequence[Account],
        takes: Sequence[gw.Take],
        remaining: Sequence[int],
        shared: bool = True,
    ) -> None:
        """What is left of each window now, and whether that is so little that one must know."""
        for each, take, left in zip(accounts, takes, remaining):  # noqa: B905 (quick)
            if shared:
                each.left = left
                each.held += take.amount
            if left <= each.warned:
                self.alerts.raise_for(each.window, "soft", each.most - left)

    def over(
        self, accounts: Sequence[Account], takes: Sequence[gw.Take], used: Sequence[int]
    ) -> None:
        """What was held is held no longer, and shared state knows what of it was `used`."""
        for each, take, amount in zip(accounts, takes, used):  # noqa: B905 (quick)
            took = take.amount
            each.held -= took
            if each.left is not None:
                each.left += took - amount

    def owe(self, error: Exception, debt: Debt) -> None:
        log.warning("budget.owed error=%s", type(error).__name__)
        self._owed = [*self._owed[-MAX_OWED:], debt]

    async def pay(self) -> None:
        """What can be settled by now of what could not be."""
        while self._owed:
            debt = self._owed[0]
            try:
                await debt.state.settle(debt.grant, debt.amounts)
            except Exception:
                return
            self._owed = self._owed[1:]
            self.paid(debt)

    def paid(self, debt: Debt) -> None:
        if debt.state is self.state:
            self.over(debt.accounts, debt.takes, debt.used)

    def refusal(self, account: Account, denial: gw.Denial, amount: int) -> gw.Refusal:
        """`amount` does not fit in the window of `account`."""
        which = account.window
        budget, left = which.budget, denial.remaining[denial.index]
        self._refused(budget.level).inc()
        self.alerts.raise_for(which, "hard", budget.amount - left)
        again = "It does not begin anew."
        if which.end is not None:
            at = datetime.fromtimestamp(which.end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            again = f"It begins anew at {at}."
        model = "" if budget.model is None else f" for {budget.model}"
        kind, may = ("budget", "cost") if budget.unit == "usd" else ("quota", "take")
        whole, rest = written(budget.amount, budget.unit), written(max(0, left), budget.unit)
        return gw.Refusal(
            402,
            "insufficient_quota",
            f"The {budget.period} {kind} of this {budget.level}{model}, {whole}, has {rest} left,"
            f" and this request may {may} {written(amount, budget.unit)}. {again}",
        )
