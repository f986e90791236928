"""The cheapest deployment for this request, among those that are good enough.

The price is the one really paid: what a deployment has in its prompt cache of this very
conversation is charged as such, so that a warm one may be cheaper than one of a lower price.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import llm_gateway_api as gw
import msgspec

from llm_gateway_routing_cost.learned import Lengths, Qualities, Warmth
from llm_gateway_routing_cost.settings import CostSettings

NEVER = float("-inf")
TIE = 1e-12  # USD, between equal prices
UNPRICED, UNFIT = -1e6, -1e9
BYTES_PER_TOKEN = 4
MILLION = 1_000_000
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(slots=True)
class Token:
    """A lease's part."""

    asked: gw.Asked
    began: float
    first: float | None = None


class CostOptimized:
    """Scores by the negative of the expected USD; last are those without a price, and
    behind them those below a floor of quality."""

    def __init__(
        self,
        settings: CostSettings,
        *,
        clock: Callable[[], float],
        prices: gw.Prices,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._prices = prices
        self._chance = chance
        self._qualities = Qualities()
        self._warmth = Warmth(settings.cache_seconds)
        self._lengths = Lengths(settings.output_tokens)

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        now = self._clock()
        warm = self._warmth.shares(gw.conversation_key(asked), now)
        tokens = asked.prompt_bytes // BYTES_PER_TOKEN
        output = self._output(asked)
        return [self._score(each, tokens, output, warm, now) for each in candidates]

    def _score(
        self, target: gw.Target, tokens: int, output: float, warm: Mapping[str, float], now: float
    ) -> float:
        if target.weight <= 0:
            return NEVER
        price = self._prices.price(target)
        cost = expected(price, tokens, output, warm.get(target.name, 0.0)) if price else None
        score: float = UNPRICED if cost is None else -cost
        score += float(self._chance() ** (1 / target.weight)) * TIE
        return score if self._fit(target, now) else score + UNFIT

    def _fit(self, target: gw.Target, now: float) -> bool:
        """Whether it is above the floors, or not enough is known of it."""
        found, floor = self._qualities.find(target.name, now), self._settings
        if found is None or found.samples < floor.min_samples:
            return True
        slow = floor.max_first_content_ms
        late = slow is not None and found.seconds is not None and found.seconds * 1000 > slow
        return found.success >= floor.min_success_rate and not late

    def _output(self, asked: gw.Asked) -> float:
        """Tokens that an answer is expected to have, at most what the client allows."""
        output = self._lengths.expected(asked.model)
        for name in LIMITS:
            if (limit := _whole(asked.fields.get(name))) is not None:
                return min(output, limit)
        return output

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """Attempts are followed by their leases."""

    def follower(self) -> gw.Guard:
        return Follower(self)

    # --- what the follower tells ---------------------------------------------------------

    def began(self, asked: gw.Asked) -> Token:
        return Token(asked, self._clock())

    def first(self, token: Token) -> None:
        token.first = self._clock() - token.began

    def ended(self, target: gw.Target, token: Token, outcome: gw.Outcome) -> None:
        now, failure = self._clock(), outcome.failure
        if outcome.cancelled:
            return
        if failure is None or speaks(failure):
            seconds = token.first
            if seconds is None and failure is None:
                seconds = now - token.began
            self._qualities.add(target.name, failure is None, seconds, now)
        usage = outcome.usage
        if failure is not None or usage is None:
            return
        self._lengths.add(token.asked.model, usage.output_total)
        conversation = gw.conversation_key(token.asked)
        if conversation is not None:
            self._warmth.add(conversation, target.name, usage, now)


class Follower:
    """Learns from each attempt's end."""

    def __init__(self, strategy: CostOptimized) -> None:
        self._strategy = strategy

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, self._strategy.began(asked))

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        self._strategy.first(lease.held(Token))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        self._strategy.ended(lease.target, lease.held(Token), outcome)


def speaks(failure: str) -> bool:
    """Whether a failure speaks against the deployment, and not against the request."""
    policy = gw.FAILURES[gw.FailureClass(failure)]
    return policy.breaker or policy.try_next


def expected(price: gw.Price, tokens: int, output: float, cached: float) -> float | None:
    """USD for so many tokens, of which the share `cached` is read from the prompt cache; None
    where a meter has no price. Floats will do: nobody is charged by this."""
    rates = price.rates(tokens)
    fresh, answer = rates.get("input"), rates.get("output")
    if fresh is None or (answer is None and output):
        return None
    read = rates.get("cache_read", fresh)
    if read is None and cached:
        return None
    mean = float(fresh) * (1 - cached) + float(read or 0) * cached
    return float(price.per_request) + (tokens * mean + output * float(answer or 0)) / MILLION


def _whole(raw: msgspec.Raw | None) -> int | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=int | None)
    except msgspec.DecodeError:
        return None


_: type[gw.RoutingStrategy] = CostOptimized
__: type[gw.SupportsFollowing] = CostOptimized
___: type[gw.SupportsAnswered] = Follower
