"""Where the fewest requests are under way, in all workers.

A worker counts its own attempts by their leases, which come back however an attempt ends. To
the others it reports all its counts at once, and a report is void after three intervals: a
worker that dies leaves nothing behind that somebody would have to repair.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import llm_gateway_api as gw
import msgspec

from llm_gateway_routing_least_connections.settings import LeastConnectionsSettings

log = logging.getLogger("llm_gateway_routing_least_connections")

NEVER = float("-inf")
TOPIC = "routing.least_connections"
TIE = 1e-9  # far below what one attempt makes of a difference
REPORTS_VALID = 3


class Report(msgspec.Struct):
    """What one worker has under way, by deployment."""

    worker: str
    counts: dict[str, int]


class LeastConnections:
    """Scores by attempts under way for each unit of weight; chance decides between equals."""

    def __init__(
        self,
        settings: LeastConnectionsSettings,
        *,
        clock: Callable[[], float],
        state: gw.StateBackend | None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._seconds = settings.share_seconds
        self._clock = clock
        self._chance = chance
        self._state = state
        self._worker = secrets.token_hex(8)
        self._own: dict[str, int] = {}
        self._others: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._silent = True

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        active, chance = self._active(), self._chance
        return [
            chance() ** (1 / each.weight) * TIE - (active.get(each.name, 0) + 1) / each.weight
            if each.weight > 0
            else NEVER
            for each in candidates
        ]

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """Attempts are followed by their leases."""

    def follower(self) -> gw.Guard:
        return Follower(self._own)

    def _active(self) -> Mapping[str, int]:
        """By deployment, in all workers whose report is still good."""
        if not self._others:
            return self._own
        now = self._clock()
        total = dict(self._own)
        for worker, (until, counts) in tuple(self._others.items()):
            if until < now:
                del self._others[worker]
                continue
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
        return total

    # --- between workers -----------------------------------------------------------------

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._state is None:
            yield
            return
        self._state.listen(TOPIC, self.heard)
        async with gw.alongside(self._share(self._state), name="share connections"):
            yield

    async def _share(self, state: gw.StateBackend) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            self.tell(state)

    def tell(self, state: gw.StateBackend) -> None:
        """Report what is under way; an idle worker says so once."""
        if not self._own and self._silent:
            return
        self._silent = not self._own
        try:
            state.publish(TOPIC, msgspec.json.encode(Report(self._worker, self._own)))
        except Exception:
            log.warning("connections.not_shared: other workers decide without these")

    def heard(self, message: bytes) -> None:
        try:
            report = msgspec.json.decode(message, type=Report)
        except msgspec.DecodeError:
            log.warning("connections.report_unreadable bytes=%d", len(message))
            return
        if report.worker == self._worker:
            return
        if not report.counts:
            self._others.pop(report.worker, None)
            return
        self._others[report.worker] = self._clock() + REPORTS_VALID * self._seconds, report.counts


class Follower:
    """Counts attempts by deployment; what has none under way takes no place."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease:
        self._counts[target.name] = self._counts.get(target.name, 0) + 1
        return gw.Lease(target)

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        left = self._counts[lease.target.name] - 1
        if left:
            self._counts[lease.target.name] = left
        else:
            del self._counts[lease.target.name]


_: type[gw.RoutingStrategy] = LeastConnections
__: type[gw.SupportsFollowing] = LeastConnections
