"""SDKs on both sides: ``AzureOpenAI`` takes the scripted resource, ``OpenAI`` the gateway."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai as sdk
import pytest
import pytest_asyncio
from llm_gateway_testkit import azure_dialect as azure
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.scripted import Answer, ScriptedProvider, Stream
from llm_gateway_testkit.sdksite import Site, sdk_site
from pydantic import BaseModel

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED: Any = [{"role": "user", "content": "When is low tide?"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_tide", "get_wind")
]
CALLS = [
    openai.ToolCall("call_T1", "get_tide", ('{"port":', '"Brest"}')),
    openai.ToolCall("call_W1", "get_wind", ("{}",)),
]


class Tide(BaseModel):
    port: str
    hour: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    strict = azure.strict("k-1", "t-1", ["prod", "chat", "old", "emb"])

    def validate(request: Any) -> Any:
        login = request.path.startswith("/tenant/")
        return None if login else strict(request)

    async with ScriptedProvider(validator=validate) as vendor:
        common = {"kind": "azure_openai", "endpoint": vendor.url, "max_retries": 0}
        chat = {"chat": {"base_model": "gpt-4o"}, "prod": {"base_model": "gpt-6-sol"}}
        entra = {
            "tenant_id": "tenant",
            "client_id": "app",
            "client_secret": "s",
            "authority_url": vendor.url,
        }
        config = {
            "providers": {
                "azure_openai": {**common, "api_key": "k-1", "deployments": chat},
                "quiet": {**common, "api_key": "k-1", "content_filter_results": False},
                "classic": {**common, "api_key": "k-1", "api_version": "2024-02-01"},
                "entra": {**common, "entra": entra},
                "revoked": {**common, "entra": entra},
                "missing": {**common, "api_key": "k-1"},
            },
            "routing": {
                "models": [
                    {
                        "name": "moved",
                        "deployments": [
                            {"provider": "missing", "model": "gone", "weight": 1},
                            {"provider": "azure_openai", "model": "chat", "weight": 1},
                        ],
                    }
                ]
            },
        }
        async with sdk_site(config, vendor) as made:
            yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    async with running.fresh():
        yield running


async def test_azure_sdk_takes_the_scripted_resource(site: Site) -> None:
    """On classic addresses with a key or a token; its refusals are the SDK's classes."""
    site.vendor.enqueue(
        azure.chat_answer(),
        Stream(azure.chat_stream(tool_calls=CALLS)),
        openai.embeddings_answer([(1.0, -2.0)]),
        azure.blocked_answer(),
    )
    common: Any = {"azure_endpoint": site.vendor.url, "api_version": "2024-10-21"}
    async with (
        sdk.AsyncAzureOpenAI(**common, api_key="k-1", max_retries=0) as keyed,
        sdk.AsyncAzureOpenAI(**common, azure_ad_token="t-1", max_retries=0) as tokened,
        sdk.AsyncAzureOpenAI(**common, api_key="wrong", max_retries=0) as wrong,
    ):
        plain = await keyed.chat.completions.create(model="prod", messages=ASKED)
        async with tokened.chat.completions.stream(model="prod", messages=ASKED) as stream:
            called = await stream.get_final_completion()
        vectors = await keyed.embeddings.create(model="emb", input="a")
        with pytest.raises(sdk.BadRequestError) as blocked:
            await keyed.chat.completions.create(model="prod", messages=ASKED)
        with pytest.raises(sdk.AuthenticationError):
            await wrong.chat.completions.create(model="prod", messages=ASKED)
        with pytest.raises(sdk.NotFoundError):
            await keyed.chat.completions.create(model="nowhere", messages=ASKED)

    assert plain.choices[0].message.content == "Low tide"
    assert [each.id for each in called.choices[0].message.tool_calls or []] == [
        "call_T1",
        "call_W1",
    ]
    assert vectors.data[0].embedding == [1.0, -2.0]
    assert blocked.value.code == "content_filter"


