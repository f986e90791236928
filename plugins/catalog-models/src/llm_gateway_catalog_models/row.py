"""The form of a row, and short ways to write one. Prices are USD per million, as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

import llm_gateway_api as gw

Meters: TypeAlias = Mapping[str, str | None]

TALKS = frozenset({"chat", "streaming"})
CALLS = TALKS | {"tools"}
SEES = CALLS | {"vision"}
FORMS = frozenset({"structured_output"})
THINKS = frozenset({"reasoning"})
EMBEDS = frozenset({"embeddings"})
RANKS = frozenset({"rerank"})
M = 1_000_000


def usd(
    input: str,
    output: str | None = None,
    *,
    cached: str | None = None,
    write: str | None = None,
    write_1h: str | None = None,
    audio: str | None = None,
    audio_output: str | None = None,
) -> dict[str, str | None]:
    """The meters of a price; what is None is not known. All vendors here charge reasoning as
    output."""
    return {
        "input": input,
        "output": output,
        "reasoning": output,
        "cache_read": cached,
        "cache_write": write,
        "cache_write_1h": write_1h,
        "audio_input": audio,
        "audio_output": audio_output,
    }


@dataclass(frozen=True, slots=True)
class Tariff:
    """What holds from the day `since` on (ISO, midnight UTC; always, if absent).

    `above` holds for a request whose whole input has more than so many tokens.
    """

    meters: Meters
    above: tuple[tuple[int, Meters], ...] = ()
    since: str | None = None

    def starts(self) -> float:
        if self.since is None:
            return 0.0
        return datetime.fromisoformat(self.since).replace(tzinfo=UTC).timestamp()

    def price(self, version: str) -> gw.Price:
        tiers = tuple((tokens, _exact(meters)) for tokens, meters in self.above)
        base = {name: each for name, each in _exact(self.meters).items() if each is not None}
        return gw.Price(version, base, tiers)


@dataclass(frozen=True, slots=True)
class Row:
    """One model of one kind of provider, as `source` had it on the day `read`.

    `context` and `output` are tokens, None where not known. `prices` are by the day from which
    each holds; none where the price is not known. `note` says what the source leaves open.
    """

    id: str
    context: int | None
    output: int | None
    capabilities: frozenset[str]
    prices: tuple[Tariff, ...]
    source: str
    read: str
    aliases: tuple[str, ...] = ()
    note: str = ""

    def info(self, id: str) -> gw.ModelInfo:
        return gw.ModelInfo(id, self.context, self.output, self.capabilities)


def _exact(meters: Meters) -> dict[str, Decimal | None]:
    return {name: None if each is None else Decimal(each) for name, each in meters.items()}
