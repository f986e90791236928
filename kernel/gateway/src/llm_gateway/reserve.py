"""Limiters on the request path: reserve all or none, settle once, fail as declared."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from llm_gateway_api import (
    DONE,
    GatewayError,
    Limiter,
    Refusal,
    RefusedError,
    Reservation,
    Settlement,
    SupportsCover,
    Target,
)

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call
    from llm_gateway.routing import Considered

log = logging.getLogger("llm_gateway.reserve")
Fail: TypeAlias = Literal["open", "closed"]
Named: TypeAlias = tuple[str, Limiter, Fail]


class Settles(Protocol):
    """The part of a limiter to which goes back what was reserved."""

    def settle(self, reservation: Reservation, settlement: Settlement) -> Awaitable[None]: ...


Reserved: TypeAlias = list[tuple[Settles, Reservation]]
NOTHING = Settlement(None, None, None)


class Scope:
    """Work that outlives its request's cancellation, each piece under a limit; one timer looks
    after all of them, as one for each would cost more than most of the work."""

    def __init__(self, seconds: float = 5.0, sweep_seconds: float = 0.5) -> None:
        self._under_way: dict[asyncio.Future[None], tuple[str, float]] = {}
        self._seconds = seconds
        self._sweep_seconds = sweep_seconds
        self._timer: asyncio.TimerHandle | None = None

    def spawn(self, work: Awaitable[None], name: str, *, seconds: float | None = None) -> None:
        """See that `work` ends. A coroutine begins as a task, a future is under way already."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._seconds if seconds is None else seconds)
        running = asyncio.ensure_future(work)
        self._under_way[running] = name, until
        running.add_done_callback(self._ended)
        if self._timer is None:
            self._timer = loop.call_later(self._sweep_seconds, self._sweep)

    def _ended(self, work: "asyncio.Future[None]") -> None:
        name, _ = self._under_way.pop(work, ("", 0.0))
        if name and not work.cancelled() and (error := work.exception()) is not None:
            log.error("%s.failed", name, exc_info=error)

    def _sweep(self) -> None:
        """Cancel what has had its time."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for work, (name, until) in tuple(self._under_way.items()):
            if until <= now:
                log.error("%s.too_long", name)
                del self._under_way[work]
                work.cancel()
        again = bool(self._under_way)
        self._timer = loop.call_later(self._sweep_seconds, self._sweep) if again else None

    async def drain(self) -> None:
        if self._under_way:
            await asyncio.wait(tuple(self._under_way), timeout=self._seconds)


class Reserving:
    """All limiters of a generation, each with its fail policy."""

    def __init__(self, limiters: Sequence[Named], scope: Scope) -> None:
        self.limiters = limiters
        self.scope = scope

    async def reserve(self, call: "Call", considered: "Considered") -> Reserved:
        """Take from every limiter, or give back what was taken and raise the refusal."""
        taken: Reserved = []
        if self.limiters:
            await self._each(self.limiters, call, considered, taken)
        return taken

    async def _each(
        self, limiters: Sequence[Named], call: "Call", considered: "Considered", taken: Reserved
    ) -> None:
        """Add to `taken` what each of `limiters` takes by itself."""
        try:
            for name, limiter, fail in limiters:
                answer = await self._one(name, limiter, fail, call, considered)
                if isinstance(answer, Refusal):
                    call.headers.update(answer.headers)
                    raise refused_error(answer)
                if answer is not None:
                    call.headers.update(answer.headers)
                    taken.append((limiter, answer))
        except BaseException:  # its client may have left meanwhile
            self.settle(taken, NOTHING)
            raise

    async def _one(
        self, name: str, limiter: Limiter, fail: Fail, call: "Call", considered: "Considered"
    ) -> Reservation | Refusal | None:
        """None where it failed and need not be heard."""
        try:
            return await limiter.reserve(considered.asked, call.head, considered.kept)
        except GatewayError:
            raise
        except Exception as error:
            log.exception("limiter.failed name=%s", name)
            if fail == "open":
                return None
            raise GatewayError(
                f"The limiter {name} cannot tell; try again later.",
                status=503,
                code="limiter_unavailable",
                retry_after=1.0,
            ) from error

    async def cover(self, taken: Reserved, target: Target) -> Refusal | None:
        """See that what was taken is enough for an attempt at `target`, or why it may not be
        made. Takes more in the place of what was taken."""
        for at, (limiter, reservation) in enumerate(taken):
            if not isinstance(limiter, SupportsCover):
                continue
            try:
                answer = await limiter.cover(reservation, target)
            except Exception:
                name, fail = self._named(limiter)
                log.exception("limiter.failed name=%s", name)
                if fail == "open":
                    continue
                return Refusal(503, "limiter_unavailable", f"The limiter {name} cannot tell.")
            if isinstance(answer, Refusal):
                return answer
            taken[at] = (limiter, answer)
        return None

    def _named(self, limiter: object) -> tuple[str, Fail]:
        return next((name, fail) for name, each, fail in self.limiters if each is limiter)

    def settle(self, taken: Reserved, settlement: Settlement) -> None:
        for limiter, reservation in taken:
            try:
                rest = limiter.settle(reservation, settlement)
                if rest is not DONE:
                    self.scope.spawn(rest, "settle")
            except Exception:
                log.exception("settle.failed")


def settlement(call: "Call") -> Settlement:
    """What `call` came to; an answer that was kept before costs nothing."""
    if call.repeated is not None:
        return NOTHING
    answered = call.first_content is not None
    return Settlement(call.target, call.usage, call.cost, answered, not call.cut)


def refused_error(answer: Refusal) -> RefusedError:
    """A refusal as the error that its client sees."""
    error = RefusedError(
        answer.message,
        param=answer.param,
        code=answer.code,
        status=answer.status,
        retry_after=answer.retry_after,
    )
    kinds = {401: "authentication_error", 402: "insufficient_quota", 429: "requests"}
    error.type = kinds.get(answer.status, error.type)
    error.headers = answer.headers
    return error
