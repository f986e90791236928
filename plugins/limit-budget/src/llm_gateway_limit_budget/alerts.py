"""Tells people that a budget has reached its soft or its hard limit: once each a window."""

import asyncio
import logging
from time import time
from typing import Literal

import msgspec
from llm_gateway_api import Budget, Fetch, Metrics, StateBackend

from llm_gateway_limit_budget.periods import Window
from llm_gateway_limit_budget.spending import usd, written

log = logging.getLogger("llm_gateway_limit_budget")
MAX_TOLD = 10_000
WEBHOOK_SECONDS = 10.0
Kind = Literal["soft", "hard"]


class Alerts:
    """By log line, metric and webhook."""

    def __init__(
        self, state: StateBackend, fetch: Fetch | None, url: str | None, metrics: Metrics
    ) -> None:
        self._state = state
        self._fetch = fetch
        self._url = url
        self._told: set[tuple[str, Kind]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = metrics.counter(
            "gateway_limit_budget_alerts_total", "budgets that reached a limit", ("level", "kind")
        ).value
        self._unsent = metrics.counter(
            "gateway_limit_budget_webhook_errors_total", "alerts that no webhook took"
        ).value()

    def raise_for(self, window: Window, kind: Kind, used: int) -> None:
        """Beside the request, and never to its harm."""
        if (window.key, kind) in self._told:
            return
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add((window.key, kind))
        task = asyncio.get_running_loop().create_task(self._tell(window, kind, used), name="alert")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=WEBHOOK_SECONDS)

    async def _tell(self, window: Window, kind: Kind, used: int) -> None:
        try:
            claim = f"{window.key}:{kind}"
            if not await self._state.claim(claim, window.seconds(time())):
                return
        except Exception:
            log.warning("budget.alerting without shared state, so others may tell it as well")
        budget, unit = window.budget, window.budget.unit
        self._count(budget.level, kind).inc()
        log.warning(
            "budget.%s budget=%s level=%s owner=%s used=%r amount=%r",
            *("exhausted" if kind == "hard" else "warned", budget.id, budget.level),
            *(window.owner, written(used, unit), written(budget.amount, unit)),
        )
        if self._url is None or self._fetch is None:
            return
        message = {
            "event": "budget.exhausted" if kind == "hard" else "budget.warned",
            "budget": budget.id,
            "level": budget.level,
            "owner": window.owner,
            "model": budget.model,
            "period": budget.period,
            "unit": unit,
            **_amounts(budget, used),
            "at": int(time()),
        }
        try:
            answer = await self._fetch(
                self._url,
                method="POST",
                headers={"content-type": "application/json"},
                body=msgspec.json.encode(message),
                seconds=WEBHOOK_SECONDS,
            )
            failed = answer.status >= 300
        except Exception as error:
            log.warning("budget.unsent error=%s", type(error).__name__)
            failed = True
        if failed:
            self._unsent.inc()


def _amounts(budget: Budget, used: int) -> dict[str, object]:
    """Dollars as decimals in texts; tokens and requests as numbers."""
    amounts = {"used": used, "amount": budget.amount, "soft": budget.soft}
    if budget.unit != "usd":
        return dict(amounts)
    return {f"{name}_usd": None if each is None else usd(each) for name, each in amounts.items()}
