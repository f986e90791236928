"""Frameworks as clients of the gateway, with every vendor behind it.

    pytest -m slow tests/clients

Each framework runs in an environment of its own, since what they ask of the vendors' SDKs does
not fit together: `uv` makes one from `NAME.txt`, `npm` the one of the Vercel AI SDK.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit import vendors
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.vendors import ARGUMENTS, FORM, TOOL, Vendor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(900),
]

HERE = Path(__file__).parent
ROWS = vendors.vendors()
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
CLIENTS = (
    ("langchain", "openai"),
    ("langchain", "anthropic"),
    ("llamaindex", "openai"),
    ("pydantic_ai", "openai"),
    ("pydantic_ai", "anthropic"),
    ("vercel", "openai"),
    ("vercel", "anthropic"),
)
TIDE = {"port": "Brest", "hour": 14}


@dataclass(slots=True)
class Client:
    """A framework's process: one task is one line, and so is its answer."""

    process: asyncio.subprocess.Process
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def does(self, task: str, model: str) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        line = json.dumps({"task": task, "model": model, "picture": PIXEL})
        async with self.lock, asyncio.timeout(120):
            self.process.stdin.write(line.encode() + b"\n")
            told = await self.process.stdout.readline()
        assert told, f"{task}: the client died"
        found = json.loads(told)
        if failure := found.get("failure"):
            raise ClientError(failure)
        return found["result"]


class ClientError(Exception):
    """What a framework raised, as text."""


@dataclass(slots=True)
class Site:
    gateway: Gateway
    servers: dict[str, ScriptedProvider]
    clients: dict[tuple[str, str], Client]
    folder: Path

    async def client(self, framework: str, dialect: str) -> Client:
        if (framework, dialect) not in self.clients:
            line = await _command(framework, self.folder)
            process = await asyncio.create_subprocess_exec(
                *line,
                self.gateway.url,
                self.gateway.api_key,
                dialect,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "LANGCHAIN_TRACING_V2": "false", "NO_PROXY": "*"},
            )
            self.clients[framework, dialect] = Client(process)
        return self.clients[framework, dialect]


async def _command(framework: str, folder: Path) -> list[str]:
    script = HERE / f"{framework}_client.py"
    if framework != "vercel":
        wanted = str(HERE / f"{framework}.txt")
        return ["uv", "run", "-q", "--no-project", "--with-requirements", wanted, str(script)]
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    home = folder / "vercel"
    if not home.exists():
        home.mkdir()
        for each in ("package.json", "vercel_client.mjs"):
            shutil.copy(HERE / each, home)
        install = ("npm", "install", "--no-audit", "--no-fund", "--silent")
        made = await asyncio.create_subprocess_exec(*install, cwd=home)
        assert await made.wait() == 0
    return ["node", str(home / "vercel_client.mjs")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A limit that was reached keeps an instance out for a while: each client has its own."""
    async with vendors.scripted(ROWS) as servers:
        entries = {each.kind: each.configured(servers[each.kind].url) for each in ROWS}
        for at, _ in enumerate(CLIENTS):
            entries |= {f"limited{at}_{kind}": entries[kind] for kind in servers}
        async with running_gateway({"providers": entries}) as gateway, _ended() as clients:
            yield Site(gateway, servers, clients, tmp_path_factory.mktemp("clients"))


@asynccontextmanager
async def _ended() -> AsyncIterator[dict[tuple[str, str], Client]]:
    clients: dict[tuple[str, str], Client] = {}
    yield clients
    for each in clients.values():
        assert each.process.stdin is not None
        each.process.stdin.close()
    for each in clients.values():
        try:
            await asyncio.wait_for(each.process.wait(), 60)
        except TimeoutError:  # all was said; on a busy machine some take long to leave
            each.process.kill()
            await each.process.wait()


@pytest_asyncio.fixture(loop_scope="session", params=CLIENTS, ids=lambda each: "-".join(each))
async def client(request: pytest.FixtureRequest, site: Site) -> Client:
    return await site.client(*request.param)


@pytest_asyncio.fixture(loop_scope="session", params=ROWS, ids=lambda each: each.kind)
async def vendor(request: pytest.FixtureRequest, site: Site) -> AsyncIterator[Vendor]:
    row: Vendor = request.param
    site.servers[row.kind].reset()
    yield row
    unexpected = site.servers[row.kind].unexpected
    assert not unexpected, f"nothing was scripted for {unexpected[0]}"


async def test_text(site: Site, client: Client, vendor: Vendor) -> None:
    site.servers[vendor.kind].enqueue(vendor.says("Low tide"))
    assert await client.does("text", vendor.name) == ["Low tide", True]


async def test_stream(site: Site, client: Client, vendor: Vendor) -> None:
    site.servers[vendor.kind].enqueue(vendor.streams(["Low", " tide"]))
    assert await client.does("stream", vendor.name) == ["Low tide", True]


async def test_tools_round_trip(site: Site, client: Client, vendor: Vendor) -> None:
    site.servers[vendor.kind].enqueue(vendor.calls())
    site.servers[vendor.kind].enqueue(vendor.says("At 14:10"))
    assert await client.does("tools", vendor.name) == [TOOL, ARGUMENTS, "At 14:10"]
    assert b"14:10" in site.servers[vendor.kind].received[-1].body


async def test_image(site: Site, client: Client, vendor: Vendor) -> None:
    site.servers[vendor.kind].enqueue(vendor.says("A pixel"))
    assert await client.does("image", vendor.name) == ["A pixel"]
    assert PIXEL.encode() in site.servers[vendor.kind].received[-1].body


async def test_structured_output(site: Site, client: Client, vendor: Vendor) -> None:
    """Refused by name where the vendor has none, but for a client that asks with a tool."""
    if not vendor.forms and client is not site.clients.get(("vercel", "anthropic")):
        with pytest.raises(ClientError, match="response_format"):
            await client.does("form", vendor.name)
        return
    site.servers[vendor.kind].enqueue(vendor.says(FORM))
    assert await client.does("form", vendor.name) == TIDE
    assert b"hour" in site.servers[vendor.kind].received[-1].body


async def test_error(
    request: pytest.FixtureRequest, site: Site, client: Client, vendor: Vendor
) -> None:
    site.servers[vendor.kind].enqueue(vendor.limits())
    at = list(site.clients.values()).index(client)
    assert await client.does("error", f"limited{at}_{vendor.name}") == 429