async def test_openai_sdk_takes_v1_with_a_bearer(site: Site) -> None:
    site.vendor.enqueue(azure.chat_answer())
    base = f"{site.vendor.url}/openai/v1"
    async with sdk.AsyncOpenAI(base_url=base, api_key="k-1") as client:
        answer = await client.chat.completions.create(model="prod", messages=ASKED)

    assert answer.choices[0].message.content == "Low tide"


@pytest.mark.parametrize("model", ["chat", "classic/old"])
async def test_text(site: Site, model: str) -> None:
    site.vendor.enqueue(azure.chat_answer())

    answer = await site.client.chat.completions.create(
        model=model, messages=ASKED, max_completion_tokens=9
    )

    assert answer.choices[0].message.content == "Low tide"
    assert answer.usage is not None and answer.usage.total_tokens == 11
    assert site.vendor.received[0].json["max_tokens"] == 9


@pytest.mark.parametrize("shown", [True, False])
async def test_notes_of_the_filter(site: Site, shown: bool) -> None:
    """They stand where the vendor puts them, or nowhere."""
    site.vendor.enqueue(azure.chat_answer(), Stream(azure.chat_stream()))
    model = "chat" if shown else "quiet/chat"

    plain: Any = await site.client.chat.completions.create(model=model, messages=ASKED)
    stream = await site.client.chat.completions.create(model=model, messages=ASKED, stream=True)
    chunks: list[Any] = [chunk async for chunk in stream]

    assert ("prompt_filter_results" in plain.model_extra) is shown
    assert ("content_filter_results" in plain.choices[0].model_extra) is shown
    assert any("prompt_filter_results" in each.model_extra for each in chunks) is shown


async def test_a_token_in_place_of_a_key(site: Site) -> None:
    login = json.dumps({"access_token": "t-1", "expires_in": 3600}).encode()
    site.vendor.enqueue(Answer(body=login), azure.chat_answer())

    await site.client.chat.completions.create(model="entra/prod", messages=ASKED)

    last = site.vendor.received[-1].headers
    assert last["authorization"] == "Bearer t-1" and "api-key" not in last


async def test_a_revoked_token_is_replaced_once_and_nobody_notices(site: Site) -> None:
    """A 401 costs one more token and one more call, no attempt; a second one is told."""
    site.vendor.enqueue(Answer(body=_token("t-1")), azure.chat_answer())
    await site.client.chat.completions.create(model="revoked/prod", messages=ASKED)
    site.vendor.enqueue(azure.error_answer(401), Answer(body=_token("t-1")), azure.chat_answer())

    raw = await site.client.chat.completions.with_raw_response.create(
        model="revoked/prod", messages=ASKED
    )

    assert raw.parse().choices[0].message.content
    assert raw.headers["x-gateway-attempts"] == "1"
    paths = [each.path.split("?")[0] for each in site.vendor.received]
    assert [each.startswith("/tenant/") for each in paths] == [True, False, False, True, False]

    site.vendor.enqueue(azure.error_answer(401))
    with pytest.raises(sdk.InternalServerError) as caught:
        await site.client.chat.completions.create(model="revoked/prod", messages=ASKED)
    assert caught.value.code == "upstream_credentials"


def _token(text: str) -> bytes:
    return json.dumps({"access_token": text, "expires_in": 3600}).encode()


