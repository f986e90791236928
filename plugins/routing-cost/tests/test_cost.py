"""What a request is expected to cost where, and who is too bad to be cheap."""

from collections import Counter
from decimal import Decimal
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_cost.settings import CostSettings
from llm_gateway_routing_cost.strategy import CostOptimized, expected

CHEAP, DEAR, FREE = (gw.Target(name, "m") for name in ("cheap", "dear", "free"))


def price(input_price: str, output_price: str, **more: str) -> gw.Price:
    meters = {"input": input_price, "output": output_price, **more}
    return gw.Price("v", {name: Decimal(value) for name, value in meters.items()})


PRICES = {
    "cheap": price("1", "4", cache_read="0.5"),
    "dear": price("2", "8", cache_read="0.2"),
}


class World:
    """A strategy, its clock and its catalogue."""

    def __init__(self, prices: dict[str, gw.Price] | None = None, **settings: Any) -> None:
        self.now = 0.0
        self.prices = PRICES if prices is None else prices
        self.strategy = CostOptimized(
            CostSettings.model_validate(settings), clock=lambda: self.now, prices=self
        )
        self.guard = self.strategy.follower()

    def price(self, target: gw.Target) -> gw.Price | None:
        return self.prices.get(target.provider)

    def attempt(
        self,
        target: gw.Target,
        asked: gw.Asked,
        failure: str | None = None,
        usage: gw.Usage | None = None,
        seconds: float = 0.1,
        cancelled: bool = False,
    ) -> None:
        lease = self.guard.admit(target, asked)
        assert isinstance(lease, gw.Lease)
        self.now += seconds
        self.guard.report(lease, gw.Outcome(target, failure, cancelled=cancelled, usage=usage))

    def first(self, *candidates: gw.Target, asked: gw.Asked | None = None) -> gw.Target:
        scores = self.strategy.score(asked or ask(), candidates)
        return candidates[scores.index(max(scores))]


def ask(size: int = 40_000, **fields: object) -> gw.Asked:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    arrival = gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0)
    return gw.Asked(arrival, "m", "chat", False, size, False, False, fields=raw)


TALK = ask(messages=[{"role": "user", "content": "Write a story."}])


def test_the_cheaper_one() -> None:
    """Lower prices win, whatever the order and the weights."""
    heavy = gw.Target("dear", "m", weight=100)

    assert World().first(heavy, CHEAP) is CHEAP


def test_expected_cost() -> None:
    """10,000 tokens in and 500 out: 0.01 + 0.002 USD; half of the prompt cached: 0.0095."""
    cheap = PRICES["cheap"]

    assert expected(cheap, 10_000, 500, 0.0) == pytest.approx(0.012)
    assert expected(cheap, 10_000, 500, 0.5) == pytest.approx(0.0095)
    assert expected(gw.Price("v", {"output": Decimal(1)}), 10, 5, 0.0) is None
    assert expected(gw.Price("v", {"input": Decimal(1)}), 1_000_000, 0, 0.0) == pytest.approx(1)


def test_tiers_count() -> None:
    """A price that doubles for long prompts loses them, and only them."""
    tiered = gw.Price(
        "v",
        {"input": Decimal("0.9"), "output": Decimal(4)},
        ((5_000, {"input": Decimal("1.8")}),),
    )
    world = World({"cheap": PRICES["cheap"], "dear": tiered})

    assert world.first(CHEAP, DEAR, asked=ask(4_000)) is DEAR
    assert world.first(CHEAP, DEAR, asked=ask(400_000)) is CHEAP


def test_the_answers_length_counts() -> None:
    """A dear output is no matter where the client allows a few tokens only."""
    talkative = {"cheap": price("1", "40"), "dear": price("2", "2")}

    assert World(talkative).first(CHEAP, DEAR, asked=ask(4_000)) is DEAR
    assert World(talkative).first(CHEAP, DEAR, asked=ask(4_000, max_tokens=5)) is CHEAP
    assert World(talkative).first(CHEAP, DEAR, asked=ask(4_000, max_tokens=None)) is DEAR
    assert World(talkative, output_tokens=1).first(CHEAP, DEAR, asked=ask(4_000)) is CHEAP


