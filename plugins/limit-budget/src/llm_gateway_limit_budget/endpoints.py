"""``/admin/v1/budgets`` and ``/admin/v1/quotas``; every change is audited and made known."""

from collections.abc import Callable
from time import time
from typing import Any

import msgspec
from llm_gateway_api import (
    Audit,
    AuditEvent,
    EndpointRequest,
    EndpointResponse,
    PermissionDeniedError,
    StateBackend,
)

from llm_gateway_limit_budget.repository import NewBudget, NewQuota, Repository, read

TOPIC = "identity"  # whoever keeps callers in memory listens to it


class Administration:
    def __init__(self, repository: Repository, state: StateBackend | None, audit: Audit) -> None:
        self._repository = repository
        self._state = state
        self._audit = audit

    async def list_budgets(self, request: EndpointRequest) -> EndpointResponse:
        return _answer({"budgets": await self._all(request, money=True)})

    async def list_quotas(self, request: EndpointRequest) -> EndpointResponse:
        return _answer({"quotas": await self._all(request, money=False)})

    async def _all(self, request: EndpointRequest, *, money: bool) -> list[dict[str, Any]]:
        query = request.query
        level, owner, own = query.get("level"), query.get("owner"), request.arrival.principal.tenant
        return await self._repository.all(money=money, level=level, owner=owner, tenant=own)

    async def put_budget(self, request: EndpointRequest) -> EndpointResponse:
        _for_all(request)
        new = read(request.body, NewBudget)
        detail = {"level": new.level, "owner": new.owner, "amount_usd": str(new.amount_usd)}
        tell = self._told(request, "budget.set", detail)
        return self._changed(await self._repository.put(new, tell))

    async def put_quota(self, request: EndpointRequest) -> EndpointResponse:
        _for_all(request)
        new = read(request.body, NewQuota)
        detail = {"level": new.level, "owner": new.owner, new.unit: str(new.amount)}
        tell = self._told(request, "quota.set", detail)
        return self._changed(await self._repository.put(new, tell))

    async def delete_budget(self, request: EndpointRequest) -> EndpointResponse:
        _for_all(request)
        budget = request.match["id"]
        await self._repository.delete(budget, self._told(request, "budget.deleted", {}))
        return self._changed({"id": budget, "deleted": True})

    def _changed(self, document: Any) -> EndpointResponse:
        if self._state is not None:
            self._state.publish(TOPIC, b"changed")
        return _answer(document)

    def _told(
        self, request: EndpointRequest, kind: str, detail: dict[str, str]
    ) -> Callable[[str], None]:
        who = request.arrival
        return lambda budget: self._audit(
            AuditEvent(
                int(time() * 1000),
                kind,
                "ok",
                who.principal.key_id,
                who.principal.tenant,
                budget,
                who.request_id,
                who.peer,
                detail,
            )
        )


def _for_all(request: EndpointRequest) -> None:
    """A tenant does not give itself money."""
    if request.arrival.principal.tenant is not None:
        raise PermissionDeniedError("Budgets are set with a key that belongs to no tenant.")


def _answer(document: Any) -> EndpointResponse:
    return EndpointResponse(200, msgspec.json.encode(document))
