"""Declares the ledger, its settings, its reports and their commands."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_gateway_api import (
    CommandSpec,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    LedgerSpec,
    SettingsSpec,
    StoreError,
    TenantDataSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from llm_gateway_api import EndpointHandler, Ledger, Metrics, Store

    from llm_gateway_ledger_store.hours import TenantHours
    from llm_gateway_ledger_store.settings import LedgerSettings
    from llm_gateway_ledger_store.tenantdata import TenantUsage

PATH = "plugins.ledger_store"
Report = Callable[["Store", Mapping[str, str]], Awaitable[Sequence[Mapping[str, object]]]]


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    from llm_gateway_ledger_store.settings import LedgerSettings

    return [SettingsSpec(PATH, LedgerSettings)]


@hookimpl
def llm_gateway_commands() -> list[CommandSpec]:
    module = "llm_gateway_ledger_store.commands"
    return [
        CommandSpec("cost", f"{module}:cost", "What requests cost, grouped."),
        CommandSpec("token-usage", f"{module}:token_usage", "Tokens used, grouped."),
        CommandSpec("latency", f"{module}:latency", "How long answers took."),
        CommandSpec(
            "reconcile",
            "llm_gateway_ledger_store.reconciling:reconcile",
            "Compare a vendor's usage file with the ledger.",
        ),
    ]


@hookimpl
def llm_gateway_ledgers() -> list[LedgerSpec]:
    return [LedgerSpec("store", ledger, PATH, needs=("store", "data_dir", "metrics"))]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    return [
        EndpointSpec(
            "GET",
            f"/admin/v1/{name}",
            "operator",
            _reporting(report),
            needs=("store",),
            scope="tenant",
        )
        for name, report in (("cost", _cost), ("token-usage", _tokens), ("latency", _latency))
    ]


@hookimpl
def llm_gateway_tenant_data() -> list[TenantDataSpec]:
    return [
        TenantDataSpec(
            "usage",
            "one record for each request: when, which key and model, how many tokens, what it "
            "cost; no content",
            "store, `usage_records`; until they are shipped, in `spool/` of the data directory",
            "`plugins.ledger_store.retention_days`, for ever where that is absent; a spool file "
            "for about an hour after its records were shipped",
            left="the record without tenant, key and request id, its time cut to the hour",
            make=tenant_usage,
            needs=("store", "data_dir"),
        ),
        TenantDataSpec(
            "usage_hours",
            "for each hour, key and model how many requests and tokens there were, and what they "
            "cost",
            "store, `usage_hours`",
            "by the hour for 40 days; then as one sum of all that was before, for ever",
            left="the sums of each hour and model, without tenant and key",
            make=tenant_hours,
            needs=("store",),
        ),
    ]


def tenant_usage(store: "Store | None", data_dir: Path) -> "TenantUsage | None":
    from llm_gateway_ledger_store.tenantdata import TenantUsage

    return TenantUsage(store, data_dir / "spool") if store is not None else None


def tenant_hours(store: "Store | None") -> "TenantHours | None":
    from llm_gateway_ledger_store.hours import TenantHours

    return TenantHours(store) if store is not None else None


def ledger(
    settings: "LedgerSettings", store: "Store | None", data_dir: Path, metrics: "Metrics"
) -> "Ledger | None":
    """The ledger; None where there is no store to ship to."""
    from llm_gateway_ledger_store.ledger import StoreLedger

    if store is None:
        return None
    folder = data_dir / "spool"
    return StoreLedger(store, folder, metrics, settings.ship_seconds, settings.retention_days)


def _reporting(report: Report) -> Callable[..., "EndpointHandler"]:
    def make(store: "Store | None") -> "EndpointHandler":
        async def handle(request: EndpointRequest) -> EndpointResponse:
            from msgspec.json import encode

            if store is None:
                raise StoreError("No store is installed, so there is nothing to report.")
            own = request.arrival.principal.tenant  # sees itself, whatever it asks for
            query = request.query if own is None else {**request.query, "tenant": own}
            rows = await report(store, query)
            return EndpointResponse(200, encode({"rows": rows}))

        return handle

    return make


async def _cost(store: "Store", query: Mapping[str, str]) -> list[dict[str, Any]]:
    from llm_gateway_ledger_store import reports

    groups = reports.groups_of(query.get("group_by", ""), ("provider", "model"))
    asked = reports.Asked.of(query, "24h")
    return await reports.cost(store, asked, groups, query.get("breakdown") == "true")


async def _tokens(store: "Store", query: Mapping[str, str]) -> list[dict[str, Any]]:
    from llm_gateway_ledger_store import reports

    groups = reports.groups_of(query.get("group_by", ""), ("provider", "model"))
    asked = reports.Asked.of(query, "24h")
    return await reports.tokens(store, asked, groups, query.get("detailed") == "true")


async def _latency(store: "Store", query: Mapping[str, str]) -> list[dict[str, Any]]:
    from llm_gateway_ledger_store import reports

    return await reports.latency(store, reports.Asked.of(query, "1h"))
