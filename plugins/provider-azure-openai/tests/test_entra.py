"""Tokens of Entra ID: each flow, once for all calls, ahead of time, again after a refusal."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import llm_gateway_api as gw
import pytest
import pytest_asyncio
from llm_gateway_provider_azure_openai import entra
from llm_gateway_provider_azure_openai.plugin import EntraProvider, Settings, make
from llm_gateway_testkit.scripted import Answer, Cut, ScriptedProvider


@pytest_asyncio.fixture
async def login() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


def token(text: str = "t-1", life: object = 3600) -> Answer:
    return Answer(body=json.dumps({"access_token": text, "expires_in": life}).encode())


def provider(login: ScriptedProvider, **flow: Any) -> EntraProvider:
    flow = flow or {"client_secret": "s-1"}
    if "managed_identity" not in flow:
        flow |= {"tenant_id": "tenant", "client_id": "app"}
    given = {"authority_url": login.url, "identity_url": f"{login.url}/identity", **flow}
    settings = {"endpoint": "https://tides.openai.azure.com", "entra": given}
    made = make("azure_openai", Settings.model_validate(settings))
    assert isinstance(made, EntraProvider) and isinstance(made, gw.SupportsCredentials)
    return made


async def test_client_secret(login: ScriptedProvider) -> None:
    """The form of RFC 6749, and a bearer in place of a key."""
    login.enqueue(token())
    made = provider(login)

    headers = await made.auth_headers()

    assert headers == {"authorization": "Bearer t-1"}
    asked = login.received[0]
    assert (asked.method, asked.path) == ("POST", "/tenant/oauth2/v2.0/token")
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["app"],
        "client_secret": ["s-1"],
        "scope": ["https://cognitiveservices.azure.com/.default"],
    }
    assert "api-key" not in made.probe().headers


async def test_workload_identity(login: ScriptedProvider, tmp_path: Path) -> None:
    """The federated token's file is read each time, for it is written anew."""
    login.enqueue(token("a", 0.001), token("b"))
    file = tmp_path / "token"
    made = provider(login, federated_token_file=str(file))

    found = []
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        found.append(await made.auth_headers())
        made._tokens._expires = float("-inf")

    forms = [parse_qs(each.body.decode()) for each in login.received]
    assert [form["client_assertion"] for form in forms] == [["one"], ["two"]]
    assert forms[0]["client_assertion_type"] == [entra.JWT_BEARER]
    assert [each["authorization"] for each in found] == ["Bearer a", "Bearer b"]


async def test_managed_identity(login: ScriptedProvider) -> None:
    """The machine's service wants its header and a resource in place of a scope."""
    login.enqueue(token(life="3599"))

    await provider(login, managed_identity=True).auth_headers()

    asked = login.received[0]
    path, _, query = asked.path.partition("?")
    assert (asked.method, path, asked.headers["metadata"]) == ("GET", "/identity", "true")
    assert parse_qs(query) == {
        "api-version": ["2018-02-01"],
        "resource": ["https://cognitiveservices.azure.com/"],
    }


async def test_one_fetch_serves_fifty_calls(login: ScriptedProvider) -> None:
    login.enqueue(token())
    made = provider(login)

    found = await asyncio.gather(*(made.auth_headers() for _ in range(50)))

    assert len(login.received) == 1
    assert {each["authorization"] for each in found} == {"Bearer t-1"}
    await made.auth_headers()
    assert len(login.received) == 1


async def test_a_token_is_renewed_ahead_of_its_end(login: ScriptedProvider) -> None:
    """The old one serves meanwhile, also where the renewal fails."""
    login.enqueue(token("old"), Answer(500, {}, b"{}"), token("new"))
    made = provider(login)
    await made.auth_headers()
    made._tokens._due = 0.0

    during = await made.auth_headers()
    await login.wait_received(2)
    await asyncio.wait_for(_idle(made), 5)
    made._tokens._not_before = 0.0
    after_failure = await made.auth_headers()
    await login.wait_received(3)
    await asyncio.wait_for(_idle(made), 5)

    assert during == after_failure == {"authorization": "Bearer old"}
    assert await made.auth_headers() == {"authorization": "Bearer new"}


async def _idle(made: EntraProvider) -> None:
    while (task := made._tokens._fetching) is not None:
        await asyncio.wait({task})


def refusal(made: EntraProvider, sent: gw.Headers, status: int = 401) -> gw.RefusedCall:
    asked = gw.ChatRequest("prod", (gw.Message("user", (gw.TextPart("Hi"),)),))
    return gw.RefusedCall(made.encode(asked), sent, status, {}, b"{}")


async def test_a_refused_token_is_replaced_for_a_second_try(login: ScriptedProvider) -> None:
    """Once for all calls that went out with it; where the new one is refused too, it stays."""
    login.enqueue(token("old"), token("new"))
    made = provider(login)
    old = await made.auth_headers()

    first, same = refusal(made, old), refusal(made, old)
    assert made.again(first) is first.request
    assert await made.auth_headers() == {"authorization": "Bearer new"}
    assert made.again(same) is same.request  # went out with the old one, refused later
    assert made.again(refusal(made, {"authorization": "Bearer new"})) is None
    assert made.again(refusal(made, old, status=403)) is None

    assert await made.auth_headers() == {"authorization": "Bearer new"}
    made._tokens._replaced -= entra.REPLACED_SECONDS
    later = refusal(made, {"authorization": "Bearer new"})
    assert made.again(later) is later.request


@pytest.mark.parametrize(
    "step",
    [
        Answer(401, {}, b'{"error":"invalid_client","error_description":"s-1 is wrong"}'),
        Answer(200, {}, b"<html>"),
        Answer(200, {}, b'{"token":1}'),
        Answer(200, {}, b'{"access_token":"a\\nb"}'),
        Cut(),
    ],
)
async def test_no_token_is_no_call(login: ScriptedProvider, step: Any, caplog: Any) -> None:
    """The next deployment is asked; the log says why, without the secret."""
    login.enqueue(step)

    with pytest.raises(gw.UpstreamError) as caught:
        await provider(login).auth_headers()

    assert caught.value.failure is gw.FailureClass.CREDENTIAL_REFUSED
    assert "credential.failed" in caplog.text and "s-1" not in caplog.text


async def test_a_missing_file_is_told(login: ScriptedProvider, caplog: Any) -> None:
    with pytest.raises(gw.UpstreamError):
        await provider(login, federated_token_file="/nowhere/token").auth_headers()

    assert "federated_token_file" in caplog.text
