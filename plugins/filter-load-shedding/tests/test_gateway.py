"""What clients of a gateway see that has too much to do."""

import asyncio
from typing import Any

import pytest
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

ADMIN = "admin-key-0123456789abcdef"


async def asked(gateway: Gateway, path: str = "chat/completions") -> Reply:
    body = {"model": "sim/simulated", "max_tokens": 9}
    body["messages"] = [{"role": "user", "content": "Hi"}]
    version = {"anthropic-version": "2023-06-01"}
    return await call(f"{gateway.url}/v1/{path}", body, key=gateway.api_key, headers=version)


async def refused(gateway: Gateway) -> Reply:
    async with asyncio.timeout(20):
        while (reply := await asked(gateway)).status == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return reply


@pytest.mark.parametrize(
    ("settings", "reason"), [({"max_lag_ms": 0.0001}, "lag"), ({"memory_limit_mb": 1}, "memory")]
)
async def test_too_much_to_do(settings: Any, reason: str) -> None:
    """An error in the client's dialect that says when; health and administration are served."""
    config = {
        "providers": {"sim": {"kind": "simulated"}},
        "resilience": {"load_shedding": {**settings, "interval_ms": 10}},
    }
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        first = await refused(gateway)
        async with asyncio.timeout(20):
            while (message := await asked(gateway, "messages")).status == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        health = [await call(f"{gateway.url}{path}") for path in ("/health", "/health/ready")]
        shown = await call(f"{gateway.url}/admin/v1/backend-health", key=ADMIN)
        page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert (first.status, first.json["error"]["code"]) == (503, "gateway_overloaded")
    assert first.headers["retry-after"] == "2"
    assert "x-should-retry" not in first.headers
    assert (message.status, message.json["error"]["type"]) == (529, "overloaded_error")
    assert [each.status for each in (*health, shown)] == [200, 200, 200]
    assert f'gateway_filter_load_shedding_refused_total{{reason="{reason}"}}' in page
    assert "gateway_filter_load_shedding_share " in page
    assert any("shedding.started" in line for line in gateway.log_lines())


async def test_without_its_part_nobody_is_refused() -> None:
    """It waits for `resilience.load_shedding`."""
    async with running_gateway({"providers": {"sim": {"kind": "simulated"}}}) as gateway:
        assert (await asked(gateway)).status == 200
        page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()

    assert "load_shedding" not in page
