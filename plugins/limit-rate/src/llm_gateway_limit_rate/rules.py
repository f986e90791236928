"""Which limits hold for a caller, and what of each request they take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import llm_gateway_api as gw

from llm_gateway_limit_rate.settings import RateLimitSettings, Rates

MINUTE = 60.0
# A slot is lost to a holder that died after this time; a stream may hold one for longer.
SLOT_SECONDS = 900.0
Meter = Literal["requests", "tokens", "concurrency"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit that holds for a request. `scope` is its kind, for people and for metrics."""

    scope: str
    key: str
    meter: Meter
    amount: int
    burst: int


@dataclass(frozen=True)
class Rules:
    """All rules of one caller, whose own `limits` they come from."""

    limits: tuple[gw.Limit, ...]
    rules: tuple[Rule, ...]

    @classmethod
    def of(
        cls, settings: RateLimitSettings, principal: gw.Principal, peer: str | None, model: str
    ) -> "Rules":
        """`peer` is the address that counts in the place of a key."""
        return cls(principal.limits, tuple(_rules(settings, principal, peer, model)))

    @cached_property
    def fixed(self) -> tuple[gw.Take, ...]:
        """What each rule takes of any request; one token where a guess belongs."""
        return tuple(_take(each) for each in self.rules)

    @cached_property
    def guessed(self) -> tuple[int, ...]:
        """The places of rules that count tokens."""
        return tuple(n for n, each in enumerate(self.rules) if each.meter == "tokens")

    @cached_property
    def shown(self) -> tuple[tuple[Meter, tuple[int, ...]], ...]:
        """The places of each meter that clients are told of."""
        meters: tuple[Meter, ...] = ("requests", "tokens")
        places = ((m, tuple(n for n, r in enumerate(self.rules) if r.meter == m)) for m in meters)
        return tuple(each for each in places if each[1])

    @cached_property
    def told(self) -> tuple[tuple[str, int, float], ...]:
        """Of each rule what clients are told: its amount, the size of its bucket, and in how many
        seconds that gets one more (0 for one that blocks)."""
        return tuple(
            (str(each.amount), each.burst, MINUTE / each.amount if each.amount > 0 else 0.0)
            for each in self.rules
        )

    def takes(self, tokens: int) -> Sequence[gw.Take]:
        """A guess alone must not refuse for ever, so it is no more than fits."""
        takes = list(self.fixed)
        for at in self.guessed:
            take = takes[at]
            most = take.limit or tokens
            takes[at] = gw.Take(take.key, min(tokens, most), take.limit, "bucket", take.rate)
        return takes


def _take(rule: Rule) -> gw.Take:
    kind: Literal["bucket", "slots"] = "slots" if rule.meter == "concurrency" else "bucket"
    limit = rule.burst if rule.amount > 0 else 0
    return gw.Take(rule.key, 1, limit, kind, rate=rule.amount / MINUTE, seconds=SLOT_SECONDS)


def _rules(
    settings: RateLimitSettings, principal: gw.Principal, peer: str | None, model: str
) -> Iterator[Rule]:
    for limit in principal.limits:
        owner = principal.tenant if limit.level == "tenant" else principal.key_id
        burst = limit.amount if limit.burst is None else limit.burst
        key = f"rate:{limit.level}:{owner}:{limit.meter}"
        yield Rule(limit.level, key, limit.meter, limit.amount, burst)
    if not settings.enabled:
        return
    scope, caller = ("key", principal.key_id) if peer is None else ("ip", peer)
    yield from _of(settings, scope, f"{scope}:{caller}", settings.burst_size)
    if (own := settings.models.get(model)) is not None:
        yield from _of(own, "model", f"{scope}:{caller}:{model}", None)


def _of(rates: Rates, scope: str, caller: str, burst: int | None) -> Iterator[Rule]:
    given: tuple[tuple[Meter, int | None], ...] = (
        ("requests", rates.requests_per_minute),
        ("tokens", rates.tokens_per_minute),
        ("concurrency", rates.max_concurrent),
    )
    for meter, amount in given:
        if amount is None:
            continue
        size = min(burst, amount) if meter == "requests" and burst is not None else amount
        # beside the caller's own limits, which have buckets of their own
        yield Rule(scope, f"rate:all:{caller}:{meter}", meter, amount, size)
