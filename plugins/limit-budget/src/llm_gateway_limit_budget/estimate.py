"""What a request may cost, before it is asked: tokens guessed high, at the dearest rates."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

import msgspec
from llm_gateway_api import MILLION, ModelInfo, Price, RequestHead, Usage, output_cap, whole_field

NANO = 1_000_000_000
FINE = 1_000_000  # parts of a nano-dollar, in which a token's price is whole
OUTPUT_TOKENS = 1000.0
BYTES_A_TOKEN = 3.0
MAX_LEARNED = 10_000
_INPUT = ("input", "cache_read", "cache_write", "cache_write_1h")
_OUTPUT = ("output", "reasoning")


class Quantile:
    """Follows a quantile of what it is told, in steps of a tenth of itself."""

    __slots__ = ("_share", "value")

    def __init__(self, value: float, share: float) -> None:
        self.value, self._share = value, share

    def learn(self, seen: float) -> None:
        step = max(1.0, self.value * 0.1) if self._share > 0.5 else self.value * 0.1
        self.value += step * (self._share if seen > self.value else self._share - 1.0)


class Estimator:
    """Learns how long answers of a model are for a tenant, and how many bytes a token has."""

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._outputs: dict[tuple[str | None, str], Quantile] = {}
        self._bytes = Quantile(BYTES_A_TOKEN, 0.05)
        self._rates: dict[tuple[str, tuple[bool, ...], bool], Dearest] = {}

    def hold(
        self, head: RequestHead, tenant: str | None, offers: Sequence[tuple[Price, ModelInfo]]
    ) -> int:
        """Nano-dollars to reserve: the most that one of `offers` may ask for the request."""
        audio = b"audio" in head.body
        most = 0
        for price, info in offers:
            asked = self._input(head, info)
            rates = self._dearest(price, asked, audio)
            made = self._output(head, tenant, info)
            most = max(most, rates.fixed + rates.asked * asked + rates.made * made)
        return -(-most // FINE)

    def tokens(self, head: RequestHead, tenant: str | None, offers: Sequence[ModelInfo]) -> int:
        """Tokens to reserve: the most that one of `offers` may read and write."""
        found = offers or (ModelInfo(head.model),)
        return max(self._input(head, each) + self._output(head, tenant, each) for each in found)

    def learn(self, head: RequestHead, tenant: str | None, usage: Usage) -> None:
        if usage.input_total > 0:
            self._bytes.learn(min(max(len(head.body) / usage.input_total, 1.0), 100.0))
        if len(self._outputs) >= MAX_LEARNED:
            self._outputs.clear()
        known = self._outputs.setdefault((tenant, head.model), Quantile(OUTPUT_TOKENS, 0.95))
        known.learn(usage.output_total)

    def _dearest(self, price: Price, asked: int, audio: bool) -> "Dearest":
        """Worked out once for a price, its tier and with or without sound."""
        tier = tuple(asked > above for above, _ in price.tiers)
        known = self._rates.get((price.version, tier, audio))
        if known is None or known.price is not price:
            if len(self._rates) >= MAX_LEARNED:
                self._rates.clear()
            known = self._rates[price.version, tier, audio] = Dearest.of(price, asked, audio)
        return known

    def _input(self, head: RequestHead, info: ModelInfo) -> int:
        ratio = 1.0 if self._full else max(1.0, self._bytes.value)
        tokens = int(len(head.body) / ratio) + 1
        return tokens if info.context_window is None else min(tokens, info.context_window)

    def _output(self, head: RequestHead, tenant: str | None, info: ModelInfo) -> int:
        if head.operation in ("embeddings", "rerank"):
            return 0
        cap = output_cap(head)
        known = self._outputs.get((tenant, head.model))
        learned = int(known.value if known is not None else OUTPUT_TOKENS) + 1
        if cap is not None and (self._full or not head.stream):
            tokens = cap
        elif self._full:
            tokens = info.max_output or learned
        else:
            tokens = learned if cap is None else min(cap, learned)
        if info.max_output is not None:
            tokens = min(tokens, info.max_output)
        return tokens * max(1, whole_field(head, "n") or 1)


class Dearest(msgspec.Struct, frozen=True):
    """The dearest rates of a price, in parts of `FINE` to a nano-dollar: of a token asked and
    of one made, and what is `fixed` for a request."""

    price: Price
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
        return cls(price, _fine(asked), _fine(made), _fine(once))


def _fine(dollars: Decimal) -> int:
    return int((dollars * NANO * FINE).to_integral_value(ROUND_CEILING))
