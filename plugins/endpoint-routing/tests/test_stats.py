"""What the host's workers have attempted, whichever of them is asked."""

from typing import Any

import llm_gateway_api as gw
from llm_gateway_endpoint_routing.stats import Stats, rows
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
TARGET = gw.Target("p", "m")
ARRIVAL = gw.Arrival("r", "POST", "/", "", {}, "peer", 0.0)


def test_attempts_have_their_results_shares_and_means() -> None:
    metrics = gw.Metrics()
    stats = Stats(metrics)
    for target, failure, seconds in (
        (TARGET, None, 0.1),
        (TARGET, None, 0.3),
        (TARGET, "server_error", 9.0),
        (gw.Target("q", "m"), None, 1.0),
        (gw.Target("q", "invented", known=False), None, 1.0),
    ):
        stats.attempt(ARRIVAL, target, gw.Outcome(target, failure, duration=seconds))
    stats.attempt(ARRIVAL, TARGET, gw.Outcome(TARGET, None, cancelled=True))

    one, two = rows(metrics.families())

    assert one == {
        "provider": "p",
        "model": "m",
        "attempts": 4,
        "failed": 1,
        "share": 0.8,
        "mean_ms": 200.0,
        "failures": {"server_error": 1},
    }
    assert (two["provider"], two["attempts"], two["share"]) == ("q", 1, 0.2)


async def test_the_workers_of_a_host_are_told_together() -> None:
    config: dict[str, Any] = {"providers": {"sim": {"kind": "simulated"}}}
    body = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
    env = {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway(config, env, args=("--workers", "2")) as gateway:
        await gateway.serving(2)
        for _ in range(20):
            await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)
        url = f"{gateway.url}/admin/v1/routing/stats"
        told = [(await call(url, key=ADMIN)).json["rows"] for _ in range(8)]
        shown = (await call(f"{gateway.url}/admin/v1/routing", key=ADMIN)).json

    assert [each[0]["attempts"] for each in told] == [20] * 8
    assert shown["default_provider"] == "sim"  # the only one
