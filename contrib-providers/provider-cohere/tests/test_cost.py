"""What Cohere charges is priced, not what it counts: hidden tokens of its template are free."""

from decimal import Decimal

import llm_gateway_api as gw
import pytest

PRICE = gw.Price(
    "2026-11", {"input": Decimal("2.5"), "output": Decimal(10), "search_units": Decimal(2000)}
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (gw.Usage(400, cache_read=10, output=40, billed_input=30, billed_output=15), "0.000225"),
        (gw.Usage(400, output=40), "0.0014"),
        (gw.Usage(search_units=2), "0.004"),
    ],
)
def test_billed_units_are_priced(usage: gw.Usage, cost: str) -> None:
    assert PRICE.cost(usage) == Decimal(cost)


def test_a_unit_without_a_price_has_no_cost() -> None:
    assert gw.Price("x", {}).cost(gw.Usage(search_units=1)) is None
