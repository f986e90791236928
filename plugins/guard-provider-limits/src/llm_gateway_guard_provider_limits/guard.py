"""Requests and tokens in the last minute of each account, and what the account itself says."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

import llm_gateway_api as gw

from llm_gateway_guard_provider_limits.fleet import Amounts, Fleet
from llm_gateway_guard_provider_limits.headers import exhausted
from llm_gateway_guard_provider_limits.window import Window

# What a provider may ask for; beyond it a wrong header would take a deployment away for good.
LONGEST_SECONDS = 24 * 3600.0
# Gates of deployments that clients may have invented are not remembered without end.
MAX_GATES = 10_000
LEARNING = 0.1
F = gw.FailureClass
# The vendor did no work: its tokens are not counted.
FREE = frozenset(
    {
        F.CALLER_FAULT,
        F.CONTEXT_TOO_LONG,
        F.CONTENT_POLICY,
        F.RATE_LIMITED,
        F.OVERLOADED,
        F.CONNECT,
        F.CONNECT_TIMEOUT,
        F.CREDENTIAL_REFUSED,
        F.ACCOUNT_EMPTY,
        F.MODEL_GONE,
    }
)


class Account:
    """One provider's windows, and what its answers cost so far."""

    def __init__(self, limit: gw.RateLimit) -> None:
        self.requests = (
            None if limit.requests_per_minute is None else Window(limit.requests_per_minute)
        )
        self.tokens = None if limit.tokens_per_minute is None else Window(limit.tokens_per_minute)
        self.bytes_per_token = 4.0
        self.output = 256.0

    def estimate(self, asked: gw.Asked) -> float:
        """Tokens that the request will take, by what those before it took."""
        return asked.prompt_bytes / self.bytes_per_token + self.output

    def meters(self) -> Sequence[int]:
        """Those that are limited: 0 for requests, 1 for tokens."""
        return [at for at, each in enumerate((self.requests, self.tokens)) if each is not None]

    def add(self, amounts: Amounts, now: float, at: float | None = None) -> None:
        for window, amount in zip((self.requests, self.tokens), amounts, strict=True):
            if window is not None and amount:
                window.add(amount, now, at)

    def learn(self, prompt_bytes: int, usage: gw.Usage) -> None:
        if usage.input_total > 0 and prompt_bytes > 0:
            ratio = prompt_bytes / usage.input_total
            self.bytes_per_token += LEARNING * (ratio - self.bytes_per_token)
            self.bytes_per_token = max(0.25, self.bytes_per_token)
        self.output += LEARNING * (usage.output_total - self.output)


class Taken:
    """A lease's part: when and how many tokens were taken for how large a request."""

    __slots__ = ("at", "prompt_bytes", "tokens", "told")

    def __init__(self, at: float, tokens: float, prompt_bytes: int) -> None:
        self.at = at
        self.tokens = tokens
        self.prompt_bytes = prompt_bytes
        self.told = False


