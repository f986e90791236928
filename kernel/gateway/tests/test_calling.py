"""A refusal that the provider can mend costs one more call, and is nobody's failure."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest_asyncio
from llm_gateway.attempt import Abilities, Bound
from llm_gateway.calling import opened, without_credentials
from llm_gateway.upstream import Upstream
from llm_gateway.watchdog import Watchdog
from llm_gateway_api import (
    ChatRequest,
    FailureClass,
    Headers,
    ModelInfo,
    RefusedCall,
    UpstreamError,
    UpstreamRequest,
)
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

SECONDS = 20.0


@dataclass
class Mending:
    """A provider with a token for each time it was told that one is refused."""

    url: str
    mends: bool = True
    told: list[RefusedCall] = field(default_factory=list)

    def encode(self, request: ChatRequest) -> UpstreamRequest:
        raise NotImplementedError

    def classify(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return UpstreamError(FailureClass.CREDENTIAL_REFUSED, "refused", upstream_status=status)

    def models(self) -> Sequence[ModelInfo]:
        return ()

    async def auth_headers(self) -> Headers:
        return {"authorization": f"Bearer t-{len(self.told)}"}

    def again(self, refused: RefusedCall) -> UpstreamRequest | None:
        self.told.append(refused)
        return refused.request if self.mends else None


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


def bound(provider: Mending) -> Bound:
    upstream = Upstream(Watchdog(asyncio.get_running_loop()), 10, 5.0)
    return Bound(
        "acme", provider, upstream, Abilities.of(provider), frozenset(), {}, SECONDS, SECONDS, {}
    )


def asked(provider: Mending) -> UpstreamRequest:
    return UpstreamRequest("POST", provider.url, {"x-a": "1"}, b"{}", decoder=lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here


def deadline() -> float:
    return asyncio.get_running_loop().time() + SECONDS


async def test_refused_credential_is_replaced_within_the_call(vendor: ScriptedProvider) -> None:
    """The provider hears what was sent and what came back, and its new token goes out."""
    vendor.enqueue(Answer(401, {"x-b": "2"}, b"expired"), Answer(200, {}, b"fine"))
    provider = Mending(f"{vendor.url}/v1")

    answer = await opened(bound(provider), asked(provider), deadline())

    assert answer.error is None and await answer.connection.read(100) == b"fine"
    answer.connection.release()
    assert [each.headers["authorization"] for each in vendor.received] == [
        "Bearer t-0",
        "Bearer t-1",
    ]
    (told,) = provider.told
    assert told.status == 401 and told.headers["x-b"] == "2" and told.body == b"expired"
    assert (
        told.sent["authorization"] == "Bearer t-0" and "authorization" not in told.request.headers
    )


async def test_second_answer_stands(vendor: ScriptedProvider) -> None:
    """Nobody is asked a third time, whatever the provider would say."""
    vendor.enqueue(Answer(401, {}, b"one"), Answer(401, {}, b"two"))
    provider = Mending(f"{vendor.url}/v1")

    answer = await opened(bound(provider), asked(provider), deadline())
    answer.connection.release()

    assert answer.error is not None and answer.error.upstream_status == 401
    assert len(vendor.received) == 2 and len(provider.told) == 1


async def test_refusal_stands_where_the_provider_has_nothing_better(
    vendor: ScriptedProvider,
) -> None:
    vendor.enqueue(Answer(403, {}, b"no"))
    provider = Mending(f"{vendor.url}/v1", mends=False)

    answer = await opened(bound(provider), asked(provider), deadline())
    answer.connection.release()

    assert answer.error is not None and answer.error.upstream_status == 403
    assert len(vendor.received) == 1


def test_a_provider_that_tells_back_the_key_is_not_heard() -> None:
    """Nor what the configuration adds; what says nothing of a secret stays readable."""
    sent = {
        "authorization": "Bearer sk-canary-1",
        "x-api-key": "canary-2",
        "anthropic-version": "2023-06-01",
        "x-team": "canary-3",
    }
    body = f"no {sent}".encode()

    heard = without_credentials(body, sent, {"x-team": "canary-3"})

    assert b"canary" not in heard
    assert b"2023-06-01" in heard
    assert without_credentials(body, {"authorization": "none"}, {}) == body
