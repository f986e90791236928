"""Reads and changes tenants and keys in the store. Each change is one transaction, which
also raises the version that gateways look at.

`audit` is told within the transaction: what cannot be recorded is not done.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import time
from typing import Any

import msgspec
from llm_gateway_api import (
    ConflictError,
    MalformedBodyError,
    NotFoundError,
    Queries,
    Row,
    SQLParams,
    SQLValue,
    Store,
    key_digest,
)

from llm_gateway_filter_identity import documents, secret
from llm_gateway_filter_identity.documents import ChangedKey, Key, NewKey, NewTenant, Tenant, iso

PAGE = 1000
_KEY_COLUMNS = (
    "id, tenant, name, role, hash, previous_hash, previous_until, document, created_by, "
    "created_at, updated_at, expires_at, revoked_at, version"
)
Tell = Callable[[], None]


class Repository:
    """All of it raises `StoreError` where the database is gone."""

    def __init__(self, store: Store, clock: Callable[[], float] = time) -> None:
        self._store = store
        self._clock = clock

    # --- tenants -----------------------------------------------------------------------

    async def tenants(self, after: str = "", limit: int = PAGE) -> list[dict[str, Any]]:
        rows = await self._store.fetch(
            "SELECT * FROM tenants WHERE deleted_at IS NULL AND id > :after ORDER BY id "
            "LIMIT :limit",
            {"after": after, "limit": limit},
        )
        return [tenant_shown(row) for row in rows]

    async def tenant(self, tenant_id: str) -> dict[str, Any]:
        return tenant_shown(await self._tenant(self._store, tenant_id))

    async def create_tenant(self, new: NewTenant, tell: Tell) -> dict[str, Any]:
        document = _document(new, Tenant)
        async with self._changing() as (queries, version):
            row = await _one(
                queries,
                "INSERT INTO tenants "
                "(id, document, disabled, created_at, updated_at, deleted_at, version) "
                "VALUES (:id, :document, :disabled, :now, :now, NULL, :version) "
                "ON CONFLICT (id) DO UPDATE SET document = :document, disabled = :disabled, "
                "created_at = :now, updated_at = :now, deleted_at = NULL, version = :version "
                "WHERE tenants.deleted_at IS NOT NULL AND tenants.erased_at IS NULL RETURNING *",
                id=new.id,
                document=document,
                disabled=new.disabled,
                now=self._now(),
                version=version,
            )
            if row is None:
                raise await _taken(queries, new.id)
            tell()
        return tenant_shown(row)

    async def change_tenant(self, tenant_id: str, body: bytes, tell: Tell) -> dict[str, Any]:
        async with self._changing() as (queries, version):
            old = msgspec.json.decode(
                str((await self._tenant(queries, tenant_id))["document"]), type=Tenant
            )
            new = documents.changed(old, body, Tenant)
            row = await _one(
                queries,
                "UPDATE tenants SET document = :document, disabled = :disabled, "
                "updated_at = :now, version = :version WHERE id = :id RETURNING *",
                id=tenant_id,
                document=_document(new, Tenant),
                disabled=new.disabled,
                now=self._now(),
                version=version,
            )
            tell()
        assert row is not None
        return tenant_shown(row)

    async def delete_tenant(self, tenant_id: str, tell: Tell) -> None:
        """Its keys are revoked and its budgets end, for good."""
        async with self._changing() as (queries, version):
            await self._tenant(queries, tenant_id)
            given: SQLParams = {"id": tenant_id, "now": self._now(), "version": version}
            await queries.execute(
                "UPDATE tenants SET deleted_at = :now, version = :version WHERE id = :id", given
            )
            await queries.execute(
                "UPDATE api_keys SET revoked_at = :now, updated_at = :now, version = :version "
                "WHERE tenant = :id AND revoked_at IS NULL",
                given,
            )
            await queries.execute(
                "UPDATE budgets SET deleted_at = :now, version = :version "
                "WHERE level = 'tenant' AND owner = :id AND deleted_at IS NULL",
                given,
            )
            tell()

    async def _tenant(self, queries: Queries, tenant_id: str) -> Row:
        sql = "SELECT * FROM tenants WHERE id = :id AND deleted_at IS NULL"
        row = await _one(queries, sql, id=tenant_id)
        if row is None:
            raise NotFoundError(f"There is no tenant {tenant_id!r}.", param="tenant")
        return row

    # --- keys --------------------------------------------------------------------------

    async def keys(
        self, tenant: str | None = None, after: str = "", limit: int = PAGE
    ) -> list[dict[str, Any]]:
        where = "deleted_at IS NULL AND id > :after" + (
            "" if tenant is None else " AND tenant = :tenant"
        )
        params: dict[str, SQLValue] = {"after": after, "limit": limit}
        if tenant is not None:
            params["tenant"] = tenant
        sql = f"SELECT * FROM api_keys WHERE {where} ORDER BY id LIMIT :limit"
        rows = await self._store.fetch(sql, params)
        return [self.key_shown(row) for row in rows]

    async def key(self, key_id: str) -> dict[str, Any]:
        return self.key_shown(await self._key(self._store, key_id))

    async def create_key(
        self, new: NewKey, prefix: str, by: str | None, tell: Callable[[str], None]
    ) -> dict[str, Any]:
        """The key as shown, and once, in `key`, the key itself."""
        key_id, hidden = secret.new_id(), secret.new_secret()
        async with self._changing() as (queries, version):
            if new.tenant is not None:
                await self._tenant(queries, new.tenant)
            marks = ", ".join(f":{each.strip()}" for each in _KEY_COLUMNS.split(","))
            row = await _one(
                queries,
                f"INSERT INTO api_keys ({_KEY_COLUMNS}) VALUES ({marks}) RETURNING *",
                id=key_id,
                tenant=new.tenant,
                name=new.name,
                role=new.role,
                hash=key_digest(hidden).hex(),
                previous_hash=None,
                previous_until=None,
                document=_document(new, Key),
                created_by=by,
                created_at=self._now(),
                updated_at=self._now(),
                expires_at=self._expiry(new),
                revoked_at=None,
                version=version,
            )
            tell(key_id)
        assert row is not None
        return {**self.key_shown(row), "key": secret.written(prefix, key_id, hidden)}

    async def change_key(self, key_id: str, body: bytes, tell: Tell) -> dict[str, Any]:
        async with self._changing() as (queries, version):
            row = await self._usable(queries, key_id)
            old = msgspec.json.decode(str(row["document"]), type=Key)
            whole = documents.checked(
                {**msgspec.to_builtins(old), "name": row["name"]}
                | ({"expires_at": iso(row["expires_at"])} if row["expires_at"] else {}),
                ChangedKey,
            )
            new = documents.changed(whole, body, ChangedKey)
            found = await _one(
                queries,
                "UPDATE api_keys SET document = :document, name = :name, "
                "expires_at = :expires_at, updated_at = :now, version = :version "
                "WHERE id = :id RETURNING *",
                id=key_id,
                document=_document(new, Key),
                name=new.name,
                expires_at=_milliseconds(new),
                now=self._now(),
                version=version,
            )
            tell()
        assert found is not None
        return self.key_shown(found)

    async def rotate_key(
        self, key_id: str, prefix: str, grace_seconds: float, tell: Tell
    ) -> dict[str, Any]:
        """A new secret under the same id; the old one is valid for `grace_seconds` more."""
        hidden = secret.new_secret()
        async with self._changing() as (queries, version):
            await self._usable(queries, key_id)
            row = await _one(
                queries,
                "UPDATE api_keys SET previous_hash = hash, previous_until = :until, "
                "hash = :hash, updated_at = :now, version = :version WHERE id = :id RETURNING *",
                id=key_id,
                until=self._now() + int(grace_seconds * 1000),
                hash=key_digest(hidden).hex(),
                now=self._now(),
                version=version,
            )
            tell()
        assert row is not None
        return {**self.key_shown(row), "key": secret.written(prefix, key_id, hidden)}

    async def revoke_key(self, key_id: str, tell: Tell) -> dict[str, Any]:
        """For good; a second time changes nothing."""
        async with self._changing() as (queries, version):
            row = await _one(
                queries,
                "UPDATE api_keys SET revoked_at = COALESCE(revoked_at, :now), "
                "previous_hash = NULL, previous_until = NULL, updated_at = :now, "
                "version = :version WHERE id = :id AND deleted_at IS NULL RETURNING *",
                id=key_id,
                now=self._now(),
                version=version,
            )
            if row is None:
                raise _no_key(key_id)
            tell()
        return self.key_shown(row)

    async def _key(self, queries: Queries, key_id: str) -> Row:
        row = await _one(
            queries, "SELECT * FROM api_keys WHERE id = :id AND deleted_at IS NULL", id=key_id
        )
        if row is None:
            raise _no_key(key_id)
        return row

    async def _usable(self, queries: Queries, key_id: str) -> Row:
        row = await self._key(queries, key_id)
        if row["revoked_at"] is not None:
            raise ConflictError(f"The key {key_id} was revoked; create another one.")
        return row

    def key_shown(self, row: Row) -> dict[str, Any]:
        """What is told of a key; of its secret, nothing."""
        now = self._now()
        expires, until = row["expires_at"], row["previous_until"]
        state = "active"
        if row["revoked_at"] is not None:
            state = "revoked"
        elif isinstance(expires, int) and expires <= now:
            state = "expired"
        rotating = isinstance(until, int) and until > now
        return {
            "id": row["id"],
            "name": row["name"],
            "tenant": row["tenant"],
            "role": row["role"],
            "state": state,
            **msgspec.json.decode(str(row["document"])),
            "created_by": row["created_by"],
            "created_at": iso(row["created_at"]),
            "updated_at": iso(row["updated_at"]),
            "expires_at": iso(expires),
            "revoked_at": iso(row["revoked_at"]),
            "old_secret_until": iso(until) if rotating else None,
        }

    def _expiry(self, new: ChangedKey) -> int | None:
        expires = _milliseconds(new)
        if expires is not None and expires <= self._now():
            raise MalformedBodyError("expires_at lies in the past.", param="expires_at")
        return expires

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _changing(self) -> AbstractAsyncContextManager[tuple[Queries, int]]:
        return changing(self._store)


@asynccontextmanager
async def changing(store: Store) -> AsyncIterator[tuple[Queries, int]]:
    """A transaction and the version of what is changed in it. Raising the version first
    makes changes wait for one another, so versions become visible in their order."""
    async with store.transaction() as queries:
        rows = await queries.fetch(
            "UPDATE identity_version SET version = version + 1 WHERE id = 1 RETURNING version"
        )
        yield queries, int(str(rows[0]["version"]))


def tenant_shown(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        **msgspec.json.decode(str(row["document"])),
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
    }


async def _one(queries: Queries, sql: str, **params: Any) -> Row | None:
    given: Mapping[str, Any] = params
    rows = await queries.fetch(sql, given)
    return rows[0] if rows else None


def _document(given: msgspec.Struct, kind: type[msgspec.Struct]) -> str:
    """The JSON of those members of `given` that `kind` has."""
    whole = msgspec.to_builtins(given)
    kept = {name: whole[name] for name in kind.__struct_fields__ if name in whole}
    return msgspec.json.encode(kept).decode()


def _milliseconds(given: ChangedKey) -> int | None:
    return None if given.expires_at is None else int(given.expires_at.timestamp() * 1000)


async def _taken(queries: Queries, tenant_id: str) -> ConflictError:
    """Why the id of a tenant cannot be given."""
    sql = "SELECT id FROM tenants WHERE id = :id AND erased_at IS NOT NULL"
    if await queries.fetch(sql, {"id": tenant_id}):
        text = f"The tenant {tenant_id!r} was erased; its id is not given again."
    else:
        text = f"There is a tenant {tenant_id!r} already."
    return ConflictError(text, param="id")


def _no_key(key_id: str) -> NotFoundError:
    return NotFoundError(f"There is no key with the id {key_id!r}.", param="key")
