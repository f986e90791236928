"""Looking into a running gateway: how a request went, and what is installed."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from llm_gateway_api.attempts import Attempted
from llm_gateway_api.events import Usage


class Candidate(msgspec.Struct, frozen=True):
    """A deployment that routing could choose. `score` is what the strategy said of it, None
    where it was not asked; `preferred` what the scorers said in sum."""

    target: str
    score: float | None = None
    preferred: float | None = None


class Trail(msgspec.Struct, frozen=True):
    """How one request came to its answer; never what it or the answer says.

    `at` are Unix milliseconds of its end, durations are seconds, None where not reached.
    `model` is the caller's own text. `resolved_by` says how the name became candidates,
    `rule` which rule did; `removed` are (deployment, reason) of those that filters took away,
    `candidates` the others, those that routing put in order first, at most `MOST_CANDIDATES`
    of `candidate_count`. `failed` are the attempts before the last one that answered, oldest
    first, with targets that a guard refused. `target` answered, or was asked last.
    """

    at: int
    request_id: str
    operation: str
    model: str
    stream: bool
    tenant: str | None
    key_id: str | None
    status: int
    error: str | None
    duration: float
    first_content: float | None
    resolved_by: str | None
    rule: str | None
    removed: tuple[tuple[str, str], ...]
    candidates: tuple[Candidate, ...]
    candidate_count: int
    failed: tuple[Attempted, ...]
    attempts: int
    target: str | None
    region: str | None
    fallback: str | None
    cache: str | None
    usage: Usage | None
    cost: Decimal | None


MOST_CANDIDATES = 16


@runtime_checkable
class SupportsTrail(Protocol):
    """An observer that is told of decisions too. Without one no trail is made."""

    def wants(self, status: int) -> bool:
        """Whether a trail is made of a request that ended so. Asked for every request, so
        cheaper than a trail is."""

    def trail(self, trail: Trail) -> None:
        """Called after `finished`; plain and cheap. Raising is counted and dropped."""


class InstalledPlugin(msgspec.Struct, frozen=True):
    """A plugin as the present configuration has it. `adds` are the names of what it declares
    by hook, `armed` those of them that are in use; `state` is ``active``, ``set aside`` or
    ``disabled``, `phase` and `reason` say why."""

    name: str
    distribution: str
    version: str
    state: str
    phase: str | None
    reason: str | None
    adds: Mapping[str, Sequence[str]]
    armed: Mapping[str, Sequence[str]]


# Offered as ``plugins``.
Installed: TypeAlias = Callable[[], Sequence[InstalledPlugin]]
