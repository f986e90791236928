"""The service: keeps the token that the configuration gives alive, while it can be renewed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from llm_gateway_api import ConfigurationError, Metrics, alongside

from llm_gateway_secrets_vault.client import VaultError
from llm_gateway_secrets_vault.settings import VaultSettings
from llm_gateway_secrets_vault.source import login, new_client

log = logging.getLogger("llm_gateway_secrets_vault")
RETRY_SECONDS = 60.0
LEAST_SECONDS = 1.0


class Renewing:
    """Renews after half of what the token has left; a token for ever, or one that may not be
    renewed, is left alone. Requests do not depend on it: secrets are read with the configuration.
    """

    def __init__(
        self,
        settings: VaultSettings,
        clock: Callable[[], float],
        metrics: Metrics,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._left = metrics.gauge(
            "gateway_secrets_vault_token_seconds", "what the token has left; 0 without an end"
        ).value()
        self._failures = metrics.counter(
            "gateway_secrets_vault_renewal_failures_total", "renewals that failed"
        ).value()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with alongside(self._always(), name="renew vault token"):
            yield

    async def _always(self) -> None:
        wait: float | None = 0.0
        while wait is not None:
            await asyncio.sleep(wait)
            try:
                wait = await asyncio.to_thread(self.renew)
            except (VaultError, ConfigurationError) as error:
                self._failures.inc()
                log.warning("vault.not_renewed %s", error)
                wait = self._retry_seconds

    def renew(self) -> float | None:
        """Renew if that is due; seconds until the next look, None where there is none to come.

        Raises `VaultError` where Vault refuses or cannot be reached.
        """
        client = new_client(self._settings, self._clock)
        login(client, self._settings)
        found = (client.get("auth/token/lookup-self") or {}).get("data") or {}
        left, whole = float(found.get("ttl") or 0), float(found.get("creation_ttl") or 0)
        self._left.value = left
        if left <= 0 or not found.get("renewable"):
            return None
        if left <= whole / 2:
            answer = client.post("auth/token/renew-self", {})
            left = float((answer.get("auth") or {}).get("lease_duration") or 0)
            self._left.value = left
            log.info("vault.renewed seconds=%d", left)
        return max(LEAST_SECONDS, left / 2)
