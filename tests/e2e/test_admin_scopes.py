"""What a key that belongs to a tenant can do on each route of the administration.

Every registered route below ``/admin/v1`` has its row: one that is about the whole gateway
refuses such a key, the others show and change that tenant's own, whatever they are asked for.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "admin-key-0123456789abcdef"
OURS, THEIRS = "tenant-ours", "tenant-theirs"
ENV = {
    "LLM_GATEWAY_ADMIN_KEY": ADMIN,
    "SECRETS_ENCRYPTION_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
CONFIG: Mapping[str, Any] = {
    "providers": {"sim": {"kind": "simulated"}},
    "cache": {"backend": "memory"},
    "security": {"rate_limit": {"requests_per_minute": 6000, "burst_size": 600}},
    "plugins": {
        "ledger_store": {"ship_seconds": 0.1},
        "audit_log": {"ship_seconds": 0.1},
        "catalog_models": {
            "models": [
                {"kind": "simulated", "id": "simulated", "prices": {"input": 1, "output": 1}}
            ]
        },
    },
}

HELLO = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}

# About the whole gateway: a key that belongs to a tenant is refused.
GATEWAY = """
GET /admin/v1/audit/verify
GET /admin/v1/backend-health
PUT /admin/v1/budgets
DELETE /admin/v1/budgets/{id}
GET /admin/v1/cache/config
POST /admin/v1/keys
PATCH /admin/v1/keys/{id}
POST /admin/v1/keys/{id}/revoke
POST /admin/v1/keys/{id}/rotate
PUT /admin/v1/quotas
DELETE /admin/v1/quotas/{id}
GET /admin/v1/routing
GET /admin/v1/routing/guards
GET /admin/v1/routing/offered
GET /admin/v1/routing/rules
GET /admin/v1/routing/stats
GET /admin/v1/routing/weights
GET /admin/v1/secrets
DELETE /admin/v1/secrets/{name}
PUT /admin/v1/secrets/{name}
POST /admin/v1/secrets/rotate
POST /admin/v1/tenants
DELETE /admin/v1/tenants/{id}
PATCH /admin/v1/tenants/{id}
""".strip().splitlines()
# By tenant: what is asked for another one, and how that ends. A list shows its own in its place.
OWN: dict[str, tuple[str, set[int]]] = {
    "GET /admin/v1/audit": ("audit?limit=1000&tenant={tenant}", {200}),
    "GET /admin/v1/budgets": ("budgets?level=tenant&owner={tenant}", {200}),
    "GET /admin/v1/cache/entries": ("cache/entries?tenant={tenant}", {200}),
    "GET /admin/v1/cache/stats": ("cache/stats?tenant={tenant}", {200}),
    "DELETE /admin/v1/cache/entries": ("cache/entries?tenant={tenant}", {200}),
    "GET /admin/v1/cost": ("cost?group_by=tenant&tenant={tenant}", {200}),
    "GET /admin/v1/keys": ("keys?tenant={tenant}", {200}),
    "GET /admin/v1/keys/{id}": ("keys/{key}", {404}),
    "GET /admin/v1/latency": ("latency?tenant={tenant}", {200}),
    "GET /admin/v1/limits": ("limits?level=tenant&owner={tenant}&requests_per_minute=9", {403}),
    "GET /admin/v1/quotas": ("quotas?level=tenant&owner={tenant}", {200}),
    "GET /admin/v1/tenants": ("tenants", {200}),
    "GET /admin/v1/tenants/{id}": ("tenants/{tenant}", {404}),
    "GET /admin/v1/tenants/{id}/erasure": ("tenants/{tenant}/erasure", {403}),
    "GET /admin/v1/tenants/{id}/export": ("tenants/{tenant}/export", {403}),
    "GET /admin/v1/tenants/{id}/export/{kind}": ("tenants/{tenant}/export/usage", {403}),
    "GET /admin/v1/token-usage": ("token-usage?group_by=tenant&tenant={tenant}", {200}),
    "POST /admin/v1/explain": ("explain", {403}),
    "POST /admin/v1/tenants/{id}/erase": ("tenants/{tenant}/erase", {403}),
}
# Numbers alone, which name nobody: what they come to is compared.
NUMBERS = {"GET /admin/v1/cache/stats", "GET /admin/v1/latency"}
ERASING = "POST /admin/v1/tenants/{id}/erase"  # is asked for others only


@dataclass(frozen=True, slots=True)
class Tenancy:
    """`keys` are secrets by tenant and role, `marks` what names a tenant and its things."""

    gateway: Gateway
    keys: Mapping[tuple[str, str], str]
    ids: Mapping[str, str]

    async def ask(self, route: str, key: str, tenant: str) -> Reply:
        method = route.partition(" ")[0]
        path = OWN[route][0].format(tenant=tenant, key=self.ids[tenant])
        body = {"tenant": tenant, "body": HELLO} if path == "explain" else None
        return await call(f"{self.gateway.url}/admin/v1/{path}", body, key=key, method=method)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        reply = await call(f"{self.gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
        assert reply.status < 300, reply.body
        return reply.json

    def tells(self, reply: Reply, tenant: str) -> bool:
        """Whether anything names `tenant` or its key."""
        text = reply.body.decode()
        return tenant in text or self.ids[tenant] in text

    async def chat(self, tenant: str, text: str) -> None:
        body = {"model": "simulated", "messages": [{"role": "user", "content": text}]}
        url = f"{self.gateway.url}/v1/chat/completions"
        assert (await call(url, body, key=self.keys[tenant, "user"])).status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tenancy() -> AsyncIterator[Tenancy]:
    """Two tenants with keys of every role, budgets, quotas, answers in the cache and records:
    one request of ours, two of theirs."""
    async with running_gateway(CONFIG, ENV) as gateway:
        made = Tenancy(gateway, keys := {}, ids := {})
        for tenant in (OURS, THEIRS):
            await made.admin("POST", "tenants", {"id": tenant})
            for role in ("operator", "admin", "user"):
                key = await made.admin("POST", "keys", {"tenant": tenant, "role": role})
                keys[tenant, role], ids[tenant] = key["key"], key["id"]
            given = {"level": "tenant", "owner": tenant, "period": "month"}
            await made.admin("PUT", "budgets", {**given, "amount_usd": 5})
            await made.admin("PUT", "quotas", {**given, "unit": "requests", "amount": 500})
            for number in range(1 if tenant == OURS else 2):
                await made.chat(tenant, f"question {number}")
            await call(f"{gateway.url}/admin/v1/keys", key=keys[tenant, "user"])  # on record
        async with asyncio.timeout(30):  # the ledger and the audit are on their way to the store
            for route in ("GET /admin/v1/audit", "GET /admin/v1/cost"):
                while not all(
                    [made.tells(await made.ask(route, ADMIN, each), each) for each in ids]
                ):
                    await asyncio.sleep(0.1)
        yield made


async def test_every_route_of_the_administration_has_its_row(tenancy: Tenancy) -> None:
    """A new one is decided about here, or fails by its name."""
    paths = (await call(f"{tenancy.gateway.url}/openapi.json")).json["paths"]
    routes = {
        f"{method.upper()} {path}"
        for path, operations in paths.items()
        if path.startswith("/admin/")
        for method in operations
    }

    assert routes - {*GATEWAY, *OWN} == set(), "without a row"
    assert {*GATEWAY, *OWN} - routes == set(), "not there any more"


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize("route", GATEWAY)
async def test_what_is_everybodys_refuses_a_tenants_key(
    tenancy: Tenancy, route: str, role: str
) -> None:
    """The same call with a key of no tenant gets further, so it is the tenant that is refused."""
    method, _, path = route.partition(" ")
    url = tenancy.gateway.url + re.sub(r"\{\w+\}", "nobody", path)
    body = {} if method in ("POST", "PUT", "PATCH") else None
    refused = await call(url, body, key=tenancy.keys[OURS, role], method=method)
    everybody = await call(url, body, key=ADMIN, method=method)

    assert (refused.status, refused.json["error"]["code"]) == (403, "permission_denied"), route
    assert everybody.status not in (401, 403, 405), everybody.body


@pytest.mark.parametrize("route", OWN)
async def test_a_tenants_key_reaches_its_own_and_no_other(tenancy: Tenancy, route: str) -> None:
    key = tenancy.keys[OURS, "admin"]
    kept = (await tenancy.ask("GET /admin/v1/cache/entries", ADMIN, THEIRS)).json["entries"]
    stolen = await tenancy.ask(route, key, THEIRS)

    assert stolen.status in OWN[route][1], stolen.body
    if stolen.status == 200:
        assert not tenancy.tells(stolen, THEIRS), stolen.body
    assert (await tenancy.ask("GET /admin/v1/cache/entries", ADMIN, THEIRS)).json["entries"] == kept
    if route == ERASING:
        assert (await tenancy.ask("GET /admin/v1/tenants/{id}", ADMIN, THEIRS)).status == 200
        return
    if route.startswith("DELETE"):
        await tenancy.chat(OURS, "question 0")
    own = await tenancy.ask(route, key, OURS)
    theirs = await tenancy.ask(route, ADMIN, THEIRS) if route.startswith("GET") else own
    if route.endswith("/erasure"):
        assert own.status == theirs.status == 404  # nobody asked for one
        return
    assert own.status == 200, own.body
    if route in NUMBERS:
        assert stolen.json == own.json != theirs.json
    elif route.startswith("GET") and not route.endswith("/limits"):
        assert tenancy.tells(own, OURS) and tenancy.tells(theirs, THEIRS)


async def test_a_tenants_operator_sees_the_limits_of_its_tenants_keys(tenancy: Tenancy) -> None:
    """Of every key of its own, and of no other's, nor of one that there is not."""
    gateway, key = tenancy.gateway, tenancy.keys[OURS, "operator"]

    async def asked(owner: str) -> Reply:
        url = f"{gateway.url}/admin/v1/limits?level=key&owner={owner}&requests_per_minute=9"
        return await call(url, key=key)

    made = [await tenancy.admin("POST", "keys", {"tenant": each}) for each in (OURS, THEIRS)]
    shown = await asked(made[0]["id"])
    refused = [await asked(owner) for owner in (made[1]["id"], "nobody", "../tenants")]

    assert shown.status == 200, shown.body
    assert shown.json["rows"][0]["amount"] == 9
    assert [(each.status, each.json["error"]["code"]) for each in refused] == [
        (403, "permission_denied")
    ] * 3


async def test_the_detailed_health_tells_a_tenants_administrator_states_only(
    tenancy: Tenancy,
) -> None:
    url = f"{tenancy.gateway.url}/health?detailed=true"
    everything = (await call(url, key=ADMIN)).json
    states = (await call(url, key=tenancy.keys[OURS, "admin"])).json

    assert all("version" in each for each in everything["plugins"].values())
    assert all(each.keys() == {"state"} for each in states["plugins"].values())
