"""Both clients against a running gateway, whose providers break in every way."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_sdk import (
    AsyncClient,
    ChatRequest,
    Client,
    EmbeddingRequest,
    GatewayError,
    Limits,
    Message,
    NewKey,
    NewTenant,
    RequestSigning,
    RerankRequest,
    RetryPolicy,
    TokenRow,
)
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.scripted import (
    Answer,
    Cut,
    Garbage,
    Hang,
    Reset,
    ScriptedProvider,
    Step,
    Stream,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "admin-key-0123456789"
SECRET = "signing-secret-" + "0" * 32
SIGNING = RequestSigning(SECRET, "one")
ONCE = RetryPolicy(max_attempts=1)
SIMULATED = ChatRequest("simulated", [Message.user("Low tide")])
STREAM = Stream(openai.chat_stream())
WHOLE = openai.chat_answer()


def scripted() -> ChatRequest:
    """A question that no cache knows."""
    return ChatRequest("scripted/gpt-6-sol", [Message.user(f"Low tide at {token_hex(4)}?")])


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    provider: ScriptedProvider

    def client(self, key: str | None = None, **options: Any) -> Client:
        options = {"retry": ONCE, "signing": SIGNING, **options}
        return Client(self.gateway.url, key or self.gateway.api_key, **options)

    def waiting(self, key: str | None = None, **options: Any) -> AsyncClient:
        options = {"retry": ONCE, "signing": SIGNING, **options}
        return AsyncClient(self.gateway.url, key or self.gateway.api_key, **options)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    """Signatures are demanded, so every test signs."""
    async with ScriptedProvider() as provider:
        config = {
            "providers": {
                "simulated": {"kind": "simulated"},
                "scripted": {
                    "kind": "openai",
                    "api_key": "sk-test",
                    "base_url": f"{provider.url}/v1",
                    "max_retries": 0,
                    "timeout_seconds": 1,
                    "chunk_gap_seconds": 1,
                },
            },
            "security": {
                "auth": {"admin_key": ADMIN},
                "request_signing": {"enabled": True, "secrets": {"one": SECRET}},
            },
            "cache": {"enabled": True},
            "resilience": {"circuit_breaker": {"enabled": False}},
            "plugins": {"disabled": ["guard_provider_limits"]},
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, provider)


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    running.provider.reset()
    yield running
    running.provider.reset()


def idle_at(provider: ScriptedProvider) -> int:
    """How many connections stay when the next request's is closed."""
    return max(0, provider.connections_open - 1)


def collected(client: Client, request: ChatRequest) -> tuple[str, GatewayError | None]:
    """What came of a stream, and what it ended with."""
    text = ""
    try:
        for chunk in client.chat_stream(request):
            text += "".join(each.delta.content or "" for each in chunk.choices)
    except GatewayError as error:
        return text, error
    return text, None


async def awaited(client: AsyncClient, request: ChatRequest) -> tuple[str, GatewayError | None]:
    text = ""
    try:
        async for chunk in client.chat_stream(request):
            text += "".join(each.delta.content or "" for each in chunk.choices)
    except GatewayError as error:
        return text, error
    return text, None


async def both(site: Site) -> list[tuple[str, GatewayError | None]]:
    with site.client() as client:
        first = await asyncio.to_thread(collected, client, scripted())
    async with site.waiting() as other:
        return [first, await awaited(other, scripted())]


async def refusals(
    site: Site,
    blocking: Callable[[Client], object],
    waiting: Callable[[AsyncClient], Awaitable[object]],
) -> list[GatewayError]:
    found = []
    with site.client() as client:
        with pytest.raises(GatewayError) as caught:
            await asyncio.to_thread(blocking, client)
        found.append(caught.value)
    async with site.waiting() as other:
        with pytest.raises(GatewayError) as caught:
            await waiting(other)
        found.append(caught.value)
    return found


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        (Hang(), 504, "upstream_timeout"),
        (Hang("mid_body", of=WHOLE), 504, "upstream_timeout"),
        (Reset(), 502, "upstream_truncated"),
        (Reset("mid_body", of=WHOLE), 502, "upstream_truncated"),
        (Cut("mid_body", of=WHOLE), 502, "upstream_truncated"),
        (Garbage(), 502, "upstream_truncated"),
        (Answer(body=b"<html>"), 502, "upstream_truncated"),
        (openai.error_answer(400, "invalid_value", param="top_p"), 400, "invalid_value"),
        (openai.error_answer(401, "invalid_api_key"), 502, "upstream_credentials"),
        (openai.error_answer(500), 502, "upstream_error"),
        (openai.error_answer(503, "server_is_overloaded"), 503, "upstream_overloaded"),
    ],
)
async def test_answer_broken(site: Site, step: Step, status: int, code: str) -> None:
    """Whatever breaks behind the gateway is an error with its status, code and request id."""
    site.provider.default = step

    for error in await refusals(site, lambda c: c.chat(scripted()), lambda c: c.chat(scripted())):
        assert (error.status, error.code) == (status, code)
        assert error.request_id and error.request_id in str(error)


