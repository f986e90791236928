"""Tells who calls with a key that the store keeps. Fails closed.

A key that is none of the store's is left to the filters behind this one, which know the keys
of the configuration.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import time
from typing import TypeAlias

import llm_gateway_api as gw
from msgspec import structs

from llm_gateway_filter_identity.directory import Entry
from llm_gateway_filter_identity.residency import unserved, warning
from llm_gateway_filter_identity.secret import parsed
from llm_gateway_filter_identity.syncing import Syncing

Reason: TypeAlias = tuple[str, int, str]  # its name, status, message
DISABLED: Reason = ("tenant", 403, "The tenant of this API key is disabled.")


class IdentityFilter:
    """Puts the caller into the arrival. A key that nobody knows while the store cannot be
    asked is answered with 503: it may be a good one. The store is not asked for an address that
    has sent too many unknown keys."""

    def __init__(
        self,
        syncing: Syncing,
        metrics: gw.Metrics,
        failed: gw.FailedLogins,
        clock: Callable[[], float] = time,
    ) -> None:
        self._syncing = syncing
        self._failed = failed
        self._clock = clock
        self._refused = metrics.counter(
            "gateway_filter_identity_refused_total", "uses of keys that were refused", ("reason",)
        ).value

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with self._syncing.running():
            yield

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        if not isinstance(seen, gw.Arrival):
            raise TypeError("the identity filter belongs to the stage identity")
        for key in gw.presented_keys(seen.headers):
            opened = self._syncing.directory.opened(key)
            if opened is not None:
                if opened.anywhere:
                    return structs.replace(seen, principal=opened.principal)
                return self._judged(seen, opened)
            parts = parsed(key)
            if parts is None:
                continue
            entry = await self._known(*parts, seen.peer)
            if isinstance(entry, gw.Refusal):
                self._refused("limited").inc()
                return entry
            if entry is not None:
                return self._judged(seen, entry)
            self._refused("unknown").inc()
        return seen

    async def _known(self, key_id: str, secret: str, peer: str) -> Entry | gw.Refusal | None:
        now = self._now()
        entry = self._syncing.directory.find(key_id)
        if entry is not None and entry.matches(secret, now):
            return entry
        if limited := self._failed.refusal(peer):
            return limited
        entry = (await self._syncing.fresh()).find(key_id)
        return entry if entry is not None and entry.matches(secret, now) else None

    async def caller(
        self, tenant: str | None, key_id: str | None
    ) -> gw.Principal | gw.Refusal | None:
        """As the store has it now. Where a key may be used from is not asked."""
        directory = await self._syncing.fresh()
        if key_id is not None:
            entry = directory.find(key_id)
            if entry is None or tenant not in (None, entry.principal.tenant):
                return None
            unusable = self._unusable(entry)
            return entry.principal if unusable is None else _refused(*unusable)
        found = directory.tenant(tenant) if tenant is not None else None
        if found is None:
            return None
        principal, active = found
        return principal if active else _refused(*DISABLED)

    def warnings(self, targets: gw.Targets) -> list[str]:
        """Tenants that no request can be answered for."""
        there = targets.regions()
        return [
            f"tenant {name}: {text}"
            for name, regions in self._syncing.known().residents()
            if regions and len(unserved(regions, there)) == len(regions)
            if (text := warning(regions, there)) is not None
        ]

    def _judged(self, seen: gw.Arrival, entry: Entry) -> gw.Seen | gw.Refusal:
        refusal = self._refusal(seen, entry)
        if refusal is None:
            return structs.replace(seen, principal=entry.principal)
        self._refused(refusal[0]).inc()
        return _refused(*refusal)

    def _unusable(self, entry: Entry) -> Reason | None:
        """Why the key may not be used now."""
        if entry.revoked:
            return "revoked", 401, "This API key was revoked; ask for a new one."
        if entry.expires_at is not None and self._now() >= entry.expires_at:
            return "expired", 401, "This API key has expired; ask for a new one."
        return None if entry.tenant_active else DISABLED

    def _refusal(self, seen: gw.Arrival, entry: Entry) -> Reason | None:
        """Why the key may not be used here and now."""
        if (unusable := self._unusable(entry)) is not None:
            return unusable
        if not entry.welcomes(seen.peer):
            return "address", 403, "This API key may not be used from your address."
        if not entry.takes(seen.path):
            return "endpoint", 403, f"This API key may not be used on {seen.path}."
        return None

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _refused(reason: str, status: int, message: str) -> gw.Refusal:
    code = "invalid_api_key" if status == 401 else f"{reason}_not_allowed"
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return gw.Refusal(status, code, message, headers=headers)


_: type[gw.SecurityFilter] = IdentityFilter
__: type[gw.Service] = IdentityFilter
___: type[gw.SupportsCallers] = IdentityFilter
____: type[gw.SupportsWarnings] = IdentityFilter
