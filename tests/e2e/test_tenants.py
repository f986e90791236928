"""Whatever holds for a tenant is changed, and taken back, while the gateway runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "admin-key-0123456789abcdef"
NEWS_SECONDS = 20.0  # the bound is 5, on a machine that does nothing else
CONFIG: dict[str, Any] = {
    "providers": {
        "near": {"kind": "simulated", "region": "eu-west", "default_model": "simulated"},
        "far": {"kind": "simulated", "region": "us-east", "default_model": "simulated"},
    },
    "routing": {"default_provider": "near"},
    "plugins": {
        "catalog_models": {
            "models": [
                {"kind": "simulated", "id": "simulated", "prices": {"input": 1, "output": 1}}
            ]
        }
    },
}
# By row: a change of the tenant, and the status and code (or the provider) that come of it.
ROWS: dict[str, tuple[dict[str, Any], int, str]] = {
    "allowed models": ({"models": ["another"]}, 403, "model_not_allowed"),
    "providers": ({"providers": ["far"]}, 503, "no_target_available"),
    "limit of requests": ({"limits": {"requests_per_minute": 0}}, 429, "rate_limit_exceeded"),
    "limit of tokens": ({"limits": {"tokens_per_minute": 0}}, 429, "rate_limit_exceeded"),
    "limit at once": ({"limits": {"max_concurrent": 0}}, 429, "rate_limit_exceeded"),
    "residency": ({"regions": ["us"]}, 503, "no_target_available"),
    "routing override": ({"renamed": {"near/simulated": "far/simulated"}}, 200, "far"),
    "disabled": ({"disabled": True}, 403, "tenant_not_allowed"),
}
AMOUNTS: dict[str, tuple[str, dict[str, Any]]] = {
    "budget": ("budgets", {"amount_usd": 0}),
    "quota of tokens": ("quotas", {"unit": "tokens", "amount": 0}),
    "quota of requests": ("quotas", {"unit": "requests", "amount": 0}),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("data")
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway(CONFIG, env, args=("--workers", "2")) as made:
        yield made


async def admin(gateway: Gateway, method: str, path: str, body: Any = None) -> Any:
    answer = await call(f"{gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
    assert answer.status < 300, answer.body
    return answer.json


async def tenant_and_key(gateway: Gateway, row: str) -> tuple[str, str]:
    name = row.replace(" ", "-")
    await admin(gateway, "POST", "tenants", {"id": name})
    return name, (await admin(gateway, "POST", "keys", {"tenant": name}))["key"]


async def told(gateway: Gateway, key: str) -> tuple[int, str]:
    """The status, and the code of the error or the provider that answered."""
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": "near/simulated", "messages": messages, "max_tokens": 20}
    answer: Reply = await call(f"{gateway.url}/v1/chat/completions", body, key=key)
    if answer.status == 200:
        return 200, answer.headers["x-gateway-provider"]
    if answer.json["error"]["code"] == "no_target_available":
        assert answer.headers["x-should-retry"] == "false"
    return answer.status, answer.json["error"]["code"]


async def becomes(gateway: Gateway, key: str, expected: tuple[int, str]) -> None:
    """In every worker: each connection may meet another one."""
    async with asyncio.timeout(NEWS_SECONDS):
        while any([await told(gateway, key) != expected for _ in range(8)]):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("row", ROWS)
async def test_what_holds_for_a_tenant_is_changed_under_way(gateway: Gateway, row: str) -> None:
    change, status, what = ROWS[row]
    tenant, key = await tenant_and_key(gateway, row)
    await becomes(gateway, key, (200, "near"))

    await admin(gateway, "PATCH", f"tenants/{tenant}", change)
    await becomes(gateway, key, (status, what))
    await admin(gateway, "PATCH", f"tenants/{tenant}", dict.fromkeys(change))
    await becomes(gateway, key, (200, "near"))


@pytest.mark.parametrize("row", AMOUNTS)
async def test_budgets_and_quotas_are_changed_under_way(gateway: Gateway, row: str) -> None:
    kind, amount = AMOUNTS[row]
    tenant, key = await tenant_and_key(gateway, row)
    await becomes(gateway, key, (200, "near"))

    given = {"level": "tenant", "owner": tenant, "period": "month", **amount}
    made = await admin(gateway, "PUT", kind, given)
    await becomes(gateway, key, (402, "insufficient_quota"))
    more = {name: 1_000_000 for name in amount if name != "unit"}
    await admin(gateway, "PUT", kind, {**given, **more})
    await becomes(gateway, key, (200, "near"))
    (shown,) = (await admin(gateway, "GET", f"{kind}?level=tenant&owner={tenant}"))[kind]
    await admin(gateway, "PUT", kind, given)
    await becomes(gateway, key, (402, "insufficient_quota"))
    await admin(gateway, "DELETE", f"{kind}/{made['id']}")
    await becomes(gateway, key, (200, "near"))

    assert shown["id"] == made["id"]
    assert shown.get("amount", 1_000_000) == 1_000_000
