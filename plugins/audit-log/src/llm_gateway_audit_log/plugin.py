"""Declares the auditor, its content filter, its reports and their commands."""

from pathlib import Path
from typing import TYPE_CHECKING

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_audit_log.content import ContentAudit
    from llm_gateway_audit_log.erasing import TenantAudit
    from llm_gateway_audit_log.log import AuditLog
    from llm_gateway_audit_log.settings import AuditSettings

PATH = "plugins.audit_log"
MAX_ROWS = 1000
_FILTERS = ("kind", "outcome", "actor", "tenant", "subject", "request_id", "peer")


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_audit_log.settings import AuditSettings

    return [gw.SettingsSpec(PATH, AuditSettings)]


@gw.hookimpl
def llm_gateway_commands() -> list[gw.CommandSpec]:
    load = "llm_gateway_audit_log.commands:audit"
    return [gw.CommandSpec("audit", load, "Read and verify what is on record.")]


@gw.hookimpl
def llm_gateway_auditors() -> list[gw.AuditorSpec]:
    return [gw.AuditorSpec("log", auditor, PATH, needs=("store", "data_dir", "metrics"))]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    """Last of its stage: what the other filters made of a request is what is recorded."""
    needs = ("audit", "redact")
    return [gw.SecurityFilterSpec("zz_audit_content", "content", content, PATH, needs=needs)]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    return [
        gw.EndpointSpec(
            "GET",
            "/admin/v1/audit",
            "admin",
            searching,
            needs=("store",),
            doc={"summary": "Records, newest first, by kind, actor, tenant and the rest"},
            scope="tenant",
        ),
        gw.EndpointSpec(
            "GET",
            "/admin/v1/audit/verify",
            "admin",
            verifying,
            settings=PATH,
            needs=("store", "data_dir", "metrics"),
            doc={"summary": "Where the chain does not hold"},
        ),
    ]


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec(
            "audit",
            "security and administration on record: kind, time, outcome, key, address, request "
            "id; requests and answers where `plugins.audit_log.content` is on",
            "store, `audit_records`; files in `audit/` of each data directory",
            "`plugins.audit_log.retention_days`, for ever where that is absent",
            left="kind, time, outcome and a salted hash, so that the chain holds; the records of "
            "the export and the erasure",
            make=tenant_audit,
            settings=PATH,
            needs=("store", "data_dir"),
            order=90,
        )
    ]


def tenant_audit(
    settings: "AuditSettings", store: "gw.Store | None", data_dir: Path
) -> "TenantAudit | None":
    from llm_gateway_audit_log.erasing import TenantAudit
    from llm_gateway_audit_log.log import folder_in, key_of

    return TenantAudit(store, folder_in(data_dir), key_of(settings)) if store is not None else None


def auditor(
    settings: "AuditSettings", store: "gw.Store | None", data_dir: Path, metrics: gw.Metrics
) -> "AuditLog":
    from llm_gateway_audit_log.log import AuditLog

    return AuditLog(settings, store, data_dir, metrics)


def content(settings: "AuditSettings", audit: gw.Audit, redact: gw.Redact) -> "ContentAudit | None":
    from llm_gateway_audit_log.content import ContentAudit

    return ContentAudit(audit, redact, settings.max_content_bytes) if settings.content else None


def searching(store: "gw.Store | None") -> gw.EndpointHandler:
    async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
        from msgspec.json import encode

        from llm_gateway_audit_log.log import following, kept, place, search

        if store is None:
            raise gw.StoreError("No store is installed; records are in the data directory only.")
        query: dict[str, str | int] = {
            name: request.query[name] for name in _FILTERS if name in request.query
        }
        own = request.arrival.principal.tenant
        if own is not None:  # sees itself, whatever it asks for
            query["tenant"] = own
        for name in ("since", "limit"):
            if not request.query.get(name, "0").isdigit():
                raise gw.MalformedBodyError(f"{name} is a whole number.", param=name)
        if "since" in request.query:
            query["since"] = int(request.query["since"])
        limit = min(MAX_ROWS, int(request.query.get("limit", "100")))
        if "after" not in request.query:
            rows = await search(store, query, limit)
            return gw.EndpointResponse(200, encode({"rows": kept(rows)}))
        try:
            after = place(request.query["after"])
        except ValueError as error:
            text = "after is the next of the page before, or empty."
            raise gw.MalformedBodyError(text, param="after") from error
        rows = await search(store, query, limit, after)
        return gw.EndpointResponse(
            200, encode({"rows": kept(rows), "next": following(rows, limit)})
        )

    return handle


def verifying(
    settings: "AuditSettings", store: "gw.Store | None", data_dir: Path, metrics: gw.Metrics
) -> gw.EndpointHandler:
    async def handle(request: gw.EndpointRequest) -> gw.EndpointResponse:
        from msgspec.json import encode

        from llm_gateway_audit_log.log import folder_in, kept_from, key_of
        from llm_gateway_audit_log.verifying import shown, verified

        broken = await verified(key_of(settings), store, folder_in(data_dir), kept_from(settings))
        return gw.EndpointResponse(200, encode({"broken": shown(broken)}))

    return handle
