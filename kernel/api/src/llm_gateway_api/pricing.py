"""What a model costs, and what an answer of it did."""

import math
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

import msgspec

from llm_gateway_api.events import Usage


class Price(msgspec.Struct, frozen=True, dict=True):
    """What a model costs: USD per million of each meter of `Usage`, by the meter's name.

    `tiers` are (input tokens, meters): the last whose number the whole input exceeds
    replaces the meters it names; None there means that the rate is not known. `per_request`
    is added once. `version` names the row.
    """

    version: str
    meters: Mapping[str, Decimal]
    tiers: tuple[tuple[int, Mapping[str, Decimal | None]], ...] = ()
    per_request: Decimal = Decimal(0)

    def cost(self, usage: Usage) -> Decimal | None:
        """USD, exact; None when a meter that was used has no price. `search_units` are a
        meter too, in USD per million of them."""
        scale, total, rates, tiers = self._whole
        for above, others in tiers:
            if usage.input_total > above:
                rates = others
        if usage.billed_input is not None or usage.billed_output is not None:
            usage = usage.charged
        # Meter by meter, and in integers: a loop over their names and a sum of decimals take
        # two and three times as long.
        fresh, read, written, written_1h, heard, made, thought, spoken, searched = rates
        if used := usage.input:
            total += fresh * used
        if used := usage.cache_read:
            total += read * used
        if used := usage.cache_write:
            total += written * used
        if used := usage.cache_write_1h:
            total += written_1h * used
        if used := usage.audio_input:
            total += heard * used
        if used := usage.output:
            total += made * used
        if used := usage.reasoning:
            total += thought * used
        if used := usage.audio_output:
            total += spoken * used
        if used := usage.search_units:
            total += searched * used
        return Decimal(total) / scale if total == total else None

    @cached_property
    def _whole(self) -> "_Whole":
        return _Whole.of(self)

    def rates(self, input_tokens: int) -> Mapping[str, Decimal | None]:
        """The meters that hold for a request of so many input tokens."""
        meters: Mapping[str, Decimal | None] = self.meters
        for above, other in self.tiers:
            if input_tokens > above:
                meters = {**self.meters, **other}
        return meters


MILLION = Decimal(1_000_000)
METERS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "output",
    "reasoning",
    "audio_output",
)
_CHARGED = (*METERS, "search_units")


class _Whole(NamedTuple):
    """A price as integers, in parts of a dollar of which there are `scale`: its sums are exact.

    `rates` are those of `_CHARGED`, by the token. One that is not known is no number, and so is
    then every sum that it is part of.
    """

    scale: Decimal
    once: float
    rates: tuple[float, ...]
    tiers: tuple[tuple[int, tuple[float, ...]], ...]

    @classmethod
    def of(cls, price: Price) -> "_Whole":
        tiers = [(above, {**price.meters, **other}) for above, other in price.tiers]
        tables = [price.meters, *(meters for _, meters in tiers)]
        known = [each for meters in tables for each in meters.values() if each is not None]
        parts = 10 ** max(map(_decimals, (*known, price.per_request)))
        return cls(
            parts * MILLION,
            _times(price.per_request, parts * 1_000_000),
            _by_token(price.meters, parts),
            tuple([(above, _by_token(meters, parts)) for above, meters in tiers]),
        )


def _by_token(meters: Mapping[str, Decimal | None], parts: int) -> tuple[float, ...]:
    """The rates of `_CHARGED`."""
    rates = [meters.get(name) for name in _CHARGED]
    return tuple([math.nan if each is None else _times(each, parts) for each in rates])


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _times(number: Decimal, parts: int) -> int:
    """Exact, however many digits `number` has."""
    numerator, denominator = number.as_integer_ratio()
    return numerator * parts // denominator
