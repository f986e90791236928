"""Declares the routes below ``/admin/v1/cache`` and their commands."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

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
    from llm_gateway_api import Cache, CacheSettings, EndpointHandler, StateBackend

    from llm_gateway_admin_cache.clearing import Clearing
    from llm_gateway_admin_cache.tenantdata import TenantAnswers

NEEDS = ("caches", "state")


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    module = "llm_gateway_admin_cache.commands"
    return [CommandSpec("cache-status", f"{module}:cache_status", "Kept answers: look, clear.")]


@hookimpl
def llm_gateway_services() -> list[ServiceSpec]:
    return [ServiceSpec("cache_clearing", clearing, needs=NEEDS)]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    path = "/admin/v1/cache"
    return [
        EndpointSpec(
            "GET", f"{path}/stats", "operator", _handling("stats"), needs=NEEDS, scope="tenant"
        ),
        EndpointSpec(
            "GET", f"{path}/entries", "operator", _handling("entries"), needs=NEEDS, scope="tenant"
        ),
        EndpointSpec(
            "DELETE", f"{path}/entries", "operator", _handling("clear"), needs=NEEDS, scope="tenant"
        ),
        EndpointSpec("GET", f"{path}/config", "operator", _config, settings="cache"),
    ]


@hookimpl
def llm_gateway_tenant_data() -> list[TenantDataSpec]:
    return [
        TenantDataSpec(
            "answers",
            "answers that caches keep, the semantic one with the questions",
            "memory of the workers; Redis with `cache.backend: redis`",
            "`cache.default_ttl_seconds`, less where they are evicted",
            make=tenant_answers,
            needs=NEEDS,
        )
    ]


def tenant_answers(
    caches: "Mapping[str, Cache]", state: "StateBackend | None"
) -> "TenantAnswers | None":
    from llm_gateway_admin_cache.tenantdata import TenantAnswers

    found = clearing(caches, state)
    return TenantAnswers(found) if found.caches else None


def clearing(caches: "Mapping[str, Cache]", state: "StateBackend | None") -> "Clearing":
    from llm_gateway_admin_cache.clearing import Clearing

    return Clearing(caches, state)


def _handling(name: str) -> Callable[..., "EndpointHandler"]:
    def make(caches: "Mapping[str, Cache]", state: "StateBackend | None") -> "EndpointHandler":
        async def handle(request: EndpointRequest) -> EndpointResponse:
            from msgspec.json import encode

            from llm_gateway_admin_cache import routes

            found = await routes.ROUTES[name](clearing(caches, state), request)
            return EndpointResponse(200, encode(found))

        return handle

    return make


def _config(settings: "CacheSettings") -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from msgspec.json import encode

        shown: dict[str, Any] = settings.model_dump(
            mode="json", include=set(type(settings).model_fields)
        )
        return EndpointResponse(200, encode({"config": shown}))

    return handle
