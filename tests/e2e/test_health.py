"""A provider that goes down and comes back: what clients, operators and metrics see of it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
DOWN, WELL = Answer(status=500, body=b"{}"), Answer(body=b"{}")
QUICK = {"unhealthy_after": 2, "retry_seconds": 60, "recovery_seconds": 0.2}


@asynccontextmanager
async def served(
    first: ScriptedProvider, second: ScriptedProvider, **routing: Any
) -> AsyncIterator[Gateway]:
    common = {"kind": "openai", "api_key": "sk-test", "max_retries": 0}
    deployments = [
        {"provider": "one", "model": "m", "region": "us"},
        {"provider": "two", "model": "m", "region": "eu"},
    ]
    config = {
        "providers": {
            "one": {**common, "base_url": f"{first.url}/v1"},
            "two": {**common, "base_url": f"{second.url}/v1"},
        },
        "routing": {
            "models": [{"name": "both", "deployments": deployments}],
            "health_check_interval_seconds": 0.2,
            "health": QUICK,
            **routing,
        },
        "resilience": {"circuit_breaker": {"enabled": False}},
    }
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        yield gateway


async def command(gateway: Gateway, *args: str, **env: str) -> tuple[int, str]:
    process = await _command(gateway, *args, **env)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def _command(gateway: Gateway, *args: str, **env: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", ADMIN, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200", **env},
        preexec_fn=_interruptible,
    )


def _interruptible() -> None:
    """A test run in the background may ignore SIGINT, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def chat(gateway: Gateway, **headers: str) -> str:
    """Who answered."""
    body = {"model": "both", "messages": [{"role": "user", "content": "Hi"}]}
    answer = await call(
        f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key, headers=headers
    )
    assert answer.status == 200
    return answer.headers["x-gateway-provider"]


async def state_of(gateway: Gateway, provider: str) -> str:
    shown = (await call(f"{gateway.url}/health?detailed=true")).json
    return str(shown["providers"][provider]["state"])


async def until_state(gateway: Gateway, provider: str, *states: str) -> None:
    async with asyncio.timeout(20):
        while await state_of(gateway, provider) not in states:
            await asyncio.sleep(0.05)


async def test_a_provider_goes_and_comes_back() -> None:
    """Probes find out, traffic moves, operators are shown it, and it comes back."""
    well = openai.chat_answer()
    async with ScriptedProvider() as first, ScriptedProvider() as second:
        first.probe = second.probe = WELL
        first.default = second.default = well
        async with served(first, second) as gateway:
            await until_state(gateway, "one", "ok")
            assert await chat(gateway, **{"x-gateway-region": "us"}) == "one"
            assert (await command(gateway, "backend-health"))[0] == 0

            first.default = first.probe = DOWN
            await until_state(gateway, "one", "unhealthy")
            assert [await chat(gateway, **{"x-gateway-region": "us"}) for _ in range(3)] == [
                "two"
            ] * 3
            code, shown = await command(gateway, "backend-health")
            assert code == 1 and "unhealthy" in shown and "two" in shown
            code, shown = await command(gateway, "backend-health", "--unhealthy-only")
            assert code == 1 and "one" in shown and "two" not in shown
            code, shown = await command(gateway, "backend-health", "-p", "two")
            assert code == 0 and "one" not in shown and "two" in shown
            page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
            assert 'gateway_provider_unhealthy{provider="one"} 1' in page

            first.default, first.probe = well, WELL
            await until_state(gateway, "one", "ok")
            assert await chat(gateway, **{"x-gateway-region": "us"}) == "one"
            async with asyncio.timeout(10):
                while "recovering" not in (
                    shown := (await command(gateway, "backend-health", "--history"))[1]
                ):
                    await asyncio.sleep(0.2)
            assert "unhealthy" in shown and "probe failed" in shown


async def test_watch_draws_until_it_is_stopped() -> None:
    """A table again and again; for a program a line of JSON each time; Ctrl-C is no error."""
    well = openai.chat_answer()
    async with ScriptedProvider() as first, ScriptedProvider() as second:
        first.probe = second.probe = WELL
        first.default = second.default = well
        async with served(first, second) as gateway:
            watching = await _command(
                gateway, "--json", "backend-health", "-w", "--interval", "0.1"
            )
            assert watching.stdout is not None
            lines = [json.loads(await watching.stdout.readline()) for _ in range(3)]
            watching.send_signal(signal.SIGINT)
            assert await watching.wait() == 0
            drawn = await _command(
                gateway,
                "backend-health",
                "--watch",
                "--interval",
                "0.1",
                TERM="xterm",
                FORCE_COLOR="1",
            )
            assert drawn.stdout is not None
            text = b""
            async with asyncio.timeout(20):
                while text.count(b"UTC") < 2:
                    text += await drawn.stdout.read(4096)
            drawn.send_signal(signal.SIGINT)
            await drawn.communicate()

    assert {row["provider"] for row in lines[0]} == {"one", "two"}
    assert drawn.returncode == 0 and b"one" in text


async def test_interval_zero_probes_nobody() -> None:
    async with ScriptedProvider() as first, ScriptedProvider() as second:
        first.probe = second.probe = WELL
        async with served(first, second, health_check_interval_seconds=0) as gateway:
            await asyncio.sleep(0.5)
            assert await state_of(gateway, "one") == "unknown"
        assert not first.probes and not second.probes
