"""The admin surface: each route once, for the client that blocks and the one that waits."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload
from urllib.parse import quote

import httpx
import msgspec

from llm_gateway_sdk import wire
from llm_gateway_sdk.admin_values import (
    AuditRecord,
    CacheEntry,
    CacheStats,
    CostRow,
    Key,
    LatencyRow,
    NewKey,
    NewTenant,
    Tenant,
    TokenRow,
)
from llm_gateway_sdk.operations import Call, Operation

P = ParamSpec("P")
T = TypeVar("T")


class Runs(Protocol):
    def __call__(self, operation: Operation[T], timeout: float | None = None) -> T: ...


class RunsAwaited(Protocol):
    def __call__(self, operation: Operation[T], timeout: float | None = None) -> Awaitable[T]: ...


class Method(Generic[P, T]):
    """A function that makes an operation, as a method that runs it."""

    def __init__(self, make: Callable[P, Operation[T]]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, holder: None, owner: type) -> "Method[P, T]": ...
    @overload
    def __get__(self, holder: "Admin", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, holder: "AsyncAdmin", owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, holder: "Admin | AsyncAdmin | None", owner: type) -> Any:
        if holder is None:
            return self

        @wraps(self._make)
        def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            return holder.run(self._make(*args, **kwargs))

        return run


def cost(
    *,
    window: str | None = None,
    group_by: Sequence[str] = (),
    provider: str | None = None,
    model: str | None = None,
    tenant: str | None = None,
    breakdown: bool = False,
) -> Operation[tuple[CostRow, ...]]:
    """What requests cost in `window` (``90s``, ``15m``, ``24h``, ``7d``), dearest first.

    `group_by` takes of provider, model, tenant, key, hour, day; `breakdown` adds tokens by kind.
    """
    query = _report(window, group_by, provider=provider, model=model, tenant=tenant)
    return _get("cost", "rows", CostRow, query | _flag("breakdown", breakdown))


def token_usage(
    *,
    window: str | None = None,
    group_by: Sequence[str] = (),
    provider: str | None = None,
    model: str | None = None,
    tenant: str | None = None,
    detailed: bool = False,
) -> Operation[tuple[TokenRow, ...]]:
    """Tokens used in `window`, grouped as `cost` is; `detailed` adds tokens by kind."""
    query = _report(window, group_by, provider=provider, model=model, tenant=tenant)
    return _get("token-usage", "rows", TokenRow, query | _flag("detailed", detailed))


def latency(
    *, window: str | None = None, provider: str | None = None, model: str | None = None
) -> Operation[tuple[LatencyRow, ...]]:
    """How long answers took in `window`, by provider and model."""
    return _get("latency", "rows", LatencyRow, _report(window, provider=provider, model=model))


def audit(
    *,
    kind: str | None = None,
    outcome: str | None = None,
    actor: str | None = None,
    tenant: str | None = None,
    subject: str | None = None,
    request_id: str | None = None,
    peer: str | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> Operation[tuple[AuditRecord, ...]]:
    """Records, newest first; `since` in Unix milliseconds."""
    query = _query(
        kind=kind,
        outcome=outcome,
        actor=actor,
        tenant=tenant,
        subject=subject,
        request_id=request_id,
        peer=peer,
        since=since,
        limit=limit,
    )
    return _get("audit", "rows", AuditRecord, query)


def audit_verify() -> Operation[tuple[Any, ...]]:
    """Where the chain of records does not hold; empty is good news."""
    return _get("audit/verify", "broken", Any)


def keys(
    *, tenant: str | None = None, after: str | None = None, limit: int | None = None
) -> Operation[tuple[Key, ...]]:
    """One page of keys, without their secrets; `after` is the id of the last one seen."""
    return _get("keys", "keys", Key, _query(tenant=tenant, after=after, limit=limit))


def key(key_id: str) -> Operation[Key]:
    return _one("GET", _at("keys", key_id), Key)


def create_key(new: NewKey) -> Operation[Key]:
    """The answer's `key` is the key itself, told this once."""
    return _one("POST", "keys", Key, new)


def change_key(key_id: str, changes: Mapping[str, Any]) -> Operation[Key]:
    """What `changes` does not name stays; None takes a restriction away."""
    return _one("PATCH", _at("keys", key_id), Key, changes)


def rotate_key(key_id: str, *, grace_seconds: float | None = None) -> Operation[Key]:
    """A new secret, in `key`; the old one stays valid for `grace_seconds`."""
    body = {} if grace_seconds is None else {"grace_seconds": grace_seconds}
    return _one("POST", f"{_at('keys', key_id)}/rotate", Key, body)


def revoke_key(key_id: str) -> Operation[Key]:
    """For good."""
    return _one("POST", f"{_at('keys', key_id)}/revoke", Key, {})


