"""Declares the filter; how much it refuses is decided in `gate`."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import llm_gateway_api as gw

from llm_gateway_filter_load_shedding.gate import Rules, moved, smoothed
from llm_gateway_filter_load_shedding.memory import Memory, watched
from llm_gateway_filter_load_shedding.settings import LoadSheddingSettings

log = logging.getLogger("llm_gateway_filter_load_shedding")
PATH = "resilience.load_shedding"
NAME = "gateway_filter_load_shedding"
# Reading memory is a few system calls: not at each look.
MEMORY_EVERY = 5


class LoadShedding:
    """Refuses a share of the requests, before their bodies are read, while there is too much."""

    def __init__(
        self,
        settings: LoadSheddingSettings,
        *,
        metrics: gw.Metrics,
        workers: int = 1,
        memory: Memory | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._memory = memory or watched(settings.memory_limit_mb, workers)
        self._settings = settings
        self._rules = Rules(settings.resume_percent / 100)
        self._chance = chance
        self._looks = 0
        self._used = self._lag = 0.0
        self._reason = "lag"
        self.share = 0.0
        self._refused = metrics.counter(
            f"{NAME}_refused_total", "requests refused because of too much to do", ("reason",)
        ).value
        lags = metrics.gauge(f"{NAME}_lag_seconds", "how late the event loop is", merge="max")
        shares = metrics.gauge(f"{NAME}_share", "part refused now", merge="max")
        self._lags, self._shares = lags.value(), shares.value()

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        if self.share == 0.0:
            return seen
        assert isinstance(seen, gw.Arrival)
        if self._chance() >= self.share or seen.path.startswith(self._settings.exempt_paths):
            return seen
        self._refused(self._reason).inc()
        return gw.Refusal(
            503,
            "gateway_overloaded",
            "The gateway has too much to do; try again later.",
            retry_after=self._settings.retry_after_seconds,
        )

    def look(self, lag: float) -> None:
        """One more look: the loop was `lag` seconds late."""
        settings, before = self._settings, self.share
        self._lag = smoothed(self._lag, lag)
        if self._memory is not None and self._looks % MEMORY_EVERY == 0:
            part = self._memory.used() / self._memory.limit
            self._used = part / (settings.max_memory_percent / 100)
        self._looks += 1
        late = self._lag / (settings.max_lag_ms / 1000)
        if max(late, self._used) >= 1.0:
            self._reason = "lag" if late >= self._used else "memory"
        self.share = moved(before, max(late, self._used), self._rules)
        self._lags.value, self._shares.value = self._lag, self.share
        if self.share and not before:
            log.warning(
                "shedding.started reason=%s pressure=%.2f", self._reason, max(late, self._used)
            )
        elif before and not self.share:
            log.info("shedding.ended")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with gw.alongside(self._looking(), name="load shedding"):
            yield

    async def _looking(self) -> None:
        loop, interval = asyncio.get_running_loop(), self._settings.interval_ms / 1000
        while True:
            due = loop.time() + interval
            await asyncio.sleep(interval)
            self.look(max(0.0, loop.time() - due))


_: type[gw.SecurityFilter] = LoadShedding
__: type[gw.Service] = LoadShedding


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, LoadSheddingSettings, waits=True)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    """Before all others: what is refused costs least here."""
    return [
        gw.SecurityFilterSpec(
            "load_shedding",
            "connection",
            LoadShedding,
            settings=PATH,
            before=("client_address", "ip"),
            needs=("metrics", "workers"),
        )
    ]
