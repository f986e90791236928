"""The limiter of budgets: reserve high, settle exactly, in the window that was charged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from time import time

import llm_gateway_api as gw

from llm_gateway_limit_budget.accounts import Account, Accounts
from llm_gateway_limit_budget.alerts import Alerts
from llm_gateway_limit_budget.books import Books, Debt
from llm_gateway_limit_budget.counting import Counting
from llm_gateway_limit_budget.estimate import Estimator
from llm_gateway_limit_budget.held import Held, Hold
from llm_gateway_limit_budget.outstanding import SLOT_SECONDS
from llm_gateway_limit_budget.settings import BudgetSettings

log = logging.getLogger("llm_gateway_limit_budget")
TRUE_SECONDS = SLOT_SECONDS
# Sums of very many budgets take a database long: a worker asks for them in a hundredth of its time.
TRUE_SHARE = 100
OWED_SECONDS = 1.0
NOTHING = gw.Reservation()
_UNPRICED = gw.Refusal(
    403,
    "price_unknown",
    "The price of this model is not known, and you have a budget; ask the operator for a price,"
    " or for plugins.limit_budget.unknown_price: allow.",
    param="model",
)


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
        self._books = Books(state, self._counting, self._estimator, self._alerts, metrics)
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

    def claim(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Claim | None:
        held = self._held(asked, head, candidates)
        return None if isinstance(held, gw.Refusal) else held

    async def reserve(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Reservation | gw.Refusal:
        held = self._held(asked, head, candidates)
        if isinstance(held, gw.Refusal):
            return held
        if not isinstance(held, Held):
            return NOTHING
        if held.takes:
            hold = await self._taken(held.accounts, held.takes)
            if isinstance(hold, gw.Refusal):
                return hold
            if hold is not None:
                held.holds.append(hold)
        return gw.Reservation(held)

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
        more = nano - held.sizes["usd"]
        if more <= 0:
            return reservation
        accounts = [each for each in held.due.accounts if each.unit == "usd"]
        hold = await self._taken(accounts, [each.take(more) for each in accounts])
        if isinstance(hold, gw.Refusal):
            return hold
        if hold is not None:
            held.holds.append(hold)
            held.sizes["usd"] = nano
        return reservation

    def settle(self, reservation: gw.Reservation, settlement: gw.Settlement) -> Awaitable[None]:
        held = reservation.token
        if not isinstance(held, Held):
            return gw.DONE
        # Whichever took from a window first is charged for it, a later one is given back.
        paid: list[Account] = []
        charged = held.charged
        if charged is None:
            charged = held.charge(settlement)
        else:  # with the claim
            paid += held.accounts
        waiting: list[tuple[Awaitable[None], Debt]] = []
        for hold in held.holds:
            amounts = [0 if each in paid else charged[each.unit] for each in hold.accounts]
            paid += hold.accounts
            grant = hold.grant
            debt = Debt(hold.state, grant, amounts, hold.accounts, grant.takes, amounts)
            try:
                rest = hold.state.settle(grant, amounts)
            except Exception as error:
                self._books.owe(error, debt)
                continue
            if rest is gw.DONE:
                self._books.paid(debt)
            else:
                waiting.append((rest, debt))
        return self._settled(waiting) if waiting else gw.DONE

    async def _settled(self, waiting: list[tuple[Awaitable[None], Debt]]) -> None:
        for rest, debt in waiting:
            try:
                await rest
            except Exception as error:
                self._books.owe(error, debt)
            else:
                self._books.paid(debt)

    async def _taken(
        self, accounts: Sequence[Account], takes: Sequence[gw.Take]
    ) -> Hold | gw.Refusal | None:
        """`takes` out of `accounts`, by what the settings say where shared state fails; None
        where that is to go on without."""
        state = self._state
        try:
            answer = await self._counting.take(accounts, takes)
        except Exception as error:
            if self._settings.fail == "closed":
                raise
            if self._settings.fail == "open":
                return None
            log.warning("budget.degraded error=%s", type(error).__name__)
            self._degraded.inc()
            state = self._local
            answer = await state.take(self._shares(accounts, takes))
        if isinstance(answer, gw.Denial):
            at = answer.index
            return self._books.refusal(accounts[at], answer, takes[at].amount)
        self._books.note(accounts, takes, answer.remaining, shared=state is self._state)
        return Hold(answer, state, accounts)

    def _held(
        self, asked: gw.Asked, head: gw.RequestHead, candidates: Sequence[gw.Target]
    ) -> gw.Claim | gw.Refusal:
        """What a request needs of its windows; none of it is taken yet."""
        principal, now = asked.arrival.principal, time()
        due = self._accounts.of(principal, head.model, now)
        if due is None or head.operation == "count_tokens":
            return gw.NO_CLAIM
        second = int(now)
        if due.candidates is not candidates or due.second != second:
            offer, info = self._estimator.offer, self._targets.info
            offers = [offer(self._price(each), info(each)) for each in candidates]
            due.look_up(candidates, second, offers)
        tenant, units = principal.tenant, due.units
        sizes: dict[str, int] = {}
        if "usd" in units:
            if not due.priced and self._settings.unknown_price != "allow":
                return _UNPRICED
            sizes["usd"] = self._estimator.dearest(head, tenant, due.offers)
        if "tokens" in units:
            sizes["tokens"] = self._estimator.tokens(head, tenant, due.offers)
        if "requests" in units:
            sizes["requests"] = 1
        accounts: Sequence[Account] = due.accounts
        if 0 in sizes.values():
            accounts = [each for each in accounts if sizes[each.unit]]
        takes = [each.take(sizes[each.unit]) for each in accounts]
        return Held(takes, accounts, self._books, due, sizes, head, tenant)

    def _price(self, target: gw.Target) -> gw.Price | None:
        return None if self._prices is None else self._prices.price(target)

    def _shares(self, accounts: Sequence[Account], takes: Sequence[gw.Take]) -> list[gw.Take]:
        """This worker's share of what was last known to be left."""
        now = time()
        return [
            gw.Take(
                f"{each.key}:alone",
                take.amount,
                max(0, each.window.budget.amount if each.left is None else each.left)
                // self._share,
                "window",
                seconds=each.window.seconds(now),
            )
            for each, take in zip(accounts, takes, strict=True)
        ]

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
        await self._books.pay()

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
___: type[gw.SupportsClaims] = BudgetLimiter
