"""Exactly one record for each request, whatever dies: workers by kill -9, the database."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ROWS = "SELECT request_id, status, input_tokens + output_tokens FROM usage_records"
ADMIN = "admin-key-0123456789abcdef"
CONFIG = {
    "providers": {"sim": {"kind": "simulated", "latency_ms": 5}},
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
}


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "count these words"}]
    return {"model": "simulated", "messages": messages, **more}


@asynccontextmanager
async def gateway_on(folder: Path, **config: Any) -> AsyncIterator[Gateway]:
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway({**CONFIG, **config}, env) as gateway:
        yield gateway


async def reported(gateway: Gateway) -> int:
    """Requests in the report of the last day."""
    url = f"{gateway.url}/admin/v1/token-usage?window=1d"
    rows = (await call(url, key=ADMIN)).json["rows"]
    return sum(int(each["requests"]) for each in rows)


async def shipped(gateway: Gateway, many: int) -> None:
    async with asyncio.timeout(20):
        while await reported(gateway) < many:
            await asyncio.sleep(0.05)


def rows_of(folder: Path) -> list[tuple[str, int, int | None]]:
    with sqlite3.connect(folder / "gateway.db") as database:
        return database.execute(ROWS).fetchall()


async def test_a_database_that_is_stopped_loses_nothing(tmp_path: Path) -> None:
    """Requests are answered while PostgreSQL is down, and recorded once it is back."""
    with servers.postgres() as server:
        database = {"url": server.url, "timeout_seconds": 1, "min_connections": 1}
        async with gateway_on(tmp_path, database=database) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            await call(url, body(), key=API_KEY)
            await shipped(gateway, 1)
            server.stop()
            down = [await call(url, body(), key=API_KEY) for _ in range(5)]
            report = await call(f"{gateway.url}/admin/v1/cost", key=ADMIN)
            server.start()
            await shipped(gateway, 6)

    assert [each.status for each in down] == [200] * 5
    assert (report.status, report.headers["retry-after"]) == (503, "1")


async def test_a_client_that_leaves_is_recorded(tmp_path: Path) -> None:
    """With the words that it asked."""
    slow = {"sim": {"kind": "simulated", "latency_ms": 30_000}}
    async with gateway_on(tmp_path, providers=slow) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await call(url, body(), key=API_KEY)
        await shipped(gateway, 1)

    ((_, status, tokens),) = rows_of(tmp_path)
    assert status == 499
    assert tokens is not None and tokens >= len(body()["messages"][0]["content"]) / 3.5


async def test_the_commands_report_what_happened(tmp_path: Path) -> None:
    async with gateway_on(tmp_path) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        answers = [await call(url, body(), key=API_KEY) for _ in range(4)]
        await shipped(gateway, 4)

        async def command(*arguments: str) -> Any:
            options = ["--json", "-u", gateway.url, "-k", ADMIN, *arguments]
            run = [sys.executable, "-m", "llm_gateway", *options]
            done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        (tokens,) = await command("token-usage", "-g", "provider", "--detailed")
        (cost,) = await command("cost", "--breakdown")
        (latency,) = await command("latency", "--percentiles")

    total = sum(each.json["usage"]["total_tokens"] for each in answers)
    assert (tokens["provider"], tokens["requests"], tokens["total"]) == ("sim", 4, total)
    assert (cost["cost_usd"], cost["unpriced"]) == ("0", 4)
    assert latency["p50_ms"] >= 5
