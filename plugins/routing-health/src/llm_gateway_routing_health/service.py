"""What runs beside requests: probes on an interval, and the history of changes."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import llm_gateway_api as gw
import msgspec

from llm_gateway_routing_health.monitor import Member, Monitor
from llm_gateway_routing_health.settings import HealthSettings

log = logging.getLogger("llm_gateway_routing_health")

TOPIC = "routing.health"
WRITE_SECONDS = 1.0
PRUNE_SECONDS = 3600.0
MAX_WAITING = 1000
INSERT = (
    "INSERT INTO provider_health (at, provider, model, state, latency_ms, detail) "
    "VALUES (:at, :provider, :model, :state, :latency_ms, :detail)"
)
PRUNE = "DELETE FROM provider_health WHERE at < :before"


class News(msgspec.Struct):
    """What a probe of one worker found, for the others."""

    worker: str
    provider: str
    found: gw.Probed


class HealthService(Monitor):
    """The monitor with its background tasks."""

    def __init__(
        self,
        settings: HealthSettings,
        *,
        clock: Callable[[], float],
        metrics: gw.Metrics,
        probe: gw.Probe,
        store: gw.Store | None,
        state: gw.StateBackend | None,
    ) -> None:
        super().__init__(settings, clock=clock, metrics=metrics, changed=self._note)
        self._probe = probe
        self._store = store
        self._state = state
        self._worker = secrets.token_hex(8)
        self._keep_seconds = settings.history_days * 86400
        self._rows: deque[gw.SQLParams] = deque(maxlen=MAX_WAITING)
        self._last_probe: dict[str, str | None] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._state is not None:
            self._state.listen(TOPIC, self.heard)
        work = [self._writing()] if self._store is not None else []
        work += [self._probing(name) for name in self._probe.providers if self._probe.seconds > 0]
        try:
            async with gw.alongside(*work, name="provider health"):
                yield
        finally:
            await self._write()

    # --- probes --------------------------------------------------------------------------

    async def _probing(self, provider: str) -> None:
        """The first after an interval too: a start is no reason to be asked by all at once."""
        while True:
            await asyncio.sleep(self._probe.seconds)
            if await self._mine(provider):
                found = await self._probe(provider)
                self.probed(provider, found)
                self._note_probe(provider, found)
                self._tell(News(self._worker, provider, found))

    async def _mine(self, provider: str) -> bool:
        """Whether this worker probes this time: the first of all who claims it."""
        if self._state is None:
            return True
        try:
            return await self._state.claim(f"{TOPIC}:{provider}", self._probe.seconds * 0.9)
        except Exception:
            log.warning("health.claim_failed provider=%s: every worker probes", provider)
            return True

    def _tell(self, news: News) -> None:
        if self._state is None:
            return
        try:
            self._state.publish(TOPIC, msgspec.json.encode(news))
        except Exception:
            log.warning("health.not_shared provider=%s", news.provider)

    def heard(self, message: bytes) -> None:
        try:
            news = msgspec.json.decode(message, type=News)
        except msgspec.DecodeError:
            log.warning("health.news_unreadable bytes=%d", len(message))
            return
        if news.worker != self._worker:
            self.probed(news.provider, news.found)

    # --- history -------------------------------------------------------------------------

    def _note(self, member: Member, detail: str) -> None:
        target, latency = member.target, member.latency
        milliseconds = round(latency * 1000) if latency is not None else None
        self._row(target.provider, target.model, member.state.name, milliseconds, detail)

    def _note_probe(self, provider: str, found: gw.Probed) -> None:
        """The first probe, and each that ends in another way than the one before."""
        if self._last_probe.get(provider, "") == found.failure:
            return
        self._last_probe[provider] = found.failure
        state = "probe failed" if found.failure else "probe ok"
        detail = f"{found.failure}: {found.detail}" if found.failure else ""
        self._row(provider, "", state, round(found.seconds * 1000), detail)

    def _row(
        self, provider: str, model: str, state: str, latency_ms: int | None, detail: str
    ) -> None:
        self._rows.append(
            {
                "at": int(time.time() * 1000),
                "provider": provider,
                "model": model,
                "state": state,
                "latency_ms": latency_ms,
                "detail": detail or None,
            }
        )

    async def _writing(self) -> None:
        pruned = 0.0
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            await self._write()
            if self._clock() - pruned > PRUNE_SECONDS:
                pruned = self._clock()
                await self._prune()

    async def _write(self) -> None:
        """Nobody waits for history: what cannot be written now is tried again, the newest
        thousand rows."""
        if self._store is None or not self._rows:
            return
        rows = tuple(self._rows)
        self._rows.clear()
        try:
            await self._store.execute_many(INSERT, rows)
        except gw.StoreError:
            log.warning("health.history_not_written rows=%d", len(rows))
            self._rows.extendleft(reversed(rows[: MAX_WAITING - len(self._rows)]))

    async def _prune(self) -> None:
        assert self._store is not None
        before = int((time.time() - self._keep_seconds) * 1000)
        try:
            await self._store.execute(PRUNE, {"before": before})
        except gw.StoreError:
            log.warning("health.history_not_pruned")


_: type[gw.Service] = HealthService
