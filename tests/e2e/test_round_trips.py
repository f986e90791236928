"""How often a request waits for Redis, counted between the gateway and the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
BODY = {
    "model": "simulated",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 20,
}
MANY = 40


class Wire:
    """Hands on what passes between the gateway and Redis, and counts on the connection on which
    scripts are called: `asked` the pieces that the gateway sent, `called` the scripts in them,
    `waits` how often an answer followed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self.asked = self.called = self.waits = 0
        self._waiting = False

    def reset(self) -> None:
        self.asked = self.called = self.waits = 0
        self._waiting = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The URL to ask in the server's place."""
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        async with server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
            server.close_clients() if hasattr(server, "close_clients") else None

    async def _pass(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        answers, server = await asyncio.open_connection(self._host, self._port)
        scripted = False

        async def asking() -> None:
            nonlocal scripted
            while data := await client.read(65536):
                if called := data.count(b"\r\nEVALSHA\r\n"):
                    scripted, self._waiting = True, True
                    self.asked += 1
                    self.called += called
                server.write(data)

        async def answering() -> None:
            while data := await answers.read(65536):
                if scripted and self._waiting:
                    self._waiting = False
                    self.waits += 1
                back.write(data)

        passing = {asyncio.ensure_future(asking()), asyncio.ensure_future(answering())}
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for each in passing:
            each.cancel()
        server.close()
        back.close()


@pytest.fixture
def redis() -> Iterator[servers.Server]:
    with servers.redis() as server:
        yield server


@asynccontextmanager
async def accounted(url: str) -> AsyncIterator[tuple[Gateway, str]]:
    """A gateway, and a key whose requests have three limits and a budget in shared state."""
    prices = {"kind": "simulated", "id": "simulated", "prices": {"input": 1, "output": 10}}
    config = {
        "providers": {"sim": {"kind": "simulated", "latency_ms": 20}},
        "state": {"redis_url": url},
        "plugins": {"catalog_models": {"models": [prices]}},
    }
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:

        async def admin(method: str, path: str, body: object) -> dict[str, str]:
            answer = await call(f"{gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
            assert answer.status < 300, answer.body
            found: dict[str, str] = answer.json
            return found

        limits = {"requests_per_minute": 10_000, "tokens_per_minute": 10**7, "max_concurrent": 100}
        await admin("POST", "tenants", {"id": "acme", "limits": limits})
        budget = {"level": "tenant", "owner": "acme", "amount_usd": "10", "period": "month"}
        await admin("PUT", "budgets", budget)
        yield gateway, (await admin("POST", "keys", {"tenant": "acme"}))["key"]


async def test_a_request_waits_for_redis_once(redis: servers.Server) -> None:
    """For its rates and its budgets, before a vendor is asked; what it came to is told in one
    piece that nobody waits for. Many requests at once share what is sent."""
    wire = Wire(redis.url)
    async with wire.open() as url, accounted(url) as (gateway, key):

        async def ask() -> int:
            return (await call(f"{gateway.url}/v1/chat/completions", BODY, key=key)).status

        assert await ask() == 200  # fills the budget's window, and has the scripts loaded
        await asyncio.sleep(0.2)
        wire.reset()
        assert await ask() == 200
        async with asyncio.timeout(10):
            while wire.waits < 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        alone = wire.asked, wire.called, wire.waits
        wire.reset()
        statuses = await asyncio.gather(*(ask() for _ in range(MANY)))
        async with asyncio.timeout(10):
            while wire.called < 2 * MANY:
                await asyncio.sleep(0.01)
        asked, called = wire.asked, wire.called

    assert alone == (2, 2, 2)
    assert set(statuses) == {200}
    assert called == 2 * MANY
    assert asked < called / 2
