"""What each worker remembers for the pages, and how a page gets it from all of them.

A page may be served by any worker of any host. It asks over the shared state's news, and each
worker answers with what it has; nothing is sent while nobody looks.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import llm_gateway_api as gw
import msgspec

from llm_gateway_admin_dashboard.live import SLOT, Point, Slots

log = logging.getLogger("llm_gateway_admin_dashboard")

ASKED = "dashboard.asked"
MESSAGE_BYTES = 50_000  # news are no stream; a host's mailbox takes 60,000 bytes
PLAIN_BYTES = 4 * 2**20
ANSWER_SECONDS = 0.5
FORGET_SECONDS = 60.0
# Trails a second, of those that were answered and of the others: under load the last requests
# tell no more than some of them, and cost time.
MOST_TRAILS = 50


class Question(msgspec.Struct, array_like=True, frozen=True):
    """Points since the Unix time `since`; or trails of `tenant` (None: of all), or the one with
    this `request_id`; newest first, at most `limit`."""

    page: str
    number: int
    what: str
    since: int = 0
    limit: int = 0
    tenant: str | None = None
    request_id: str | None = None


class Reply(msgspec.Struct, array_like=True, frozen=True):
    page: str
    number: int
    worker: str
    points: Sequence[Point] = ()
    trails: Sequence[gw.Trail] = ()


_encode = msgspec.msgpack.Encoder().encode
_question = msgspec.msgpack.Decoder(Question).decode
_reply = msgspec.msgpack.Decoder(Reply).decode


class Watch:
    """An observer and a service: keeps this worker's slots and its last requests."""

    def __init__(
        self,
        recent: int,
        *,
        metrics: gw.Metrics,
        state: gw.StateBackend | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.slots = Slots()
        self.trails: deque[gw.Trail] = deque(maxlen=recent)
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._metrics = metrics
        self._state = state
        self._clock = clock
        self._second, self._many = 0, [0, 0]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._state is not None:
            self._state.listen(ASKED, self.heard)
        async with gw.alongside(self._sampling(), name="dashboard slots"):
            yield

    async def _sampling(self) -> None:
        """At the same moments in every worker, so that their slots add up."""
        while True:
            self.slots.take(self._metrics.families(), int(self._clock()) // SLOT * SLOT)
            await asyncio.sleep(SLOT - self._clock() % SLOT + 0.01)

    # --- of requests ---------------------------------------------------------------------

    def started(self, arrival: gw.Arrival) -> None: ...

    def attempt(self, arrival: gw.Arrival, target: gw.Target, outcome: gw.Outcome) -> None: ...

    def first_content(self, arrival: gw.Arrival, target: gw.Target) -> None: ...

    def finished(self, arrival: gw.Arrival, outcome: gw.Outcome) -> None: ...

    def wants(self, status: int) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._many = second, [0, 0]
        self._many[status >= 400] += 1
        return self._many[status >= 400] <= MOST_TRAILS and self.trails.maxlen != 0

    def trail(self, trail: gw.Trail) -> None:
        self.trails.append(trail)

    # --- for pages -----------------------------------------------------------------------

    def heard(self, message: bytes) -> None:
        asked = _question(message)
        if self._state is not None:
            self._state.publish(answers_to(asked.page), packed(self.answer(asked)))

    def answer(self, asked: Question) -> Reply:
        if asked.what == "points":
            points = [each for each in self.slots.points if each.at > asked.since]
            return Reply(asked.page, asked.number, self.worker, points=points)
        chosen: list[gw.Trail] = []
        for each in reversed(self.trails):
            if asked.tenant is not None and each.tenant != asked.tenant:
                continue
            if asked.request_id in (None, each.request_id):
                chosen.append(each)
                if len(chosen) >= asked.limit:
                    break
        return Reply(asked.page, asked.number, self.worker, trails=chosen)


class Gather:
    """Asks all workers, and waits until as many as this host has and all that were heard of
    lately have answered; at most `ANSWER_SECONDS`. Those of other hosts are so waited for from
    the second question on.
    """

    def __init__(self, state: gw.StateBackend, workers: int) -> None:
        self._state = state
        self._workers = workers
        self._page = secrets.token_hex(8)
        self._number = 0
        self._known: dict[str, float] = {}
        self._waiting: dict[int, tuple[dict[str, Reply], asyncio.Event]] = {}

    def listen(self) -> None:
        self._state.listen(answers_to(self._page), self._heard)

    async def points(self, since: int) -> list[Reply]:
        return await self._ask("points", since=since)

    async def trails(
        self, limit: int, tenant: str | None, request_id: str | None = None
    ) -> list[Reply]:
        return await self._ask("trails", limit=limit, tenant=tenant, request_id=request_id)

    async def _ask(
        self,
        what: str,
        since: int = 0,
        limit: int = 0,
        tenant: str | None = None,
        request_id: str | None = None,
    ) -> list[Reply]:
        self._number += 1
        number = self._number
        answers: dict[str, Reply] = {}
        self._waiting[number] = answers, (complete := asyncio.Event())
        asked = Question(self._page, number, what, since, limit, tenant, request_id)
        try:
            self._state.publish(ASKED, _encode(asked))
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await complete.wait()
        finally:
            del self._waiting[number]
        return list(answers.values())

    def _heard(self, message: bytes) -> None:
        reply = unpacked(message)
        if reply is None or reply.page != self._page:
            return
        now = time.monotonic()
        self._known[reply.worker] = now
        waiting = self._waiting.get(reply.number)
        if waiting is None:
            return
        answers, complete = waiting
        answers[reply.worker] = reply
        self._known = {w: at for w, at in self._known.items() if now - at < FORGET_SECONDS}
        if len(answers) >= self._workers and answers.keys() >= self._known.keys():
            complete.set()


def answers_to(page: str) -> str:
    """The topic of answers: a worker's own, so that no other is sent what it asked for."""
    return f"dashboard.answered.{page}"


def packed(reply: Reply) -> bytes:
    """At most `MESSAGE_BYTES`: what is oldest is left out where it would be more."""
    while len(data := zlib.compress(_encode(reply), 1)) > MESSAGE_BYTES:
        points, trails = reply.points, reply.trails
        reply = msgspec.structs.replace(
            reply, points=points[-(len(points) // 2) :], trails=trails[: len(trails) // 2]
        )
    return data


def unpacked(message: bytes) -> Reply | None:
    """None, with a line in the log, for what is no answer."""
    try:
        return _reply(zlib.decompressobj().decompress(message, PLAIN_BYTES))
    except (zlib.error, msgspec.MsgspecError):
        log.warning("dashboard.answer_unreadable bytes=%d", len(message))
        return None


_: type[gw.Service] = Watch
__: type[gw.Observer] = Watch
___: type[gw.SupportsTrail] = Watch
