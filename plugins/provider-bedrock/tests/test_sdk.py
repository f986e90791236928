"""AWS's own SDK as a client of the scripted server, so that the server is right."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from llm_gateway_testkit import bedrock_dialect as bedrock
from llm_gateway_testkit import eventstream
from llm_gateway_testkit.scripted import ScriptedProvider

ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
ASKED: Any = [{"role": "user", "content": [{"text": "When is low tide?"}]}]
TOOLS: Any = {
    "tools": [
        {"toolSpec": {"name": "tide_at", "inputSchema": {"json": {"type": "object"}}}},
    ]
}


@contextmanager
def client(url: str, secret: str = "scripted-secret") -> Iterator[Any]:
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key=secret,
        aws_session_token="TOKENEXAMPLE",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        yield made
    finally:
        made.close()


@pytest_asyncio.fixture
async def vendor() -> AsyncIterator[ScriptedProvider]:
    validator = bedrock.strict(token="TOKENEXAMPLE")
    async with ScriptedProvider(validator=validator) as provider:
        yield provider


async def call(vendor: ScriptedProvider, name: str, **members: Any) -> Any:
    """The SDK's answer; the events of a stream as a list."""

    def ask() -> Any:
        with client(vendor.url) as sdk:
            answer = getattr(sdk, name)(**members)
            if "stream" not in answer:
                return answer
            with closing(answer["stream"]) as events:
                return list(events)

    return await asyncio.to_thread(ask)


async def test_signature_and_whole_answer(vendor: ScriptedProvider) -> None:
    """The SDK's signature is accepted, and it reads what the server writes."""
    vendor.enqueue(bedrock.converse_answer(reasoning=bedrock.Reasoning()))

    answer = await call(vendor, "converse", modelId=bedrock.MODEL, messages=ASKED)

    thought, text = answer["output"]["message"]["content"]
    assert thought["reasoningContent"]["reasoningText"]["signature"] == "c2ln"
    assert text == {"text": "Low tide"}
    assert answer["usage"]["totalTokens"] == 43
    assert answer["ResponseMetadata"]["RequestId"] == bedrock.REQUEST_ID


async def test_path_of_an_arn(vendor: ScriptedProvider) -> None:
    """An ARN is one segment, and its signature encodes it again."""
    vendor.enqueue(bedrock.converse_answer())

    await call(vendor, "converse", modelId=ARN, messages=ASKED)

    (request,) = vendor.received
    assert request.path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3A"
        "application-inference-profile%2Fabc123/converse"
    )
    assert bedrock.model_of(request) == ARN


async def test_stream(vendor: ScriptedProvider) -> None:
    """Frames, blocks and the order of events are what the SDK expects."""
    calls = [bedrock.ToolCall("tooluse_A1", "tide_at", ('{"port":', '"Brest"}'))]
    reasoning = bedrock.Reasoning(("Che", "ck"))
    vendor.enqueue(
        bedrock.streamed(bedrock.converse_stream(["Hi."], tool_calls=calls, reasoning=reasoning))
    )

    events = await call(
        vendor, "converse_stream", modelId=bedrock.MODEL, messages=ASKED, toolConfig=TOOLS
    )

    assert [next(iter(each)) for each in events] == [
        "messageStart",
        *(["contentBlockDelta"] * 3),
        "contentBlockStop",
        "contentBlockDelta",
        "contentBlockStop",
        "contentBlockStart",
        *(["contentBlockDelta"] * 2),
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events[-2] == {"messageStop": {"stopReason": "tool_use"}}


async def test_exception_inside_a_stream(vendor: ScriptedProvider) -> None:
    frames = bedrock.converse_stream()[:2]
    vendor.enqueue(
        bedrock.streamed([*frames, eventstream.exception("throttlingException", "Too many")])
    )

    with pytest.raises(EventStreamError, match="throttlingException"):
        await call(vendor, "converse_stream", modelId=bedrock.MODEL, messages=ASKED)


@pytest.mark.parametrize("name", ["ValidationException", "ThrottlingException"])
async def test_errors(vendor: ScriptedProvider, name: str) -> None:
    """The SDK makes its typed exception of the header and the body."""
    vendor.enqueue(bedrock.error_answer(name))

    with pytest.raises(ClientError) as caught:
        await call(vendor, "converse", modelId=bedrock.MODEL, messages=ASKED)

    assert caught.value.response["Error"]["Code"] == name


async def test_count_tokens_and_embeddings(vendor: ScriptedProvider) -> None:
    vendor.enqueue(bedrock.count_answer(5), bedrock.titan_answer((1.0, 2.0)))

    counted = await call(
        vendor, "count_tokens", modelId=bedrock.MODEL, input={"converse": {"messages": ASKED}}
    )
    body = json.dumps({"inputText": "a", "dimensions": 256})
    embedded = await call(
        vendor, "invoke_model", modelId=bedrock.TITAN, body=body, contentType="application/json"
    )

    assert counted["inputTokens"] == 5
    assert embedded["contentType"] == "application/json"


async def test_wrong_secret_is_refused(vendor: ScriptedProvider) -> None:
    """The server computes the signature itself."""

    def ask() -> Any:
        with client(vendor.url, "another") as sdk:
            return sdk.converse(modelId=bedrock.MODEL, messages=ASKED)

    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(ask)

    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"


IMAGE = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
USE = {"toolUse": {"toolUseId": "t1", "name": "tide_at", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "t1", "content": [{"text": "4.2"}]}}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "assistant", "content": [{"text": "Hi"}]}], "start with a user"),
        ([*ASKED, *ASKED], "alternate"),
        ([{"role": "user", "content": [{"text": " "}]}], "is blank"),
        (
            [*ASKED, {"role": "assistant", "content": [USE]}, *ASKED],
            "Expected toolResult blocks",
        ),
        (
            [
                *ASKED,
                {"role": "assistant", "content": [USE]},
                {"role": "user", "content": [RESULT]},
            ],
            "toolConfig field must be defined",
        ),
    ],
    ids=["first is the assistant", "same role twice", "blank", "no result", "no tools"],
)
async def test_turns_out_of_order(vendor: ScriptedProvider, messages: Any, words: str) -> None:
    """What the service refuses beyond its model, the scripted one refuses too."""
    with pytest.raises(ClientError, match=words):
        await call(vendor, "converse", modelId=bedrock.MODEL, messages=messages)


async def test_bytes_are_base64_on_the_wire(vendor: ScriptedProvider) -> None:
    vendor.enqueue(bedrock.converse_answer())
    messages = [{"role": "user", "content": [IMAGE, {"text": "What is it?"}]}]

    await call(vendor, "converse", modelId=bedrock.MODEL, messages=messages)

    source = vendor.received[0].json["messages"][0]["content"][0]["image"]["source"]
    assert source == {"bytes": "iVBORw=="}
