"""Routing: filters remove candidates, scorers prefer some, the strategy orders, the kernel picks.

All of it are plain calls on the event loop, for each request: they must not block.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import msgspec

from llm_gateway_api.values import Arrival, Outcome, Target

if TYPE_CHECKING:
    from llm_gateway_api.contracts import Guard

RawFields: TypeAlias = Mapping[str, msgspec.Raw]
NO_FIELDS: RawFields = {}


class Asked(msgspec.Struct, frozen=True):
    """What routing sees of a request.

    `prompt_bytes` is the size of the body, `tools` and `images` whether there are any (found
    without decoding; a hint). `region` is the caller's. `at` is Unix seconds. `fields` are
    the body's top-level members, undecoded, for whoever tells conversations apart. In a
    `rehearsal` nothing is sent: who is asked answers the same, and remembers nothing of it.
    """

    arrival: Arrival
    model: str
    operation: str
    stream: bool
    prompt_bytes: int
    tools: bool
    images: bool
    region: str | None = None
    at: float = 0.0
    fields: RawFields = NO_FIELDS
    rehearsal: bool = False


@runtime_checkable
class RoutingFilter(Protocol):
    """Removes candidates. Fails closed: an exception refuses the request.

    For what lasts: a client whose request is left without any candidate is told that another
    try cannot help. Who only prefers others for now is a `RoutingScorer` or a `Guard`.
    """

    def keep(self, asked: Asked, candidate: Target) -> str | None:
        """None to keep it, else the reason why not."""


@runtime_checkable
class SupportsTarget(Protocol):
    """Names the provider for a request (rules); need not be a filter too."""

    def target(self, asked: Asked) -> tuple[str, str] | None:
        """The matching rule's name and its provider, or None."""


@runtime_checkable
class SupportsApplies(Protocol):
    """A routing filter that has nothing to say of most requests: those keep the quick way, on
    which no candidate is looked at. Raising: refused, as a filter is."""

    def applies(self, asked: Asked) -> bool:
        """Whether `keep` may take a candidate away; asked once for a request, before any."""


@runtime_checkable
class SupportsReads(Protocol):
    """Rules or a routing filter that look at less than all of a request.

    Rules that read nothing but ``model`` are asked once for each name, and a body is searched for
    tools and images only where somebody may read of them. Raising is logged, and means all.
    """

    def reads(self) -> frozenset[str]:
        """The members of `Asked` on which the answer depends; asked when a configuration is
        bound."""


class RoutingScorer(Protocol):
    """Prefers candidates, whatever the strategy. An exception is logged and prefers nobody.

    What all scorers say is added up. The strategy orders those with the highest sum, then
    the next: below `AVOIDED` is what no wish may outweigh (a deployment that is ill),
    between -1 and 1 what is only wished for.
    """

    def prefer(self, asked: Asked, candidates: Sequence[Target]) -> Sequence[float] | None:
        """One number for each candidate, 0 for indifferent; None for indifferent to all."""


AVOIDED = -100.0


class RoutingStrategy(Protocol):
    """Orders candidates. Raising: 500. Rotation and chance happen in `score`."""

    def score(self, asked: Asked, candidates: Sequence[Target]) -> Sequence[float]:
        """One number for each candidate, higher is better. The same tuple of candidates is
        the same object from request to request."""

    def report(self, target: Target, outcome: Outcome) -> None: ...


@runtime_checkable
class SupportsFollowing(Protocol):
    """A strategy, scorer or attempt policy that follows each attempt from its start to its end."""

    def follower(self) -> "Guard":
        """A guard that admits everybody. It is asked last, so that its lease begins when the
        attempt does; like every lease it comes back, however the attempt ends."""


def same_region(wanted: str, region: str | None) -> bool:
    """A region matches itself and what continues it after a hyphen."""
    return region is not None and (region == wanted or region.startswith(f"{wanted}-"))


def conversation_key(asked: Asked) -> bytes | None:
    """What stays the same from turn to turn of one conversation of a tenant; None where
    nothing tells it.

    The client's ``prompt_cache_key`` where there is one, else the beginning that a vendor's
    prompt cache would find again: instructions, tools and the first message of a user.
    """
    fields = asked.fields
    parts = [str(asked.arrival.principal.tenant).encode(), asked.model.encode()]
    own = fields.get("prompt_cache_key")
    if own is not None and bytes(own) != b"null":
        parts.append(bytes(own))
    else:
        turns = _opening(fields.get("messages") or fields.get("input"))
        if turns is None:
            return None
        parts += (
            bytes(fields[name]) for name in ("system", "instructions", "tools") if name in fields
        )
        parts += turns
    return hashlib.blake2b(b"\0".join(parts), digest_size=8).digest()


class _Turn(msgspec.Struct):
    role: str = ""


def _opening(raw: msgspec.Raw | None) -> list[bytes] | None:
    """The messages up to the first of a user, as they were written."""
    if raw is None:
        return None
    try:
        turns = msgspec.json.decode(raw, type=list[msgspec.Raw])
        found = []
        for turn in turns:
            found.append(bytes(turn))
            if msgspec.json.decode(turn, type=_Turn).role == "user":
                break
    except msgspec.DecodeError:
        return None
    return found or None
