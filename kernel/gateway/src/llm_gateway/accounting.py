"""What each request cost and that it is recorded once: priced, then closed in the ledger."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from time import monotonic, time
from typing import TYPE_CHECKING

from llm_gateway_api import (
    ClientGoneError,
    GatewayError,
    Ledger,
    LedgerOpening,
    LedgerRecord,
    Prices,
    Target,
    Value,
)

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

log = logging.getLogger("llm_gateway.accounting")
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Accounting:
    """Opens and closes the ledger's records; without a ledger it only prices."""

    ledger: Ledger | None
    prices: Prices | None
    failures: Value
    bits: Callable[[int], int] = field(default_factory=lambda: Random().getrandbits)

    def begin(self, call: "Call") -> None:
        """An admitted request; from here on it leaves a record, whatever happens.

        Raises:
            GatewayError: 503, the ledger cannot write.
        """
        if self.ledger is None:
            return
        principal = call.arrival.principal
        now = int(time() * 1000)
        opening = LedgerOpening(
            # in the order of time, so that a database's index grows at its end
            f"led_{(now << 52 | self.bits(52)).to_bytes(12).hex()}",
            call.arrival.request_id,
            now,
            principal.tenant,
            principal.key_id,
            call.head.model,
            call.head.operation,
        )
        try:
            self.ledger.begin(opening)
        except Exception as error:
            log.exception("ledger.failed")
            raise GatewayError(
                "Usage cannot be recorded now, so nothing is served; try again later.",
                status=503,
                code="ledger_unavailable",
                retry_after=5.0,
            ) from error
        call.opening = opening

    def price(self, call: "Call") -> str | None:
        """What the request cost, as far as it is known, and the version of its price."""
        target = call.target or call.repeated
        if call.usage is None or target is None or self.prices is None:
            return None
        price = self.prices.price(target)
        call.cost = price.cost(call.usage) if price is not None else None
        if call.partial is not None:
            call.cost = self._sum(call, target)
        if call.repeated is not None:
            call.saved, call.cost = call.cost, Decimal(0)
        if call.cost is not None:
            call.cost_usd = f"{call.cost:f}"
            if not call.client.committed:
                call.headers["x-gateway-cost"] = call.cost_usd
        return price.version if price is not None else None

    def end(self, call: "Call") -> None:
        """Price the request and close its record; called before the last byte, once."""
        if call.accounted:
            return
        call.accounted = True
        version = self.price(call)
        if call.opening is None or self.ledger is None:
            return
        try:
            self.ledger.end(self._record(call, call.opening, version))
        except Exception:
            self.failures.inc()
            log.exception("ledger.failed")

    def _record(self, call: "Call", opening: LedgerOpening, version: str | None) -> LedgerRecord:
        error, target, first = call.error, call.target or call.repeated, call.first_content
        arrived, hedges = call.arrival.arrived, len(call.given_up)
        return LedgerRecord(  # without names, which would cost more than the record itself
            opening.id,
            opening.request_id,
            opening.at,
            opening.tenant,
            opening.key_id,
            opening.model,
            opening.operation,
            target.provider if target is not None else None,
            target.model if target is not None else None,
            target.region if target is not None else None,
            200 if error is None else 499 if isinstance(error, ClientGoneError) else error.status,
            error.code if error is not None else None,
            call.head.stream,
            call.cache,
            call.attempts,
            int((monotonic() - arrived) * 1000),
            int((first - arrived) * 1000) if first is not None else None,
            call.usage,
            0 if call.repeated is not None else nano(call.cost),
            nano(call.saved),
            version,
            hedges,
            self._given_up(call) if hedges else None,
        )

    def _sum(self, call: "Call", last: Target) -> Decimal | None:
        """The cost of an answer in parts, each at its own deployment's price."""
        assert call.partial is not None
        own = call.seam.own if call.seam is not None else None
        parts = [*call.partial.parts, *([(last, own)] if own is not None else [])]
        total = Decimal(0)
        for target, usage in parts:
            price = self.prices.price(target) if self.prices is not None else None
            cost = price.cost(usage) if price is not None else None
            if cost is None:
                return None
            total += cost
        return total

    def _given_up(self, call: "Call") -> int | None:
        """What attempts used that another one outran, priced; None where that is not known."""
        costs = [
            price.cost(each.usage)
            for each in call.given_up
            if each.usage is not None and each.target is not None and self.prices is not None
            if (price := self.prices.price(each.target)) is not None
        ]
        known = [each for each in costs if each is not None]
        return nano(sum(known, Decimal(0))) if known else None


def nano(cost: Decimal | None) -> int | None:
    """USD as whole nano-dollars, half to even."""
    if cost is None:
        return None
    return round(cost * NANO)
