"""Limiters and caches on the request path: reserve all or none, settle once, fail as declared."""

import asyncio
import hashlib
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from llm_gateway_api import (
    Cache,
    ChatRequest,
    Event,
    GatewayError,
    Limiter,
    Lookup,
    Refusal,
    RefusedError,
    Reservation,
    Settlement,
    TextPart,
)

from llm_gateway.accounting import Accounting
from llm_gateway.lanes import TranslateLane
from llm_gateway.observe import Counts

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

log = logging.getLogger("llm_gateway.reserve")
Reserved = list[tuple[Limiter, Reservation]]
NOTHING = Settlement(None, None, None)


class Scope:
    """Work that outlives its request's cancellation, each piece under a limit."""

    def __init__(self, seconds: float = 5.0) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._seconds = seconds

    def spawn(
        self, work: Coroutine[Any, Any, None], name: str, *, seconds: float | None = None
    ) -> None:
        running = self._run(work, name, self._seconds if seconds is None else seconds)
        task = asyncio.get_running_loop().create_task(running, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Coroutine[Any, Any, None], name: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except Exception:
            log.exception("%s.failed", name)

    async def drain(self) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=self._seconds)


@dataclass(frozen=True, slots=True)
class Reserving:
    """All limiters of a generation, each with its fail policy."""

    limiters: tuple[tuple[str, Limiter, Literal["open", "closed"]], ...]
    scope: Scope

    async def reserve(self, call: "Call") -> Reserved:
        """Take from every limiter, or give back what was taken and raise the refusal."""
        taken: Reserved = []
        for name, limiter, fail in self.limiters:
            try:
                answer = await limiter.reserve(call.arrival, call.head)
            except GatewayError:
                self.settle(taken, NOTHING)
                raise
            except Exception as error:
                log.exception("limiter.failed name=%s", name)
                if fail == "open":
                    continue
                self.settle(taken, NOTHING)
                raise GatewayError(
                    f"The limiter {name} cannot tell; try again later.",
                    status=503,
                    code="limiter_unavailable",
                    retry_after=1.0,
                ) from error
            if isinstance(answer, Refusal):
                self.settle(taken, NOTHING)
                call.headers.update(answer.headers)
                raise refused_error(answer)
            call.headers.update(answer.headers)
            taken.append((limiter, answer))
        return taken

    def settle(self, taken: Reserved, settlement: Settlement) -> None:
        for limiter, reservation in taken:
            self.scope.spawn(limiter.settle(reservation, settlement), "settle")


@dataclass(frozen=True, slots=True)
class Caching:
    """The exact cache, then the semantic ones; answers are kept as events."""

    caches: tuple[tuple[str, Cache], ...]
    ttl_seconds: float
    salt: str
    scope: Scope
    counts: Counts
    accounting: Accounting

    async def replay(self, call: "Call") -> bool:
        """Answer from a cache; False is a miss."""
        if not self.caches or call.head.operation == "count_tokens":
            return False
        lookup = self.lookup(call)
        for name, cache in self.caches:
            try:
                events = await cache.get(lookup)
            except Exception:
                log.exception("cache.failed name=%s", name)
                self.counts.cache_errors.value(name).inc()
                continue
            if events is not None:
                self._answer(call, events)
                return True
        call.cache = "miss"
        call.headers["x-gateway-cache"] = "miss"
        return False

    def keep(self, call: "Call") -> None:
        """Store a complete answer in every cache; the request does not wait."""
        if not self.caches or not call.events:
            return
        lookup = self.lookup(call)
        for name, cache in self.caches:
            self.scope.spawn(cache.put(lookup, call.events, self.ttl_seconds), f"cache.{name}")

    def lookup(self, call: "Call") -> Lookup:
        request = call.canonical()
        tenant = call.arrival.principal.tenant or call.arrival.principal.key_id or ""
        effective = msgspec.structs.replace(request, dialect="")
        if isinstance(effective, ChatRequest):
            effective = msgspec.structs.replace(effective, stream=False)
        body = msgspec.json.encode(effective, order="sorted")
        key = hashlib.sha256(f"{self.salt}\0{tenant}\0".encode() + body).hexdigest()
        return Lookup(key, tenant, last_text(request), request)

    def _answer(self, call: "Call", events: Sequence[Event]) -> None:
        lane = TranslateLane(None, call.frontend.renderer(call.head))
        out = lane.render(events) + lane.finish()
        call.usage, call.cache = lane.usage, "hit"
        call.headers["x-gateway-cache"] = "hit"
        self.accounting.end(call)
        call.client.answer(call.headers, out, stream=call.head.stream)


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
    return error


def last_text(request: object) -> str:
    """The last user text, which similarity covers."""
    if isinstance(request, ChatRequest):
        for message in reversed(request.messages):
            if message.role == "user":
                return "".join(part.text for part in message.parts if isinstance(part, TextPart))
    return ""
