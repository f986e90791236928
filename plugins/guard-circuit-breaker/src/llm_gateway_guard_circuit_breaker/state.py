"""The breaker's state machine: (state, event, clock) → state. Pure.

CLOSED --failure_threshold failures in a row--> OPEN --timeout, next request--> HALF_OPEN
HALF_OPEN --success_threshold successes in a row--> CLOSED, --one failure--> OPEN.
In HALF_OPEN exactly one request, the probe, is under way.
"""

from enum import IntEnum

import msgspec

# What a provider may ask for; beyond it a wrong header would take a deployment away for good.
LONGEST_SECONDS = 24 * 3600.0


class Phase(IntEnum):
    """The values of ``gateway_circuit_breaker_state``."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Rules(msgspec.Struct, frozen=True):
    failures: int
    successes: int
    seconds: float


class State(msgspec.Struct, frozen=True):
    """`count` are failures in a row (CLOSED) or successes (HALF_OPEN); `until` is when OPEN
    ends; `epoch` grows with each change of phase, so that a request which began before it
    is told from one that began after."""

    phase: Phase = Phase.CLOSED
    count: int = 0
    until: float = 0.0
    probing: bool = False
    epoch: int = 0


def admitted(state: State, now: float) -> State | None:
    """The state with one more request under way; None where it may not begin."""
    if state.phase is Phase.CLOSED:
        return state
    if state.phase is Phase.OPEN:
        if now < state.until:
            return None
        return State(Phase.HALF_OPEN, probing=True, epoch=state.epoch + 1)
    if state.probing:
        return None
    return msgspec.structs.replace(state, probing=True)


def succeeded(state: State, epoch: int, rules: Rules) -> State:
    if epoch != state.epoch or state.phase is Phase.OPEN:
        return state
    if state.phase is Phase.CLOSED:
        return msgspec.structs.replace(state, count=0) if state.count else state
    if state.count + 1 >= rules.successes:
        return State(epoch=state.epoch + 1)
    return msgspec.structs.replace(state, count=state.count + 1, probing=False)


def failed(
    state: State, epoch: int, rules: Rules, now: float, retry_after: float | None = None
) -> State:
    wait = min(max(rules.seconds, retry_after or 0.0), LONGEST_SECONDS)
    if state.phase is Phase.OPEN:  # a request from before: it may only know of a longer wait
        longer = now + min(retry_after or 0.0, LONGEST_SECONDS)
        return msgspec.structs.replace(state, until=max(state.until, longer))
    if epoch != state.epoch:
        return state
    if state.phase is Phase.CLOSED and state.count + 1 < rules.failures:
        return msgspec.structs.replace(state, count=state.count + 1)
    return State(Phase.OPEN, until=now + wait, epoch=state.epoch + 1)


def passed(state: State, epoch: int) -> State:
    """A request ended that speaks neither for nor against: a probe's place is free again."""
    if state.phase is Phase.HALF_OPEN and epoch == state.epoch:
        return msgspec.structs.replace(state, probing=False)
    return state


def opened(state: State, until: float) -> State:
    """Another worker knows that it fails, at least `until`."""
    if state.phase is Phase.OPEN:
        return msgspec.structs.replace(state, until=max(state.until, until))
    return State(Phase.OPEN, until=until, epoch=state.epoch + 1)


def closed(state: State) -> State:
    """Another worker knows that it works again."""
    return state if state.phase is Phase.CLOSED else State(epoch=state.epoch + 1)
