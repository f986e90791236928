"""What a request may cost, before it is asked: tokens guessed high, at the dearest rates."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TypeAlias

import msgspec
from llm_gateway_api import MILLION, ModelInfo, Price, RequestHead, output_cap, whole_field

NANO = 1_000_000_000
FINE = 1_000_000  # parts of a nano-dollar, in which a token's price is whole
OUTPUT_TOKENS = 1000.0
BYTES_A_TOKEN = 3.0
MAX_LEARNED = 10_000
_INPUT = ("input", "cache_read", "cache_write", "cache_write_1h")
_OUTPUT = ("output", "reasoning")
_SOUND = frozenset({"audio_input", "audio_output"})
WITHOUT_OUTPUT = frozenset({"embeddings", "rerank"})


class Quantile:
    """Follows a quantile of what it is told, in steps of a tenth of itself."""

    __slots__ = ("_share", "value")

    def __init__(self, value: float, share: float) -> None:
        self.value, self._share = value, share

    def learn(self, seen: float) -> None:
        value, share = self.value, self._share
        step = value * 0.1
        if step < 1.0 and share > 0.5:
            step = 1.0
        self.value = value + step * (share if seen > value else share - 1.0)


class Estimator:
    """Learns how long answers of a model are for a tenant, and how many bytes a token has."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._outputs: dict[tuple[str | None, str], Quantile] = {}
        self._bytes = Quantile(BYTES_A_TOKEN, 0.05)
        self._rates: dict[str, Rates] = {}

    def hold(
        self, head: RequestHead, tenant: str | None, offers: Sequence[tuple[Price, ModelInfo]]
    ) -> int:
        """Nano-dollars to reserve: the most that one of `offers` may ask for the request."""
        return self.dearest(head, tenant, [self.offer(*each) for each in offers])

    def offer(self, price: Price | None, info: ModelInfo) -> "Offer":
        """What it may ask, worked out once for many requests."""
        return None if price is None else self._known(price), info.context_window, info.max_output

    def dearest(self, head: RequestHead, tenant: str | None, offers: "Sequence[Offer]") -> int:
        """As `hold`; one without a price asks nothing."""
        asked, made, choices, unbound = self._guess(head, tenant)
        most = 0
        for known, window, longest in offers:
            if known is None:
                continue
            read = asked if window is None or asked < window else window
            written = longest if longest is not None and (unbound or longest < made) else made
            rates = known.usual
            if rates is None:
                rates = known.of(read, head.body)
            cost = rates.fixed + rates.asked * read + rates.made * written * choices
            if cost > most:
                most = cost
        return -(-most // FINE)

    def tokens(self, head: RequestHead, tenant: str | None, offers: "Sequence[Offer]") -> int:
        """Tokens to reserve: the most that one of `offers` may read and write."""
        asked, made, choices, unbound = self._guess(head, tenant)
        most = 0
        for _, window, longest in offers or ((None, None, None),):
            read = asked if window is None or asked < window else window
            written = longest if longest is not None and (unbound or longest < made) else made
            if read + written * choices > most:
                most = read + written * choices
        return most

    def learn(self, head: RequestHead, tenant: str | None, asked: int, made: int) -> None:
        """The request had `asked` tokens, and its answer `made`."""
        if asked > 0:
            seen = len(head.body) / asked
            self._bytes.learn(1.0 if seen < 1.0 else 100.0 if seen > 100.0 else seen)
        known = self._outputs.get((tenant, head.model))
        if known is None:
            if len(self._outputs) >= MAX_LEARNED:
                self._outputs.clear()
            known = self._outputs[tenant, head.model] = Quantile(OUTPUT_TOKENS, 0.95)
        known.learn(made)

    def _known(self, price: Price) -> "Rates":
        """Worked out once for a price."""
        known = self._rates.get(price.version)
        if known is None or known.price is not price:
            if len(self._rates) >= MAX_LEARNED:
                self._rates.clear()
            known = self._rates[price.version] = Rates(price)
        return known

    def _guess(self, head: RequestHead, tenant: str | None) -> tuple[int, int, int, bool]:
        """Tokens that a request may read, and write for each of so many choices, whoever
        answers; whether those are unbound: as many as the model can write."""
        ratio = self._bytes.value
        if ratio < 1.0 or self._full:
            ratio = 1.0
        asked = int(len(head.body) / ratio) + 1
        if head.operation in WITHOUT_OUTPUT:
            return asked, 0, 0, False
        known = self._outputs.get((tenant, head.model))
        learned = int(known.value if known is not None else OUTPUT_TOKENS) + 1
        cap = output_cap(head)
        if cap is None:
            made = learned
        else:
            made = cap if cap < learned or self._full or not head.stream else learned
        choices = (whole_field(head, "n") or 1) if "n" in head.fields else 1
        return asked, made, choices, self._full and cap is None


class Dearest(msgspec.Struct, frozen=True):
    """The dearest rates of a price, in parts of `FINE` to a nano-dollar: of a token asked and
    of one made, and what is `fixed` for a request."""

    asked: int
    made: int
    fixed: int

    @classmethod
    def of(cls, price: Price, tokens: int, audio: bool) -> "Dearest":
        rates = price.rates(tokens)

        def dearest(names: Sequence[str], sound: str | None = None) -> Decimal:
            heard = (*names, sound) if audio and sound is not None else names
            return max(rates.get(each) or Decimal(0) for each in heard) / MILLION

        once = price.per_request + dearest(("search_units",))
        asked, made = dearest(_INPUT, "audio_input"), dearest(_OUTPUT, "audio_output")
        return cls(_fine(asked), _fine(made), _fine(once))


class Rates:
    """The rates of one price: the `usual` ones, None where they depend on the request's size or
    on whether there is sound in it."""

    def __init__(self, price: Price) -> None:
        self.price = price
        self._sound = not _SOUND.isdisjoint(price.meters)
        self._others: dict[tuple[int, bool], Dearest] = {}
        simple = not self._sound and not price.tiers
        self.usual = Dearest.of(price, 0, False) if simple else None

    def of(self, asked: int, body: bytes) -> Dearest:
        """Worked out once for each tier, with and without sound."""
        tier = sum(asked > above for above, _ in self.price.tiers)
        audio = self._sound and b"audio" in body  # a long body is searched only where it matters
        known = self._others.get((tier, audio))
        if known is None:
            known = self._others[tier, audio] = Dearest.of(self.price, asked, audio)
        return known


# A deployment that may answer: its rates, None where they are not known, how much its model can
# read, and write.
Offer: TypeAlias = tuple[Rates | None, int | None, int | None]


def _fine(dollars: Decimal) -> int:
    return int((dollars * NANO * FINE).to_integral_value(ROUND_CEILING))
