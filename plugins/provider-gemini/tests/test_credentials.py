"""Tokens for Vertex AI: fetched once, ahead of time, and never shown."""

import asyncio
import base64
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import llm_gateway_api as gw
import openai
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from llm_gateway_provider_gemini.credentials import REPLACED_SECONDS, Credentials
from llm_gateway_provider_gemini.plugin import Settings, VertexProvider, make
from llm_gateway_testkit import gemini_dialect as gemini
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.scripted import Answer, ScriptedProvider
from llm_gateway_testkit.steps import Received
from pydantic import ValidationError

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
EMAIL = "gateway@project-1.iam.example"


class Endpoint:
    """A token endpoint as the kernel's ``fetch``; held until `open` is set."""

    def __init__(self) -> None:
        self.forms: list[dict[str, list[str]]] = []
        self.urls: list[str] = []
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.life = 3600.0
        self.fail: Exception | None = None
        self.status = 200
        self.answer: dict[str, Any] | None = None

    async def __call__(self, url: str, **call: Any) -> gw.Fetched:
        self.urls.append(url)
        self.asked.put_nowait(url)
        self.forms.append(parse_qs(call["body"].decode()))
        await self.open.wait()
        if self.fail is not None:
            raise self.fail
        answer = self.answer or {
            "access_token": f"ya29.{len(self.forms)}",
            "expires_in": self.life,
            "token_type": "Bearer",
        }
        return gw.Fetched(url, self.status, {}, json.dumps(answer).encode())


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "sa.json")


def written(path: Path, **more: Any) -> Path:
    info = {
        "type": "service_account",
        "project_id": "p-1",
        "private_key_id": "kid-1",
        "private_key": PEM,
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
        **more,
    }
    path.write_text(json.dumps(info))
    return path