@pytest.mark.parametrize("notes", [True, False])
@pytest.mark.parametrize("model", ["chat", "classic/old"])
async def test_stream(site: Site, notes: bool, model: str) -> None:
    """The role comes first and once, though the vendor's first chunk has no choice."""
    frames = azure.chat_stream(notes=notes, include_usage=model == "chat")
    site.vendor.enqueue(Stream(frames))

    stream = await site.client.chat.completions.create(
        model=model, messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    deltas = [each.choices[0].delta for each in chunks if each.choices]
    assert deltas[0].role == "assistant" and [each.role for each in deltas if each.role] == [
        "assistant"
    ]
    assert "".join(each.content or "" for each in deltas) == "Low tide"
    assert {each.id for each in chunks} == {openai.ID}
    assert [each.choices[0].finish_reason for each in chunks if each.choices][-1] == "stop"
    assert chunks[-1].usage is not None


async def test_stream_helper_with_tools_and_back(site: Site) -> None:
    """The results of two parallel calls go back in any order, one of them empty."""
    site.vendor.enqueue(Stream(azure.chat_stream([], tool_calls=CALLS)), azure.chat_answer())

    first, second = await site.call_tools("chat", ASKED, TOOLS, stream=True)
    calls = first.choices[0].message.tool_calls

    assert [(each.function.name, each.function.arguments) for each in calls] == [
        ("get_tide", '{"port":"Brest"}'),
        ("get_wind", "{}"),
    ]
    assert second.choices[0].message.content == "Low tide"
    rows = site.vendor.received[1].json["messages"]
    assert [each["tool_call_id"] for each in rows[2:]] == ["call_W1", "call_T1"]


async def test_structured_output(site: Site) -> None:
    site.vendor.enqueue(azure.chat_answer('{"port":"Brest","hour":14}'))

    answer = await site.client.chat.completions.parse(
        model="chat", messages=ASKED, response_format=Tide
    )

    assert answer.choices[0].message.parsed == Tide(port="Brest", hour=14)


async def test_image(site: Site) -> None:
    site.vendor.enqueue(azure.chat_answer())
    image = {"url": "https://example.com/a.png", "detail": "low"}
    content: Any = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": image}]

    await site.client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": content}]
    )

    assert site.vendor.received[0].json["messages"][0]["content"] == content


@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_embeddings(site: Site, encoding: str) -> None:
    site.vendor.enqueue(openai.embeddings_answer([(1.0, -2.0)], encoding=encoding))

    answer = await site.client.embeddings.create(model="azure_openai/emb", input="a")

    assert answer.data[0].embedding == [1.0, -2.0]


async def test_a_blocked_prompt(site: Site) -> None:
    """Told as it is, once, and to nobody else."""
    site.vendor.enqueue(azure.blocked_answer())

    with pytest.raises(sdk.BadRequestError) as caught:
        await site.client.chat.completions.create(model="chat", messages=ASKED)

    assert (caught.value.code, caught.value.param) == ("content_filter", "prompt")
    assert "violence" in caught.value.message and len(site.vendor.received) == 1


async def test_a_filtered_answer(site: Site) -> None:
    site.vendor.enqueue(Stream(azure.chat_stream(["Lo"], finish_reason="content_filter")))

    stream = await site.client.chat.completions.create(model="chat", messages=ASKED, stream=True)
    chunks = [chunk async for chunk in stream]

    assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Lo"
    assert chunks[-1].choices[0].finish_reason == "content_filter"


async def test_usage_that_does_not_come_is_estimated(site: Site) -> None:
    """As in an answer that was filtered: the figures that the client asked for are no zeros."""
    site.vendor.enqueue(Stream(azure.chat_stream(["Low tide"], finish_reason="content_filter")))

    stream = await site.client.chat.completions.create(
        model="chat", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    usage = chunks[-1].usage
    assert usage is not None
    assert usage.prompt_tokens > 5 and usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (azure.error_answer(400, "invalid_value"), sdk.BadRequestError, "invalid_value"),
        (azure.error_answer(429), sdk.RateLimitError, "rate_limit_exceeded"),
        (azure.error_answer(401), sdk.InternalServerError, "upstream_credentials"),
        (Answer(502, {}, b"<html>Bad</html>"), sdk.InternalServerError, "upstream_error"),
    ],
)
async def test_errors(
    site: Site, answer: Answer, kind: type[sdk.APIStatusError], code: str
) -> None:
    """A body without type and param becomes OpenAI's four members."""
    site.vendor.enqueue(answer)

    with pytest.raises(kind) as caught:
        await site.client.chat.completions.create(model="chat", messages=ASKED)

    assert caught.value.code == code
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


async def test_an_unknown_deployment_is_passed_over(site: Site) -> None:
    """Whichever of the two is tried first, the one that exists answers."""
    for _ in range(4):
        site.vendor.enqueue(azure.chat_answer())
        answer = await site.client.chat.completions.create(model="moved", messages=ASKED)
        assert answer.choices[0].message.content == "Low tide"
