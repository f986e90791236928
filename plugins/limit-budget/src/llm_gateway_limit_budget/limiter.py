"""The limiter of budgets: reserve high, settle exactly, in the window that was charged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN
from time import time

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_budget.alerts import Alerts
from llm_gateway_limit_budget.counting import Counting
from llm_gateway_limit_budget.estimate import NANO, Estimator
from llm_gateway_limit_budget.outstanding import SLOT_SECONDS
from llm_gateway_limit_budget.periods import Window, Windows
from llm_gateway_limit_budget.settings import BudgetSettings
from llm_gateway_limit_budget.spending import written

log = logging.getLogger("llm_gateway_limit_budget")
TRUE_SECONDS = SLOT_SECONDS
OWED_SECONDS = 1.0
MAX_KEPT = 10_000
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
    windows: tuple[Window, ...]
    amounts: tuple[int, ...]


class Held(msgspec.Struct, frozen=True):
    """What a reservation remembers until it is settled; it grows when a dearer deployment than
    those foreseen is to answer. `sizes` is what is held, by unit."""

    holds: tuple[Hold, ...]
    windows: tuple[Window, ...]
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
        self._windows = Windows()
        self._left: dict[str, int] = {}
        self._seen: dict[str, Window] = {}
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
        self, arrival: gw.Arrival, head: gw.RequestHead
    ) -> gw.Reservation | gw.Refusal:
        windows = self._windows.of(arrival.principal, head.model, time())
        if not windows or head.operation == "count_tokens":
            return NOTHING
        sizes = self._sizes(arrival, head, {each.budget.unit for each in windows})
        if isinstance(sizes, gw.Refusal):
            return sizes
        hold = await self._taken(windows, sizes)
        if isinstance(hold, gw.Refusal):
            return hold
        holds = (hold,) if hold is not None else ()
        return gw.Reservation(Held(holds, windows, sizes, head, arrival.principal.tenant))

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
        hold = await self._taken(held.windows, more)
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
        if settlement.usage is not None and settlement.target is not None:
            self._estimator.learn(held.head, held.tenant, settlement.usage)
        charged = _charged(held.sizes, settlement)
        due = {each.key: charged[each.budget.unit] for each in held.windows}
        waiting: list[tuple[Awaitable[None], Hold, Sequence[int]]] = []
        for each in held.holds:
            # Whichever took from a window first is charged for it, a later one is given back.
            amounts = [due.pop(window.key, 0) for window in each.windows]
            if each.state is self._state:
                for window, took, used in zip(each.windows, each.amounts, amounts, strict=True):
                    if window.key in self._left:
                        self._left[window.key] += took - used
            amounts += [0] * (len(each.grant.takes) - len(amounts))  # the markers
            try:
                rest = each.state.settle(each.grant, amounts)
            except Exception as error:
                self._owe(error, each, amounts)
                continue
            if rest is gw.DONE:
                self._count(each, -1)
            else:
                waiting.append((rest, each, amounts))
        return self._settled(waiting) if waiting else gw.DONE

    async def _settled(self, waiting: list[tuple[Awaitable[None], Hold, Sequence[int]]]) -> None:
        for rest, hold, amounts in waiting:
            try:
                await rest
            except Exception as error:
                self._owe(error, hold, amounts)
            else:
                self._count(hold, -1)

    def _owe(self, error: Exception, hold: Hold, amounts: Sequence[int]) -> None:
        log.warning("budget.owed error=%s", type(error).__name__)
        self._owed = [*self._owed[-MAX_KEPT:], (hold, amounts)]

    def _count(self, hold: Hold, sign: int) -> None:
        if hold.state is self._state:
            for each, amount in zip(hold.windows, hold.amounts, strict=True):
                self._counting.outstanding.add(each.key, sign * amount)

    async def _taken(
        self, windows: Sequence[Window], sizes: Mapping[str, int]
    ) -> Hold | gw.Refusal | None:
        """What `sizes` says, by unit, out of all of `windows`; None where that is nothing."""
        windows = tuple(each for each in windows if sizes.get(each.budget.unit, 0) > 0)
        if not windows:
            return None
        amounts = tuple(sizes[each.budget.unit] for each in windows)
        state = self._state
        try:
            answer = await self._counting.take(windows, amounts)
        except Exception as error:
            if self._settings.fail == "closed":
                raise
            if self._settings.fail == "open":
                return None
            log.warning("budget.degraded error=%s", type(error).__name__)
            self._degraded.inc()
            state = self._local
            answer = await state.take(self._shares(windows, amounts))
        if isinstance(answer, gw.Denial):
            return self._no(windows[answer.index], answer, amounts[answer.index])
        self._note(windows, answer, shared=state is self._state)
        hold = Hold(answer, state, windows, amounts)
        self._count(hold, 1)
        return hold

    def _sizes(
        self, arrival: gw.Arrival, head: gw.RequestHead, units: Set[str]
    ) -> dict[str, int] | gw.Refusal:
        """What to reserve of each of `units`; no dollars where nothing can cost anything."""
        model = arrival.principal.renamed.get(head.model, head.model)
        asked = gw.Asked(arrival, model, head.operation, head.stream, len(head.body), False, False)
        candidates = self._targets.candidates(asked)
        offers = [(self._price(each), self._targets.info(each)) for each in candidates]
        sizes = {"requests": 1} if "requests" in units else {}
        tenant = arrival.principal.tenant
        if "tokens" in units:
            sizes["tokens"] = self._estimator.tokens(head, tenant, [info for _, info in offers])
        if "usd" in units:
            priced = [(price, info) for price, info in offers if price is not None]
            if not priced and candidates and self._settings.unknown_price != "allow":
                return _UNPRICED
            sizes["usd"] = self._estimator.hold(head, tenant, priced)
        return sizes

    def _price(self, target: gw.Target) -> gw.Price | None:
        return None if self._prices is None else self._prices.price(target)

    def _shares(self, windows: Sequence[Window], amounts: Sequence[int]) -> list[gw.Take]:
        """This worker's share of what was last known to be left."""
        now = time()
        return [
            gw.Take(
                f"{each.key}:alone",
                amount,
                max(0, self._left.get(each.key, each.budget.amount)) // self._share,
                "window",
                seconds=each.seconds(now),
            )
            for each, amount in zip(windows, amounts, strict=True)
        ]

    def _note(self, windows: Sequence[Window], grant: gw.Grant, *, shared: bool) -> None:
        if len(self._left) >= MAX_KEPT:
            self._left.clear()
            self._seen.clear()
        for each, left in zip(windows, grant.remaining, strict=False):
            if shared:
                self._left[each.key] = left
                self._seen[each.key] = each
            used, soft = each.budget.amount - left, each.budget.soft
            if soft is not None and used >= soft:
                self._alerts.raise_for(each, "soft", used)

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
        due = loop.time() + TRUE_SECONDS
        while True:
            await asyncio.sleep(OWED_SECONDS)
            await self._pay()
            if loop.time() >= due:
                due = loop.time() + TRUE_SECONDS
                await self._true_up()

    async def _pay(self) -> None:
        while self._owed:
            hold, amounts = self._owed[0]
            try:
                await hold.state.settle(hold.grant, amounts)
            except Exception:
                return
            self._owed = self._owed[1:]
            self._count(hold, -1)

    async def _true_up(self) -> None:
        now = time()
        self._seen = {
            key: each for key, each in self._seen.items() if each.end is None or now < each.end
        }
        self._counting.outstanding.keep(self._seen)
        try:
            await self._counting.outstanding.report()
            for each in tuple(self._seen.values()):
                await self._counting.true_up(each, TRUE_SECONDS - 1)
        except Exception as error:
            log.warning("budget.untrued error=%s", type(error).__name__)


_: type[gw.Limiter] = BudgetLimiter
__: type[gw.SupportsCover] = BudgetLimiter


def _charged(sizes: Mapping[str, int], settlement: gw.Settlement) -> dict[str, int]:
    """By unit: what it came to; all that was held where an answer does not say; nothing where
    there was no answer. A request that a deployment was asked is one in any case."""
    asked = settlement.target is not None
    kept = sizes if asked and settlement.answered else {}
    charged = {"requests": int(asked), "usd": kept.get("usd", 0), "tokens": kept.get("tokens", 0)}
    if settlement.cost is not None:
        charged["usd"] = int((settlement.cost * NANO).to_integral_value(ROUND_HALF_EVEN))
    if settlement.usage is not None:
        charged["tokens"] = settlement.usage.input_total + settlement.usage.output_total
    return charged
