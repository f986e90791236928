"""Declares the routes below ``/admin/v1/cache`` and their commands."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

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
    from llm_gateway_api import Cache, CacheSettings, EndpointHandler, Installed, StateBackend

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
    return [
        _endpoint("GET", "stats", _handling("stats"), (*NEEDS, "plugins"), "tenant"),
        _endpoint("GET", "entries", _handling("entries"), (*NEEDS, "plugins"), "tenant"),
        _endpoint("DELETE", "entries", _handling("clear"), (*NEEDS, "plugins"), "tenant"),
        _endpoint("GET", "config", _config, ("plugins",), "gateway"),
    ]


def _endpoint(
    method: str,
    name: str,
    make: "Callable[..., EndpointHandler]",
    needs: tuple[str, ...],
    scope: Literal["tenant", "gateway"],
) -> EndpointSpec:
    """One that is there without a cache, too: it says then how to get one."""
    path = f"/admin/v1/cache/{name}"
    return EndpointSpec(
        method, path, "operator", make, settings="cache", needs=needs, always=True, scope=scope
    )


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
    def make(
        settings: "CacheSettings | None",
        caches: "Mapping[str, Cache]",
        state: "StateBackend | None",
        plugins: "Installed",
    ) -> "EndpointHandler":
        async def handle(request: EndpointRequest) -> EndpointResponse:
            from msgspec.json import encode

            from llm_gateway_admin_cache import absence, routes

            known = clearing(caches, state)
            if not known.caches:
                raise absence.no_cache(settings, plugins(), caches)
            return EndpointResponse(200, encode(await routes.ROUTES[name](known, request)))

        return handle

    return make


def _config(settings: "CacheSettings | None", plugins: "Installed") -> "EndpointHandler":
    async def handle(request: EndpointRequest) -> EndpointResponse:
        from msgspec.json import encode

        from llm_gateway_admin_cache import absence

        if settings is None:
            raise absence.no_cache(settings, plugins())
        shown: dict[str, Any] = settings.model_dump(
            mode="json", include=set(type(settings).model_fields)
        )
        return EndpointResponse(200, encode({"config": shown}))

    return handle
