"""What a request may cost, before it is asked: tokens guessed high, at the dearest rates."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from llm_gateway_api import MILLION, ModelInfo, Price, RequestHead, Usage, output_cap, whole_field

NANO = 1_000_000_000
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

    def hold(
        self, head: RequestHead, tenant: str | None, offers: Sequence[tuple[Price, ModelInfo]]
    ) -> int:
        """Nano-dollars to reserve: the most that one of `offers` may ask for the request."""
        nano = Decimal(0)
        for price, info in offers:
            asked = self._input(head, info)
            rates = price.rates(asked)
            audio = b"audio" in head.body
            given = _dearest(rates, (*_INPUT, *(("audio_input",) if audio else ())))
            made = _dearest(rates, (*_OUTPUT, *(("audio_output",) if audio else ())))
            total = price.per_request + given * asked / MILLION
            total += made * self._output(head, tenant, info) / MILLION
            total += _dearest(rates, ("search_units",)) / MILLION
            nano = max(nano, total * NANO)
        return int(nano.to_integral_value(ROUND_CEILING))

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


def _dearest(rates: Mapping[str, Decimal | None], names: Sequence[str]) -> Decimal:
    return max(rates.get(each) or Decimal(0) for each in names)
