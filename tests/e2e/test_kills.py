"""kill -9 under load, while the databases are well and while they fail: whatever a client saw
finished has exactly one record, and the records say what the provider itself has counted."""

import asyncio
import itertools
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Received, ScriptedProvider, Step, Stream

ROWS = (
    "SELECT request_id, status, COALESCE(input_tokens + cache_read_tokens + output_tokens, 0), "
    "attempts FROM usage_records"
)
HOURS = "SELECT SUM(requests), SUM(tokens) FROM usage_hours"
Rows = Sequence[tuple[Any, ...]]
CLIENTS = 10
STREAMED = 11  # tokens of a streamed answer, by the scripted provider's own figures
KILLS = [3, pytest.param(100, marks=pytest.mark.slow)]


class Counted:
    """A provider that counts for itself: what it answered to whom, in tokens."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = {}

    def __call__(self, request: Received) -> Step:
        asked = request.json
        name = asked["messages"][0]["content"]
        if asked.get("stream"):
            self.tokens[name] = STREAMED
            return Stream(openai.chat_stream(include_usage=True))
        number = int(name.rpartition("-")[2])
        prompt, completion = 5 + number % 50, 1 + number % 7
        self.tokens[name] = prompt + completion
        return openai.chat_answer(usage=openai.usage(prompt, completion))


class Load:
    """Clients that ask again and again; what they saw finish is noted by request id."""

    def __init__(self) -> None:
        self.pause = 0.0
        self.finished: set[str] = set()
        self.unexpected: list[int] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def on(self, gateway: Gateway) -> AsyncIterator[None]:
        stop = asyncio.Event()
        clients = [asyncio.create_task(self._ask(gateway, stop)) for _ in range(CLIENTS)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*clients)

    async def _ask(self, gateway: Gateway, stop: asyncio.Event) -> None:
        url = f"{gateway.url}/v1/chat/completions"
        while not stop.is_set():
            name, stream = f"kill-{next(self._numbers)}", random.random() < 0.3
            messages = [{"role": "user", "content": name}]
            body = {"model": "gpt-4o", "messages": messages, "stream": stream}
            try:
                answer = await call(url, body, key=API_KEY, headers={"x-request-id": name})
            except (OSError, EOFError, ValueError):  # it, or its worker, was killed
                await asyncio.sleep(0.02)
                continue
            if answer.status != 200:
                self.unexpected.append(answer.status)
            elif not stream or answer.body.endswith(b"[DONE]\n\n"):
                assert answer.headers["x-request-id"] == name
                self.finished.add(name)
            await asyncio.sleep(self.pause)


class Site:
    """A provider, a load, and the gateways that come and go between them."""

    def __init__(self, folder: Path, provider: ScriptedProvider, config: dict[str, Any]) -> None:
        self.folder = folder
        self.load = Load()
        self.counted = Counted()
        provider.default = self.counted
        upstream = {"kind": "openai", "api_key": "k", "base_url": f"{provider.url}/v1"}
        self.config = {
            "providers": {"up": {**upstream, "models": ["gpt-4o"]}},
            "plugins": {"ledger_store": {"ship_seconds": 0.1}},
            **config,
        }

    def gateway(self, *args: str) -> Any:
        env = {"LLM_GATEWAY_DATA_DIR": str(self.folder)}
        return running_gateway(self.config, env, args=args)

    async def kill_a_gateway(self) -> None:
        async with self.gateway() as gateway, self.load.on(gateway):
            await asyncio.sleep(random.uniform(0.1, 0.5))
            gateway.process.kill()
            await gateway.process.wait()

    async def shipped(self) -> None:
        """The next gateway ships what the dead ones had spooled."""
        async with self.gateway(), asyncio.timeout(60):
            while [*(self.folder / "spool").glob("*.ledger")]:
                await asyncio.sleep(0.05)

    def check(self, rows: Rows, hours: Rows) -> None:
        """`hours` are the sums that the database has kept of `rows`."""
        by_id = {request_id: (status, int(tokens)) for request_id, status, tokens, _ in rows}
        answered = {name for name, (status, _) in by_id.items() if status == 200}
        print(f"{len(rows)} records, {len(self.load.finished)} seen finished")

        assert len(by_id) == len(rows)
        assert self.load.unexpected == []
        assert self.load.finished and self.load.finished <= answered
        assert self.counted.tokens.keys() <= by_id.keys()
        assert {status for status, _ in by_id.values()} <= {0, 200, 499}
        provided = {name: self.counted.tokens[name] for name in answered}
        assert {name: by_id[name][1] for name in answered} == provided
        asked, used = sum(each[3] > 0 for each in rows), sum(int(each[2]) for each in rows)
        assert [tuple(map(int, each)) for each in hours] == [(asked, used)]
        assert not [*(self.folder / "spool").iterdir()]


@asynccontextmanager
async def site(folder: Path, **config: Any) -> AsyncIterator[Site]:
    async with ScriptedProvider() as provider:
        yield Site(folder, provider, config)


def sqlite_rows(folder: Path) -> tuple[Rows, Rows]:
    with sqlite3.connect(folder / "gateway.db") as database:
        return database.execute(ROWS).fetchall(), database.execute(HOURS).fetchall()


def postgres_rows(server: servers.Server) -> tuple[Rows, Rows]:
    with psycopg.connect(server.url) as database:
        return database.execute(ROWS).fetchall(), database.execute(HOURS).fetchall()


def shared(postgres: servers.Server, redis: servers.Server) -> dict[str, Any]:
    return {
        "database": {"url": postgres.url, "timeout_seconds": 1, "min_connections": 1},
        "state": {"redis_url": redis.url},
        "security": {"rate_limit": {"requests_per_minute": 1_000_000, "max_concurrent": 500}},
    }


@asynccontextmanager
async def suffering(fault: str, *suffer: servers.Server) -> AsyncIterator[None]:
    for server in suffer:
        if fault == "frozen":
            server.freeze()
        elif fault:
            await asyncio.to_thread(server.stop)
        if fault == "restarted":
            await asyncio.to_thread(server.start)
    try:
        yield
    finally:
        for server in suffer:
            if fault == "frozen":
                server.thaw()
            elif fault == "stopped":
                await asyncio.to_thread(server.start)


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(1800)
async def test_a_killed_gateway_loses_no_finished_request(tmp_path: Path, kills: int) -> None:
    async with site(tmp_path) as made:
        for _ in range(kills):
            await made.kill_a_gateway()
        await made.shipped()

        made.check(*sqlite_rows(tmp_path))


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.timeout(1800)
async def test_the_same_while_the_databases_fail_too(tmp_path: Path, kills: int) -> None:
    """PostgreSQL and Redis are well, stopped, frozen, or restarted while it is killed."""
    with servers.postgres() as postgres, servers.redis() as redis:
        async with site(tmp_path, **shared(postgres, redis)) as made:
            for number in range(kills):
                fault = ("stopped", "frozen", "restarted", "")[number % 4]
                async with suffering(fault, postgres, redis):
                    await made.kill_a_gateway()
            await made.shipped()

            made.check(*postgres_rows(postgres))


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
async def test_one_worker_of_several_is_killed(tmp_path: Path, kills: int) -> None:
    """What it had spooled is shipped by the others, or by the one that takes its place."""
    async with site(tmp_path) as made:
        async with made.gateway("--workers", "3") as gateway, made.load.on(gateway):
            for _ in range(kills):
                await kill_a_worker(gateway, of=3)
        await made.shipped()

        made.check(*sqlite_rows(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["stopped", "frozen", "restarted"])
@pytest.mark.parametrize("which", ["postgres", "redis"])
async def test_a_minute_without(tmp_path: Path, which: str, fault: str) -> None:
    """A minute of the outage under load, with a worker killed in each quarter of it; no client
    is refused anything."""
    with servers.postgres() as postgres, servers.redis() as redis:
        async with site(tmp_path, **shared(postgres, redis)) as made:
            made.load.pause = 0.1
            async with made.gateway("--workers", "2") as gateway, made.load.on(gateway):
                async with suffering(fault, postgres if which == "postgres" else redis):
                    for _ in range(4):
                        began = asyncio.get_running_loop().time()
                        await kill_a_worker(gateway, of=2)
                        spent = asyncio.get_running_loop().time() - began
                        await asyncio.sleep(max(0.0, 15.0 - spent))
                await asyncio.sleep(2)
            await made.shipped()

            made.check(*postgres_rows(postgres))


async def kill_a_worker(gateway: Gateway, of: int) -> None:
    """One that serves; returns when another has taken its place."""
    victim = random.choice(sorted(await gateway.serving(of)))
    os.kill(victim, signal.SIGKILL)
    await gateway.serving(of, unlike={victim})
