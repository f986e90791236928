"""What one request takes of its rates, and what its client is told of them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

import llm_gateway_api as gw

from llm_gateway_limit_rate.estimate import Estimator
from llm_gateway_limit_rate.rules import MINUTE, Rules

UNITS = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "concurrency": "requests at once",
}
_HEADERS = {
    meter: tuple(f"x-ratelimit-{part}-{meter}" for part in ("limit", "remaining", "reset"))
    for meter in UNITS
}


class RateClaim(gw.Claim):
    """Of one request, by the rules that are `known` of its caller."""

    known: Rules
    dialect: str
    size: int
    estimator: Estimator
    exceeded: Callable[[str], gw.Value]

    def granted(self, remaining: Sequence[int]) -> gw.Headers:
        return headers_of(self.known, remaining, self.dialect)

    def refused(self, denial: gw.Denial) -> gw.Refusal:
        rule = self.known.rules[denial.index]
        self.exceeded(rule.scope).inc()
        never = denial.retry_after == float("inf")
        when = "" if never else f" Try again in {max(1, round(denial.retry_after))} s."
        limit = f"{rule.amount} {UNITS[rule.meter]} for this {rule.scope}"
        return gw.Refusal(
            429,
            "rate_limit_exceeded",
            f"The limit of {limit} is reached.{when}",
            retry_after=None if never else denial.retry_after,
            headers=headers_of(self.known, denial.remaining, self.dialect),
        )

    def used(self, settlement: gw.Settlement) -> Sequence[int]:
        usage, tokens = settlement.usage, None
        if settlement.target is None:  # what no deployment answered used none
            tokens = 0
        elif usage is not None:
            asked, made = usage.input_total, usage.output_total
            tokens = asked + made
            if settlement.whole:
                self.estimator.learn(self.size, asked, made)
        return self.known.used(tokens, self.takes)


def headers_of(known: Rules, remaining: Sequence[int], dialect: str) -> dict[str, str]:
    """The tightest limit of each meter, in the form that the client's SDK reads."""
    found: dict[str, str] = {}
    anthropic = dialect.startswith("anthropic")
    for meter, places in known.shown:
        place = places[0] if len(places) == 1 else min(places, key=remaining.__getitem__)
        amount, burst, each = known.told[place]
        left = remaining[place]
        if left < 0:
            left = 0
        seconds = MINUTE if not each else (burst - left) * each if left < burst else 0.0
        if anthropic:
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            prefix = f"anthropic-ratelimit-{meter}"
            found[f"{prefix}-limit"] = amount
            found[f"{prefix}-remaining"] = str(left)
            found[f"{prefix}-reset"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            limit, remains, reset = _HEADERS[meter]
            found[limit] = amount
            found[remains] = str(left)
            found[reset] = _duration(ceil(seconds * 1000))
    return found


def _duration(ms: int) -> str:
    """As OpenAI writes it: ``6ms``, ``8.64s``."""
    if ms < 1000:
        return f"{ms}ms"
    return f"{ms / 1000:.3g}s" if ms < 100_000 else f"{ms // 1000}s"
