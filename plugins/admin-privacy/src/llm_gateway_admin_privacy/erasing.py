"""Erasing a tenant: every kind of data in turn, on record before it begins and when it is done.

The store remembers each erasure for ever: a crash, a kind that fails and a host that was off
meanwhile only make it take longer.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import time
from typing import Literal

import msgspec
from llm_gateway_api import (
    Audit,
    AuditEvent,
    EndpointRequest,
    NotFoundError,
    Row,
    StateBackend,
    Store,
    StoreError,
    TenantKinds,
)

log = logging.getLogger("llm_gateway_admin_privacy")
TOPIC = "tenant.erase"
LOCK = "tenant_erasure"
LOCK_SECONDS = 5.0
Outcome = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True)
class By:
    """Who asks; nobody where the gateway goes on by itself."""

    key_id: str | None = None
    tenant: str | None = None
    request_id: str | None = None
    peer: str | None = None

    @classmethod
    def of(cls, request: EndpointRequest) -> "By":
        arrival = request.arrival
        who = arrival.principal
        return cls(who.key_id, who.tenant, arrival.request_id, arrival.peer)


class Erasing:
    """`kinds` are what this gateway's plugins keep, in the order of erasing."""

    def __init__(
        self, store: Store, state: StateBackend | None, audit: Audit, kinds: TenantKinds
    ) -> None:
        self.kinds = kinds
        self._store = store
        self._state = state
        self._audit = audit

    async def counts(self, tenant: str) -> dict[str, int]:
        """How many records of each kind there are."""
        return {spec.name: await data.count(tenant) for spec, data in self.kinds}

    async def known(self, tenant: str) -> Row | None:
        """The erasure of `tenant`, under way or done."""
        sql = "SELECT * FROM tenant_erasures WHERE tenant = :tenant"
        rows = await self._store.fetch(sql, {"tenant": tenant})
        return rows[0] if rows else None

    async def all(self) -> list[Row]:
        return await self._store.fetch("SELECT * FROM tenant_erasures ORDER BY requested_at")

    async def erase(self, tenant: str, by: By) -> dict[str, object]:
        """Erase `tenant`, which nothing need be left of.

        Raises:
            NotFoundError: nothing is known of it and nothing was ever erased; a slip of the pen.
        """
        if await self.known(tenant) is None and not any((await self.counts(tenant)).values()):
            raise NotFoundError(f"Nothing is kept about a tenant {tenant!r}.", param="tenant")
        self.tell("tenant.erasure_begun", tenant, "ok", {}, by)
        await self._store.execute(
            "INSERT INTO tenant_erasures (tenant, requested_at, requested_by, finished_at, done) "
            "VALUES (:tenant, :now, :by, NULL, '{}') "
            "ON CONFLICT (tenant) DO UPDATE SET finished_at = NULL",
            {"tenant": tenant, "now": _now(), "by": by.key_id},
        )
        failed: Mapping[str, str] = {}
        with suppress(StoreError):  # another gateway is at it: it is under way
            failed = await self.run(tenant, by)
        if self._state is not None:
            self._state.publish(TOPIC, tenant.encode())
        found = await self.known(tenant)
        assert found is not None
        return {**shown(found), "failed": failed}

    async def run(self, tenant: str, by: By) -> Mapping[str, str]:
        """Every kind once, under a lock among all gateways. Kinds that failed, with why; an
        erasure is finished when none did."""
        async with self._store.lock(LOCK, LOCK_SECONDS):
            found = await self.known(tenant)
            if found is None:
                return {}
            done: dict[str, int] = msgspec.json.decode(str(found["done"]))
            now, failed = await self._each(tenant)
            for kind, count in now.items():
                done[kind] = done.get(kind, 0) + count
            before = found["finished_at"]
            if before is None or failed or any(now.values()):
                finished = None if failed else (before if before is not None else _now())
                await self._store.execute(
                    "UPDATE tenant_erasures SET done = :done, finished_at = :finished "
                    "WHERE tenant = :tenant",
                    {
                        "tenant": tenant,
                        "done": msgspec.json.encode(done).decode(),
                        "finished": finished,
                    },
                )
                detail = {kind: str(count) for kind, count in now.items()}
                detail |= {kind: f"failed: {why}" for kind, why in failed.items()}
                self.tell("tenant.erased", tenant, "failed" if failed else "ok", detail, by)
            return failed

    async def _each(self, tenant: str) -> tuple[dict[str, int], dict[str, str]]:
        now: dict[str, int] = {}
        failed: dict[str, str] = {}
        for spec, data in self.kinds:
            try:
                now[spec.name] = await data.erase(tenant)
            except Exception as error:
                log.exception("erasure.failed kind=%s", spec.name)
                failed[spec.name] = type(error).__name__
        return now, failed

    def tell(
        self, kind: str, tenant: str, outcome: Outcome, detail: Mapping[str, str], by: By
    ) -> None:
        self._audit(
            AuditEvent(
                _now(),
                kind,
                outcome,
                by.key_id,
                by.tenant,
                tenant,
                by.request_id,
                by.peer,
                detail,
            )
        )


def shown(row: Row) -> dict[str, object]:
    return {
        "tenant": row["tenant"],
        "requested_at": row["requested_at"],
        "requested_by": row["requested_by"],
        "finished_at": row["finished_at"],
        "erased": msgspec.json.decode(str(row["done"])),
    }


def _now() -> int:
    return int(time() * 1000)
