"""Two attempts at one request at a time; the first that has content answers it.

Each runs on a copy of the call that knows no client. Who claims the answer is given the
client and the others are cancelled, so that nothing of them can reach it. Bound only where a
policy asks for hedges.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from copy import copy
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from llm_gateway_api import (
    Attempt,
    AttemptPolicy,
    ClientGoneError,
    Hedged,
    Plan,
    SupportsHedging,
    Target,
)
from msgspec import structs

from llm_gateway.progress import Onward, Progress
from llm_gateway.unfinished import so_far

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

log = logging.getLogger("llm_gateway.racing")
Try: TypeAlias = Callable[["Call", Progress], Coroutine[Any, Any, bool]]
# What the request takes over of the attempt that answered it.
ADOPTED = (
    "accounted",
    "answered",
    "cost",
    "cost_usd",
    "cut",
    "events",
    "first_content",
    "given_up",
    "hedge",
    "lane",
    "leases",
    "partial",
    "request",
    "target",
    "usage",
)


class LostError(ClientGoneError):
    """Another attempt had content first: to this one it is as if its client had left."""


class Unseen:
    """The client as an attempt sees it that has not claimed the answer yet."""

    committed = False
    paused = False
    on_resume: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Racing:
    """Races first attempts as policies ask; shared by all requests of a generation."""

    policies: Sequence[tuple[str, SupportsHedging]]
    onward: Onward
    clock: Callable[[], float] = monotonic

    @classmethod
    def of(cls, policies: Sequence[tuple[str, AttemptPolicy]], onward: Onward) -> "Racing | None":
        """None where no policy hedges, so that nothing is asked on a request's way."""
        hedging = [(name, each) for name, each in policies if isinstance(each, SupportsHedging)]
        return cls(hedging, onward) if hedging else None

    async def run(self, call: "Call", progress: Progress, attempt: Try) -> bool:
        """One attempt, and a hedge beside it where a policy asks for it in time."""
        if _hedgeable(progress):
            for name, policy in self.policies:
                seconds = self._patience(name, policy, progress)
                if seconds is not None:
                    if self.clock() + seconds >= call.deadline:
                        break
                    return await Race(self, policy, call, progress, attempt).run(seconds)
        return await attempt(call, progress)

    def _patience(self, name: str, policy: SupportsHedging, progress: Progress) -> float | None:
        try:
            return policy.patience(progress.asked, progress.target)
        except Exception:
            log.exception("policy.failed name=%s", name)
            return None

    def proposal(self, policy: SupportsHedging, call: "Call", progress: Progress) -> Attempt | None:
        """Whom to ask beside `progress.target` now, if anybody."""
        time_left = call.deadline - self.clock()
        if time_left <= 0:
            return None
        plan = self.onward.plan(progress, (progress.target,))
        try:
            step = policy.beside(plan, time_left)
        except Exception:
            log.exception("hedge.failed")
            return None
        return step if step is not None and _new(step.target, plan) else None

    def tell(self, policy: SupportsHedging, target: Target, result: Hedged) -> None:
        try:
            policy.hedged(target, result)
        except Exception:
            log.exception("hedge.failed")


