"""What a model is and costs: from the catalogue to the header, the list, the ledger."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_catalog_models.plugin import make
from llm_gateway_catalog_models.settings import CatalogSettings
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import ScriptedProvider

KEY = "sk-test-upstream"
ADMIN = "admin-key-0123456789abcdef"
QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "When?"}]}
USAGE = {
    "prompt_tokens": 1200,
    "completion_tokens": 345,
    "total_tokens": 1545,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens_details": {"reasoning_tokens": 45},
}
# 200 fresh at 2.5, 1000 cached at 1.25, 345 out at 10 (USD per million).
COST = "0.005200"


@asynccontextmanager
async def gateway_for(
    provider: ScriptedProvider, folder: Path, **more: Any
) -> AsyncIterator[Gateway]:
    config = {
        "providers": {
            "up": {
                "kind": "openai",
                "api_key": KEY,
                "base_url": f"{provider.url}/v1",
                "models": ["gpt-4o", "a-model-of-ours"],
            }
        },
        "plugins": {"ledger_store": {"ship_seconds": 0.1}},
        **more,
    }
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway(config, env) as gateway:
        yield gateway


async def test_an_answer_costs_what_its_meters_cost(tmp_path: Path) -> None:
    """To the last decimal, in the header and in the ledger, which keeps the price's version."""
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(openai.chat_answer("Noon.", usage=USAGE))
        provider.enqueue(openai.chat_answer("Noon.", usage=USAGE))
        async with gateway_for(provider, tmp_path) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            known = await call(url, QUESTION, key=API_KEY)
            unknown = await call(url, QUESTION | {"model": "a-model-of-ours"}, key=API_KEY)
            rows = await records(tmp_path, 2)

    assert Decimal(known.headers["x-gateway-cost"]) == Decimal(COST)
    assert "x-gateway-cost" not in unknown.headers
    priced = next(each for each in rows if each["cost_nano"] is not None)
    assert priced["cost_nano"] == 5_200_000
    assert priced["price_version"].startswith("openai/gpt-4o@20")
    assert recomputed(priced) == Decimal(COST)


async def records(folder: Path, many: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while True:
            with sqlite3.connect(folder / "gateway.db") as database:
                database.row_factory = sqlite3.Row
                found = database.execute("SELECT * FROM usage_records").fetchall()
            if len(found) >= many:
                return [dict(each) for each in found]
            await asyncio.sleep(0.05)


def recomputed(row: dict[str, Any]) -> Decimal | None:
    """The cost, from nothing but a record and the catalogue."""
    meters = {name: row[f"{name}_tokens"] for name in gw.METERS}
    usage = gw.Usage(
        **meters,
        billed_input=row["billed_input_tokens"],
        billed_output=row["billed_output_tokens"],
        search_units=row["search_units"],
    )
    price = make(CatalogSettings()).price("openai", row["upstream_model"], row["at"] / 1000)
    return price.cost(usage) if price is not None else None


async def test_an_operators_price_goes_before_the_catalogues(tmp_path: Path) -> None:
    own = {"kind": "openai", "id": "gpt-4o", "prices": {"input": 1, "cache_read": 0, "output": 3}}
    more = {"plugins": {"catalog_models": {"models": [own]}}}
    async with ScriptedProvider(validator=openai.strict(KEY)) as provider:
        provider.enqueue(openai.chat_answer("Noon.", usage=USAGE))
        async with gateway_for(provider, tmp_path, **more) as gateway:
            reply = await call(f"{gateway.url}/v1/chat/completions", QUESTION, key=API_KEY)

    assert Decimal(reply.headers["x-gateway-cost"]) == Decimal("0.001235")


async def test_a_list_of_models_says_what_they_are_and_cost(tmp_path: Path) -> None:
    """The document, and the command's table and JSON."""
    async with ScriptedProvider() as provider, gateway_for(provider, tmp_path) as gateway:
        shown = await call(f"{gateway.url}/v1/models/gpt-4o", key=API_KEY)
        table = await run(gateway, "models", "--capabilities")
        data = json.loads(await run(gateway, "--json", "models", "--capabilities"))

    told = shown.json
    assert (told["context_window"], told["max_tokens"]) == (128_000, 16_000)
    assert "tools" in told["capabilities"]
    assert (told["pricing"]["input"], told["pricing"]["cache_read"]) == ("2.5", "1.25")
    assert told["parameters"]["temperature"] == "mapped"
    row = next(line for line in table.splitlines() if line.startswith("gpt-4o"))
    assert "128,000" in row and "16,000" in row and "2.5" in row and "tools" in row
    ours = next(each for each in data if each["id"] == "a-model-of-ours")
    assert "pricing" not in ours
    assert ours["parameters"]["logprobs"] == "mapped"


async def run(gateway: Gateway, *args: str) -> str:
    line = [sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", API_KEY, *args]
    made = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    told, _ = await made.communicate()
    assert made.returncode == 0, told
    return told.decode()


@pytest.mark.parametrize("base", ["gpt-4o", None])
async def test_a_deployment_costs_what_its_base_model_costs(
    tmp_path: Path, base: str | None
) -> None:
    """On Azure a deployment's name says nothing; without a base model the cost is unknown."""
    settings = {
        "api_key": KEY,
        "endpoint": "",
        "deployments": {"blue": {"base_model": base} if base else {}},
    }
    async with ScriptedProvider() as provider:
        provider.enqueue(openai.chat_answer("Noon.", usage=USAGE))
        settings["endpoint"] = provider.url
        async with running_gateway({"providers": {"azure_openai": settings}}) as gateway:
            url = f"{gateway.url}/v1/chat/completions"
            reply = await call(url, QUESTION | {"model": "blue"}, key=API_KEY)

    assert reply.status == 200
    cost = reply.headers.get("x-gateway-cost")
    assert (Decimal(cost) if cost else None) == (Decimal(COST) if base else None)
