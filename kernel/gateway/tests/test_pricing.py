"""What a price makes of a usage is exact, however it is worked out."""

from collections.abc import Mapping
from decimal import Decimal

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st

MILLION = 1_000_000
METERS = (*gw.METERS, "search_units")
RATES = st.decimals(0, 1000, places=9) | st.sampled_from([Decimal("2.50"), Decimal(0)])
COUNTS = st.sampled_from([0, 0, 1, 300]) | st.integers(0, 10**9)
USAGES = st.builds(
    gw.Usage,
    **dict.fromkeys(METERS, COUNTS),
    billed_input=st.none() | COUNTS,
    billed_output=st.none() | COUNTS,
)
PRICES = st.builds(
    gw.Price,
    st.just("v"),
    st.dictionaries(st.sampled_from(METERS), RATES),
    st.lists(
        st.tuples(
            st.integers(0, 10**9), st.dictionaries(st.sampled_from(METERS), st.none() | RATES)
        ),
        max_size=3,
    ).map(tuple),
    st.just(Decimal(0)) | RATES,
)


def by_the_book(price: gw.Price, usage: gw.Usage) -> Decimal | None:
    """Each meter that is charged times the rate that holds for it."""
    rates: Mapping[str, Decimal | None] = price.rates(usage.input_total)
    total = Decimal(0)
    for name in METERS:
        if used := getattr(usage.charged, name):
            rate = rates.get(name)
            if rate is None:
                return None
            total += rate * used
    return price.per_request + total / MILLION


@given(PRICES, USAGES)
def test_a_cost_is_the_sum_of_what_each_meter_costs(price: gw.Price, usage: gw.Usage) -> None:
    assert price.cost(usage) == by_the_book(price, usage)


@given(st.dictionaries(st.sampled_from(METERS), RATES, min_size=len(METERS)), USAGES)
def test_a_price_that_knows_every_meter_knows_every_cost(
    meters: dict[str, Decimal], usage: gw.Usage
) -> None:
    assert gw.Price("v", meters).cost(usage) is not None


@pytest.mark.parametrize(
    ("rate", "used", "cost"),
    [
        ("2.50", 300, "0.00075"),
        ("0.0375", 1, "0.0000000375"),
        ("2.50", 1_000_000, "2.5"),
        ("2.50", 4_000_000, "10"),
        ("1E+1", 100_000, "1"),
        ("0.00", 5, "0"),
        ("0.123456789012345678901234567", 1_000_000, "0.123456789012345678901234567"),
    ],
)
def test_a_cost_is_written_without_an_exponent_and_without_zeros_at_its_end(
    rate: str, used: int, cost: str
) -> None:
    found = gw.Price("v", {"input": Decimal(rate)}).cost(gw.Usage(input=used))
    assert found is not None
    assert f"{found:f}" == cost


def test_the_last_tier_that_the_whole_input_exceeds_replaces_its_meters() -> None:
    tiers = ((100, {"input": Decimal(2)}), (200, {"input": Decimal(3), "output": None}))
    price = gw.Price("v", {"input": Decimal(1), "output": Decimal(1)}, tiers)

    costs = [price.cost(gw.Usage(input=each)) for each in (100, 101, 201)]

    assert costs == [Decimal(each) / MILLION for each in (100, 202, 603)]
    assert price.cost(gw.Usage(input=150, cache_read=51, output=1)) is None
