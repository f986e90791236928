"""The gateway as the compose set starts it: its very configuration and variables.

Run with -m slow. PostgreSQL and Redis are real ones; Jaeger's address is reached through a proxy,
which sees the whole URL that traces are sent to, as the set's own network would.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

pytestmark = pytest.mark.slow

KEY = "test-key-0123456789abcdef"
GIVEN = {"LLM_GATEWAY_API_KEYS": KEY, "OPENAI_API_KEY": "sk-test"}
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
TAKEN = Answer(headers={"content-type": "application/x-protobuf"})


def interpolated(text: str) -> str:
    """As compose does it: a default after ``:-``, and an error after ``:?``."""

    def value(found: re.Match[str]) -> str:
        name, how, rest = found[1], found[2], found[3] or ""
        assert name in GIVEN or how == "-", f"{name}: {rest}"
        return GIVEN.get(name) or rest

    return VARIABLE.sub(value, text)


def variables(charts: Path) -> dict[str, str]:
    compose: Any = yaml.safe_load((charts / "docker/compose.yaml").read_text())
    given: dict[str, str] = compose["services"]["gateway"]["environment"]
    return {name: interpolated(text) for name, text in given.items()}


async def test_the_set_sends_the_trace_of_a_request_to_jaegers_otlp_endpoint(charts: Path) -> None:
    """Each request has its trace, since the set samples all."""
    env = variables(charts)
    with servers.postgres() as database, servers.redis() as redis:
        env |= {"DATABASE_URL": database.url, "REDIS_URL": redis.url}
        async with ScriptedProvider() as provider, ScriptedProvider() as network:
            network.default = TAKEN
            provider.probe = openai.models_answer()
            provider.enqueue(openai.chat_answer())
            env |= {"http_proxy": network.url, "no_proxy": "127.0.0.1,localhost"}
            env["LLM_GATEWAY_PROVIDERS__OPENAI__BASE_URL"] = f"{provider.url}/v1"
            text = (charts / "docker/config.yaml").read_text()
            async with running_gateway(text, env, api_key=KEY) as gateway:
                body = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "hi"}]}
                answer = await call(f"{gateway.url}/v1/chat/completions", body, key=KEY)
                health = (await call(f"{gateway.url}/health?detailed=true")).json
                await network.wait_received(1, 60)
                await asyncio.sleep(0)
            sent = network.received[0]

    assert answer.status == 200, answer.body
    assert {name: each["state"] for name, each in health["dependencies"].items()} == {
        "database": "ok",
        "state": "ok",
    }
    assert (sent.method, sent.path) == ("POST", "http://jaeger:4318/v1/traces")
    assert sent.headers["content-type"] == "application/x-protobuf"
    (resource,) = ExportTraceServiceRequest.FromString(sent.body).resource_spans
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == env["OTEL_SERVICE_NAME"] == "llm-gateway"
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert {each.name for each in spans} == {"POST /v1/chat/completions", "chat gpt-6-sol"}