@pytest.mark.parametrize(
    "step",
    [
        Reset("between", 2, STREAM),
        Cut("between", 2, STREAM),
        Cut("mid_body", 2, STREAM),
        Hang("between", 2, STREAM),
        Stream([*openai.chat_stream()[:2], openai.error_frame()], 0.05),
        Stream([*openai.chat_stream()[:2], b"data: {nonsense\n\n"], 0.05),
        Stream(openai.chat_stream()[:2], 0.05, framing="close"),
    ],
)
async def test_stream_broken(site: Site, step: Step) -> None:
    """What has come is handed over, then the error is raised: never half an answer as a whole."""
    site.provider.default = step

    for text, error in await both(site):
        assert text == "Low"
        assert error is not None and error.code and error.request_id


async def test_stream_dribbled(site: Site) -> None:
    """One byte at a time is the same text."""
    site.provider.default = Stream(openai.chat_stream(include_usage=True), chunk_size=1)

    assert await both(site) == [("Low tide", None)] * 2


async def test_closing_hangs_up(site: Site) -> None:
    """Closing a stream ends the request at the provider."""
    site.provider.default = Hang("between", 2, STREAM)

    kept = idle_at(site.provider)
    async with site.waiting() as client:
        async with client.chat_stream(scripted()) as stream:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
        await site.provider.wait_closed(kept)

    def leave() -> None:
        with site.client() as client, client.chat_stream(scripted()) as stream:
            next(stream)

    kept = idle_at(site.provider)
    await asyncio.to_thread(leave)
    await site.provider.wait_closed(kept)


