"""Where one deployment, or one region, stands: a value, and functions from one to the next.

ok -failure-> degraded -`after` in a row-> unhealthy -success, or time-> recovering -time-> ok
"""

from dataclasses import dataclass

import msgspec
from llm_gateway_api import HealthState

FIRST_SHARE = 0.05  # of its traffic, when it begins to come back


@dataclass(frozen=True, slots=True)
class Rules:
    after: int
    retry_seconds: float
    recovery_seconds: float


class State(msgspec.Struct, frozen=True):
    """`since` is the clock's time of the last change, `failures` those in a row."""

    name: HealthState = "unknown"
    since: float = 0.0
    failures: int = 0
    failure: str | None = None


def failed(state: State, failure: str, now: float, rules: Rules, probed: bool = False) -> State:
    """After a failure. Whoever comes back is ill again with the first one."""
    failures = state.failures + 1
    ill = state.name in ("recovering", "unhealthy") or failures >= rules.after
    name: HealthState = "unhealthy" if ill else "degraded"
    since = now if name != state.name else state.since
    if name == "unhealthy" and not probed:
        since = now  # traffic says so: it is not tried again before its time
    return State(name, since, failures, failure)


def succeeded(state: State, now: float, rules: Rules) -> State:
    """After a success: an ill one begins to come back, one that does goes on."""
    current = at(state, now, rules)
    if current.name == "unhealthy":
        return State("recovering", now, 0, state.failure)
    if current.name == "recovering":
        return msgspec.structs.replace(current, failures=0)
    return State("ok", now if current.name != "ok" else current.since, 0, state.failure)


def at(state: State, now: float, rules: Rules) -> State:
    """What became of `state` by time alone."""
    if state.name == "unhealthy" and now - state.since >= rules.retry_seconds:
        state = State("recovering", state.since + rules.retry_seconds, 0, state.failure)
    if state.name == "recovering" and now - state.since >= rules.recovery_seconds:
        return State("ok", state.since + rules.recovery_seconds, 0, state.failure)
    return state


def share(state: State, now: float, rules: Rules) -> float:
    """The part of its usual traffic that it should get; `state` is that of now."""
    if state.name == "unhealthy":
        return 0.0
    if state.name == "recovering":
        gone = max(0.0, now - state.since) / rules.recovery_seconds
        return FIRST_SHARE + (1 - FIRST_SHARE) * min(1.0, gone)
    return 1.0
