"""One gateway process and one scripted provider for all end-to-end tests."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call, exchange
from llm_gateway_testkit.scripted import ScriptedProvider

UPSTREAM_KEY = "sk-test-upstream"
HELLO = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "When is low tide?"}]}


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway, and the provider behind it."""

    gateway: Gateway
    provider: ScriptedProvider

    @property
    def key(self) -> str:
        return self.gateway.api_key

    @property
    def base_url(self) -> str:
        return f"{self.gateway.url}/v1"

    async def chat(self, body: object = None, **members: Any) -> Reply:
        """Send `body`, or the usual question with `members`; read the whole answer."""
        return await call(f"{self.base_url}/chat/completions", _body(body, members), key=self.key)

    def chatting(self, **members: Any) -> Any:
        """The same as an answer under way; leaving the block hangs up."""
        return exchange(f"{self.base_url}/chat/completions", _body(None, members), key=self.key)


def _body(body: object, members: dict[str, Any]) -> Any:
    return body if body is not None else {**HELLO, **members}


def configuration(provider: ScriptedProvider) -> dict[str, Any]:
    """`upstream` gives up at once, `patient` tries again, nobody listens at `refused`."""
    common = {"kind": "openai", "api_key": UPSTREAM_KEY}
    upstream = {
        **common,
        "base_url": f"{provider.url}/v1",
        "timeout_seconds": 1,
        "chunk_gap_seconds": 1,
    }
    return {
        "providers": {
            "upstream": {**upstream, "max_retries": 0},
            "patient": {**upstream, "max_retries": 3},
            "refused": {**common, "base_url": f"{provider.refused_url()}/v1", "max_retries": 0},
        },
        "routing": {"default_provider": "upstream"},
        # One fault after the other would leave the deployments alone for the tests that follow,
        # and so would a retry-after.
        "resilience": {"circuit_breaker": {"enabled": False}},
        "plugins": {"disabled": ["guard_provider_limits"]},
    }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running() -> AsyncIterator[Site]:
    strict = openai.strict(UPSTREAM_KEY)
    async with (
        ScriptedProvider(validator=strict) as provider,
        running_gateway(configuration(provider)) as gateway,
    ):
        yield Site(gateway, provider)


@pytest_asyncio.fixture(loop_scope="session")
async def site(running: Site) -> AsyncIterator[Site]:
    """The site with an empty script; a request that nobody scripted fails the test."""
    running.provider.reset()
    yield running
    unexpected = list(running.provider.unexpected)
    running.provider.reset()
    assert not unexpected, f"nothing was scripted for {unexpected[0]}"
