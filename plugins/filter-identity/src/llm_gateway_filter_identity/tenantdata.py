"""What is kept about a tenant here: itself, its keys and its budgets; shown and taken away."""

from collections.abc import Callable
from time import time

from llm_gateway_api import ExportPage, Row, SQLParams, StateBackend, Store

from llm_gateway_filter_identity.repository import Repository, changing, tenant_shown
from llm_gateway_filter_identity.syncing import TOPIC

# A tenant's keys, and the budgets of it and of them.
_KEYS = "SELECT id FROM api_keys WHERE tenant = :tenant AND deleted_at IS NULL"
_OWN = (
    "deleted_at IS NULL AND ((level = 'tenant' AND owner = :tenant)"
    f" OR (level = 'key' AND owner IN ({_KEYS})))"
)
_TENANT = "SELECT * FROM tenants WHERE id = :tenant AND erased_at IS NULL"


class TenantIdentity:
    """Meets `TenantData`. What it takes away leaves rows without content, by whose versions
    every gateway learns that a key is gone; a tenant's keeps its id, which is not given again.
    """

    def __init__(
        self, store: Store, state: StateBackend | None, clock: Callable[[], float] = time
    ) -> None:
        self._store = store
        self._state = state
        self._clock = clock
        self._repository = Repository(store, clock)

    async def count(self, tenant: str) -> int:
        given: SQLParams = {"tenant": tenant}
        found = 0
        for sql in (_TENANT, _KEYS, f"SELECT id FROM budgets WHERE {_OWN}"):
            rows = await self._store.fetch(f"SELECT COUNT(*) AS n FROM ({sql}) AS found", given)
            found += int(str(rows[0]["n"]))
        return found

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        """The first page has the tenant and its budgets too."""
        given: SQLParams = {"tenant": tenant}
        rows: list[dict[str, object]] = []
        if not after:
            tenants = await self._store.fetch(_TENANT, given)
            rows += [{"type": "tenant", **tenant_shown(each)} for each in tenants]
            budgets = await self._store.fetch(f"SELECT * FROM budgets WHERE {_OWN}", given)
            rows += [{"type": "budget", **_plain(each)} for each in budgets]
        keys = await self._repository.keys(tenant, after, limit)
        rows += [{"type": "key", **each} for each in keys]
        return ExportPage(rows, str(keys[-1]["id"]) if len(keys) == limit else None)

    async def erase(self, tenant: str) -> int:
        now = int(self._clock() * 1000)
        async with changing(self._store) as (queries, version):
            given: SQLParams = {"tenant": tenant, "now": now, "version": version}
            erased = await queries.execute(
                "UPDATE budgets SET owner = '', model = NULL, amount_nano = 0, soft_nano = NULL, "
                f"deleted_at = :now, updated_at = :now, version = :version WHERE {_OWN}",
                given,
            )
            erased += await queries.execute(
                "UPDATE api_keys SET tenant = NULL, name = '', hash = '', previous_hash = NULL, "
                "previous_until = NULL, document = '{}', created_by = NULL, "
                "revoked_at = COALESCE(revoked_at, :now), deleted_at = :now, updated_at = :now, "
                "version = :version WHERE tenant = :tenant",
                given,
            )
            erased += await queries.execute(
                "UPDATE tenants SET document = '{}', disabled = :yes, erased_at = :now, "
                "deleted_at = COALESCE(deleted_at, :now), updated_at = :now, version = :version "
                "WHERE id = :tenant AND erased_at IS NULL",
                {**given, "yes": True},
            )
        if erased and self._state is not None:
            self._state.publish(TOPIC, b"changed")
        return erased


def _plain(row: Row) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in ("version", "deleted_at")}
