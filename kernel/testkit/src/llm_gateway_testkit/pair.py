"""A gateway in front of two scripted providers that serve one model, the first by far preferred."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider, Validator

KEY = "sk-test-upstream"
ASKS = [{"role": "user", "content": "When is low tide?"}]


@dataclass(frozen=True, slots=True)
class Pair:
    """`both` is the model that both serve."""

    gateway: Gateway
    first: ScriptedProvider
    second: ScriptedProvider

    async def chat(self, model: str = "both", **members: Any) -> Reply:
        body = {"model": model, "messages": ASKS, **members}
        return await call(f"{self.gateway.url}/v1/chat/completions", body, key=self.gateway.api_key)

    async def metrics(self) -> str:
        return (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()


def own(provider: ScriptedProvider, **more: Any) -> dict[str, Any]:
    """Settings of an instance that asks `provider` and gives up soon."""
    base = {"kind": "openai", "api_key": KEY, "timeout_seconds": 1, "chunk_gap_seconds": 1}
    return {**base, "base_url": f"{provider.url}/v1", **more}


@asynccontextmanager
async def paired(
    first_settings: dict[str, Any] | None = None,
    second_settings: dict[str, Any] | None = None,
    *,
    validators: tuple[Validator, Validator] | None = None,
    models: tuple[str, str] = ("m-1", "m-2"),
    env: Mapping[str, str] | None = None,
    **changes: Any,
) -> AsyncIterator[Pair]:
    """Two providers and a gateway that prefers the first by far; `changes` are whole sections
    of its configuration. Settings without a ``base_url`` are those of an OpenAI instance."""
    strict = openai.strict(KEY)
    ours, theirs = validators or (strict, strict)
    async with (
        ScriptedProvider(validator=ours) as first,
        ScriptedProvider(validator=theirs) as second,
    ):
        given = ((first, first_settings or {}), (second, second_settings or {}))
        one, two = (own(each, **{k: _at(each, v) for k, v in more.items()}) for each, more in given)
        config = {
            "providers": {"first": one, "second": two},
            "routing": {
                "models": [
                    {
                        "name": "both",
                        "deployments": [
                            {"provider": "first", "model": models[0], "weight": 1_000_000},
                            {"provider": "second", "model": models[1], "weight": 1e-6},
                        ],
                    }
                ]
            },
            **changes,
        }
        async with running_gateway(config, env) as gateway:
            yield Pair(gateway, first, second)


def _at(provider: ScriptedProvider, value: Any) -> Any:
    """``{url}`` in a setting is the provider's origin."""
    return value.replace("{url}", provider.url) if isinstance(value, str) else value
