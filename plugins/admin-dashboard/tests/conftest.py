"""A gateway with providers good and bad, tenants, keys, a budget, a cache, and traffic."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

ADMIN = "admin-key-0123456789abcdef"
PRICES = {"input": 2.5, "output": 10}
CONFIG: Mapping[str, Any] = {
    "providers": {
        "fast": {"kind": "simulated", "words": 30, "models": ["chat"], "region": "eu"},
        "slow": {"kind": "simulated", "words": 30, "models": ["chat"], "latency_ms": 120},
        "broken": {"kind": "openai", "api_key": "none", "base_url": "http://127.0.0.1:9/v1"},
    },
    "routing": {
        "models": [
            {
                "name": "assistant",
                "deployments": [
                    {"provider": "fast", "model": "chat", "weight": 3},
                    {"provider": "slow", "model": "chat"},
                ],
            },
            {
                "name": "unlucky",
                "deployments": [
                    {"provider": "broken", "model": "gpt-4o", "weight": 1000000},
                    {"provider": "fast", "model": "chat"},
                ],
            },
        ]
    },
    "cache": {"backend": "memory"},
    "security": {"rate_limit": {"requests_per_minute": 6000, "burst_size": 600}},
    "plugins": {
        "admin_dashboard": {"login_attempts_per_minute": 1000},
        "catalog_models": {
            "models": [{"kind": "simulated", "id": "chat", "since": "test", "prices": PRICES}]
        },
    },
}


@dataclass(frozen=True, slots=True)
class Site:
    """A running gateway; `keys` are those of its tenants and its operator."""

    gateway: Gateway
    keys: Mapping[str, str]

    async def chat(self, text: str, model: str = "assistant", **members: Any) -> Reply:
        key = members.pop("key", self.gateway.api_key)
        body = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        return await call(f"{self.gateway.url}/v1/chat/completions", body, key=key)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        reply = await call(f"{self.gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
        assert reply.status < 300, reply.body
        return reply.json


async def furnished(gateway: Gateway) -> Site:
    """Tenants, keys and a budget; a little traffic of every kind."""
    site = Site(gateway, keys := {})
    for tenant, name in (("acme", "Acme Industries"), ("globex", "Globex")):
        await site.admin("POST", "tenants", {"id": tenant, "name": name})
        limits = {"requests_per_minute": 120, "max_concurrent": 20}
        document = {"name": f"{name} app", "tenant": tenant, "limits": limits}
        keys[tenant] = (await site.admin("POST", "keys", document))["key"]
    seer = {"name": "Acme reader", "tenant": "acme", "role": "operator"}
    keys["acme operator"] = (await site.admin("POST", "keys", seer))["key"]
    keys["operator"] = (await site.admin("POST", "keys", {"role": "operator"}))["key"]
    budget = {"level": "tenant", "owner": "acme", "amount_usd": 0.05, "period": "month"}
    await site.admin("PUT", "budgets", {**budget, "soft_usd": 0.01})
    for number in range(12):
        for tenant in ("acme", "globex"):
            await site.chat(f"question {number}", key=keys[tenant])
    await site.chat("question 1", key=keys["acme"])  # from the cache
    await site.chat("lucky after all?", "unlucky", key=keys["acme"])
    await site.chat("a stream", stream=True, key=keys["globex"])
    await site.chat("simulate:error=503", "fast/chat", key=keys["globex"])
    await site.chat("nobody knows it", "no-such-model", key=keys["acme"])
    return site


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with running_gateway(CONFIG, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        yield await furnished(gateway)
