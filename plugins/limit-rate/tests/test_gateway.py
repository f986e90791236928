"""A limited client of a real gateway."""

from typing import Any

from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.rawclient import call

CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated"}},
    "security": {"rate_limit": {"requests_per_minute": 60, "burst_size": 2}},
}
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
