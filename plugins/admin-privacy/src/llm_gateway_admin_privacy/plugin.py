"""Declares the routes, the commands and the service of exports and erasures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llm_gateway_api import (
    CommandSpec,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    ServiceSpec,
    TenantDataSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from llm_gateway_api import Audit, EndpointHandler, StateBackend, Store, TenantKinds

    from llm_gateway_admin_privacy.sweeping import Sweeping

NEEDS = ("store", "state", "audit", "tenant_data")
# Method, path below the tenant, function of `routes`, summary.
ROUTES = (
    ("GET", "export", "manifest", "What is kept about a tenant: kinds, places, how many records"),
    ("GET", "export/{kind}", "page", "Records of one kind, a page at a time"),
    ("POST", "erase", "erase", "Erase a tenant everywhere, for good"),
    ("GET", "erasure", "erasure", "How far an erasure has come, and what it took away"),
)


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    module = "llm_gateway_admin_privacy.commands"
    return [
        CommandSpec("tenants export", f"{module}:export", "All that is kept about a tenant."),
        CommandSpec("tenants erase", f"{module}:erase", "Erase a tenant everywhere, for good."),
    ]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    return [
        EndpointSpec(
            method,
            f"/admin/v1/tenants/{{id}}/{path}",
            "admin",
            _handling(name),
            needs=NEEDS,
            doc={"summary": summary},
            scope="tenant",
        )
        for method, path, name, summary in ROUTES
    ]


@hookimpl
def llm_gateway_services() -> list[ServiceSpec]:
    return [ServiceSpec("tenant_erasures", sweeping, needs=(*NEEDS, "data_dir"))]


@hookimpl
def llm_gateway_tenant_data() -> list[TenantDataSpec]:
    return [
        TenantDataSpec(
            "erasures",
            "that a tenant was erased, when, at whose wish, and how many records that took",
            "store, `tenant_erasures`; `erasures.json` in the data directory",
            "for ever: what comes back from a backup or arrives late is erased again",
            left="the tenant's id",
        )
    ]


def sweeping(
    store: "Store | None",
    state: "StateBackend | None",
    audit: "Audit",
    tenant_data: "TenantKinds",
    data_dir: Path,
) -> "Sweeping | None":
    """The service; None where there is no store to find erasures in."""
    from llm_gateway_admin_privacy.erasing import Erasing
    from llm_gateway_admin_privacy.sweeping import Sweeping

    if store is None:
        return None
    return Sweeping(Erasing(store, state, audit, tenant_data), state, data_dir)


def _handling(name: str) -> "Callable[..., EndpointHandler]":
    def make(
        store: "Store | None",
        state: "StateBackend | None",
        audit: "Audit",
        tenant_data: "TenantKinds",
    ) -> "EndpointHandler":
        async def handle(request: EndpointRequest) -> EndpointResponse:
            from msgspec.json import encode

            from llm_gateway_admin_privacy import routes
            from llm_gateway_admin_privacy.erasing import Erasing

            if store is None:
                raise routes.WITHOUT_STORE
            erasing = Erasing(store, state, audit, tenant_data)
            return EndpointResponse(200, encode(await routes.ROUTES[name](erasing, request)))

        return handle

    return make