def tenants(*, after: str | None = None, limit: int | None = None) -> Operation[tuple[Tenant, ...]]:
    """One page of tenants; `after` is the id of the last one seen."""
    return _get("tenants", "tenants", Tenant, _query(after=after, limit=limit))


def tenant(tenant_id: str) -> Operation[Tenant]:
    return _one("GET", _at("tenants", tenant_id), Tenant)


def create_tenant(new: NewTenant) -> Operation[Tenant]:
    return _one("POST", "tenants", Tenant, new)


def change_tenant(tenant_id: str, changes: Mapping[str, Any]) -> Operation[Tenant]:
    """What `changes` does not name stays; None takes a restriction away."""
    return _one("PATCH", _at("tenants", tenant_id), Tenant, changes)


def delete_tenant(tenant_id: str) -> Operation[None]:
    """Its keys are revoked too."""
    return Operation(_call("DELETE", _at("tenants", tenant_id)), lambda response, body: None)


def cache_stats(*, tenant: str | None = None) -> Operation[tuple[CacheStats, ...]]:
    """How much each cache holds; one in memory is that of the worker that answers."""
    return _get("cache/stats", "caches", CacheStats, _query(tenant=tenant))


def cache_entries(
    *, model: str | None = None, tenant: str | None = None, limit: int | None = None
) -> Operation[tuple[CacheEntry, ...]]:
    """The newest kept answers, without their content."""
    query = _query(model=model, tenant=tenant, limit=limit)
    return _get("cache/entries", "entries", CacheEntry, query)


def clear_cache(
    *, older_than: str | None = None, model: str | None = None, tenant: str | None = None
) -> Operation[int]:
    """Forget kept answers in every worker; returns how many were removed where it was asked."""
    query = _query(older_than=older_than, model=model, tenant=tenant)
    return Operation(_call("DELETE", "cache/entries", query=query), _member("removed", int))


def cache_config() -> Operation[dict[str, Any]]:
    """The settings of `cache` that are in force."""
    return Operation(_call("GET", "cache/config"), _member("config", dict[str, Any]))


def ask(
    method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
) -> Operation[Any]:
    """Any other route below ``/admin/v1``, such as one of a plugin's: JSON in and out.

    `path` is what follows ``/admin/v1/``.
    """
    call = _call(method, path.lstrip("/"), body, query)
    return Operation(call, lambda response, text: _decoded(response, text, Any) if text else None)


class _Surface:
    """The routes as methods."""

    cost = Method(cost)
    token_usage = Method(token_usage)
    latency = Method(latency)
    audit = Method(audit)
    audit_verify = Method(audit_verify)
    keys = Method(keys)
    key = Method(key)
    create_key = Method(create_key)
    change_key = Method(change_key)
    rotate_key = Method(rotate_key)
    revoke_key = Method(revoke_key)
    tenants = Method(tenants)
    tenant = Method(tenant)
    create_tenant = Method(create_tenant)
    change_tenant = Method(change_tenant)
    delete_tenant = Method(delete_tenant)
    cache_stats = Method(cache_stats)
    cache_entries = Method(cache_entries)
    clear_cache = Method(clear_cache)
    cache_config = Method(cache_config)
    ask = Method(ask)


class Admin(_Surface):
    """``client.admin`` of a `Client`."""

    def __init__(self, run: Runs) -> None:
        self.run = run


class AsyncAdmin(_Surface):
    """``client.admin`` of an `AsyncClient`."""

    def __init__(self, run: RunsAwaited) -> None:
        self.run = run


def _call(
    method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
) -> Call:
    data = None if body is None else msgspec.json.encode(body)
    return Call(method, f"admin/v1/{path}", data, query or None)


def _at(kind: str, name: str) -> str:
    return f"{kind}/{quote(name, safe='')}"


def _query(**given: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _flag(name: str, on: bool) -> dict[str, str]:
    return {name: "true"} if on else {}


def _report(
    window: str | None, group_by: Sequence[str] = (), **given: str | None
) -> dict[str, str]:
    return _query(window=window, group_by=",".join(group_by) or None, **given)


def _decoded(response: httpx.Response, body: bytes, kind: Any) -> Any:
    return wire.decoded(body, kind, response.headers.get("x-request-id"))


def _member(name: str, kind: Any) -> Callable[[httpx.Response, bytes], Any]:
    """Reads one member of the answer's document."""

    def read(response: httpx.Response, body: bytes) -> Any:
        document = _decoded(response, body, dict[str, msgspec.Raw])
        return _decoded(response, bytes(document.get(name, b"null")), kind)

    return read


def _get(
    path: str, member: str, kind: type[T], query: Mapping[str, str] | None = None
) -> Operation[tuple[T, ...]]:
    return Operation(_call("GET", path, query=query), _member(member, tuple[kind, ...]))  # type: ignore[valid-type]


def _one(method: str, path: str, kind: type[T], body: object = None) -> Operation[T]:
    return Operation(
        _call(method, path, body), lambda response, text: _decoded(response, text, kind)
    )
