"""The routes of keys and tenants with their descriptions: one table."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from llm_gateway_api import EndpointSpec, StoreError

if TYPE_CHECKING:
    from llm_gateway_api import Audit, EndpointHandler, StateBackend, Store, Targets

    from llm_gateway_filter_identity.settings import IdentitySettings

PATH = "plugins.filter_identity"
_KEYS, _TENANTS = "/admin/v1/keys", "/admin/v1/tenants"
# Method, path, method of `Administration`, summary, name of the body's document.
ROUTES: tuple[tuple[str, str, str, str, str | None], ...] = (
    ("GET", _KEYS, "list_keys", "List keys, without their secrets", None),
    ("POST", _KEYS, "create_key", "Create a key; the answer shows it, once", "NewKey"),
    ("GET", f"{_KEYS}/{{id}}", "show_key", "Show a key", None),
    ("PATCH", f"{_KEYS}/{{id}}", "change_key", "Change a key; null takes a value away", "NewKey"),
    ("POST", f"{_KEYS}/{{id}}/rotate", "rotate_key", "Give a key a new secret", "Rotation"),
    ("POST", f"{_KEYS}/{{id}}/revoke", "revoke_key", "Revoke a key for good", None),
    ("GET", _TENANTS, "list_tenants", "List tenants", None),
    ("POST", _TENANTS, "create_tenant", "Create a tenant", "NewTenant"),
    ("GET", f"{_TENANTS}/{{id}}", "show_tenant", "Show a tenant", None),
    ("PATCH", f"{_TENANTS}/{{id}}", "change_tenant", "Change a tenant", "Tenant"),
    ("DELETE", f"{_TENANTS}/{{id}}", "delete_tenant", "Delete a tenant, revoking its keys", None),
)


def specs() -> list[EndpointSpec]:
    return [
        EndpointSpec(
            method,
            path,
            "operator" if method == "GET" else "admin",
            _making(name),
            settings=PATH,
            needs=("store", "state", "audit", "targets"),
            doc=_doc(method, summary, body),
            scope="tenant" if method == "GET" else "gateway",
        )
        for method, path, name, summary, body in ROUTES
    ]


def _making(name: str) -> "Callable[..., EndpointHandler]":
    def make(
        settings: "IdentitySettings",
        store: "Store | None",
        state: "StateBackend | None",
        audit: "Audit",
        targets: "Targets",
    ) -> "EndpointHandler":
        from llm_gateway_filter_identity.endpoints import Administration
        from llm_gateway_filter_identity.repository import Repository

        if store is None:
            return _without_store
        handler: EndpointHandler = getattr(
            Administration(settings, Repository(store), state, audit, targets), name
        )
        return handler

    return make


async def _without_store(request: object) -> Any:
    raise StoreError("No store is installed, so there are no keys and tenants in it.")


def _doc(method: str, summary: str, body: str | None) -> Mapping[str, Any]:
    doc: dict[str, Any] = {"summary": summary}
    if body is not None:
        doc["requestBody"] = {"content": {"application/json": {"schema": _schema(body)}}}
    return doc


def _schema(name: str) -> Any:
    """The JSON schema of a document, whole, without references."""
    import msgspec

    from llm_gateway_filter_identity import documents

    (top,), parts = msgspec.json.schema_components(
        [getattr(documents, name)], ref_template="{name}"
    )
    return _inlined(top, parts)


def _inlined(schema: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(parts[schema["$ref"]], parts)
        return {name: _inlined(each, parts) for name, each in schema.items()}
    if isinstance(schema, list):
        return [_inlined(each, parts) for each in schema]
    return schema
