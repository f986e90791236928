"""Judges deployments by how their attempts end and by probes of their providers.

All is decided from this worker's memory. A probe is made by one worker of all and told to
the others; a change of state is kept in the store, where there is one.
"""

import logging
import random
import time
import weakref
from collections.abc import Callable, Mapping, Sequence

import llm_gateway_api as gw

from llm_gateway_routing_health.settings import HealthSettings
from llm_gateway_routing_health.state import (
    ACCOUNT,
    SUSPENDING,
    Rules,
    State,
    at,
    failed,
    share,
    succeeded,
)

log = logging.getLogger("llm_gateway_routing_health")

MAX_INVENTED = 1000  # of models that only clients named
LATENCY_SHARE = 0.2
LEFT_OUT = ("unhealthy", "suspended")
_WORST: tuple[gw.HealthState, ...] = (
    "ok",
    "unknown",
    "recovering",
    "degraded",
    "unhealthy",
    "suspended",
)


class Member:
    """A deployment: its state, and what is shown of it."""

    __slots__ = ("latency", "state", "target")

    def __init__(self, target: gw.Target) -> None:
        self.target = target
        self.state = State()
        self.latency: float | None = None


class Monitor:
    """Meets `HealthMonitor`; also the guard that follows attempts."""

    def __init__(
        self,
        settings: HealthSettings,
        *,
        clock: Callable[[], float],
        metrics: gw.Metrics,
        chance: Callable[[], float] = random.random,
        changed: Callable[[Member, str], None] | None = None,
    ) -> None:
        self._rules = Rules(
            settings.unhealthy_after,
            settings.retry_seconds,
            settings.recovery_seconds,
            settings.suspend_seconds,
            settings.suspend_max_seconds,
        )
        self._clock = clock
        self._chance = chance
        self.changed = changed
        self._members: dict[str, Member] = {}
        self._invented: list[str] = []
        self._probes: dict[str, State] = {}
        self._regions: dict[str, State] = {}
        self._accounts: dict[str, State] = {}  # what a provider says of us, whatever the model
        self._gauge = metrics.gauge(
            "gateway_provider_unhealthy",
            "share of the provider's deployments that are left out",
            ("provider",),
            merge="max",
        )
        self._suspended = metrics.gauge(
            "gateway_routing_health_suspended",
            "deployments that are left out because the provider refuses the gateway",
            ("provider",),
            merge="max",
        )
        shown = weakref.WeakMethod(self._show)  # a monitor of an old configuration shows no more
        metrics.before_reading(lambda: show() if (show := shown()) is not None else None)

    # --- attempts ------------------------------------------------------------------------

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        return gw.Lease(target, self._clock())

    def answered(self, lease: gw.Lease, headers: gw.Headers) -> None:
        """A stream's first content came: how long it goes on says nothing about health."""
        self._timed(lease)
        self._well(lease.target)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        member = self._member(lease.target)
        if outcome.failure is None:
            if not outcome.cancelled:
                if outcome.first_content is None and lease.token is not None:
                    self._timed(lease)
                self._well(lease.target)
        elif counts(outcome):
            self._become(member, failed, outcome.failure)
            if outcome.failure in ACCOUNT and lease.target.known:
                self._account(lease.target.provider, outcome.failure)

    def _well(self, target: gw.Target) -> None:
        self._become(self._member(target), succeeded, None)
        before = self._accounts.get(target.provider)
        if before is None or before.name != "ok" or before.failures:
            self._account(target.provider, None)

    def _account(self, provider: str, failure: str | None) -> None:
        """A provider refused us, or took us: so it would at its other deployments."""
        now, rules = self._clock(), self._rules
        before = at(self._accounts.get(provider, State()), now, rules)
        step = failed(before, failure, now, rules) if failure else succeeded(before, now, rules)
        self._accounts[provider] = step
        if step.name == "suspended" != before.name:
            log.error("health.account_suspended provider=%s %s", provider, step.failure)
        elif before.name == "suspended" != step.name:
            log.info("health.account_resumed provider=%s", provider)

    def _timed(self, lease: gw.Lease) -> None:
        assert isinstance(lease.token, float | int)
        member = self._member(lease.target)
        seconds = self._clock() - lease.token
        before = seconds if member.latency is None else member.latency
        member.latency = before + (seconds - before) * LATENCY_SHARE

    def _become(self, member: Member, step: Callable[..., State], failure: str | None) -> None:
        now, rules = self._clock(), self._rules
        state = at(member.state, now, rules)
        new = step(state, failure, now, rules) if failure else step(state, now, rules)
        self._change(member, new)
        if new.name != state.name or member.state.name == "unhealthy":
            self._judge_region(member.target.region)

    def _change(self, member: Member, new: State) -> None:
        old, member.state = member.state, new
        if new.name != old.name:
            level = logging.WARNING if new.name in LEFT_OUT else logging.INFO
            log.log(
                level, "health.%s target=%s %s", new.name, member.target.name, new.failure or ""
            )
            if self.changed is not None and member.target.known and old.name != "unknown":
                self.changed(member, new.failure or "" if new.name != "ok" else "")

    # --- probes --------------------------------------------------------------------------

    def probed(self, provider: str, found: gw.Probed) -> None:
        """A provider whose probes fail is ill as a whole; one whose probes succeed lets its
        ill deployments come back, unless they answered with a failure meanwhile."""
        now, rules = self._clock(), self._rules
        before = at(self._probes.get(provider, State()), now, rules)
        if found.failure is None:
            self._probes[provider] = succeeded(before, now, rules)
        else:
            self._probes[provider] = failed(before, found.failure, now, rules, probed=True)
        for member in tuple(self._members.values()):
            if member.target.provider != provider:
                continue
            if self._probes[provider].name == "unhealthy":
                if member.state.name not in LEFT_OUT:
                    self._change(member, State("unhealthy", now, 0, found.failure))
            elif member.state.name == "unhealthy" and found.failure is None:
                self._change(member, succeeded(member.state, now, rules))
            self._judge_region(member.target.region)

    # --- regions -------------------------------------------------------------------------

    def _judge_region(self, region: str | None) -> None:
        """A region is ill while more than half of its deployments (two at least) are."""
        if region is None:
            return
        now, rules = self._clock(), self._rules
        states = [
            at(each.state, now, rules).name
            for each in self._members.values()
            if each.target.region == region
        ]
        ill = states.count("unhealthy")
        before = at(self._regions.get(region, State("ok")), now, rules)
        if ill >= 2 and ill * 2 > len(states):
            if before.name != "unhealthy":
                log.warning("health.region_unhealthy region=%s", region)
            self._regions[region] = State("unhealthy", now)
        elif before.name == "unhealthy":
            log.info("health.region_recovering region=%s", region)
            self._regions[region] = State("recovering", now)

    # --- what follows of it ----------------------------------------------------------------

    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float] | None:
        """`AVOIDED` for who is ill; by chance, ever more seldom, for who comes back."""
        shares = [self._share(each) for each in candidates]
        if min(shares) == 1.0:
            return None
        if max(shares) == 0.0:
            return None  # all are ill: the strategy is as good a guess as any
        chance = self._chance
        return [
            0.0 if part == 1.0 or (part > 0.0 and chance() < part) else gw.AVOIDED
            for part in shares
        ]

    def follower(self) -> gw.Guard:
        return self

    def _share(self, target: gw.Target) -> float:
        member = self._members.get(target.name)
        region = self._regions.get(target.region) if target.region is not None else None
        account = self._accounts.get(target.provider)
        if account is not None and account.name == "ok":
            account = None
        if (
            region is None
            and account is None
            and (member is None or member.state.name in ("ok", "degraded", "unknown"))
        ):
            return self._probe_share(target) if member is None else 1.0
        now, rules = self._clock(), self._rules
        parts = [
            at(each, now, rules)
            for each in (member.state if member else None, region, account)
            if each
        ]
        return min((share(each, now, rules) for each in parts), default=1.0)

    def _probe_share(self, target: gw.Target) -> float:
        """Of a deployment that nobody has asked yet."""
        found = self._probes.get(target.provider)
        if found is None:
            return 1.0
        now = self._clock()
        return share(at(found, now, self._rules), now, self._rules)

    # --- what is shown -------------------------------------------------------------------

    def health(self, target: gw.Target) -> gw.DeploymentHealth:
        now = self._clock()
        member = self._members.get(target.name)
        state = member.state if member is not None else self._probes.get(target.provider, State())
        state = at(state, now, self._rules)
        account = at(self._accounts.get(target.provider, State()), now, self._rules)
        if account.name == "suspended":
            state = account
        latency = member.latency if member is not None else None
        return gw.DeploymentHealth(
            target.provider,
            target.model,
            state.name,
            share=round(self._share(target), 3),
            region=target.region,
            since=time.time() - (now - state.since) if state.name != "unknown" else None,
            failures=state.failures,
            last_failure=state.failure,
            latency_ms=round(latency * 1000, 3) if latency is not None else None,
        )

    def providers(self) -> Mapping[str, gw.HealthState]:
        """Unhealthy if all of its deployments are, degraded if one is, else the worst."""
        now, found = self._clock(), dict[str, list[gw.HealthState]]()
        for member in self._members.values():
            state = at(member.state, now, self._rules)
            found.setdefault(member.target.provider, []).append(state.name)
        for provider, probe in self._probes.items():
            found.setdefault(provider, [at(probe, now, self._rules).name])
        for provider, account in self._accounts.items():
            if at(account, now, self._rules).name == "suspended":
                found[provider] = ["suspended"]
        return {provider: _together(states) for provider, states in found.items()}

    def reasons(self) -> Mapping[str, str]:
        ill = {name for name, state in self.providers().items() if state not in ("ok", "unknown")}
        members = [each for each in self._members.values() if each.target.provider in ill]
        members.sort(key=lambda each: _WORST.index(each.state.name))
        states = [(each.target.provider, each.state) for each in members]
        return {name: each.failure for name, each in states if each.failure is not None}

    def _show(self) -> None:
        found = dict[str, list[gw.HealthState]]()
        for member in tuple(self._members.values()):
            state = self.health(member.target).state
            found.setdefault(member.target.provider, []).append(state)
        for provider, states in found.items():
            out = sum(each in LEFT_OUT for each in states)
            self._gauge.value(provider).value = out / len(states)
            self._suspended.value(provider).value = float(states.count("suspended"))

    def reloaded(self, targets: gw.Targets) -> None:
        """Whoever was suspended is asked again at once: the operator may have mended it. What the
        configuration has no more is forgotten."""
        there = {each.name for each in targets.deployments()}
        for name, member in tuple(self._members.items()):
            if member.target.known and name not in there:
                del self._members[name]
            elif member.state.name == "suspended" or member.state.rounds:
                self._change(member, State(answered=member.state.answered))
        self._accounts.clear()
        providers = {each.provider for each in targets.deployments()}
        for family in (self._gauge, self._suspended):
            for labels in tuple(family.children):
                if labels[0] not in providers:
                    family.forget(*labels)

    def _member(self, target: gw.Target) -> Member:
        member = self._members.get(target.name)
        if member is None or member.target is not target:
            if member is None and not target.known:
                self._forget_invented(target.name)
            state = member.state if member is not None else State()
            latency = member.latency if member is not None else None
            member = self._members[target.name] = Member(target)
            member.state, member.latency = state, latency
        return member

    def _forget_invented(self, name: str) -> None:
        self._invented.append(name)
        if len(self._invented) > MAX_INVENTED:
            self._members.pop(self._invented.pop(0), None)


def counts(outcome: gw.Outcome) -> bool:
    """Whether a failure speaks against the deployment. A server error that the same request
    met before may be the request's fault."""
    if outcome.cancelled or outcome.failure is None:
        return False
    failure = gw.FailureClass(outcome.failure)
    if outcome.repeated and failure is gw.FailureClass.SERVER_ERROR:
        return False
    return gw.FAILURES[failure].breaker or failure in SUSPENDING


def _together(states: Sequence[gw.HealthState]) -> gw.HealthState:
    worst = max(states, key=_WORST.index)
    if worst in LEFT_OUT and any(each not in LEFT_OUT for each in states):
        return "degraded"
    return worst


_: type[gw.HealthMonitor] = Monitor
__: type[gw.RoutingScorer] = Monitor
___: type[gw.SupportsAnswered] = Monitor
____: type[gw.SupportsReasons] = Monitor
_____: type[gw.SupportsReloaded] = Monitor
