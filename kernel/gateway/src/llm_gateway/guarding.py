"""Guards on the way of an attempt: all admit or the target is skipped; no lease is lost."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from llm_gateway_api import Asked, Guard, Headers, Lease, Outcome, Refusal, SupportsAnswered, Target

log = logging.getLogger("llm_gateway.guarding")

Leases: TypeAlias = list[tuple[Guard, Lease]]
Place: TypeAlias = asyncio.Future[Lease | Refusal]


@dataclass(frozen=True, slots=True)
class Guarding:
    """All guards of a generation. `seconds` bounds the wait in a queue, by provider."""

    guards: tuple[Guard, ...]
    seconds: Mapping[str, float]
    answering: Mapping[int, SupportsAnswered]
    clock: Callable[[], float] = monotonic

    @classmethod
    def of(
        cls,
        guards: Sequence[Guard],
        seconds: Mapping[str, float],
        clock: Callable[[], float] = monotonic,
    ) -> "Guarding":
        told = {id(each): each for each in guards if isinstance(each, SupportsAnswered)}
        return cls(tuple(guards), seconds, told, clock)

    async def admit(self, target: Target, asked: Asked, deadline: float) -> Leases | Refusal:
        """A lease of each guard, or the first refusal. What was taken in vain is given back,
        also when the request ends meanwhile."""
        leases: Leases = []
        admitted = False
        try:
            for guard in self.guards:
                try:
                    answer = guard.admit(target, asked)
                except Exception:
                    return _broken(target)
                if isinstance(answer, asyncio.Future):
                    until = min(deadline, self.clock() + self.seconds[target.provider])
                    answer = await self._queued(guard, target, answer, until)
                if isinstance(answer, Refusal):
                    return answer
                leases.append((guard, answer))
            admitted = True
            return leases
        finally:
            if not admitted:
                self.report(leases, Outcome(target, None, cancelled=True))

    def report(self, leases: Leases, outcome: Outcome) -> None:
        for guard, lease in leases:
            try:
                guard.report(lease, outcome)
            except Exception:
                log.exception("guard.failed target=%s", lease.target.name)

    def answered(self, leases: Leases, headers: Headers) -> None:
        """A stream's first content came."""
        for guard, lease in leases:
            tell = self.answering.get(id(guard))
            if tell is not None:
                try:
                    tell.answered(lease, headers)
                except Exception:
                    log.exception("guard.failed target=%s", lease.target.name)

    async def _queued(
        self, guard: Guard, target: Target, place: Place, until: float
    ) -> Lease | Refusal:
        """Wait for `place` until `until`; leaving gives it up, or back if it came just now."""
        taken = False
        try:
            await asyncio.wait((place,), timeout=max(0.0, until - self.clock()))
            if not place.done():
                return Refusal(503, "queue_timeout", "its queue did not move in time")
            taken = True
            return place.result()
        except Exception:
            return _broken(target)
        finally:
            if not taken and not place.cancel() and place.exception() is None:
                lease = place.result()
                if isinstance(lease, Lease):
                    self.report([(guard, lease)], Outcome(lease.target, None, cancelled=True))


def _broken(target: Target) -> Refusal:
    log.exception("guard.failed target=%s", target.name)
    return Refusal(503, "no_target_available", "a guard failed")
