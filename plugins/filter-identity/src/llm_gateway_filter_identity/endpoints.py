"""``/admin/v1/keys`` and ``/admin/v1/tenants``; every change is audited and made known."""

from collections.abc import Callable
from time import time
from typing import Any

import msgspec
from llm_gateway_api import (
    Audit,
    AuditEvent,
    EndpointRequest,
    EndpointResponse,
    MalformedBodyError,
    NotFoundError,
    StateBackend,
    Targets,
)

from llm_gateway_filter_identity.documents import NewKey, NewTenant, Rotation, decoded
from llm_gateway_filter_identity.repository import PAGE, Repository
from llm_gateway_filter_identity.residency import warning
from llm_gateway_filter_identity.settings import IdentitySettings
from llm_gateway_filter_identity.syncing import TOPIC


class Administration:
    """One method for each route."""

    def __init__(
        self,
        settings: IdentitySettings,
        repository: Repository,
        state: StateBackend | None,
        audit: Audit,
        targets: Targets,
    ) -> None:
        self._targets = targets
        self._settings = settings
        self._repository = repository
        self._state = state
        self._audit = audit

    async def list_keys(self, request: EndpointRequest) -> EndpointResponse:
        own = request.arrival.principal.tenant
        tenant = request.query.get("tenant") if own is None else own
        return _answer({"keys": await self._repository.keys(tenant, *_page(request))})

    async def show_key(self, request: EndpointRequest) -> EndpointResponse:
        own = request.arrival.principal.tenant
        found = await self._repository.key(request.match["id"])
        if own not in (None, found["tenant"]):
            raise NotFoundError(f"There is no key {found['id']!r}.", param="key")
        return _answer(found)

    async def create_key(self, request: EndpointRequest) -> EndpointResponse:
        new = decoded(request.body, NewKey)
        detail = {"role": new.role, "key_tenant": new.tenant or ""}
        made = await self._repository.create_key(
            new,
            self._settings.key_prefix,
            request.arrival.principal.key_id,
            lambda key_id: self._told(request, "key.created", key_id, detail)(),
        )
        return self._changed(self._warned(made), 201)

    async def change_key(self, request: EndpointRequest) -> EndpointResponse:
        key_id = request.match["id"]
        tell = self._told(request, "key.changed", key_id, {"fields": _fields(request)})
        found = await self._repository.change_key(key_id, request.body, tell)
        return self._changed(self._warned(found))

    async def rotate_key(self, request: EndpointRequest) -> EndpointResponse:
        key_id = request.match["id"]
        grace = decoded(request.body, Rotation).grace_seconds
        if grace is None:
            grace = self._settings.rotation_grace_seconds
        tell = self._told(request, "key.rotated", key_id, {"grace_seconds": f"{grace:g}"})
        prefix = self._settings.key_prefix
        return self._changed(await self._repository.rotate_key(key_id, prefix, grace, tell))

    async def revoke_key(self, request: EndpointRequest) -> EndpointResponse:
        key_id = request.match["id"]
        tell = self._told(request, "key.revoked", key_id)
        return self._changed(await self._repository.revoke_key(key_id, tell))

    async def list_tenants(self, request: EndpointRequest) -> EndpointResponse:
        own = request.arrival.principal.tenant
        if own is not None:
            return _answer({"tenants": [await self._repository.tenant(own)]})
        return _answer({"tenants": await self._repository.tenants(*_page(request))})

    async def show_tenant(self, request: EndpointRequest) -> EndpointResponse:
        if request.arrival.principal.tenant not in (None, request.match["id"]):
            raise NotFoundError(f"There is no tenant {request.match['id']!r}.", param="tenant")
        return _answer(await self._repository.tenant(request.match["id"]))

    async def create_tenant(self, request: EndpointRequest) -> EndpointResponse:
        new = decoded(request.body, NewTenant)
        tell = self._told(request, "tenant.created", new.id)
        return self._changed(self._warned(await self._repository.create_tenant(new, tell)), 201)

    async def change_tenant(self, request: EndpointRequest) -> EndpointResponse:
        tenant = request.match["id"]
        tell = self._told(request, "tenant.changed", tenant, {"fields": _fields(request)})
        found = await self._repository.change_tenant(tenant, request.body, tell)
        return self._changed(self._warned(found))

    async def delete_tenant(self, request: EndpointRequest) -> EndpointResponse:
        tenant = request.match["id"]
        tell = self._told(request, "tenant.deleted", tenant)
        await self._repository.delete_tenant(tenant, tell)
        return self._changed({"id": tenant, "deleted": True})

    def _warned(self, document: dict[str, Any]) -> dict[str, Any]:
        """With `warnings`, where what was asked for is done and can hardly be meant."""
        text = warning(document.get("regions"), self._targets.regions())
        return document if text is None else {**document, "warnings": [text]}

    def _changed(self, document: Any, status: int = 200) -> EndpointResponse:
        """Done: all workers shall know."""
        if self._state is not None:
            self._state.publish(TOPIC, b"changed")
        return _answer(document, status)

    def _told(
        self,
        request: EndpointRequest,
        kind: str,
        subject: str,
        detail: dict[str, str] | None = None,
    ) -> Callable[[], None]:
        arrival = request.arrival
        return lambda: self._audit(
            AuditEvent(
                int(time() * 1000),
                kind,
                "ok",
                arrival.principal.key_id,
                arrival.principal.tenant,
                subject,
                arrival.request_id,
                arrival.peer,
                detail or {},
            )
        )


def _answer(document: Any, status: int = 200) -> EndpointResponse:
    return EndpointResponse(status, msgspec.json.encode(document))


def _page(request: EndpointRequest) -> tuple[str, int]:
    """Where to begin, and how many."""
    given = request.query.get("limit", str(PAGE))
    if not given.isascii() or not given.isdigit() or not 1 <= int(given[:9]) <= PAGE:
        raise MalformedBodyError(f"limit must be a number from 1 to {PAGE}.", param="limit")
    return request.query.get("after", ""), int(given[:9])


def _fields(request: EndpointRequest) -> str:
    """The names that a change gives, for the audit; values may be private."""
    try:
        found = msgspec.json.decode(request.body or b"{}")
    except (msgspec.DecodeError, UnicodeError):
        return ""
    return ",".join(sorted(found))[:200] if isinstance(found, dict) else ""