def part(jwt: str, at: int) -> Any:
    text = jwt.split(".")[at]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_the_assertion_is_signed_and_says_who_asks_for_what(file: Path) -> None:
    endpoint = Endpoint()

    headers = await Credentials(endpoint, Clock(), file, 5).headers()

    [form] = endpoint.forms
    [jwt] = form["assertion"]
    head, claims = part(jwt, 0), part(jwt, 1)
    signed, _, signature = jwt.rpartition(".")
    KEY.public_key().verify(
        base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)),
        signed.encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )
    assert headers == {"authorization": "Bearer ya29.1"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    assert (claims["iss"], claims["sub"], claims["aud"]) == (EMAIL, EMAIL, endpoint.urls[0])
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert claims["exp"] - claims["iat"] == 3600


async def test_fifty_calls_at_once_fetch_one_token(file: Path) -> None:
    endpoint = Endpoint()
    credentials = Credentials(endpoint, Clock(), file, 5)

    found = await asyncio.gather(*(credentials.headers() for _ in range(50)))

    assert len(endpoint.forms) == 1
    assert {each["authorization"] for each in found} == {"Bearer ya29.1"}


async def test_the_old_token_serves_while_the_next_is_fetched_ahead(file: Path) -> None:
    endpoint, clock = Endpoint(), Clock()
    credentials = Credentials(endpoint, clock, file, 5)
    await credentials.headers()
    endpoint.open.clear()
    clock.now += 3600 - 299

    found = [await credentials.headers() for _ in range(9)]
    for _ in range(2):
        await asyncio.wait_for(endpoint.asked.get(), 5)
    endpoint.open.set()
    for _ in range(9):  # turns of the loop, for the answer to be taken
        await asyncio.sleep(0)

    assert {each["authorization"] for each in found} == {"Bearer ya29.1"}
    assert (await credentials.headers())["authorization"] == "Bearer ya29.2"
    assert len(endpoint.forms) == 2


async def test_a_token_is_not_used_after_its_end(file: Path) -> None:
    endpoint, clock = Endpoint(), Clock()
    credentials = Credentials(endpoint, clock, file, 5)
    await credentials.headers()
    clock.now += 3601

    assert (await credentials.headers())["authorization"] == "Bearer ya29.2"


async def test_a_caller_that_leaves_does_not_stop_the_fetch_of_others(file: Path) -> None:
    endpoint = Endpoint()
    endpoint.open.clear()
    credentials = Credentials(endpoint, Clock(), file, 5)
    leaver, stayer = (asyncio.create_task(credentials.headers()) for _ in range(2))
    await asyncio.wait_for(endpoint.asked.get(), 5)

    leaver.cancel()
    endpoint.open.set()

    assert (await stayer)["authorization"] == "Bearer ya29.1"
    assert leaver.cancelled()
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize(
    ("change", "status", "answer", "fail"),
    [
        ({"private_key": "no key"}, 200, None, None),
        ({"private_key": None}, 200, None, None),
        ({"type": "external_account"}, 200, None, None),
        ({"token_uri": "http://tokens.example/x"}, 200, None, None),
        ({"token_uri": "file:///etc/passwd"}, 200, None, None),
        ({}, 400, {"error": "invalid_grant", "error_description": PEM}, None),
        ({}, 200, {"access_token": "a\r\nb"}, None),
        ({}, 200, {"access_token": ""}, None),
        ({}, 200, None, gw.FetchError("https://oauth2.googleapis.com/token is too slow")),
    ],
)
async def test_without_a_token_the_next_target_is_asked_and_nothing_leaks(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    status: int,
    answer: dict[str, Any] | None,
    fail: Exception | None,
) -> None:
    endpoint = Endpoint()
    endpoint.status, endpoint.answer, endpoint.fail = status, answer, fail
    file = written(tmp_path / "sa.json", **change)

    with caplog.at_level(logging.DEBUG), pytest.raises(gw.UpstreamError) as found:
        await Credentials(endpoint, Clock(), file, 5).headers()

    assert gw.FAILURES[found.value.failure].try_next
    assert "credential.failed" in caplog.text
    for secret in ("PRIVATE KEY", "no key", "assertion", "eyJ"):
        assert secret not in caplog.text + str(found.value)


async def test_a_file_that_is_not_there_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(gw.UpstreamError) as found:
        await Credentials(Endpoint(), Clock(), tmp_path / "gone.json", 5).headers()

    assert "gone.json" in caplog.text and "gone.json" not in str(found.value)


async def test_a_failed_fetch_ahead_is_not_repeated_at_once(file: Path) -> None:
    endpoint, clock = Endpoint(), Clock()
    credentials = Credentials(endpoint, clock, file, 5)
    await credentials.headers()
    endpoint.fail = gw.FetchError("down")
    clock.now += 3600 - 299
    await credentials.headers()
    for _ in range(2):
        await asyncio.wait_for(endpoint.asked.get(), 5)
    for _ in range(9):
        await asyncio.sleep(0)
        assert (await credentials.headers())["authorization"] == "Bearer ya29.1"

    assert len(endpoint.forms) == 2


async def test_an_authorized_users_file_is_taken(tmp_path: Path) -> None:
    endpoint = Endpoint()
    user = {"client_id": "i", "client_secret": "s", "refresh_token": "r"}
    file = written(tmp_path / "user.json", type="authorized_user", **user)

    await Credentials(endpoint, Clock(), file, 5).headers()

    assert endpoint.forms[0]["refresh_token"] == ["r"]


def settings(**more: Any) -> Settings:
    return Settings.model_validate({"project": "p-1", "credentials_file": "/x.json", **more})


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
    ],
)
def test_the_host_follows_from_the_location(location: str, host: str) -> None:
    provider = make("v", settings(location=location), Endpoint(), Clock())
    request = gw.ChatRequest("gemini-3.5-flash", (gw.Message("user", (gw.TextPart("x"),)),))

    assert provider.encode(request).url == (
        f"https://{host}/v1beta1/projects/p-1/locations/{location}/publishers/google/models/"
        "gemini-3.5-flash:generateContent"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": "k", "project": "p", "credentials_file": "/x"},
        {"project": "p"},
        {"project": "../x", "credentials_file": "/x"},
        {"project": "p", "credentials_file": "/x", "location": "evil.example/"},
        {"api_key": "k", "api_version": "../v1"},
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(given)


async def test_a_refused_token_is_replaced_for_a_second_try(file: Path) -> None:
    """Once for all calls that went out with it; where the new one is refused too, it stays."""
    clock = Clock()
    made = make("v", settings(credentials_file=file), Endpoint(), clock)
    assert isinstance(made, VertexProvider)

    def refused(sent: gw.Headers, status: int = 401) -> gw.RefusedCall:
        asked = gw.ChatRequest("gemini-3.5-flash", (gw.Message("user", (gw.TextPart("Hi"),)),))
        return gw.RefusedCall(made.encode(asked), sent, status, {}, b"{}")

    old = await made.auth_headers()
    assert made.again(refused(old)) is not None
    new = await made.auth_headers()
    assert new["authorization"] == "Bearer ya29.2"
    assert made.again(refused(old)) is not None  # went out with the old one, refused later
    assert made.again(refused(new)) is None
    assert made.again(refused(old, status=403)) is None
    assert await made.auth_headers() == new
    clock.now += REPLACED_SECONDS
    assert made.again(refused(new)) is not None


async def test_vertex_through_the_gateway(tmp_path: Path) -> None:
    """The token comes from the file's endpoint and goes to the platform alone; one that is
    refused is replaced within the attempt."""
    strict = gemini.strict(expect_token="ya29.x")

    def validate(request: Received) -> Answer | None:
        return None if request.path == "/token" else strict(request)

    async with ScriptedProvider(validator=validate) as upstream:
        file = written(tmp_path / "sa.json", token_uri=f"{upstream.url}/token")
        token = json.dumps({"access_token": "ya29.x", "expires_in": 3599}).encode()
        upstream.enqueue(Answer(body=token), gemini.chat_answer([gemini.text("Low tide")]))
        upstream.enqueue(gemini.predict_answer([(1.0, 2.0)]))
        vertex = {
            "kind": "gemini",
            "project": "p-1",
            "location": "europe-west1",
            "credentials_file": str(file),
            "base_url": upstream.url,
            "models": ["gemini-3.5-flash", "text-embedding-005"],
        }
        config = {
            "providers": {"vertex": vertex},
            "security": {"egress": {"allow_private": ["127.0.0.1"]}},
        }
        async with (
            running_gateway(config) as gateway,
            openai.AsyncOpenAI(
                base_url=f"{gateway.url}/v1", api_key=gateway.api_key, max_retries=0
            ) as sdk,
        ):
            found = await sdk.chat.completions.create(
                model="gemini-3.5-flash", messages=[{"role": "user", "content": "Tide?"}]
            )
            vectors = await sdk.embeddings.create(model="text-embedding-005", input="a")
            upstream.enqueue(gemini.error_answer(401), Answer(body=token))
            upstream.enqueue(gemini.chat_answer([gemini.text("Low tide")]))
            again = await sdk.chat.completions.with_raw_response.create(
                model="gemini-3.5-flash", messages=[{"role": "user", "content": "Tide?"}]
            )

            assert found.choices[0].message.content == "Low tide"
            assert vectors.usage.prompt_tokens == 3
            assert again.parse().choices[0].message.content == "Low tide"
            assert again.headers["x-gateway-attempts"] == "1"
            assert [each.path for each in upstream.received].count("/token") == 2
            told = "\n".join(gateway.log_lines())
            assert "ya29" not in told and "PRIVATE" not in told
