"""Where one deployment, or one region, stands: a value, and functions from one to the next.

ok -failure-> degraded -`after` in a row-> unhealthy -success, or time-> recovering -time-> ok
A refusal of us (see `failed`) leads to suspended in place of unhealthy.
"""

from dataclasses import dataclass

import msgspec
from llm_gateway_api import FailureClass, HealthState

FIRST_SHARE = 0.05  # of its traffic, when it begins to come back
# It answers, and refuses us: waiting a little does not help, the operator has to do something.
ACCOUNT = frozenset({FailureClass.CREDENTIAL_REFUSED, FailureClass.ACCOUNT_EMPTY})
SUSPENDING = ACCOUNT | {FailureClass.MODEL_GONE}


@dataclass(frozen=True, slots=True)
class Rules:
    after: int
    retry_seconds: float
    recovery_seconds: float
    suspend_seconds: float = 60.0
    suspend_max_seconds: float = 1800.0


class State(msgspec.Struct, frozen=True):
    """`since` is the clock's time of the last change, `failures` those in a row, `rounds` the
    suspensions since the last success, `answered` whether there was any success."""

    name: HealthState = "unknown"
    since: float = 0.0
    failures: int = 0
    failure: str | None = None
    rounds: int = 0
    answered: bool = False


def failed(state: State, failure: str, now: float, rules: Rules, probed: bool = False) -> State:
    """After a failure. Whoever comes back is ill again with the first one.

    A refusal of us suspends who never answered at once, and who did with as many in a row as
    make others ill: some vendors refuse a single request in the same words.
    """
    failures = state.failures + 1
    ill = state.name in ("recovering", "unhealthy") or failures >= rules.after
    if failure in SUSPENDING and not probed and (ill or state.rounds or not state.answered):
        return _suspended(state, now, failures, failure)
    if state.name == "suspended":
        return msgspec.structs.replace(state, failures=failures)
    name: HealthState = "unhealthy" if ill else "degraded"
    since = now if name != state.name else state.since
    if name == "unhealthy" and not probed:
        since = now  # traffic says so: it is not tried again before its time
    return State(name, since, failures, failure, state.rounds, state.answered)


def _suspended(state: State, now: float, failures: int, failure: str) -> State:
    """What was under way already, or asked for want of another, makes it no longer."""
    if state.name == "suspended":
        return msgspec.structs.replace(state, failures=failures, failure=failure)
    return State("suspended", now, failures, failure, state.rounds + 1, state.answered)


def suspension(state: State, rules: Rules) -> float:
    """Seconds of the suspension that `state` is in."""
    doubled = rules.suspend_seconds * 2.0 ** min(state.rounds - 1, 30)
    return float(min(doubled, max(rules.suspend_seconds, rules.suspend_max_seconds)))


def succeeded(state: State, now: float, rules: Rules) -> State:
    """After a success: an ill one begins to come back, one that does goes on. Whoever was
    suspended is well: what was refused is not refused any more."""
    current = at(state, now, rules)
    if current.name == "unhealthy":
        return State("recovering", now, 0, state.failure, answered=True)
    if current.name == "recovering" and not current.rounds:
        return msgspec.structs.replace(current, failures=0, answered=True)
    since = now if current.name != "ok" else current.since
    return State("ok", since, 0, state.failure, answered=True)


def at(state: State, now: float, rules: Rules) -> State:
    """What became of `state` by time alone."""
    if state.name == "suspended" and now - state.since >= (lasts := suspension(state, rules)):
        since = state.since + lasts
        state = msgspec.structs.replace(state, name="recovering", since=since, failures=0)
    if state.name == "unhealthy" and now - state.since >= rules.retry_seconds:
        since = state.since + rules.retry_seconds
        state = msgspec.structs.replace(state, name="recovering", since=since, failures=0)
    if state.name == "recovering" and now - state.since >= rules.recovery_seconds:
        since = state.since + rules.recovery_seconds
        return msgspec.structs.replace(state, name="ok", since=since, failures=0)
    return state


def share(state: State, now: float, rules: Rules) -> float:
    """The part of its usual traffic that it should get; `state` is that of now."""
    if state.name in ("unhealthy", "suspended"):
        return 0.0
    if state.name == "recovering":
        gone = max(0.0, now - state.since) / rules.recovery_seconds
        return FIRST_SHARE + (1 - FIRST_SHARE) * min(1.0, gone)
    return 1.0