class ProviderLimits:
    """Passes over an account whose minute is full, and a deployment that asked to be left alone."""

    def __init__(
        self,
        *,
        providers: Mapping[str, gw.ProviderSettings],
        clock: Callable[[], float],
        metrics: gw.Metrics,
        state: gw.StateBackend | None = None,
        workers: int = 1,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._accounts = {
            name: Account(own.rate_limit)
            for name, own in providers.items()
            if own.rate_limit != gw.RateLimit()
        }
        self._fleet: Fleet | None = None
        if state is not None and self._accounts:
            meters = {name: each.meters() for name, each in self._accounts.items()}
            self._fleet = Fleet(state, workers, meters, self._heard, wall)
        self._gates: dict[str, float] = {}
        self._refused = metrics.counter(
            "gateway_guard_provider_limits_refused_total",
            "attempts that a limit of the provider's account kept back",
            ("provider", "limit"),
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._fleet is None:
            yield
            return
        async with gw.alongside(self._fleet.looking(), name="limits of providers"):
            yield

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal:
        now = self._clock()
        if (gate := self._gates.get(target.name)) is not None:
            if gate > now:
                return self._full(target, "told", gate - now)
            del self._gates[target.name]
        account = self._accounts.get(target.provider)
        if account is None:
            return gw.Lease(target, Taken(now, 0.0, 0))
        tokens = account.estimate(asked)
        for name, _, wait in self._waits(target.provider, account, tokens, now):
            if wait != 0.0:
                return self._full(target, name, wait)
        self._count(target.provider, account, (1.0, tokens), now)
        return gw.Lease(target, Taken(now, tokens, asked.prompt_bytes))

    def look(self, target: gw.Target, asked: gw.Asked) -> Mapping[str, object]:
        """What the minute holds, what the request would take of it, and how long it would have
        to wait (None for never); nothing is taken for it."""
        now = self._clock()
        told = max(0.0, self._gates.get(target.name, now) - now)
        found: dict[str, object] = {"admits": told == 0.0}
        if told:
            found["told_to_wait_seconds"] = round(told, 3)
        account = self._accounts.get(target.provider)
        if account is None:
            return found
        amounts = {"requests_per_minute": 1.0, "tokens_per_minute": account.estimate(asked)}
        tokens = amounts["tokens_per_minute"]
        for name, window, wait in self._waits(target.provider, account, tokens, now):
            waits = None if wait is None else round(wait, 3)
            used, takes = round(window.total), round(amounts[name])
            found[name] = {
                "limit": window.limit, "used": used, "takes": takes, "wait_seconds": waits
            }  # fmt: skip
            found["admits"] = found["admits"] and wait == 0.0
        return found

    def _waits(
        self, provider: str, account: Account, tokens: float, now: float
    ) -> Iterator[tuple[str, Window, float | None]]:
        """For each limit of the account, the seconds until the request fits: 0.0 for now, None
        for never."""
        for meter, (name, window, amount) in enumerate(
            (
                ("requests_per_minute", account.requests, 1.0),
                ("tokens_per_minute", account.tokens, tokens),
            )
        ):
            if window is None:
                continue
            wait = window.wait(amount, now)
            spare = window.limit - window.total
            if (
                wait == 0.0
                and self._fleet is not None
                and not self._fleet.fits(provider, meter, amount, spare)
            ):
                wait = self._fleet.pause
            yield name, window, wait

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        """A stream's headers are fresh now, and stale when it ends."""
        taken = _taken(lease)
        taken.told = True
        self._close(lease.target, exhausted(headers))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        taken = _taken(lease)
        if outcome.failure == F.RATE_LIMITED and outcome.retry_after is not None:
            self._close(lease.target, outcome.retry_after)
        if not taken.told:
            self._close(lease.target, exhausted(outcome.headers))
        account = self._accounts.get(lease.target.provider)
        if account is not None:
            self._settle(lease.target.provider, account, taken, outcome)

    def _settle(self, name: str, account: Account, taken: Taken, outcome: gw.Outcome) -> None:
        """Put what was really taken in the place of the estimate, in the same second."""
        unsent = outcome.cancelled and not outcome.duration
        requests, tokens = (-1.0 if unsent else 0.0), 0.0
        if unsent or outcome.failure in FREE:
            tokens = -taken.tokens
        elif outcome.usage is not None:
            used = outcome.usage.input_total + outcome.usage.output_total
            tokens = used - taken.tokens
            whole = outcome.failure is None and not outcome.cancelled
            if whole and account.tokens is not None:
                account.learn(taken.prompt_bytes, outcome.usage)
        if requests or tokens:
            self._count(name, account, (requests, tokens), self._clock(), taken.at)

    def _count(
        self,
        name: str,
        account: Account,
        amounts: Amounts,
        now: float,
        at: float | None = None,
    ) -> None:
        account.add(amounts, now, at)
        if self._fleet is not None:
            self._fleet.took(name, *amounts)

    def _heard(self, taken: Mapping[str, Amounts], age: float) -> None:
        """Others have taken it, `age` seconds ago at the latest."""
        now = self._clock()
        for name, amounts in taken.items():
            if (account := self._accounts.get(name)) is not None:
                account.add(amounts, now, now - age)

    def _close(self, target: gw.Target, seconds: float | None) -> None:
        """Leave `target` alone; a longer wait extends one that is known."""
        if seconds is None or seconds <= 0:
            return
        if target.name not in self._gates and len(self._gates) >= MAX_GATES:
            del self._gates[next(iter(self._gates))]
        until = self._clock() + min(seconds, LONGEST_SECONDS)
        self._gates[target.name] = max(until, self._gates.get(target.name, 0.0))

    def _full(self, target: gw.Target, limit: str, wait: float | None) -> gw.Refusal:
        self._refused.value(target.provider, limit).inc()
        return gw.Refusal(
            429,
            "rate_limit_exceeded",
            "the rate limit of its account is reached; try again later",
            retry_after=wait,
        )


def _taken(lease: gw.Lease) -> Taken:
    assert isinstance(lease.token, Taken)
    return lease.token


_: type[gw.Guard] = ProviderLimits
__: type[gw.SupportsAnswered] = ProviderLimits
___: type[gw.SupportsLook] = ProviderLimits
____: type[gw.Service] = ProviderLimits
