"""The table `secrets`. Knows ciphertext only."""

from typing import Any

import msgspec
from llm_gateway_api import Queries, Row, Store

from llm_gateway_secrets_store.envelope import SealedSecret

COLUMNS = SealedSecret.__struct_fields__
KEPT_VERSIONS = 2  # the newest, and the one before while it is still in use somewhere
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM secrets"


async def everything(store: Queries) -> list[SealedSecret]:
    """All versions, by name, newest first."""
    return [_secret(row) for row in await store.fetch(f"{_SELECT} ORDER BY name, version DESC")]


async def newest_version(queries: Queries, name: str) -> int:
    """0 where there is none."""
    rows = await queries.fetch(
        "SELECT MAX(version) AS version FROM secrets WHERE name = :name", {"name": name}
    )
    found: Any = rows[0]["version"] if rows else None
    return int(found or 0)


async def add(queries: Queries, secret: SealedSecret) -> None:
    """A new version; what is older than the one before it goes.

    Raises `ConflictError` where somebody else has just added that version."""
    values = ", ".join(f":{each}" for each in COLUMNS)
    await queries.execute(
        f"INSERT INTO secrets ({', '.join(COLUMNS)}) VALUES ({values})",
        msgspec.structs.asdict(secret),
    )
    await queries.execute(
        "DELETE FROM secrets WHERE name = :name AND version <= :old",
        {"name": secret.name, "old": secret.version - KEPT_VERSIONS},
    )


async def replace(store: Store, old: SealedSecret, new: SealedSecret) -> bool:
    """The same version sealed anew, in one step: who reads finds the old or the new one.
    False where it is not `old` any more."""
    changed = await store.execute(
        "UPDATE secrets SET key_id = :key_id, wrapped = :wrapped, sealed = :sealed, "
        "sealed_at = :sealed_at WHERE name = :name AND version = :version "
        "AND key_id = :old_key AND sealed_at = :old_at AND set_at = :set_at",
        {**msgspec.structs.asdict(new), "old_key": old.key_id, "old_at": old.sealed_at},
    )
    return changed == 1


async def remove(queries: Queries, name: str) -> int:
    """How many versions are gone."""
    return await queries.execute("DELETE FROM secrets WHERE name = :name", {"name": name})


def _secret(row: Row) -> SealedSecret:
    return msgspec.convert({**row}, SealedSecret)
