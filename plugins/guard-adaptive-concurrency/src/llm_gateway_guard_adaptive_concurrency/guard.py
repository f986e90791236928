"""One limit for each deployment, in this worker's memory; beyond it the target is passed over."""

from collections.abc import Callable, Mapping

import llm_gateway_api as gw

from llm_gateway_guard_adaptive_concurrency.limit import Limit
from llm_gateway_guard_adaptive_concurrency.settings import AdaptiveConcurrencySettings

# Of models that only clients named: those must not fill the memory, nor push out the others.
MAX_INVENTED = 1000
F = gw.FailureClass
OVERLOAD = frozenset({F.RATE_LIMITED, F.OVERLOADED, F.NO_FIRST_CONTENT, F.CONNECT_TIMEOUT})
NAME = "gateway_guard_adaptive_concurrency"


class Member:
    """A deployment: its limit and the calls under way."""

    __slots__ = ("limit", "running", "shown")

    def __init__(self, limit: Limit, shown: gw.Value | None) -> None:
        self.limit = limit
        self.running = 0
        self.shown = shown


class Token:
    """A lease's part: whose it is, since when, and among how many."""

    __slots__ = ("member", "running", "since", "streamed", "told")

    def __init__(self, member: Member, since: float, streamed: bool) -> None:
        self.member = member
        self.running = member.running
        self.since = since
        self.streamed = streamed
        self.told = False


class AdaptiveConcurrency:
    """Sends as many calls at once as a deployment answers without getting slow."""

    def __init__(
        self,
        settings: AdaptiveConcurrencySettings,
        *,
        clock: Callable[[], float],
        metrics: gw.Metrics,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._known: dict[str, Member] = {}
        self._invented: dict[str, Member] = {}
        by = ("provider", "model")
        self._limits = metrics.gauge(f"{NAME}_limit", "calls at once that a deployment gets", by)
        self._refused = metrics.counter(
            f"{NAME}_refused_total", "calls beyond the limit of their deployment", ("provider",)
        )

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal:
        member = self._find(target) or self._new(target)
        if member.running >= int(member.limit.value):
            self._refused.value(target.provider).inc()
            wait = member.limit.seconds / max(1.0, member.limit.value)  # until one of them ends
            return gw.Refusal(
                503,
                "concurrency_limited",
                "it has as many calls as it takes well",
                retry_after=max(0.05, wait),
            )
        member.running += 1
        return gw.Lease(target, Token(member, self._clock(), asked.stream))

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        """A stream's first content: what comes after depends on how much is said."""
        self._count(lease.held(Token))

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        token = lease.held(Token)
        member, before = token.member, token.member.running
        member.running -= 1
        if outcome.cancelled:
            return
        if outcome.failure is None:
            self._count(token)
        elif outcome.failure in OVERLOAD:
            member.limit.overloaded(before, self._clock())
            self._show(member)

    def look(self, target: gw.Target, asked: gw.Asked) -> Mapping[str, object]:
        """How full it is; no place is taken for it."""
        member = self._find(target) or self._made(None)
        limit = int(member.limit.value)
        return {"admits": member.running < limit, "running": member.running, "limit": limit}

    def reloaded(self, targets: gw.Targets) -> None:
        """A deployment that the configuration has no more is forgotten."""
        there = {each.name for each in targets.deployments()}
        for name in [each for each in self._known if each not in there]:
            del self._known[name]
        for labels in tuple(self._limits.children):
            if "/".join(labels) not in there:
                self._limits.forget(*labels)

    def _count(self, token: Token) -> None:
        if token.told:
            return
        token.told = True
        now = self._clock()
        token.member.limit.answered(now - token.since, token.running, token.streamed, now)
        self._show(token.member)

    def _show(self, member: Member) -> None:
        if member.shown is not None:
            member.shown.value = float(int(member.limit.value))

    def _find(self, target: gw.Target) -> Member | None:
        return (self._known if target.known else self._invented).get(target.name)

    def _new(self, target: gw.Target) -> Member:
        if target.known:
            member = self._made(self._limits.value(target.provider, target.model))
            self._known[target.name] = member
            self._show(member)
            return member
        if len(self._invented) >= MAX_INVENTED:
            del self._invented[next(iter(self._invented))]
        member = self._invented[target.name] = self._made(None)
        return member

    def _made(self, shown: gw.Value | None) -> Member:
        own = self._settings
        limit = Limit(own.initial_limit, own.min_limit, own.max_limit, own.latency_tolerance)
        return Member(limit, shown)


_: type[gw.Guard] = AdaptiveConcurrency
__: type[gw.SupportsAnswered] = AdaptiveConcurrency
___: type[gw.SupportsReloaded] = AdaptiveConcurrency
