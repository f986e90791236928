"""What one request holds of the windows that it is charged to, and what it is charged."""

from collections.abc import Mapping, Sequence

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_budget.accounts import Account, Charged
from llm_gateway_limit_budget.books import Books, Debt
from llm_gateway_limit_budget.estimate import NANO


class Hold(msgspec.Struct, frozen=True):
    """What the limiter took by itself in one step, out of the windows of `accounts`."""

    grant: gw.Grant
    state: gw.StateBackend
    accounts: Sequence[Account]


class Held(gw.Claim):
    """A claim of `sizes`, by unit, out of all windows that are `due`; `accounts` are those that
    anything is taken from.

    What it remembers grows when a dearer deployment than those foreseen is to answer: `holds`
    are all steps that the limiter took itself.
    """

    accounts: Sequence[Account]
    books: Books
    due: Charged
    sizes: dict[str, int]
    head: gw.RequestHead
    tenant: str | None
    holds: list[Hold] = []
    charged: Mapping[str, int] | None = None
    came_to: Sequence[int] = ()

    def granted(self, remaining: Sequence[int]) -> gw.Headers:
        self.books.note(self.accounts, self.takes, remaining)
        return _UNTOLD

    def refused(self, denial: gw.Denial) -> gw.Refusal:
        at = denial.index
        return self.books.refusal(self.accounts[at], denial, self.takes[at].amount)

    async def fill(self, index: int) -> None:
        await self.books.counting.fill(self.accounts[index])

    def used(self, settlement: gw.Settlement) -> Sequence[int]:
        charged = self.charge(settlement)
        self.came_to = used = [charged[each.unit] for each in self.accounts]
        return used

    def settled(self) -> None:
        self.books.over(self.accounts, self.takes, self.came_to)

    def owed(self, error: Exception, grant: gw.Grant, amounts: Sequence[int]) -> None:
        books = self.books
        books.owe(error, Debt(books.state, grant, amounts, self.accounts, self.takes, self.came_to))

    def charge(self, settlement: gw.Settlement) -> Mapping[str, int]:
        """By unit: what it came to; all that was held where an answer does not say; nothing where
        there was no answer. A request that a deployment was asked is one in any case."""
        usage, sizes, asked = settlement.usage, self.sizes, settlement.target is not None
        kept = sizes if asked and settlement.answered else _NOTHING_KEPT
        tokens = None
        if usage is not None:
            read, made = usage.input_total, usage.output_total
            tokens = read + made
            if settlement.whole and asked:
                self.books.estimator.learn(self.head, self.tenant, read, made)
        cost = settlement.cost
        self.charged = charged = {
            "requests": 1 if asked else 0,
            "usd": kept.get("usd", 0) if cost is None else round(cost * NANO),  # half to even
            "tokens": kept.get("tokens", 0) if tokens is None else tokens,
        }
        return charged


_NOTHING_KEPT: Mapping[str, int] = {}
_UNTOLD: gw.Headers = {}
