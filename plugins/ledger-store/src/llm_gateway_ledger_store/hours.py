"""What is used by hour, in ``usage_hours``: the database's triggers count records there as they
are written, whoever writes them. Here hours become old, and a tenant's become nobody's.
"""

from collections.abc import Mapping, Sequence

from llm_gateway_api import ExportPage, Row, SQLValue, Store
from msgspec import json

ROWS = 5000
# Longer than the longest period of a budget that ends: a month. What is older is wanted by budgets
# of all time alone.
KEPT_DAYS = 40
_OLD = "hour > 0 AND hour < :before"
# The key of a row, each column with what it says where it says nothing.
_EMPTY = {"hour": "0", "tenant": "''", "key_id": "''", "model": "''", "part": "0"}
_KEY = ", ".join(_EMPTY)
_SUMS = "SUM(requests) AS requests, SUM(tokens) AS tokens, SUM(cost_nano) AS cost_nano"
_ADD = (
    f"ON CONFLICT ({_KEY}) DO UPDATE SET requests = usage_hours.requests + excluded.requests, "
    "tokens = usage_hours.tokens + excluded.tokens, "
    "cost_nano = usage_hours.cost_nano + excluded.cost_nano"
)


async def are_old(store: Store, before: int) -> bool:
    """Whether there is an hour to merge."""
    sql = f"SELECT 1 AS one FROM usage_hours WHERE {_OLD} LIMIT 1"
    return bool(await store.fetch(sql, {"before": before}))


async def merge_old(store: Store, before: int) -> None:
    """Add up what was before `before`, in Unix milliseconds, whatever its hour: under hour 0."""
    while await _merged(store, _OLD, ("tenant", "key_id", "model"), {"before": before}):
        pass


class TenantHours:
    """Meets `TenantData`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def count(self, tenant: str) -> int:
        sql = "SELECT COUNT(*) AS n FROM usage_hours WHERE tenant = :tenant"
        return int(str((await self._store.fetch(sql, {"tenant": tenant}))[0]["n"]))

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        hour, key, model = json.decode(after, type=tuple[int, str, str]) if after else (-1, "", "")
        rows = await self._store.fetch(
            f"SELECT hour, key_id, model, {_SUMS} FROM usage_hours "
            "WHERE tenant = :tenant AND (hour, key_id, model) > (:hour, :key, :model) "
            "GROUP BY hour, key_id, model ORDER BY hour, key_id, model LIMIT :limit",
            {"tenant": tenant, "hour": hour, "key": key, "model": model, "limit": limit},
        )
        following = None
        if len(rows) == limit:
            last = rows[-1]
            following = json.encode([last["hour"], last["key_id"], last["model"]]).decode()
        return ExportPage([_shown(each) for each in rows], following)

    async def erase(self, tenant: str) -> int:
        """What is left are sums of an hour and a model, in which nobody is named."""
        erased = 0
        given = {"tenant": tenant}
        while many := await _merged(self._store, "tenant = :tenant", ("hour", "model"), given):
            erased += many
        return erased


async def _merged(
    store: Store, where: str, kept: Sequence[str], given: Mapping[str, SQLValue]
) -> int:
    """Move some of the rows of `where` and add them up by `kept`; how many they were, 0 when all
    are. What is added to a row meanwhile is moved with it, or makes a new one."""
    params = {**given, "rows": ROWS}
    some = f"FROM usage_hours WHERE {where} ORDER BY {_KEY} LIMIT :rows"
    move = f"DELETE FROM usage_hours WHERE ({_KEY}) IN (SELECT {_KEY} {some})"
    to = ", ".join(name if name in kept else empty for name, empty in _EMPTY.items())
    put = f"INSERT INTO usage_hours ({_KEY}, requests, tokens, cost_nano) SELECT {to}, {_SUMS} FROM"
    by = ", ".join(kept)
    if store.dialect == "postgresql":
        sql = (
            f"WITH moved AS ({move} RETURNING *), "
            f"put AS ({put} moved GROUP BY {by} ORDER BY {by} {_ADD}) "
            "SELECT COUNT(*) AS n FROM moved"
        )
        return int(str((await store.fetch(sql, params))[0]["n"]))
    async with store.transaction() as queries:
        await queries.execute(f"{put} (SELECT * {some}) WHERE TRUE GROUP BY {by} {_ADD}", params)
        return await queries.execute(move, params)


def _shown(row: Row) -> dict[str, object]:
    """Sums come as integers or as decimals, which are none of JSON's values."""
    sums = {name: int(str(row[name])) for name in ("requests", "tokens", "cost_nano")}
    return {"hour": row["hour"], "key_id": row["key_id"], "model": row["model"], **sums}
