"""Declares the filter of stored keys, residency, the routes and commands of keys and tenants."""

from pathlib import Path
from typing import TYPE_CHECKING

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_filter_identity.filter import IdentityFilter
    from llm_gateway_filter_identity.residency import Residency
    from llm_gateway_filter_identity.settings import IdentitySettings
    from llm_gateway_filter_identity.tenantdata import TenantIdentity

PATH = "plugins.filter_identity"


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_filter_identity.settings import IdentitySettings

    return [gw.SettingsSpec(PATH, IdentitySettings)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            name="identity",
            stage="identity",
            make=identity,
            settings=PATH,
            before=("auth",),
            needs=("store", "state", "data_dir", "metrics", "failed_logins"),
        )
    ]


@gw.hookimpl
def llm_gateway_routing_filters() -> list[gw.RoutingFilterSpec]:
    return [gw.RoutingFilterSpec("residency", residency)]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    from llm_gateway_filter_identity.routes import specs

    return specs()


@gw.hookimpl
def llm_gateway_commands() -> list[gw.CommandSpec]:
    module = "llm_gateway_filter_identity.commands"
    return [
        gw.CommandSpec("keys", f"{module}:keys", "API keys: create, list, show, rotate, revoke."),
        gw.CommandSpec("tenants", f"{module}:tenants", "Tenants and what holds for them."),
    ]


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec(
            "identity",
            "the tenant, its keys (hashes of their secrets) and its budgets",
            "store, `tenants`, `api_keys`, `budgets`; a copy in `identity.json` of each data "
            "directory",
            "until they are deleted; a deleted tenant and a revoked key until the erasure",
            left="the tenant's id; rows that say that a key was there",
            make=tenant_identity,
            needs=("store", "state"),
            order=0,
        )
    ]


def tenant_identity(
    store: "gw.Store | None", state: "gw.StateBackend | None"
) -> "TenantIdentity | None":
    from llm_gateway_filter_identity.tenantdata import TenantIdentity

    return TenantIdentity(store, state) if store is not None else None


def identity(
    settings: "IdentitySettings",
    store: "gw.Store | None",
    state: "gw.StateBackend | None",
    data_dir: Path,
    metrics: "gw.Metrics",
    failed_logins: "gw.FailedLogins",
) -> "IdentityFilter | None":
    """The filter; None where there is no store to keep keys in."""
    from llm_gateway_filter_identity.filter import IdentityFilter
    from llm_gateway_filter_identity.syncing import Syncing

    if store is None:
        return None
    syncing = Syncing(store, state, data_dir, metrics, settings.poll_seconds)
    return IdentityFilter(syncing, metrics, failed_logins)


def residency() -> "Residency":
    from llm_gateway_filter_identity.residency import Residency

    return Residency()