async def test_cancelling_hangs_up(site: Site) -> None:
    """A cancelled task ends the request at the provider."""
    site.provider.default = Hang()
    kept = idle_at(site.provider)

    async with site.waiting() as client:
        asking = asyncio.create_task(client.chat(scripted()))
        await site.provider.wait_received(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await site.provider.wait_closed(kept)


async def test_retries(site: Site) -> None:
    """What may pass is asked again, signed anew; what the gateway calls final is not."""
    overloaded = openai.error_answer(503, "server_is_overloaded")
    site.provider.enqueue(overloaded, overloaded, WHOLE)
    quick = RetryPolicy(initial_delay_seconds=0.01)

    async with site.waiting(retry=quick) as client:
        answer = await client.chat(scripted())
        assert answer.choices[0].message.content == "Low tide"
        assert len(site.provider.received) == 3

        site.provider.enqueue(openai.error_answer(400, "invalid_value"))
        with pytest.raises(GatewayError) as caught:
            await client.chat(scripted())
    assert caught.value.attempts == 1 and len(site.provider.received) == 4


async def test_answers(site: Site) -> None:
    """Text, vectors, rankings, models and health, typed, with what the gateway did."""
    embed = EmbeddingRequest("simulated-embedding", ["tide", "train"], dimensions=4)
    rank = RerankRequest("simulated", "low tide", ["trains", "the low tide"], top_n=1)
    async with site.waiting() as client:
        answer = await client.chat(SIMULATED)
        vectors = await client.embeddings(embed)
        ranking = await client.rerank(rank)
        models = await client.models()
        health = await client.health()

    assert answer.served.provider == "simulated" and answer.served.attempts == 1
    assert answer.request_id and answer.usage and answer.usage.total_tokens
    assert [len(each.embedding) for each in vectors.data] == [4, 4]
    assert [each.index for each in ranking.results] == [1]
    assert "simulated" in [each.id for each in models]
    assert health.ok


async def command(site: Site, *words: str, **env: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "--url", site.gateway.url, *words),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_commands_sign(site: Site) -> None:
    """Client and admin commands sign where the variables say with what."""
    signing = {"LLM_GATEWAY_SIGNING_SECRET": SECRET, "LLM_GATEWAY_SIGNING_KEY_ID": "one"}
    chat = ("--api-key", site.gateway.api_key, "chat", "Low tide", "-m", "simulated")
    admin = ("--api-key", ADMIN, "cache-status", "stats", "--tenant", "the harbour")

    assert (await command(site, *chat, **signing))[0] == 0
    assert (await command(site, *admin, **signing))[0] == 0
    for words in (chat, admin):
        code, text = await command(site, *words)
        assert code == 1 and "signature" in text.lower(), text


async def test_unsigned_is_refused(site: Site) -> None:
    """Without a signature the gateway says no, so the tests here prove that we sign."""
    async with AsyncClient(site.gateway.url, site.gateway.api_key, retry=ONCE) as client:
        with pytest.raises(GatewayError) as caught:
            await client.chat(SIMULATED)

    assert (caught.value.status, caught.value.code) == (401, "invalid_signature")


async def test_keys_and_tenants(site: Site) -> None:
    """A key is made, used, changed, rotated and revoked; its tenant comes and goes."""
    async with site.waiting(ADMIN) as client:
        admin = client.admin
        tenant = await admin.create_tenant(NewTenant(id="harbour", name="Harbour"))
        new = NewKey(tenant="harbour", models=("simulated",), limits=Limits(max_concurrent=2))
        made = await admin.create_key(new)
        assert made.key and made.key not in repr(made)
        async with site.waiting(made.key) as user:
            assert (await user.chat(SIMULATED)).choices
        changed = await admin.change_key(made.id, {"name": "pier", "models": None})
        rotated = await admin.rotate_key(made.id, grace_seconds=0)
        shown = await admin.keys(tenant="harbour")
        revoked = await admin.revoke_key(made.id)
        renamed = await admin.change_tenant("harbour", {"name": "Old harbour"})
        listed = [each.id for each in await admin.tenants()]
        await admin.delete_tenant("harbour")
        with pytest.raises(GatewayError) as gone:
            await admin.tenant("harbour")

    assert (tenant.name, renamed.name) == ("Harbour", "Old harbour")
    assert (changed.name, changed.models, changed.limits.max_concurrent) == ("pier", None, 2)
    assert rotated.key and rotated.key != made.key
    assert [(each.id, each.key) for each in shown] == [(made.id, None)]
    assert revoked.revoked_at is not None and "harbour" in listed
    assert gone.value.status == 404


async def test_reports(site: Site) -> None:
    """Cost, tokens, latency, audit and cache, from either client."""

    def ask() -> None:
        with site.client(ADMIN) as client:
            client.chat(SIMULATED)
            client.admin.cost(window="1h", group_by=["tenant", "hour"], breakdown=True)
            assert client.admin.cache_stats()[0].cache
            assert isinstance(client.admin.clear_cache(model="simulated"), int)
            assert client.admin.cache_config()
            assert client.admin.ask("GET", "audit", query={"limit": "1"})["rows"] is not None

    await asyncio.to_thread(ask)
    async with site.waiting(ADMIN) as client:
        async with asyncio.timeout(10):
            while not (rows := await _used(client)):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)  # until the ledger has shipped
        times = await client.admin.latency(window="1h")
        records = await client.admin.audit(limit=5)
        broken = await client.admin.audit_verify()
        with pytest.raises(GatewayError) as wrong:
            await client.admin.cost(window="soon")

    assert sum(each.requests for each in rows) >= 1
    assert times and times[0].p50_ms >= 0
    assert all(each.kind and each.hash for each in records) and broken == ()
    assert wrong.value.param == "window"


async def _used(client: AsyncClient) -> tuple[TokenRow, ...]:
    return await client.admin.token_usage(window="1h", group_by=["model"])


async def test_timeout_of_a_request(site: Site) -> None:
    """The request's own time-out wins over the client's, and is not asked again."""
    site.provider.default = Hang()

    async with site.waiting(retry=RetryPolicy()) as client:
        with pytest.raises(GatewayError, match="in time"):
            await client.chat(scripted(), timeout=0.2)
        with pytest.raises(GatewayError, match="in time"):
            await client.with_options(timeout=0.2).chat(scripted())

    assert len(site.provider.received) == 2
