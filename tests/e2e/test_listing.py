"""What vendors list now, from their pages to an operator's table."""

import asyncio
import json
import sys
from typing import Any

from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import bedrock_dialect as bedrock
from llm_gateway_testkit import cohere_dialect as cohere
from llm_gateway_testkit import gemini_dialect as gemini
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import together_dialect as together
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
KEY = "k-scripted"


def answer(**members: Any) -> Answer:
    return Answer(200, {}, json.dumps(members).encode())


def entry(kind: str, url: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "api_key": KEY, "base_url": url, "max_retries": 0, **more}


async def offered(entries: dict[str, Any], *args: str) -> Any:
    env = {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with running_gateway({"providers": entries}, env) as gateway:
        return await run(gateway, *args)


async def run(gateway: Gateway, *args: str) -> Any:
    line = [sys.executable, "-m", "llm_gateway", "--json", "-u", gateway.url, "-k", ADMIN]
    line += ["routing-strategy", "offered", *args]
    made = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.PIPE)
    told, _ = await made.communicate()
    return json.loads(told) | {"code": made.returncode}


async def test_every_page_of_a_list_is_read() -> None:
    """Cohere's, by its token; what the vendor gives up is left out."""
    rows = [{"name": f"m-{at}", "endpoints": ["chat"], "context_length": 4096} for at in range(5)]
    async with ScriptedProvider(validator=cohere.strict(KEY)) as vendor:
        vendor.enqueue(
            answer(models=rows[:2], next_page_token="t/2"),
            answer(models=rows[2:4], next_page_token="t+3"),
            answer(models=[*rows[4:], {"name": "old", "is_deprecated": True}]),
        )
        found = await offered({"cohere": entry("cohere", vendor.url, models=["m-3"])})
        paths = [each.path for each in vendor.received]

    assert [each["model"] for each in found["rows"]] == [f"m-{at}" for at in range(5)]
    assert [each["model"] for each in found["rows"] if each["served"]] == ["m-3"]
    assert {each["context_window"] for each in found["rows"]} == {4096}
    assert paths == [
        "/v1/models?page_size=1000",
        "/v1/models?page_size=1000&page_token=t%2F2",
        "/v1/models?page_size=1000&page_token=t%2B3",
    ]


async def test_each_vendor_has_its_own_form_of_a_list() -> None:
    """Pages by the last id, by a token, an array alone, and lists without pages."""
    first = answer(data=[{"type": "model", "id": "claude-a"}], has_more=True, last_id="claude-a")
    last = answer(data=[{"type": "model", "id": "claude-b"}], has_more=False, last_id="claude-b")
    page = json.loads(gemini.models_answer("gemini-a").body) | {"nextPageToken": "n"}
    scripts = {
        "anthropic": (claude.strict(KEY), [first, last]),
        "gemini": (gemini.strict(KEY), [answer(**page), gemini.models_answer("gemini-b")]),
        "openai": (openai.strict(KEY), [openai.models_answer("gpt-a")]),
        "together": (together.strict(KEY), [together.models_answer("tog/a")]),
        "bedrock": (bedrock.strict(), [bedrock.models_answer("amazon.a")]),
    }
    vendors = {kind: ScriptedProvider(validator=check) for kind, (check, _) in scripts.items()}
    async with (
        vendors["anthropic"] as a, vendors["gemini"] as g, vendors["openai"] as o,
        vendors["together"] as t, vendors["bedrock"] as b,
    ):  # fmt: skip
        for kind, server in vendors.items():
            server.enqueue(*scripts[kind][1])
        aws = {
            "kind": "bedrock", "region": "us-east-1", "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "scripted-secret", "base_url": b.url, "control_url": b.url,
        }  # fmt: skip
        found = await offered(
            {
                "anthropic": entry("anthropic", a.url),
                "gemini": entry("gemini", g.url),
                "openai": entry("openai", f"{o.url}/v1"),
                "together": entry("together", f"{t.url}/v1"),
                "bedrock": aws,
            }
        )
        after = [each.path.partition("?")[2] for each in a.received]

    assert found["failed"] == {} and found["code"] == 0
    names = [(each["provider"], each["model"]) for each in found["rows"]]
    assert sorted(names) == [
        ("anthropic", "claude-a"),
        ("anthropic", "claude-b"),
        ("bedrock", "amazon.a"),
        ("gemini", "gemini-a"),
        ("gemini", "gemini-b"),
        ("openai", "gpt-a"),
        ("together", "tog/a"),
    ]
    assert after == ["limit=1000", "limit=1000&after_id=claude-a"]


async def test_who_does_not_answer_is_told_with_the_reason() -> None:
    """The others' lists come all the same; a provider without a list is a 404 by name."""
    async with ScriptedProvider() as good, ScriptedProvider() as bad:
        good.enqueue(openai.models_answer("gpt-a"))
        bad.enqueue(Answer(200, {}, b"<html>"))
        entries = {
            "good": entry("openai", f"{good.url}/v1"),
            "bad": entry("openai", f"{bad.url}/v1"),
            "sim": {"kind": "simulated"},
        }
        env = {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
        async with running_gateway({"providers": entries}, env) as gateway:
            found = await run(gateway)
            url = f"{gateway.url}/admin/v1/routing/offered?provider="
            none = await call(url + "sim", key=ADMIN)
            barred = await call(url + "good", key=gateway.api_key)

    assert [each["model"] for each in found["rows"]] == ["gpt-a"] and found["code"] == 1
    assert "could not be understood" in found["failed"]["bad"]
    assert none.status == 404 and "sim" in none.json["error"]["message"]
    assert barred.status in (401, 403)
