"""What is explained for a stored tenant, and of a provider's limits, is what serving does."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.pair import ASKS, Pair, paired
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"


@asynccontextmanager
async def served(**first: Any) -> AsyncIterator[Pair]:
    """Two deployments of `both`: the first in the US, the second in the EU."""
    settings = ({"region": "us", **first}, {"region": "eu"})
    async with paired(*settings, env={"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as pair:
        pair.first.default = pair.second.default = openai.chat_answer()
        yield pair


async def admin(pair: Pair, method: str, path: str, **body: Any) -> Any:
    url = f"{pair.gateway.url}/admin/v1/{path}"
    answer = await call(url, body or None, key=ADMIN, method=method)
    assert answer.status in (200, 201), answer.body
    return answer.json


async def explain(
    pair: Pair, status: int = 200, model: str = "both", asking: str = ADMIN, **question: Any
) -> Any:
    body = {"model": model, "messages": ASKS}
    url = f"{pair.gateway.url}/admin/v1/explain"
    answer = await call(url, {"body": body, **question}, key=asking)
    assert answer.status == status, answer.body
    return answer.json


async def command(pair: Pair, *args: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "-u", pair.gateway.url, "-k", ADMIN, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_stored_tenant_is_explained_as_it_is_served() -> None:
    """Models, names of its own, regions, limits and budgets come from the store; a key narrows
    them, the question overrides them, and who may not call is refused."""
    async with served() as pair:
        await admin(
            pair,
            "POST",
            "tenants",
            id="acme",
            models=["mine"],
            regions=["eu"],
            renamed={"mine": "both"},
            limits={"requests_per_minute": 50},
        )
        key = await admin(pair, "POST", "keys", tenant="acme", models=["other"])
        good = await admin(pair, "POST", "keys", tenant="acme")

        body = {"model": "mine", "messages": ASKS}
        url = f"{pair.gateway.url}/v1/chat/completions"
        answer = await call(url, body, key=good["key"])
        await admin(
            pair, "PUT", "budgets", level="tenant", owner="acme", amount_usd="5", period="month"
        )
        found = await explain(pair, tenant="acme", model="mine")
        narrowed = await explain(pair, 403, key=key["id"], model="mine")
        overridden = await explain(pair, tenant="acme", model="mine", regions=["us"])
        barred = await explain(pair, 403, tenant="acme", model="first/m-1")
        stranger = await explain(pair, tenant="nobody")
        code, shown = await command(
            pair, "routing-strategy", "test", "--model", "mine", "--tenant", "acme"
        )
        await admin(pair, "PATCH", "tenants/acme", disabled=True)
        disabled = await explain(pair, 403, tenant="acme", model="mine")

    assert (found["chosen"], found["resolved_model"]) == ("second/m-2", "both")
    assert answer.headers["x-gateway-provider"] == "second"
    assert found["removed"][0]["target"] == "first/m-1"
    assert "region" in found["removed"][0]["reason"]
    assert found["caller"]["kept"] and found["caller"]["regions"] == ["eu"]
    assert [(each["level"], each["amount"]) for each in found["limits"]] == [("tenant", 50)]
    assert [(each["amount_usd"], each["period"]) for each in found["budgets"]] == [("5", "month")]
    assert overridden["chosen"] == "first/m-1"
    assert {narrowed["error"]["code"], barred["error"]["code"]} == {"model_not_allowed"}
    assert not stranger["caller"]["kept"]
    assert disabled["error"]["code"] == "tenant_not_allowed"
    assert code == 0
    for said in (
        "chosen: second/m-2",
        "tenant acme: regions eu",
        "renamed: mine is both",
        "limit: tenant: 50 requests",
        "budget: tenant: 5 USD per month",
    ):
        assert said in shown


async def test_what_a_providers_limits_would_do() -> None:
    """Before the minute is full, and after: nothing is taken for an explanation."""
    limits = {"rate_limit": {"requests_per_minute": 1, "tokens_per_minute": 100_000}}
    async with served(**limits) as pair:
        before = [await explain(pair) for _ in range(3)][-1]
        assert (await pair.chat()).headers["x-gateway-provider"] == "first"
        after = await explain(pair)
        code, shown = await command(pair, "routing-strategy", "test", "--model", "both")
        served_by = (await pair.chat()).headers["x-gateway-provider"]

    said = before["candidates"][0]["guards"]["provider_limits"]
    assert (before["chosen"], said["admits"]) == ("first/m-1", True)
    assert said["requests_per_minute"] == {"limit": 1, "used": 0, "takes": 1, "wait_seconds": 0.0}
    assert said["tokens_per_minute"]["takes"] > 0
    full = after["candidates"][0]["guards"]["provider_limits"]
    assert (after["chosen"], served_by, full["admits"]) == ("second/m-2", "second", False)
    assert full["requests_per_minute"]["used"] == 1
    assert 0 < full["requests_per_minute"]["wait_seconds"] <= 61
    assert after["why"] == "the guards pass over first/m-1"
    assert code == 0
    assert "passed over: first/m-1: provider_limits: requests_per_minute 1 of 1" in shown


async def test_a_key_is_explained_as_it_may_call() -> None:
    """Not as one that may more; a key of no tenant too, which may ask as anybody besides."""
    async with served() as pair:
        await admin(pair, "POST", "tenants", id="acme", regions=["eu"])
        limits = {"providers": ["second"], "models": ["both"], "role": "operator"}
        ours = await admin(pair, "POST", "keys", tenant="acme", **limits)
        free = await admin(pair, "POST", "keys", **limits)
        own = [
            await explain(pair, asking=ours["key"], **question)
            for question in ({}, {"tenant": "acme"}, {"key": ours["id"]})
        ]
        barred = await explain(pair, 403, asking=ours["key"], model="first/m-1")
        refused = [
            await explain(pair, 403, asking=ours["key"], **{name: given})
            for name, given in (
                ("tenant", "other"),
                ("key", free["id"]),
                ("models", ["first/m-1"]),
                ("providers", ["first"]),
                ("regions", ["us"]),
                ("regions", []),
                ("renamed", {"both": "first/m-1"}),
            )
        ]
        itself = await explain(pair, asking=free["key"])
        another = await explain(pair, asking=free["key"], tenant="acme")

    for each in own:
        assert (each["chosen"], each["caller"]["key"]) == ("second/m-2", ours["id"])
        assert each["caller"]["regions"] == ["eu"] and each["caller"]["providers"] == ["second"]
    assert barred["error"]["code"] == "model_not_allowed"
    assert {each["error"]["code"] for each in refused} == {"permission_denied"}
    assert {each["error"]["param"] for each in refused[2:]} == {
        *("models", "providers", "regions", "renamed")
    }
    assert (itself["caller"]["key"], itself["caller"]["providers"]) == (free["id"], ["second"])
    assert (another["caller"]["tenant"], another["caller"]["providers"]) == ("acme", None)