class Race:
    """The attempts of one request that run at the same time."""

    def __init__(
        self,
        racing: Racing,
        policy: SupportsHedging,
        call: "Call",
        progress: Progress,
        attempt: Try,
    ) -> None:
        self._racing = racing
        self._policy = policy
        self._call = call
        self._progress = progress
        self._attempt = attempt
        self._branches: dict[asyncio.Task[bool], Call] = {}
        self._winner: Call | None = None
        self._over = False

    async def run(self, seconds: float) -> bool:
        """Whether one of them answered; raises what is final for the request."""
        first = self._begin(self._progress)
        try:
            await self._raced(first, seconds)
        except asyncio.CancelledError:
            if not self._answered():
                raise
            _stay()
        finally:
            await self._stop()
            self._adopt(first)
        return self._result()

    def claim(self, branch: "Call") -> None:
        """`branch` has content. Raises `LostError` where it comes too late."""
        if self._winner is branch:
            return
        if self._over or self._winner is not None:
            raise LostError("another attempt answered first")
        self._winner = branch
        branch.client = self._call.client
        sent = [each for each in self._branches.values() if each.target is not None]
        branch.attempts = max(each.attempts for each in sent)
        branch.headers["x-gateway-attempts"] = str(branch.attempts)
        if len(sent) > 1:
            branch.hedge = "lost" if branch is sent[0] else "won"
            branch.headers["x-gateway-hedge"] = branch.hedge
        for task, other in self._branches.items():
            if other is not branch and not task.done():
                task.cancel()
                if other.target is not None:
                    branch.given_up.append(other)
                other.usage = so_far(other)  # the record may be written before it ends

    # --- inside ------------------------------------------------------------------------

    async def _raced(self, first: "asyncio.Task[bool]", seconds: float) -> None:
        """Until both have ended, or the one that answers has."""
        await asyncio.wait((first,), timeout=seconds)
        for _ in range(len(self._progress.targets)):
            if first.done() or self._winner is not None:
                break
            step = self._racing.proposal(self._policy, self._call, self._progress)
            if step is None or await self._beside(first, step.target):
                break
        if not self._final(first):
            await asyncio.wait(self._branches)

    def _begin(self, progress: Progress) -> "asyncio.Task[bool]":
        """Start an attempt on a copy of the call."""
        unseen: Any = Unseen()
        made = (each.attempts for each in self._branches.values())
        branch = structs.replace(
            self._call,
            client=unseen,
            race=self,
            target=None,
            beside=bool(self._branches),
            attempts=max(made, default=self._call.attempts),
            headers=dict(self._call.headers),
            given_up=[],
            trace=copy(self._call.trace),
            upstream_seconds=0.0,
        )
        name = f"attempt at {progress.target.name}"
        task = asyncio.get_running_loop().create_task(self._attempt(branch, progress), name=name)
        self._branches[task] = branch
        return task

    async def _beside(self, first: "asyncio.Task[bool]", target: Target) -> bool:
        """Whether a hedge at `target` was sent; False where a guard refused it."""
        hedge = self._begin(structs.replace(self._progress, target=target))
        try:
            pending = {first, hedge}
            while hedge in pending and not self._final(first):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._racing.tell(self._policy, target, self._became(first, hedge))
        return self._branches[hedge].target is not None

    def _became(self, first: "asyncio.Task[bool]", hedge: "asyncio.Task[bool]") -> Hedged:
        """What became of a hedge."""
        branch = self._branches[hedge]
        if self._winner is not None:
            return "won" if self._winner is branch else "lost"
        if hedge.done():
            return "failed" if branch.target is not None else "refused"
        return "lost" if self._final(first) else "left"

    def _answered(self) -> bool:
        """Whether the client has all of the answer; whatever it does then is no hanging up."""
        won = (task for task, branch in self._branches.items() if branch is self._winner)
        return any(task.done() and not task.cancelled() and not task.exception() for task in won)

    def _final(self, first: "asyncio.Task[bool]") -> bool:
        """Whether the first attempt ended with what no other attempt can better."""
        if self._winner is not None:
            return False
        return first.done() and (first.cancelled() or first.exception() is not None)

    async def _stop(self) -> None:
        """Cancel what still runs, and wait for its end."""
        self._over = True
        running = {task for task in self._branches if not task.done()}
        cancelled = False
        for task in running:
            task.cancel()
        while running:
            try:
                _, running = await asyncio.wait(running)
            except asyncio.CancelledError:
                cancelled = True  # what runs under this request ends before it does
        for task in self._branches:
            if not task.cancelled():
                task.exception()  # seen here: of a lost attempt nobody else asks for it
        if cancelled:
            if not self._answered():
                raise asyncio.CancelledError
            _stay()

    def _adopt(self, first: "asyncio.Task[bool]") -> None:
        """The request takes over what is known of the attempt that answered it, or else of the
        first."""
        call, branches = self._call, list(self._branches.values())
        known = self._winner or self._branches[first]
        for name in ADOPTED:
            setattr(call, name, getattr(known, name))
        if self._winner is None and known.cut:
            call.given_up = [each for each in branches if each.cut and each is not known]
        call.headers.update(known.headers)
        call.attempts = max(each.attempts for each in branches)
        call.upstream_seconds += max(each.upstream_seconds for each in branches)

    def _result(self) -> bool:
        """Of the attempt that answered; else the first error that is final, else failure."""
        for task, branch in self._branches.items():
            if branch is self._winner:
                return task.result()
        for task in self._branches:
            if not task.cancelled():
                task.result()
        return False


def _stay() -> None:
    """This task was cancelled when there was nothing left to cancel."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _hedgeable(progress: Progress) -> bool:
    """A first attempt that asks a model, and somebody else who could answer."""
    first = not progress.made and progress.asked.operation != "count_tokens"
    return first and len(progress.targets) > 1


def _new(target: Target, plan: Plan) -> bool:
    """Whether `target` is asked neither now nor before."""
    known = {each.name for each in plan.running} | {each.target.name for each in plan.made}
    return target.name not in known
