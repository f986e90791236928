"""What follows a failed attempt: the contract of retries, fallback chains and their like.

A policy is pure: it proposes, and the kernel decides, waits and calls. What the class of the
last failure forbids is not done whoever proposes it, and neither is what would begin after
the request's deadline.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from llm_gateway_api.errors import FailureClass
from llm_gateway_api.routing import Asked
from llm_gateway_api.values import ModelInfo, Target

Mode: TypeAlias = Literal["retry", "fallback", "hedge", "continuation"]
# How a hedge ended: it answered, the other attempt did, it failed, a guard refused it (nothing
# was sent), or the client left.
Hedged: TypeAlias = Literal["won", "lost", "failed", "refused", "left"]


class Attempt(msgspec.Struct, frozen=True):
    """A proposal: ask `target` after `wait` seconds.

    `retry` asks a target again, `fallback` asks one that the plan did not have or, after
    `CONTEXT_TOO_LONG`, one that takes more; `more` are targets that join the plan behind it.
    `hedge` asks one beside an attempt that is under way, `continuation` one that goes on with
    an answer that broke after its first content. The kernel waits longer where the
    target itself said ``retry-after``.
    """

    target: Target
    wait: float = 0.0
    mode: Mode = "retry"
    more: tuple[Target, ...] = ()


class Attempted(msgspec.Struct, frozen=True):
    """An attempt that failed, or a target that a guard refused (`failure` None, not sent).

    `ended` is the clock's time, `duration` and `retry_after` are seconds, `waited` the
    seconds that a policy had asked to wait before.
    """

    target: Target
    failure: FailureClass | None
    status: int
    retry_after: float | None
    duration: float
    ended: float
    waited: float = 0.0


class Plan(msgspec.Struct, frozen=True):
    """The state of one request after a failure, or while it waits for first content.

    `targets` are those of the router, best first, then those that policies added; `made`
    what was tried, oldest first, empty only where nothing has failed yet (a hedge). `running`
    are those that are being asked now. `committed` says that the client has seen content;
    then `continuable` are those of `targets` that can go on with the answer, and only they may
    be asked, as `continuation`. `active` counts the requests under way in this process,
    `retrying` those of them that are in an attempt (or the wait before it) that a policy
    proposed as `retry`.
    """

    asked: Asked
    targets: tuple[Target, ...]
    made: tuple[Attempted, ...]
    committed: bool = False
    active: int = 1
    retrying: int = 0
    running: tuple[Target, ...] = ()
    continuable: tuple[Target, ...] = ()

    def untried(self) -> list[Target]:
        tried = {each.target.name for each in self.made} | {each.name for each in self.running}
        return [each for each in self.targets if each.name not in tried]

    def times(self, target: Target) -> list[Attempted]:
        """What was made at `target`, oldest first."""
        return [each for each in self.made if each.target.name == target.name]


class AttemptPolicy(Protocol):
    """Proposes what to try next. Raising, or None: the next policy is asked, and after the
    last one the plan goes on with its next untried target."""

    def next(self, plan: Plan, failure: FailureClass | None, time_left: float) -> Attempt | None:
        """`failure` is that of the last attempt, None where a guard refused the target;
        `time_left` are the seconds to the request's deadline."""


@runtime_checkable
class SupportsHedging(Protocol):
    """A policy that may ask another target beside a first attempt that gives no content.

    The first of the two that has content answers; the other is cancelled at once, its
    connection closed and its leases given back, and counts against nobody. A request has at
    most one hedge, beside its first attempt, and none where the plan has no other target.
    Raising is logged, and there is no hedge.
    """

    def patience(self, asked: Asked, target: Target) -> float | None:
        """Seconds without content after which `beside` is asked; None for no hedge. Called
        when a first attempt begins, so that it may count requests."""

    def beside(self, plan: Plan, time_left: float) -> Attempt | None:
        """Whom to ask now, beside `plan.running`; its `wait` is not waited. Asked again where a
        guard refused the one before."""

    def hedged(self, target: Target, result: Hedged) -> None:
        """How a hedge that `beside` proposed ended; told once for each."""


@runtime_checkable
class SupportsContinuation(Protocol):
    """A policy whose `next` may propose who continues a stream that broke after content.

    The kernel knows when that is safe: plain text so far, nothing structured, no tool call, no
    log probabilities, one choice. The text becomes the beginning of another attempt's answer
    (`SupportsPrefill`), the client's stream is marked with a comment at the seam, and usage and
    cost of the parts add up. Raising in here is logged, and nothing is continued.
    """

    def continues(self, asked: Asked) -> bool:
        """Whether this stream shall be continued, should it break. Asked before its first
        attempt: what is to be continued takes the translate lane."""

    def continued(self, target: Target, whole: bool) -> None:
        """How an attempt ended that continued an answer: with its end, or broken again."""


class Targets(Protocol):
    """Names of the configuration as deployments; a plugin gets it with ``needs=("targets",)``."""

    def named(self, name: str, asked: Asked) -> Sequence[Target]:
        """The deployments that `name` (a public model, ``provider/model``, or a provider with
        `default_model`) offers to this caller, best first; empty where there is none, and
        where ``routing.fallback_enabled`` is false."""

    def exists(self, name: str) -> bool:
        """Whether the configuration has `name`, be its provider in service or not."""

    def deployments(self) -> Sequence[Target]:
        """All that the configuration and the providers' own lists have, each once, by name."""

    def regions(self) -> frozenset[str]:
        """Where deployments are, or the providers that serve models by any name."""

    def info(self, target: Target) -> ModelInfo:
        """What is known of the target's model."""


@runtime_checkable
class SupportsWarnings(Protocol):
    """What a plugin made, and sees what is allowed but can hardly be meant. Raising is logged."""

    def warnings(self, targets: Targets) -> Sequence[str]:
        """One sentence each. Asked at the start and at reloads, for the log, and by ``validate``,
        which has opened nothing: then what is on disk has to do."""


@runtime_checkable
class SupportsReloaded(Protocol):
    """What a plugin made, and wants to know of reloads: told also to what did not change and was
    therefore taken over. Raising is logged."""

    def reloaded(self, targets: Targets) -> None:
        """A generation with this object serves from now on; `targets` are its deployments."""
