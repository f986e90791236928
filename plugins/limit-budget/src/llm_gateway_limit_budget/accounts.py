"""What this worker knows of the windows that its requests are charged to."""

from collections.abc import Sequence

from llm_gateway_api import Budget, Principal, Take, Target

from llm_gateway_limit_budget.estimate import Offer
from llm_gateway_limit_budget.periods import Window, window

MAX_KEPT = 10_000  # callers, and windows


class Account:
    """One window. `left` is what shared state said last, None before it said anything; `held`
    is what requests of this worker hold of it. A warning is due where no more than `warned` is
    left."""

    __slots__ = ("held", "kept", "key", "left", "most", "unit", "warned", "window")

    def __init__(self, window: Window) -> None:
        self.key = window.key
        self.left: int | None = None
        self.held = 0
        self.renew(window)

    def renew(self, window: Window) -> None:
        """The same window, whose budget may be a changed one."""
        budget = window.budget
        self.window = window
        self.kept = window.kept
        self.unit, self.most = budget.unit, budget.amount
        self.warned = float("-inf") if budget.soft is None else budget.amount - budget.soft

    def take(self, amount: int) -> Take:
        """`amount` out of the window, which has to be filled."""
        return Take(self.key, amount, self.most, "window", 0.0, self.kept, True)


class Charged:
    """The `accounts` of `budgets` and their `units`; they are those of any time from `start`
    until `end`.

    `offers` are those of the `candidates` of a request, as they were in the `second` in which they
    were looked up: prices change no sooner. `priced` says that one of them has a price, or that
    there is none.
    """

    __slots__ = (
        "accounts",
        "budgets",
        "candidates",
        "end",
        "offers",
        "priced",
        "second",
        "start",
        "units",
    )

    def __init__(
        self,
        budgets: tuple[Budget, ...],
        accounts: tuple[Account, ...],
        units: frozenset[str],
        start: float,
        end: float,
    ) -> None:
        self.budgets = budgets
        self.accounts = accounts
        self.units = units
        self.start = start
        self.end = end
        self.look_up((), -1, ())

    def look_up(self, candidates: Sequence[Target], second: int, offers: Sequence[Offer]) -> None:
        self.candidates, self.second, self.offers = candidates, second, offers
        self.priced = not offers or any(rates is not None for rates, _, _ in offers)


class Accounts:
    """Worked out once for a caller and a period; callers who share a budget share its account."""

    def __init__(self) -> None:
        self._callers: dict[tuple[str | None, str | None, str], Charged] = {}
        self._accounts: dict[str, Account] = {}

    def of(self, principal: Principal, model: str, now: float) -> Charged | None:
        """What a request is charged to; None for nothing."""
        if not principal.budgets:
            return None
        caller = principal.tenant, principal.key_id, model
        known = self._callers.get(caller)
        if (
            known is None
            or known.budgets is not principal.budgets
            or not known.start <= now < known.end
        ):
            known = self._charged(principal, model, now)
            self._callers[caller] = known
        return known if known.accounts else None

    def current(self, now: float) -> Sequence[Account]:
        """Those whose windows go on; of the others only what is still held is remembered."""
        self._accounts = {
            key: each
            for key, each in self._accounts.items()
            if each.held or each.window.end is None or now < each.window.end
        }
        return tuple(self._accounts.values())

    def _charged(self, principal: Principal, model: str, now: float) -> Charged:
        if len(self._callers) >= MAX_KEPT:
            self._callers.clear()
        if len(self._accounts) >= MAX_KEPT:  # forget nobody's hold
            self._callers.clear()
            self._accounts = {key: each for key, each in self._accounts.items() if each.held}
        owners = {"tenant": principal.tenant, "key": principal.key_id}
        windows = [
            window(each, owners.get(each.level) or "", now)
            for each in principal.budgets
            if each.model is None or each.model == model
        ]
        return Charged(
            principal.budgets,
            tuple(map(self._account, windows)),
            frozenset(each.budget.unit for each in windows),
            max((each.start for each in windows), default=0),
            min((each.end for each in windows if each.end is not None), default=float("inf")),
        )

    def _account(self, window: Window) -> Account:
        account = self._accounts.get(window.key)
        if account is None:
            account = self._accounts[window.key] = Account(window)
        else:
            account.renew(window)
        return account
