"""What the breakers of several workers tell each other, through whatever state they share.

Each worker still decides from its own memory: news only move it there sooner. Without news
it finds out by itself, and where the state cannot be reached each worker probes for itself.
"""

import asyncio
import logging
import os
import weakref
from collections.abc import Callable

import llm_gateway_api as gw
import msgspec

log = logging.getLogger("llm_gateway_guard_circuit_breaker")
TOPIC = "circuit_breaker"
CLAIM_SECONDS = (1.0, 30.0)


class News(msgspec.Struct, frozen=True):
    """`seconds` are left until a probe; None: the deployment has recovered."""

    sender: str
    provider: str
    model: str
    seconds: float | None


class Fleet:
    """The other workers. `told` gets a target, and the seconds of its `News`."""

    def __init__(
        self,
        state: gw.StateBackend,
        seconds: float,
        told: Callable[[gw.Target, float | None], None],
    ) -> None:
        least, most = CLAIM_SECONDS
        self.claim_seconds = min(most, max(least, seconds))
        self._state = state
        self._self = os.urandom(6).hex()
        self._tasks: set[asyncio.Task[None]] = set()
        listener = weakref.WeakMethod(told)  # a guard of an old configuration hears no more
        state.listen(TOPIC, lambda message: self._heard(message, listener()))

    def tell(self, target: gw.Target, seconds: float | None) -> None:
        news = News(self._self, target.provider, target.model, seconds)
        self._state.publish(TOPIC, msgspec.json.encode(news))

    def ask(self, target: gw.Target, answered: Callable[[bool], None]) -> None:
        """Whether this worker is the one to probe `target`; told soon."""
        task = asyncio.get_running_loop().create_task(self._ask(target, answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, target: gw.Target, answered: Callable[[bool], None]) -> None:
        try:
            first = await self._state.claim(f"{TOPIC}:{target.name}", self.claim_seconds)
        except Exception as error:
            log.debug("breaker.alone error=%s", type(error).__name__)
            first = True
        answered(first)

    def _heard(
        self, message: bytes, told: Callable[[gw.Target, float | None], None] | None
    ) -> None:
        try:
            news = msgspec.json.decode(message, type=News)
        except msgspec.DecodeError:  # of another version
            return
        if told is not None and news.sender != self._self:
            told(gw.Target(news.provider, news.model), news.seconds)
