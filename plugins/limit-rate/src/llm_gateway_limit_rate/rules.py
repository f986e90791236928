"""Which limits hold for a caller, and what of each request they take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


class Rules:
    """All rules of one caller, whose own `limits` they come from; what every request needs of
    them is worked out once.

    `fixed` is what each rule takes of any request, one token where a guess belongs; `guessed`
    are the places of rules that count tokens, `shown` those of each meter that clients are told
    of. `told` is what they are told of each rule: its amount, the size of its bucket, and in how
    many seconds that gets one more (0 for one that blocks).
    """

    __slots__ = ("_used", "fixed", "guessed", "limits", "rules", "shown", "told")

    def __init__(self, limits: tuple[gw.Limit, ...], rules: tuple[Rule, ...]) -> None:
        self.limits = limits
        self.rules = rules
        self.guessed = tuple(n for n, each in enumerate(rules) if each.meter == "tokens")
        meters: tuple[Meter, ...] = ("requests", "tokens")
        places = ((m, tuple(n for n, r in enumerate(rules) if r.meter == m)) for m in meters)
        self.shown = tuple(each for each in places if each[1])
        self.told = tuple(
            (str(each.amount), each.burst, MINUTE / each.amount if each.amount > 0 else 0.0)
            for each in rules
        )
        self.fixed = tuple(map(_take, rules))
        self._used = [0 if each.meter == "concurrency" else 1 for each in rules]

    @classmethod
    def of(
        cls, settings: RateLimitSettings, principal: gw.Principal, peer: str | None, model: str
    ) -> "Rules":
        """`peer` is the address that counts in the place of a key."""
        return cls(principal.limits, tuple(_rules(settings, principal, peer, model)))

    def takes(self, tokens: int) -> Sequence[gw.Take]:
        """A guess alone must not refuse for ever, so it is no more than fits."""
        takes = list(self.fixed)
        for at in self.guessed:
            take = takes[at]
            limit = take.limit
            some = limit if 0 < limit < tokens else tokens
            takes[at] = gw.Take(take.key, some, limit, "bucket", take.rate)
        return takes

    def used(self, tokens: int | None, takes: Sequence[gw.Take]) -> list[int]:
        """What `takes` came to: requests stay counted, tokens become what was used, None where
        that is what was guessed."""
        used = self._used.copy()
        for at in self.guessed:
            used[at] = takes[at].amount if tokens is None else tokens
        return used


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
