"""From a failed attempt to the next one, or to the answer that the failures mean together.

Policies propose; the class of the failure, the targets' own waits and the deadline decide.
Nothing here runs while first attempts succeed.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from llm_gateway_api import (
    FAILURES,
    Asked,
    Attempt,
    Attempted,
    AttemptPolicy,
    FailureClass,
    GatewayError,
    ModelNotFoundError,
    NoTargetError,
    Outcome,
    Plan,
    Target,
    UpstreamError,
)
from msgspec import Struct, structs

from llm_gateway.observe import Counts

log = logging.getLogger("llm_gateway.progress")

# What policies may propose for one request: far above any sensible configuration, and the
# end of a policy that would never stop.
MAX_PROPOSED = 64
# What the client is asked to wait where an overload or a limit came without a word of when.
WAIT_SECONDS = 1.0


class Progress(Struct):
    """Where one request stands: its targets, the one to try now, what was tried."""

    asked: Asked
    targets: Sequence[Target]
    target: Target
    made: list[Attempted] = []
    waited: float = 0.0
    proposed: int = 0
    retrying: bool = False
    continuable: tuple[Target, ...] = ()  # who may go on with what the client has seen

    def add(self, outcome: Outcome, ended: float, refused: bool = False) -> None:
        """Keep how the current target failed, and when on the clock."""
        failure = None if refused else FailureClass(outcome.failure or FailureClass.SERVER_ERROR)
        self.made.append(
            Attempted(
                self.target,
                failure,
                outcome.status,
                outcome.retry_after,
                outcome.duration,
                ended,
                self.waited,
            )
        )

    def reason(self) -> str | None:
        """Why another target than the first is asked; None while it is the first."""
        first = self.made[0]
        if first.target.name == self.target.name:
            return None
        return str(first.failure) if first.failure is not None else "unavailable"

    def repeats(self, failure: str) -> bool:
        """Whether this request has met the same kind of failure before."""
        return any(each.failure == failure for each in self.made)


@dataclass(slots=True)
class Onward:
    """Chooses what follows a failure; shared by all requests of a generation."""

    policies: tuple[tuple[str, AttemptPolicy], ...]
    counts: Counts
    retrying: int = 0
    clock: Callable[[], float] = monotonic

    async def move(self, progress: Progress, deadline: float, failures: list[GatewayError]) -> None:
        """Make `progress.target` the one to try now, after its wait.

        Raises:
            GatewayError: nobody is left, or nobody may be asked: what the client gets.
        """
        self.leave(progress)
        time_left = deadline - self.clock()
        if time_left <= 0:
            raise failed(failures, progress)
        step = self._proposal(progress, time_left)
        if step is None and not progress.continuable:
            step = following(progress)
        if step is None:
            raise failed(failures, progress)
        self._take(progress, step)
        if step.wait > 0:
            await asyncio.sleep(step.wait)

    def leave(self, progress: Progress) -> None:
        """The request is in no retry any more."""
        if progress.retrying:
            progress.retrying = False
            self.retrying -= 1

    def plan(self, progress: Progress, running: tuple[Target, ...] = ()) -> Plan:
        """What policies see of a request."""
        return Plan(
            progress.asked,
            tuple(progress.targets),
            tuple(progress.made),
            committed=bool(progress.continuable),
            active=int(self.counts.in_flight.value),
            retrying=self.retrying,
            running=running,
            continuable=progress.continuable,
        )

    def _proposal(self, progress: Progress, time_left: float) -> Attempt | None:
        """The first proposal that may be made, and made in time."""
        if not self.policies or progress.proposed >= MAX_PROPOSED:
            return None
        plan = self.plan(progress)
        for name, policy in self.policies:
            try:
                step = policy.next(plan, plan.made[-1].failure, time_left)
            except Exception:
                log.exception("policy.failed name=%s", name)
                continue
            if step is None or not permitted(step, plan):
                continue
            wait = max(step.wait, floor(step.target, plan, self.clock()))
            if wait < time_left:
                progress.proposed += 1
                return structs.replace(step, wait=wait)
        return None

    def _take(self, progress: Progress, step: Attempt) -> None:
        known = {each.name for each in progress.targets}
        added = [each for each in (step.target, *step.more) if each.name not in known]
        if added:
            progress.targets = [*progress.targets, *added]
        if any(each.target.name == step.target.name for each in progress.made):
            progress.retrying = True
            self.retrying += 1
            self.counts.retries(step.target.provider).inc()
        progress.target, progress.waited = step.target, step.wait


def following(progress: Progress) -> Attempt | None:
    """The next target of the plan that was not tried, where the failure lets another try."""
    last = progress.made[-1].failure
    if last is not None and not FAILURES[last].try_next:
        return None
    tried = {each.target.name for each in progress.made}
    for target in progress.targets:
        if target.name not in tried:
            return Attempt(target, mode="fallback")
    return None


def permitted(step: Attempt, plan: Plan) -> bool:
    """What the failure classes allow: of the last failure, and of the target's own last one."""
    if plan.committed or step.mode == "continuation":
        return step.mode == "continuation" and step.target in plan.continuable
    last, before = plan.made[-1], plan.times(step.target)
    if before and before[-1].failure is not None and not FAILURES[before[-1].failure].retry_same:
        return False
    if last.failure is None or last.target.name == step.target.name:
        return True
    policy = FAILURES[last.failure]
    return policy.try_next or (policy.larger and step.mode == "fallback")


def floor(target: Target, plan: Plan, now: float) -> float:
    """Seconds that `target` itself still asks to be left alone."""
    ready = (
        each.ended + each.retry_after for each in plan.times(target) if each.retry_after is not None
    )
    return max(0.0, max(ready, default=0.0) - now)


def failed(failures: Sequence[GatewayError], progress: Progress | None = None) -> GatewayError:
    """The one answer for a run of failures.

    What speaks against the request itself comes first, and keeps its status; then 429 if all
    were limits, 503 if any was a limit or out of service, 504 after a timer; else the last,
    one that another try may mend before one that it cannot. The earliest wait goes to the
    client. A model that the client named at its provider, and that is gone there, is a 404.
    """
    if not failures:
        return NoTargetError("No deployment could be asked.")
    by_status = {each.status: each for each in failures}
    if blamed := [each for each in failures if each.status < 500 and each.status != 429]:
        return blamed[-1]
    if set(by_status) == {429}:
        chosen = failures[-1]
    elif 503 in by_status:
        chosen = by_status[503]
    elif 429 in by_status:
        chosen = NoTargetError("No deployment could answer; try again later.")
    else:
        passing = [each for each in failures if each.retryable]
        chosen = by_status.get(504, (passing or failures)[-1])
    if chosen.status == 502 and progress is not None and _named(progress, chosen):
        return ModelNotFoundError(chosen.message, param="model")
    chosen.retry_after = min(
        (each.retry_after for each in failures if each.retry_after is not None),
        default=WAIT_SECONDS if chosen.status in (429, 503) else None,
    )
    return chosen


def _named(progress: Progress, error: GatewayError) -> bool:
    """Whether `error` says that the one deployment which the client named has no such model."""
    gone = isinstance(error, UpstreamError) and error.failure is FailureClass.MODEL_GONE
    return gone and progress.asked.model == progress.target.name
