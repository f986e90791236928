"""Slots and a queue for each provider. A slot is held to the last byte of an answer.

Fair between tenants: a free slot goes to the tenant with the fewest calls under way, and a full
queue makes room for a tenant with few places at the cost of the one with the most.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from typing import TypeAlias

import llm_gateway_api as gw

from llm_gateway_guard_bulkhead.settings import BulkheadSettings

Place: TypeAlias = asyncio.Future[gw.Lease | gw.Refusal]
FULL = gw.Refusal(
    503, "bulkhead_full", "its concurrent calls and its queue are at their limit; try again later"
)


class Bay:
    """The calls of one provider: those under way by tenant, and those that wait."""

    def __init__(self, settings: BulkheadSettings, depth: gw.Value, running: gw.Value) -> None:
        self._slots = settings.max_concurrent
        self._places = settings.max_queue
        self._depth = depth
        self._shown = running
        self.running: Counter[str] = Counter()
        self.total = 0
        self.queues: dict[str, deque[tuple[Place, gw.Target]]] = {}
        self.waiting = 0

    def enter(self, target: gw.Target, tenant: str) -> gw.Lease | Place | None:
        """A slot, a place in the queue, or None: no room."""
        if self.total < self._slots and not self.waiting:
            return self._start(target, tenant)
        if self.waiting >= self._places and not self._evict(tenant):
            return None
        place: Place = asyncio.get_running_loop().create_future()
        self.queues.setdefault(tenant, deque()).append((place, target))
        self._count(1)
        place.add_done_callback(lambda done: self._left(tenant, done))
        return place

    def leave(self, tenant: str) -> None:
        """A call ended; its slot goes to who waits."""
        self.running[tenant] -= 1
        if not self.running[tenant]:
            del self.running[tenant]
        self.total -= 1
        self._shown.value = self.total
        while self.waiting and self.total < self._slots and self._grant():
            pass

    def _start(self, target: gw.Target, tenant: str) -> gw.Lease:
        self.running[tenant] += 1
        self.total += 1
        self._shown.value = self.total
        return gw.Lease(target, tenant)

    def _grant(self) -> bool:
        """Give a slot to the first in the queue of the tenant with the fewest calls."""
        while self.queues:
            tenant = min(self.queues, key=lambda each: self.running[each])
            place, target = self._take(tenant, last=False)
            if not place.done():
                place.set_result(self._start(target, tenant))
                # Who was served goes behind those with as many calls under way.
                if tenant in self.queues:
                    self.queues[tenant] = self.queues.pop(tenant)
                return True
        return False

    def _evict(self, tenant: str) -> bool:
        """Make room for `tenant`: the newest place of the longest queue, if that one is longer
        by two or more, so that the two do not take turns."""
        if not self.queues:
            return False
        longest = max(self.queues, key=lambda each: len(self.queues[each]))
        own = self.queues.get(tenant)
        if len(self.queues[longest]) < (len(own) if own else 0) + 2:
            return False
        place, _ = self._take(longest, last=True)
        if not place.done():
            place.set_result(FULL)
        return True

    def _take(self, tenant: str, *, last: bool) -> tuple[Place, gw.Target]:
        queue = self.queues[tenant]
        taken = queue.pop() if last else queue.popleft()
        if not queue:
            del self.queues[tenant]
        self._count(-1)
        return taken

    def _left(self, tenant: str, place: Place) -> None:
        """Whoever gave up waiting leaves the queue."""
        queue = self.queues.get(tenant)
        if not place.cancelled() or queue is None:
            return
        for entry in queue:
            if entry[0] is place:
                queue.remove(entry)
                self._count(-1)
                break
        if not queue:
            del self.queues[tenant]

    def _count(self, change: int) -> None:
        self.waiting += change
        self._depth.value = self.waiting


class Bulkhead:
    """Keeps one slow provider from taking all of the gateway with it."""

    def __init__(self, settings: BulkheadSettings, *, metrics: gw.Metrics) -> None:
        self._settings = settings
        self._bays: dict[str, Bay] = {}
        by = ("provider",)
        self._depth = metrics.gauge("gateway_guard_bulkhead_queue_depth", "calls that wait", by)
        self._running = metrics.gauge("gateway_guard_bulkhead_in_flight", "calls under way", by)
        self._refused = metrics.counter(
            "gateway_guard_bulkhead_refused_total", "calls that found slots and queue full", by
        )

    def admit(self, target: gw.Target, asked: gw.Asked) -> gw.Lease | gw.Refusal | Place:
        bay = self._bays.get(target.provider) or self._bay(target.provider)
        principal = asked.arrival.principal
        answer = bay.enter(target, principal.tenant or principal.key_id or "")
        if answer is None:
            self._refused.value(target.provider).inc()
            return FULL
        return answer

    def look(self, target: gw.Target, asked: gw.Asked) -> Mapping[str, object]:
        """How full it is; no slot is taken for it."""
        running = int(self._running.value(target.provider).value)
        waiting = int(self._depth.value(target.provider).value)
        settings = self._settings
        room = running < settings.max_concurrent or waiting < settings.max_queue
        return {"admits": room, "running": running, "waiting": waiting}

    def report(self, lease: gw.Lease, outcome: gw.Outcome) -> None:
        assert isinstance(lease.token, str)
        self._bays[lease.target.provider].leave(lease.token)

    def _bay(self, provider: str) -> Bay:
        bay = self._bays[provider] = Bay(
            self._settings, self._depth.value(provider), self._running.value(provider)
        )
        return bay


_: type[gw.Guard] = Bulkhead
