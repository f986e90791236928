"""Every command about routing on a running gateway; what is explained is what is done."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
SECRET = "sk-very-secret-upstream"


@asynccontextmanager
async def served(provider: ScriptedProvider, **routing: Any) -> AsyncIterator[Gateway]:
    own = {"kind": "openai", "api_key": SECRET, "base_url": f"{provider.url}/v1"}
    config = {
        "providers": {"one": own, "two": {**own, "headers": {"x-team": "red"}}},
        "routing": {
            "default_provider": "one",
            "health_check_interval_seconds": 0,
            "models": [
                {
                    "name": "both",
                    "deployments": [
                        {"provider": "one", "model": "a", "weight": 3, "region": "us"},
                        {"provider": "two", "model": "b", "weight": 1, "region": "eu"},
                        {"provider": "two", "model": "off", "weight": 0},
                    ],
                }
            ],
            "rules": [
                {"name": "low", "condition": "model == 'nothing'", "target_provider": "one"},
                {
                    "name": "acme",
                    "condition": "tenant == 'acme'",
                    "target_provider": "two",
                    "priority": 5,
                },
            ],
            **routing,
        },
    }
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
        yield gateway


async def command(gateway: Gateway, *args: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", ADMIN, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def ask(model: str = "both") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7}


async def explain(gateway: Gateway, status: int = 200, **question: Any) -> dict[str, Any]:
    answer = await call(f"{gateway.url}/admin/v1/explain", question, key=ADMIN)
    assert answer.status == status, answer.body
    found: dict[str, Any] = answer.json
    return found


async def test_commands() -> None:
    """Each prints what the configuration says, and JSON for programs."""
    async with ScriptedProvider() as provider, served(provider) as gateway:
        provider.default = openai.chat_answer()
        url = f"{gateway.url}/v1/chat/completions"
        for _ in range(4):
            assert (await call(url, ask(), key=gateway.api_key)).status == 200
        code, shown = await command(gateway, "routing-strategy", "show")
        assert code == 0 and "weighted" in shown and "one/a, two/b, two/off" in shown
        code, shown = await command(gateway, "routing-strategy", "rules")
        assert code == 0 and shown.index("acme") < shown.index("low")
        code, shown = await command(gateway, "--json", "routing-strategy", "weights")
        weights = {row["model"]: row["effective"] for row in json.loads(shown)}
        assert weights == {"a": 3.0, "b": 1.0, "off": 0.0}
        code, shown = await command(gateway, "--json", "routing-strategy", "stats")
        stats = {row["model"]: (row["attempts"], row["share"]) for row in json.loads(shown)}
        assert stats == {"a": (3, 0.75), "b": (1, 0.25)}
        code, shown = await command(gateway, "routing-strategy", "test", "--model", "both")
        assert code == 0 and "chosen: one/a" in shown and "resolved by routing.models" in shown
        code, shown = await command(
            gateway, "routing-strategy", "test", "--model", "both", "--tenant", "acme"
        )
        assert code == 0 and "chosen: two/b" in shown and "rule acme" in shown
        assert len(provider.received) == 4, "a test asks nobody"


async def test_explain_shows_what_would_be_sent() -> None:
    """And then it is sent so; no secret is shown, no turn is moved."""
    async with ScriptedProvider() as provider, served(provider) as gateway:
        provider.default = openai.chat_answer()
        found = await explain(gateway, body=ask())
        again = await explain(gateway, body=ask())
        assert not provider.received
        answer = await call(f"{gateway.url}/v1/chat/completions", ask(), key=gateway.api_key)
        (sent,) = provider.received

    assert found["chosen"] == again["chosen"] == "one/a"
    assert answer.headers["x-gateway-provider"] == "one"
    assert found["request"]["body"] == json.loads(sent.body) and found["request"]["lane"] == "relay"
    assert SECRET not in json.dumps(found)
    assert found["removed"] == [{"target": "two/off", "reason": "weight 0"}]
    assert [row["target"] for row in found["candidates"]] == ["one/a", "two/b"]
    assert found["candidates"][0]["guards"]["circuit_breaker"]["state"] == "closed"
    assert found["candidates"][0]["expected_cost"]["output_tokens"] == 7


async def test_explain_by_caller() -> None:
    """Regions, providers, models and names of the caller hold as they do in serving."""
    async with ScriptedProvider() as provider, served(provider) as gateway:
        region = await explain(gateway, body=ask(), headers={"X-Gateway-Region": "eu"})
        only = await explain(gateway, body=ask(), providers=["two"])
        renamed = await explain(gateway, body=ask("mine"), renamed={"mine": "both"})
        denied = await explain(gateway, 403, body=ask(), models=["other"])

    assert (region["chosen"], region["region"]) == ("two/b", "eu")
    assert only["chosen"] == "two/b"
    assert {"target": "one/a", "reason": "not allowed for this key"} in only["removed"]
    assert renamed["resolved_model"] == "both"
    assert denied["error"]["code"] == "model_not_allowed"


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ({}, "body"),
        ({"body": {"model": 5}}, "model"),
        ({"body": {}, "path": "/nowhere"}, "path"),
        ({"body": {}, "tenants": "x"}, "tenants"),
    ],
)
async def test_bad_questions(question: dict[str, Any], named: str) -> None:
    async with ScriptedProvider() as provider, served(provider) as gateway:
        refused = await explain(gateway, 400, **question)

    assert named in json.dumps(refused["error"])
