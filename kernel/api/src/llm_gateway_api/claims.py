"""Limiters that count in shared state, taking together: one step for all limits of a request."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from llm_gateway_api.backing import Denial, Grant, Take
from llm_gateway_api.contracts import Limiter, Settlement
from llm_gateway_api.requests import RequestHead
from llm_gateway_api.routing import Asked
from llm_gateway_api.values import Headers, Refusal, Target


class Claim(msgspec.Struct):
    """What a limiter wants of shared state for one request, and what it remembers of that until
    it is settled; to be derived from.

    `takes` are joined to those of other limiters. Indices, numbers and amounts are those of its
    own `takes` alone. Every call but `fill` is plain and quick.
    """

    takes: Sequence[Take]

    def granted(self, remaining: Sequence[int]) -> Headers:
        """All were taken. Returns what the client is told (``x-ratelimit-…``). Raising is
        logged."""
        return {}

    def refused(self, denial: Denial) -> Refusal:
        """One of these takes did not fit, so nothing was taken, also of the other limiters'."""
        raise NotImplementedError

    async def fill(self, index: int) -> None:
        """Fill the window of this take, which asks for a `filled` one."""
        raise NotImplementedError

    def used(self, settlement: Settlement) -> Sequence[int]:
        """The request is over: what each take came to. Raising is logged, and what was taken
        stays taken."""
        return [each.amount for each in self.takes]

    def settled(self) -> None:
        """Shared state was told what was `used`. Raising is logged."""

    def owed(self, error: Exception, grant: Grant, amounts: Sequence[int]) -> None:
        """It could not be told. A later ``state.settle(grant, amounts)`` does it for this claim,
        and leaves those of others as they were taken."""


NO_CLAIM = Claim(())


@runtime_checkable
class SupportsClaims(Limiter, Protocol):
    """A limiter whose takes may be joined to those of others: the kernel asks shared state (the
    offer ``state``) once for all of them, and settles once.

    Whenever that is not possible (shared state cannot be reached, `fill` raises, one of the
    limiters has nothing to claim with) each is asked to `reserve`, and its fail policy holds. A
    claim comes to `cover` as the token of a reservation, which then comes to `settle` too,
    after `used`: for what was taken beside the claim.
    """

    def claim(self, asked: Asked, head: RequestHead, candidates: Sequence[Target]) -> Claim | None:
        """What `reserve` would take; plain, and nothing is taken yet. `NO_CLAIM` where the
        request is under no limit; None where `reserve` has to judge it."""
