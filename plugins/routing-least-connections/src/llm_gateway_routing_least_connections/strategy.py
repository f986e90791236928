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
# Of all workers together: each report goes to all others, so a fleet of twice the workers
# would be sent four times as much.
DELIVERIES_PER_SECOND = 20_000


def pause(workers: float, least: float = 1.0) -> float:
    """Seconds between two reports of a worker, one of `workers`."""
    return max(least, workers**2 / DELIVERIES_PER_SECOND)


class Report(msgspec.Struct):
    """What one worker has under way, by deployment; `seconds` until its next report."""

    worker: str
    counts: dict[str, int]
    seconds: float = 1.0


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
        self._theirs: dict[str, int] = {}  # the sum of their counts
        self._next_end = NEVER  # no report of theirs is void before
        self._silent = True

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        if self._others and self._next_end < (now := self._clock()):
            self._forget(now)
        own, theirs, chance = self._own, self._theirs, self._chance
        return [
            chance() ** (1 / each.weight) * TIE
            - (own.get(each.name, 0) + theirs.get(each.name, 0) + 1) / each.weight
            if each.weight > 0
            else NEVER
            for each in candidates
        ]

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        """Attempts are followed by their leases."""

    def follower(self) -> gw.Guard:
        return Follower(self._own)

    def _forget(self, now: float) -> None:
        """Of workers whose report is void, and when that will be of the next."""
        for worker in [name for name, (end, _) in self._others.items() if end < now]:
            self._drop(worker)
        self._next_end = min((end for end, _ in self._others.values()), default=NEVER)

    def _drop(self, worker: str) -> None:
        _, counts = self._others.pop(worker, (NEVER, {}))
        for name, count in counts.items():
            left = self._theirs[name] - count
            if left:
                self._theirs[name] = left
            else:
                del self._theirs[name]

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
            await asyncio.sleep(self.seconds)
            self.tell(state)

    @property
    def seconds(self) -> float:
        """Until the next report."""
        return pause(1 + len(self._others), self._seconds)

    def tell(self, state: gw.StateBackend) -> None:
        """Report what is under way; an idle worker says so once."""
        if not self._own and self._silent:
            return
        self._silent = not self._own
        try:
            state.publish(TOPIC, msgspec.json.encode(Report(self._worker, self._own, self.seconds)))
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
        self._drop(report.worker)
        if not report.counts:
            return
        end = self._clock() + REPORTS_VALID * report.seconds
        self._others[report.worker] = end, report.counts
        self._next_end = end if len(self._others) == 1 else min(end, self._next_end)
        for name, count in report.counts.items():
            self._theirs[name] = self._theirs.get(name, 0) + count


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
