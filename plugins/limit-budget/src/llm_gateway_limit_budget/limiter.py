"""The limiter of budgets: reserve high, settle exactly, in the window that was charged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import time

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_budget.accounts import Account, Accounts
from llm_gateway_limit_budget.alerts import Alerts
from llm_gateway_limit_budget.counting import Counting
from llm_gateway_limit_budget.estimate import NANO, Estimator
from llm_gateway_limit_budget.outstanding import SLOT_SECONDS
from llm_gateway_limit_budget.periods import Window
from llm_gateway_limit_budget.settings import BudgetSettings
from llm_gateway_limit_budget.spending import written

log = logging.getLogger("llm_gateway_limit_budget")
TRUE_SECONDS = SLOT_SECONDS
# Sums of very many budgets take a database long: a worker asks for them in a hundredth of its time.
TRUE_SHARE = 100
OWED_SECONDS = 1.0
MAX_OWED = 10_000
NOTHING = gw.Reservation()
_UNPRICED = gw.Refusal(
    403,
    "price_unknown",
    "The price of this model is not known, and you have a budget; ask the operator for a price,"
    " or for plugins.limit_budget.unknown_price: allow.",
    param="model",
)


class Hold(msgspec.Struct, frozen=True):
    """What one step took: of each window an amount in its unit, and where that is counted."""

    grant: gw.Grant
    state: gw.StateBackend
    accounts: Sequence[Account]
    amounts: Sequence[int]


class Held(msgspec.Struct, frozen=True):
    """What a reservation remembers until it is settled; it grows when a dearer deployment than
    those foreseen is to answer. `sizes` is what is held, by unit."""

    holds: tuple[Hold, ...]
    accounts: Sequence[Account]
    sizes: Mapping[str, int]
    head: gw.RequestHead
    tenant: str | None


class BudgetLimiter:
    """Meets `Limiter`. Its own fail policy is one of its settings."""

    def __init__(
        self,
        settings: BudgetSettings,
        state: gw.StateBackend,
        local: gw.StateBackend,
        workers: int,
        store: gw.Store | None,
        prices: gw.Prices | None,
        targets: gw.Targets,
        fetch: gw.Fetch,
        metrics: gw.Metrics,
    ) -> None:
        self._settings = settings
        self._state = state
        self._local = local
        self._share = max(1, workers)
        self._prices = prices
        self._targets = targets
        self._counting = Counting(state, store)
        self._estimator = Estimator(full=settings.hold == "full")
        url = settings.webhook_url
        self._alerts = Alerts(state, fetch, url.get_secret_value() if url else None, metrics)
        self._accounts = Accounts()
        self._owed: list[tuple[Hold, Sequence[int]]] = []
        self._refused = metrics.counter(
            "gateway_limit_budget_refused_total", "requests that no budget was left for", ("level",)
        ).value
        self._degraded = metrics.counter(
            "gateway_limit_budget_degraded_total", "requests judged without shared state"
        ).value()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            async with gw.alongside(self._tend(), name="tend budgets"):
                yield
        finally:
            await self._alerts.close()

    async def reserve(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Reservation | gw.Refusal:
        principal = asked.arrival.principal
        due = self._accounts.of(principal, head.model, time())
        if due is None or head.operation == "count_tokens":
            return NOTHING
        sizes = self._sizes(head, principal.tenant, candidates, due.units)
        if isinstance(sizes, gw.Refusal):
            return sizes
        hold = await self._taken(due.accounts, sizes)
        if isinstance(hold, gw.Refusal):
            return hold
        holds = (hold,) if hold is not None else ()
        return gw.Reservation(Held(holds, due.accounts, sizes, head, principal.tenant))

    async def cover(
        self, reservation: gw.Reservation, target: gw.Target
    ) -> gw.Reservation | gw.Refusal:
        held = reservation.token
        if not isinstance(held, Held) or "usd" not in held.sizes:
            return reservation
        price = self._price(target)
        if price is None:
            allowed = self._settings.unknown_price == "allow"
            return reservation if allowed else _UNPRICED
        nano = self._estimator.hold(held.head, held.tenant, [(price, self._targets.info(target))])
        more = {"usd": nano - held.sizes["usd"]}
        hold = await self._taken(held.accounts, more)
        if isinstance(hold, gw.Refusal):
            return hold
        if hold is None:
            return reservation
        sizes, holds = {**held.sizes, "usd": nano}, (*held.holds, hold)
        return gw.Reservation(msgspec.structs.replace(held, holds=holds, sizes=sizes))

    def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> Awaitable[None]:
        held = reservation.token
        if not isinstance(held, Held):
            return gw.DONE
        usage, tokens = settlement.usage, None
        if usage is not None:
            asked, made = usage.input_total, usage.output_total
            tokens = asked + made
            if settlement.whole and settlement.target is not None:
                self._estimator.learn(held.head, held.tenant, asked, made)
        charged = _charged(held.sizes, settlement, tokens)
        paid: list[Account] = []
        waiting: list[tuple[Awaitable[None], Hold, Sequence[int]]] = []
        for hold in held.holds:
            # Whichever took from a window first is charged for it, a later one is given back.
            amounts = [0 if each in paid else charged[each.unit] for each in hold.accounts]
            paid += hold.accounts
            try:
                rest = hold.state.settle(hold.grant, amounts)
            except Exception as error:
                self._owe(error, hold, amounts)
                continue
            if rest is gw.DONE:
                self._over(hold, amounts)
            else:
                waiting.append((rest, hold, amounts))
        return self._settled(waiting) if waiting else gw.DONE

    async def _settled(self, waiting: list[tuple[Awaitable[None], Hold, Sequence[int]]]) -> None:
        for rest, hold, amounts in waiting:
            try:
                await rest
            except Exception as error:
                self._owe(error, hold, amounts)
            else:
                self._over(hold, amounts)

    def _over(self, hold: Hold, amounts: Sequence[int]) -> None:
        """What was held is held no longer, and `amounts` of it was used."""
        if hold.state is self._state:
            for each, took, used in zip(hold.accounts, hold.amounts, amounts):  # noqa: B905 (quick)
                each.held -= took
                if each.left is not None:
                    each.left += took - used

    def _owe(self, error: Exception, hold: Hold, amounts: Sequence[int]) -> None:
        log.warning("budget.owed error=%s", type(error).__name__)
        self._owed = [*self._owed[-MAX_OWED:], (hold, amounts)]

    async def _taken(
        self, accounts: Sequence[Account], sizes: Mapping[str, int]
    ) -> Hold | gw.Refusal | None:
        """What `sizes` says, by unit, out of all of `accounts`; None where that is nothing."""
        amounts = [sizes.get(each.unit, 0) for each in accounts]
        if min(amounts) <= 0:
            accounts = [each for each, n in zip(accounts, amounts, strict=True) if n > 0]
            amounts = [each for each in amounts if each > 0]
            if not accounts:
                return None
        state = self._state
        try:
            answer = await self._counting.take(accounts, amounts)
        except Exception as error:
            if self._settings.fail == "closed":
                raise
            if self._settings.fail == "open":
                return None
            log.warning("budget.degraded error=%s", type(error).__name__)
            self._degraded.inc()
            state = self._local
            answer = await state.take(self._shares(accounts, amounts))
        if isinstance(answer, gw.Denial):
            return self._no(accounts[answer.index].window, answer, amounts[answer.index])
        self._note(accounts, amounts, answer, shared=state is self._state)
        return Hold(answer, state, accounts, amounts)

    def _sizes(
        self,
        head: gw.RequestHead,
        tenant: str | None,
        candidates: Sequence[gw.Target],
        units: Set[str],
    ) -> dict[str, int] | gw.Refusal:
        """What to reserve of each of `units`; no dollars where nothing can cost anything."""
        info = self._targets.info
        sizes = {"requests": 1} if "requests" in units else {}
        if "tokens" in units:
            sizes["tokens"] = self._estimator.tokens(head, tenant, list(map(info, candidates)))
        if "usd" in units:
            priced = [
                (price, info(each))
                for each in candidates
                if (price := self._price(each)) is not None
            ]
            if not priced and candidates and self._settings.unknown_price != "allow":
                return _UNPRICED
            sizes["usd"] = self._estimator.hold(head, tenant, priced)
        return sizes

    def _price(self, target: gw.Target) -> gw.Price | None:
        return None if self._prices is None else self._prices.price(target)

    def _shares(self, accounts: Sequence[Account], amounts: Sequence[int]) -> list[gw.Take]:
        """This worker's share of what was last known to be left."""
        now = time()
        return [
            gw.Take(
                f"{each.key}:alone",
                amount,
                max(0, each.window.budget.amount if each.left is None else each.left)
                // self._share,
                "window",
                seconds=each.window.seconds(now),
            )
            for each, amount in zip(accounts, amounts, strict=True)
        ]

    def _note(
        self, accounts: Sequence[Account], amounts: Sequence[int], grant: gw.Grant, *, shared: bool
    ) -> None:
        """What is left of each window now, and whether that is so little that one must know."""
        for each, took, left in zip(accounts, amounts, grant.remaining):  # noqa: B905 (quick)
            if shared:
                each.left = left
                each.held += took
            if left <= each.warned:
                self._alerts.raise_for(each.window, "soft", each.most - left)

    def _no(self, which: Window, denial: gw.Denial, amount: int) -> gw.Refusal:
        budget, left = which.budget, denial.remaining[denial.index]
        self._refused(budget.level).inc()
        self._alerts.raise_for(which, "hard", budget.amount - left)
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

    async def _tend(self) -> None:
        """Settle what could not be settled, and compare with the ledger now and then."""
        loop = asyncio.get_running_loop()
        pause = TRUE_SECONDS
        due = loop.time() + pause
        while True:
            await asyncio.sleep(OWED_SECONDS)
            await self._pay()
            if (began := loop.time()) >= due:
                await self._true_up(pause)
                pause = max(TRUE_SECONDS, TRUE_SHARE * (loop.time() - began))
                due = began + pause

    async def _pay(self) -> None:
        while self._owed:
            hold, amounts = self._owed[0]
            try:
                await hold.state.settle(hold.grant, amounts)
            except Exception:
                return
            self._owed = self._owed[1:]
            self._over(hold, amounts)

    async def _true_up(self, pause: float = TRUE_SECONDS) -> None:
        """`pause` is how long no other worker need do the same."""
        accounts = self._accounts.current(time())
        try:
            await self._counting.outstanding.report(accounts)
            for each in accounts:
                await self._counting.true_up(each.window, pause - 1)
        except Exception as error:
            log.warning("budget.untrued error=%s", type(error).__name__)


_: type[gw.Limiter] = BudgetLimiter
__: type[gw.SupportsCover] = BudgetLimiter


def _charged(
    sizes: Mapping[str, int], settlement: gw.Settlement, tokens: int | None
) -> dict[str, int]:
    """By unit: what it came to; all that was held where an answer does not say; nothing where
    there was no answer. A request that a deployment was asked is one in any case."""
    asked, cost = settlement.target is not None, settlement.cost
    kept = sizes if asked and settlement.answered else {}
    usd = kept.get("usd", 0) if cost is None else round(cost * NANO)  # half to even
    if tokens is None:
        tokens = kept.get("tokens", 0)
    return {"requests": int(asked), "usd": usd, "tokens": tokens}
