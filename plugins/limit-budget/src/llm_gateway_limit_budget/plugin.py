"""Declares the limiter of budgets, its settings, routes and commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_limit_budget.limiter import BudgetLimiter
    from llm_gateway_limit_budget.settings import BudgetSettings

PATH = "plugins.limit_budget"
_BUDGETS, _QUOTAS = "/admin/v1/budgets", "/admin/v1/quotas"
_ROUTES: tuple[tuple[str, str, Literal["operator", "admin"], str, str], ...] = (
    ("GET", _BUDGETS, "operator", "list_budgets", "Budgets and what is spent of them"),
    ("PUT", _BUDGETS, "admin", "put_budget", "Set the budget of a tenant or key"),
    ("DELETE", f"{_BUDGETS}/{{id}}", "admin", "delete_budget", "Delete a budget"),
    ("GET", _QUOTAS, "operator", "list_quotas", "Quotas and what is used of them"),
    ("PUT", _QUOTAS, "admin", "put_quota", "Set the quota of a tenant or key"),
    ("DELETE", f"{_QUOTAS}/{{id}}", "admin", "delete_budget", "Delete a quota"),
)


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_limit_budget.settings import BudgetSettings

    return [gw.SettingsSpec(PATH, BudgetSettings)]


@gw.hookimpl
def llm_gateway_limiters() -> list[gw.LimiterSpec]:
    needs = ("state", "local_state", "workers", "store", "prices", "targets", "fetch", "metrics")
    return [gw.LimiterSpec("budget", limiter, settings=PATH, fail="closed", needs=needs)]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    needs = ("store", "state", "audit")
    return [
        gw.EndpointSpec(
            m,
            path,
            role,
            _making(name),
            needs=needs,
            doc={"summary": summary},
            scope="tenant" if m == "GET" else "gateway",
        )
        for m, path, role, name, summary in _ROUTES
    ]


@gw.hookimpl
def llm_gateway_commands() -> list[gw.CommandSpec]:
    load = "llm_gateway_limit_budget.commands"
    return [
        gw.CommandSpec(
            "budgets", f"{load}:budgets", "Budgets of tenants and keys: list, set, delete."
        ),
        gw.CommandSpec("quotas", f"{load}:quotas", "Quotas of tokens and requests, likewise."),
    ]


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec(
            "spending",
            "the sum that a budget's period has used so far, under the budget's random id",
            "shared state: memory of the host, or Redis",
            "a day after the period's end; ten years for a budget of all time",
            left="the sum, under an id that leads nowhere",
        )
    ]


def limiter(
    settings: "BudgetSettings",
    state: "gw.StateBackend | None",
    local_state: "gw.StateBackend | None",
    **needs: Any,
) -> "BudgetLimiter | None":
    """The limiter; None where nothing is installed to count in."""
    from llm_gateway_limit_budget.limiter import BudgetLimiter

    if state is None or local_state is None:
        return None
    return BudgetLimiter(settings, state, local_state, **needs)


def _making(name: str) -> "Callable[..., gw.EndpointHandler]":
    def make(
        store: "gw.Store | None", state: "gw.StateBackend | None", audit: "gw.Audit"
    ) -> "gw.EndpointHandler":
        from llm_gateway_limit_budget.endpoints import Administration
        from llm_gateway_limit_budget.repository import Repository

        if store is None:
            return _without_store
        made = Administration(Repository(store, state), state, audit)
        handler: gw.EndpointHandler = getattr(made, name)
        return handler

    return make


async def _without_store(request: "gw.EndpointRequest") -> "gw.EndpointResponse":
    raise gw.StoreError("No store is installed, so there are no budgets in it.")