def test_lengths_are_learned() -> None:
    """After short answers a short one is expected."""
    talkative = {"cheap": price("1", "40"), "dear": price("2", "2")}
    world = World(talkative)
    for _ in range(50):
        world.attempt(DEAR, ask(), usage=gw.Usage(input=1000, output=3))

    assert world.first(CHEAP, DEAR, asked=ask(4_000)) is CHEAP


def test_a_warm_conversation_stays() -> None:
    """What is in the dear one's cache makes it the cheaper one, as long as it is warm."""
    world = World(cache_seconds=300)
    world.attempt(DEAR, TALK, usage=gw.Usage(input=100, cache_read=9_900, output=10))
    assert world.first(CHEAP, DEAR, asked=TALK) is DEAR
    assert world.first(CHEAP, DEAR, asked=ask(messages=[{"role": "user", "content": "x"}])) is CHEAP

    world.now += 301
    assert world.first(CHEAP, DEAR, asked=TALK) is CHEAP


def test_what_was_written_is_warm_next_time() -> None:
    world = World()
    world.attempt(DEAR, TALK, usage=gw.Usage(input=100, cache_write=9_900, output=10))

    assert world.first(CHEAP, DEAR, asked=TALK) is DEAR


def test_floor_of_success() -> None:
    """Who fails often is asked last, and after five minutes again."""
    world = World(min_samples=10)
    for _ in range(9):
        world.attempt(CHEAP, ask(), failure="server_error")
    assert world.first(CHEAP, DEAR) is CHEAP, "too few to judge by"

    world.attempt(CHEAP, ask(), failure="server_error")
    assert world.first(CHEAP, DEAR) is DEAR
    world.now += 301
    assert world.first(CHEAP, DEAR) is CHEAP
    assert World(min_success_rate=0).first(CHEAP, DEAR) is CHEAP


def test_faults_of_callers_are_no_failures() -> None:
    """Neither are requests that clients left."""
    world = World(min_samples=1)
    for _ in range(20):
        world.attempt(CHEAP, ask(), failure="caller_fault")
        world.attempt(CHEAP, ask(), failure=None, cancelled=True)

    assert world.first(CHEAP, DEAR) is CHEAP


def test_floor_of_speed() -> None:
    world = World(max_first_content_ms=500, min_samples=3)
    for _ in range(3):
        world.attempt(CHEAP, ask(), seconds=2.0)

    assert world.first(CHEAP, DEAR) is DEAR


def test_unpriced_after_priced_and_before_unfit() -> None:
    """An unknown price is no low price."""
    world = World(min_samples=1)

    assert world.first(FREE, DEAR) is DEAR
    world.attempt(DEAR, ask(), failure="server_error")
    assert world.first(FREE, DEAR) is FREE
    assert world.first(FREE) is FREE


def test_equal_prices_share_by_weight() -> None:
    world = World({"cheap": PRICES["cheap"], "dear": PRICES["cheap"]})
    three = gw.Target("dear", "m", weight=3)

    firsts = Counter(world.first(CHEAP, three).provider for _ in range(4000))

    assert 2800 < firsts["dear"] < 3200
    assert world.strategy.score(ask(), [gw.Target("cheap", "m", 0.0)]) == [float("-inf")]


@given(
    st.floats(0, 100), st.floats(0, 100), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1)
)
def test_warmer_is_never_dearer(
    fresh: float, read: float, tokens: int, one: float, other: float
) -> None:
    """Where reading costs less than fresh input, a larger cached share costs no more."""
    low, high = sorted((fresh, read))
    meters = {"input": Decimal(high), "cache_read": Decimal(low), "output": Decimal(1)}
    found = gw.Price("v", meters)
    less, more = sorted((one, other))

    warm, cold = expected(found, tokens, 10, more), expected(found, tokens, 10, less)

    assert warm is not None and cold is not None and warm <= cold + 1e-9
