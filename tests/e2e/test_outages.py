"""Redis and PostgreSQL down, slow and frozen: what clients see, what readiness says."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated", "latency_ms": 1}},
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # what another process does is no event here
            await asyncio.sleep(0.05)


async def ready(gateway: Gateway) -> tuple[int, list[str]]:
    answer = await call(f"{gateway.url}/health/ready")
    return answer.status, answer.json.get("down", [])


def running(folder: Path, **config: Any) -> Any:
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    return running_gateway({**CONFIG, **config}, env)


async def test_readiness_names_what_is_down_and_stays_ready(tmp_path: Path) -> None:
    with servers.redis() as server:
        async with running(tmp_path, state={"redis_url": server.url}) as gateway:
            server.stop()
            await until(lambda: says(gateway, ["state"]))
            during = await ready(gateway)
            document = (await call(f"{gateway.url}/health?detailed=true", key=ADMIN)).json
            answer = await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
            server.start()
            await until(lambda: says(gateway, []))

    assert during == (200, ["state"])
    assert document["status"] == "degraded"
    assert document["dependencies"] == {"database": {"state": "ok"}, "state": {"state": "down"}}
    assert answer.status == 200


async def says(gateway: Gateway, down: list[str]) -> bool:
    return (await ready(gateway))[1] == down
