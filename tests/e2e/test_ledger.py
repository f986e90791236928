"""Exactly one record for each request, whatever dies: workers by kill -9, the database."""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
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


async def load(gateway: Gateway, finished: dict[str, int], stop: asyncio.Event) -> None:
    """One client after another request; what it saw finish is noted by request id."""
    url = f"{gateway.url}/v1/chat/completions"
    while not stop.is_set():
        try:
            stream = random.random() < 0.3
            answer = await call(url, body(stream=stream), key=API_KEY)
        except (OSError, EOFError, ValueError):
            return
        whole = answer.body.endswith(b"[DONE]\n\n") if stream else answer.status == 200
        if whole:
            usage = None if stream else answer.json["usage"]
            finished[answer.headers["x-request-id"]] = usage["total_tokens"] if usage else -1


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


ROUNDS = [3, pytest.param(100, marks=pytest.mark.slow)]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(900)
async def test_a_killed_worker_loses_no_finished_request(tmp_path: Path, rounds: int) -> None:
    """After each kill -9 the next worker ships what the dead one had spooled."""
    finished: dict[str, int] = {}
    for _ in range(rounds):
        await killed_under_load(tmp_path, finished)
    async with gateway_on(tmp_path) as gateway:
        await shipped(gateway, len(finished))

    everything_once(rows_of(tmp_path), finished)
    assert not [*(tmp_path / "spool").iterdir()]


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(1800)
async def test_the_same_while_the_databases_fail_too(tmp_path: Path, rounds: int) -> None:
    """PostgreSQL and Redis are well, stopped, frozen, or restarted while the worker is killed."""
    finished: dict[str, int] = {}
    with servers.postgres() as postgres, servers.redis() as redis:
        config: dict[str, Any] = {
            "database": {"url": postgres.url, "timeout_seconds": 1, "min_connections": 1},
            "state": {"redis_url": redis.url},
            "security": {"rate_limit": {"requests_per_minute": 1_000_000, "max_concurrent": 500}},
        }
        for number in range(rounds):
            fault = ("stopped", "frozen", "restarted", "")[number % 4]
            async with suffering(fault, postgres), suffering(fault, redis):
                await killed_under_load(tmp_path, finished, **config)
        async with gateway_on(tmp_path, **config) as gateway:
            await shipped(gateway, len(finished))
        with psycopg.connect(postgres.url) as database:
            rows = database.execute(ROWS).fetchall()

    everything_once(rows, finished)
    assert not [*(tmp_path / "spool").iterdir()]


@asynccontextmanager
async def suffering(fault: str, server: servers.Server) -> AsyncIterator[None]:
    if fault == "frozen":
        server.freeze()
    elif fault:
        await asyncio.to_thread(server.stop)
    if fault == "restarted":
        await asyncio.to_thread(server.start)
    try:
        yield
    finally:
        if fault == "frozen":
            server.thaw()
        elif fault == "stopped":
            await asyncio.to_thread(server.start)


async def killed_under_load(folder: Path, finished: dict[str, int], **config: Any) -> None:
    async with gateway_on(folder, **config) as gateway:
        stop = asyncio.Event()
        clients = [asyncio.create_task(load(gateway, finished, stop)) for _ in range(10)]
        await asyncio.sleep(random.uniform(0.1, 0.5))
        gateway.process.kill()
        await gateway.process.wait()
        stop.set()
        await asyncio.gather(*clients)


def everything_once(rows: Sequence[tuple[Any, ...]], finished: dict[str, int]) -> None:
    by_id = {request_id: (status, tokens) for request_id, status, tokens in rows}
    assert len(by_id) == len(rows)
    assert finished
    for request_id, tokens in finished.items():
        assert by_id[request_id][0] == 200
        assert tokens in (-1, by_id[request_id][1])
    assert {status for _, status, _ in rows} <= {0, 200, 499}


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
    slow = {"sim": {"kind": "simulated", "latency_ms": 30_000}}
    async with gateway_on(tmp_path, providers=slow) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await call(url, body(), key=API_KEY)
        await shipped(gateway, 1)

    assert [status for _, status, _ in rows_of(tmp_path)] == [499]


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
