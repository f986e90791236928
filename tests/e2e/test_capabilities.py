"""What becomes of each parameter is said in three places, and is one thing."""

import asyncio
import json
import sys

from llm_gateway.matrix import outcomes
from llm_gateway_testkit import plugins, vendors
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

NOWHERE = "http://127.0.0.1:9"  # nobody is asked


async def test_document_command_and_provider_agree_on_every_parameter() -> None:
    """`GET /v1/models`, `models --capabilities` and the page of parameters come from what the
    provider's own `encode` does."""
    entries, made = {}, {}
    for row in vendors.vendors():
        spec = plugins.kinds(plugins.load(f"provider_{row.kind}"))[row.kind]
        entries[row.kind] = row.configured(NOWHERE)
        if not plugins.make(spec, entries[row.kind]).models():
            entries[row.kind]["models"] = [f"model-of-{row.kind}"]
        made[row.kind] = plugins.make(spec, entries[row.kind])
    async with running_gateway({"providers": entries}) as gateway:
        listed = (await call(f"{gateway.url}/v1/models?parameters=true", key=API_KEY)).json["data"]
        some = next(each for each in listed if each["owned_by"] == "bedrock")
        one = (await call(f"{gateway.url}/v1/models/{some['id']}", key=API_KEY)).json
        told = json.loads(await run(gateway, "--json", "models", "--capabilities"))

    assert one["parameters"] == some["parameters"]
    assert {each["id"]: each.get("parameters", {}) for each in told} == {
        each["id"]: each["parameters"] for each in listed
    }
    for kind, provider in made.items():
        own = [each for each in listed if each["owned_by"] == kind and each["parameters"]]
        assert own, f"{kind} lists no model of a chat"
        for each in own:
            assert each["parameters"] == outcomes(provider, each["id"]), (kind, each["id"])


async def run(gateway: Gateway, *args: str) -> str:
    line = [sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", API_KEY, *args]
    made = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    told, _ = await made.communicate()
    assert made.returncode == 0, told
    return told.decode()
