"""Limiters that count in shared state, joined: a request asks it once, and settles once.

That is the quick way, for when all is well. Whatever is out of the ordinary goes the way of
`Reserving`, where each limiter answers for itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import msgspec
from llm_gateway_api import (
    DONE,
    NO_CLAIM,
    Claim,
    Denial,
    Done,
    Grant,
    Refusal,
    Reservation,
    Settlement,
    StateBackend,
    StoreError,
    SupportsClaims,
    SupportsCover,
    Take,
    Target,
)

from llm_gateway.reserve import Named, Reserved, Reserving, Scope, refused_error

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call
    from llm_gateway.routing import Considered

log = logging.getLogger("llm_gateway.claims")
FILLS = 3  # of each window, before every limiter has to see for itself
JOINED = Reservation()
NOTHING_TAKEN = Grant((), ())


def reserving(limiters: Sequence[Named], scope: Scope, state: StateBackend | None) -> Reserving:
    """What asks all of `limiters`, as one where they and `state` let it."""
    if state is not None and any(isinstance(each, SupportsClaims) for _, each, _ in limiters):
        return Claiming(limiters, scope, state)
    return Reserving(limiters, scope)


class Claiming(Reserving):
    """Asks those that have claims as one, and then each of the others."""

    def __init__(self, limiters: Sequence[Named], scope: Scope, state: StateBackend) -> None:
        super().__init__(limiters, scope)
        self._state = state
        self._claiming = [each for _, each, _ in limiters if isinstance(each, SupportsClaims)]
        self._claims = [each.claim for each in self._claiming]
        self._others = [each for each in limiters if not isinstance(each[1], SupportsClaims)]

    async def reserve(self, call: "Call", considered: "Considered") -> Reserved:
        claims: list[Claim] = []
        takes: list[Take] = []
        grant = NOTHING_TAKEN
        refusal: Refusal | None = None
        try:
            joined = self._joined(call, considered, claims, takes)
            if joined and takes:
                answer = await self._state.take(takes)
                if isinstance(answer, Denial):
                    answer = await self._filled(answer, claims, takes)
                if isinstance(answer, Denial):
                    refusal = refused(claims, answer)
                else:
                    grant = answer
        except Exception as error:  # shared state's, of which each limiter tells in its own way
            log.debug("claims.failed error=%s", type(error).__name__)
            joined = False
        if not joined:
            return await super().reserve(call, considered)
        if refusal is not None:
            call.headers.update(refusal.headers)
            raise refused_error(refusal)
        taken = self._granted(call, claims, grant)
        if self._others:
            await self._each(self._others, call, considered, taken)
        return taken

    async def cover(self, taken: Reserved, target: Target) -> Refusal | None:
        for each, _ in tuple(taken):
            if isinstance(each, Joined):
                taken += each.coverable(self._claiming)
        return await super().cover(taken, target)

    def _joined(
        self, call: "Call", considered: "Considered", claims: list[Claim], takes: list[Take]
    ) -> bool:
        """Adds what each of them claims; False where one has to judge by itself."""
        asked, head, kept = considered.asked, call.head, considered.kept
        for claimed in self._claims:
            try:
                claim = claimed(asked, head, kept)
            except Exception:  # a limiter's bug, which its `reserve` may not show
                log.exception("claim.failed")
                return False
            if claim is None:
                return False
            claims.append(claim)
            takes += claim.takes
        return True

    def _granted(self, call: "Call", claims: Sequence[Claim], grant: Grant) -> Reserved:
        remaining, at, some = grant.remaining, 0, False
        for claim in claims:
            if claim is NO_CLAIM:
                continue
            some = True
            end = at + len(claim.takes)
            try:
                if told := claim.granted(remaining[at:end]):
                    call.headers.update(told)
            except Exception:
                log.exception("claim.failed")
            at = end
        return [(Joined(self._state, claims, grant), JOINED)] if some else []

    async def _filled(
        self, answer: Grant | Denial, claims: Sequence[Claim], takes: Sequence[Take]
    ) -> Grant | Denial:
        """The answer once all windows are filled that have to be."""
        for _ in range(FILLS * len(takes)):
            if not isinstance(answer, Denial) or not answer.unfilled:
                return answer
            claim, denial = own(claims, answer)
            await claim.fill(denial.index)
            answer = await self._state.take(takes)
        raise StoreError("Windows cannot be filled now.", retry_after=1.0)


class Joined(msgspec.Struct):
    """What the claims of a request took together: settled together."""

    state: StateBackend
    claims: Sequence[Claim]
    grant: Grant
    covering: bool = False

    def coverable(self, limiters: Sequence[SupportsClaims]) -> Reserved:
        """Once: each claim that may have to take more, by its limiter, which settles that."""
        found: Reserved = []
        if not self.covering:
            self.covering = True
            for limiter, claim in zip(limiters, self.claims, strict=True):
                if isinstance(limiter, SupportsCover) and claim is not NO_CLAIM:
                    found.append((limiter, Reservation(claim)))
        return found

    def settle(self, reservation: Reservation, settlement: Settlement) -> Awaitable[None]:
        amounts: list[int] = []
        for claim in self.claims:
            try:
                amounts += claim.used(settlement)
            except Exception:
                log.exception("claim.failed")
                amounts += [each.amount for each in claim.takes]
        if not amounts:
            return self._settled()
        try:
            rest = self.state.settle(self.grant, amounts)
        except Exception as error:
            return self._owed(error, self.grant, amounts)
        if rest is DONE:
            return self._settled()
        if isinstance(rest, asyncio.Future):  # no task of its own is needed
            rest.add_done_callback(lambda told: self._ended(told, amounts))
            return rest
        return self._told(rest, self.grant, amounts)

    def _ended(self, told: "asyncio.Future[None]", amounts: Sequence[int]) -> None:
        error = TimeoutError("too late") if told.cancelled() else told.exception()
        if isinstance(error, Exception):
            self._owed(error, self.grant, amounts)
        else:
            self._settled()

    async def _told(self, rest: Awaitable[None], grant: Grant, amounts: Sequence[int]) -> None:
        try:
            await rest
        except Exception as error:
            self._owed(error, grant, amounts)
        else:
            self._settled()

    def _settled(self) -> Done:
        for claim in self.claims:
            try:
                claim.settled()
            except Exception:
                log.exception("claim.failed")
        return DONE

    def _owed(self, error: Exception, grant: Grant, amounts: Sequence[int]) -> Done:
        """Every claim may make up for its own part later."""
        at = 0
        for claim in self.claims:
            end = at + len(claim.takes)
            own = [each.amount for each in grant.takes]
            own[at:end] = amounts[at:end]
            try:
                claim.owed(error, grant, own)
            except Exception:
                log.exception("claim.failed")
            at = end
        return DONE


def refused(claims: Sequence[Claim], denial: Denial) -> Refusal:
    claim, part = own(claims, denial)
    return claim.refused(part)


def own(claims: Sequence[Claim], denial: Denial) -> tuple[Claim, Denial]:
    """Whose take did not fit, and the denial as it would be of its takes alone."""
    at = 0
    for claim in claims:
        end = at + len(claim.takes)
        if denial.index < end:
            remaining = denial.remaining[at:end]
            part = Denial(denial.index - at, denial.retry_after, remaining, denial.unfilled)
            return claim, part
        at = end
    raise IndexError(f"no take has the index {denial.index}")
