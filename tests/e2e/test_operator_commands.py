"""Each command and flag about health, models and latency, on a running gateway.

`routing-strategy` and `explain` are in test_explain.py, `backend-health` in test_health.py.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADMIN = "admin-key-0123456789abcdef"
CONFIG = {
    "providers": {
        "quick": {"kind": "simulated", "models": ["a", "b"]},
        "slow": {"kind": "simulated", "models": ["c"], "latency_ms": 300},
    },
    "plugins": {"ledger_store": {"ship_seconds": 0.1}},
}
ASKED = ("quick/a", "quick/a", "quick/b", "slow/c")


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway

    async def command(self, *args: str, url: str | None = None) -> tuple[int, str]:
        """The exit code of a command and what it printed."""
        key = () if "health" in args else ("-k", ADMIN)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm_gateway", "-u", url or self.gateway.url, *key, *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    async def rows(self, *args: str) -> list[dict[str, Any]]:
        """What a command prints for programs."""
        _, shown = await self.command("--json", *args)
        found: list[dict[str, Any]] = json.loads(shown)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    """A gateway that has answered `ASKED`, and whose ledger is in its store."""
    async with running_gateway(CONFIG, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        made = Site(gateway)
        for model in ASKED:
            body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
            url = f"{gateway.url}/v1/chat/completions"
            assert (await call(url, body, key=gateway.api_key)).status == 200
        async with asyncio.timeout(30):
            while sum(int(each["requests"]) for each in await made.rows("latency")) < len(ASKED):
                await asyncio.sleep(0.1)
        yield made


async def test_health(site: Site) -> None:
    code, shown = await site.command("health")
    assert code == 0 and "The gateway is well" in shown and "quick" not in shown

    code, shown = await site.command("health", "--detailed")
    assert code == 0 and "providers:" in shown and "quick" in shown and "plugins:" in shown


async def test_health_waits_no_longer_than_its_timeout(site: Site) -> None:
    """Of a gateway that says nothing, and of none at all: bad news, with the mend."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, shown = await site.command("health", "--timeout", "0.5", url=url)
    gone, words = await site.command("health", url=url)

    assert code == 1 and "within 0.5 seconds" in shown
    assert gone == 1 and "llm-gateway start" in words


async def test_models(site: Site) -> None:
    code, shown = await site.command("models")
    assert code == 0 and all(name in shown for name in ("a", "b", "c", "quick", "slow"))
    assert "USD per million" not in shown

    for flag in ("-p", "--provider"):
        found = await site.rows("models", flag, "slow")
        assert [(each["owned_by"], each["id"]) for each in found] == [("slow", "c")]
    code, shown = await site.command("models", "--capabilities")
    assert code == 0 and "capabilities" in shown and "USD per million" in shown
    code, shown = await site.command("models", "-p", "nobody")
    assert code == 1 and "No model of nobody" in shown


async def test_latency(site: Site) -> None:
    """By provider and model; a window in which nothing happened is bad news."""
    rows = await site.rows("latency")
    requests = {(each["provider"], each["model"]): each["requests"] for each in rows}
    assert requests == {("quick", "a"): 2, ("quick", "b"): 1, ("slow", "c"): 1}
    (slow,) = (each for each in rows if each["provider"] == "slow")
    assert slow["mean_ms"] >= 300

    for flags in (("-p", "quick"), ("--provider", "quick")):
        assert {each["provider"] for each in await site.rows("latency", *flags)} == {"quick"}
    for flags in (("-m", "b"), ("--model", "b")):
        assert [each["model"] for each in await site.rows("latency", *flags)] == ["b"]
    (more,) = await site.rows("latency", "-m", "c", "--percentiles")
    assert {"p50_ms", "p95_ms", "p99_ms"} <= more.keys() and len(more) > len(slow)
    assert len(await site.rows("latency", "--window", "2h")) == 3
    async with asyncio.timeout(30):
        while (code := (await site.command("latency", "-w", "1s"))[0]) == 0:
            await asyncio.sleep(0.1)
    assert code == 1
