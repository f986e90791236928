"""What the routes answer. A caller with a tenant reaches its own, and no other."""

from collections.abc import Awaitable, Callable, Mapping
from time import time

from llm_gateway_api import (
    EndpointRequest,
    MalformedBodyError,
    NotFoundError,
    PermissionDeniedError,
    StoreError,
)

from llm_gateway_admin_privacy.erasing import By, Erasing, shown

PAGE = 1000
WITHOUT_STORE = StoreError("No store is installed, so nothing is kept about tenants.")


async def manifest(erasing: Erasing, request: EndpointRequest) -> dict[str, object]:
    tenant = _tenant(request)
    counts = await erasing.counts(tenant)
    if not any(counts.values()) and await erasing.known(tenant) is None:
        raise NotFoundError(f"Nothing is kept about a tenant {tenant!r}.", param="tenant")
    detail = {kind: str(count) for kind, count in counts.items()}
    erasing.tell("tenant.exported", tenant, "ok", detail, By.of(request))
    kinds = [
        {
            "kind": spec.name,
            "what": spec.what,
            "where": spec.where,
            "kept": spec.kept,
            "records": counts[spec.name],
        }
        for spec, _ in erasing.kinds
    ]
    return {"tenant": tenant, "at": int(time() * 1000), "kinds": kinds}


async def page(erasing: Erasing, request: EndpointRequest) -> dict[str, object]:
    tenant, kind = _tenant(request), request.match["kind"]
    for spec, data in erasing.kinds:
        if spec.name == kind:
            found = await data.export(tenant, request.query.get("after", ""), _limit(request.query))
            return {"rows": found.rows, "next": found.next}
    names = ", ".join(spec.name for spec, _ in erasing.kinds)
    raise NotFoundError(f"There is no kind of data {kind!r} ({names}).", param="kind")


async def erase(erasing: Erasing, request: EndpointRequest) -> dict[str, object]:
    return await erasing.erase(_tenant(request), By.of(request))


async def erasure(erasing: Erasing, request: EndpointRequest) -> dict[str, object]:
    tenant = _tenant(request)
    found = await erasing.known(tenant)
    if found is None:
        raise NotFoundError(f"No erasure of a tenant {tenant!r} was asked for.", param="tenant")
    return shown(found)


Route = Callable[[Erasing, EndpointRequest], Awaitable[dict[str, object]]]
ROUTES: Mapping[str, Route] = {
    "manifest": manifest,
    "page": page,
    "erase": erase,
    "erasure": erasure,
}


def _tenant(request: EndpointRequest) -> str:
    tenant, own = request.match["id"], request.arrival.principal.tenant
    if own is not None and own != tenant:
        raise PermissionDeniedError("This key belongs to another tenant.")
    return tenant


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or str(PAGE)
    if not text.isdecimal() or not 1 <= int(text[:9]) <= PAGE:
        raise MalformedBodyError(f"`limit` is a number from 1 to {PAGE}.", param="limit")
    return int(text[:9])
