"""A limited client of a real gateway."""

from typing import Any

import pytest
from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.rawclient import call

CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated"}},
    "security": {"rate_limit": {"requests_per_minute": 60, "burst_size": 2}},
}
ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}


async def test_the_third_request_is_told_to_wait() -> None:
    async with running_gateway(CONFIG) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        answers = [await call(url, BODY, key=API_KEY) for _ in range(3)]
        page = await call(f"{gateway.metrics_url}/metrics")

    assert [each.status for each in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"
    assert answers[2].headers["retry-after"] == "1"
    assert answers[2].headers["x-ratelimit-remaining-requests"] == "0"
    assert answers[2].json["error"]["code"] == "rate_limit_exceeded"
    assert b'gateway_rate_limit_exceeded_total{scope="key"} 1' in page.body


@pytest.mark.parametrize("security", [{}, {"rate_limit": {"enabled": False}}])
async def test_limits_of_a_tenant_hold_without_the_section(security: dict[str, Any]) -> None:
    admin = "admin-key-0123456789abcdef"
    config = {"providers": CONFIG["providers"], "security": security}
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": admin}) as gateway:

        async def made(what: str, body: Any) -> Any:
            return (await call(f"{gateway.url}/admin/v1/{what}", body, key=admin)).json

        await made("tenants", {"id": "acme", "limits": {"requests_per_minute": 2}})
        key = (await made("keys", {"tenant": "acme", "name": "ci"}))["key"]
        url = f"{gateway.url}/v1/chat/completions"
        answers = [await call(url, BODY, key=key) for _ in range(3)]

    assert [each.status for each in answers] == [200, 200, 429]
    assert answers[2].headers["x-ratelimit-limit-requests"] == "2"


async def test_a_keys_own_limit_is_shown_and_nothing_taken_for_it() -> None:
    config = {"providers": CONFIG["providers"]}
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        admin, url = f"{gateway.url}/admin/v1", f"{gateway.url}/v1/chat/completions"
        limits = {"requests_per_minute": 2, "max_concurrent": 5}
        made = (await call(f"{admin}/keys", {"limits": limits}, key=ADMIN)).json
        answers = [await call(url, BODY, key=made["key"]) for _ in range(3)]
        query = f"level=key&owner={made['id']}&requests_per_minute=2&max_concurrent=5"
        shown = [await call(f"{admin}/limits?{query}", key=ADMIN) for _ in range(2)]
        wrong = await call(f"{admin}/limits?level=key", key=ADMIN)

    assert [each.status for each in answers] == [200, 200, 429]
    assert shown[0].json == shown[1].json
    assert [(row["meter"], row["used"], row["left"]) for row in shown[0].json["rows"]] == [
        ("requests", 2, 0),
        ("concurrency", 0, 5),
    ]
    assert wrong.status == 400


async def test_a_keys_own_limit_and_the_one_for_all_keys_are_counted_apart() -> None:
    """The wider one does not eat up the narrower one's bucket, nor refill it."""
    config = {**CONFIG, "security": {"rate_limit": {"requests_per_minute": 60, "burst_size": 60}}}
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        admin, url = f"{gateway.url}/admin/v1", f"{gateway.url}/v1/chat/completions"
        limits = {"requests_per_minute": 4}
        made = (await call(f"{admin}/keys", {"limits": limits}, key=ADMIN)).json
        answers = [await call(url, BODY, key=made["key"]) for _ in range(5)]

    assert [each.status for each in answers] == [200, 200, 200, 200, 429]
