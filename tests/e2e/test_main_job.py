"""The main job: an OpenAI request in, the provider's own bytes out."""

from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALLS = [openai.ToolCall("call_T1", "get_tide", ('{"port":', '"Brest"}'))]
HELLO = {"model": "gpt-6-sol", "messages": [{"role": "user", "content": "Tide?"}]}


@pytest.mark.parametrize(
    "answer",
    [
        openai.chat_answer(),
        openai.chat_answer("naïve 潮 🌊"),
        openai.chat_answer(None, tool_calls=CALLS),
        openai.chat_answer("cut", finish_reason="length"),
    ],
)
async def test_plain_answer_unchanged(site: Any, answer: Any) -> None:
    """The provider's bytes reach the client as they are."""
    site.provider.enqueue(answer)

    reply = await site.chat()

    assert (reply.status, reply.body) == (200, answer.body)
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-request-id"]
    assert reply.headers["x-gateway-provider"] == "upstream"


@pytest.mark.parametrize("size", [None, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "frames",
    [openai.chat_stream(["Low", " 潮", " 🌊"]), openai.chat_stream([], tool_calls=CALLS)],
    ids=["text", "tools"],
)
async def test_stream_unchanged(site: Any, frames: list[bytes], size: int | None) -> None:
    """The provider's frames reach the client as they are, however they were cut."""
    site.provider.enqueue(Stream(frames, chunk_size=size))

    reply = await site.chat(stream=True)

    assert (reply.status, reply.body) == (200, b"".join(frames))
    assert reply.headers["content-type"].startswith("text/event-stream")


async def test_stream_is_not_held_back(site: Any) -> None:
    """A frame is passed on when it comes, not when the stream is over."""
    site.provider.enqueue(Stream(openai.chat_stream(), delay_s=0.2))

    async with site.chatting(stream=True) as answer:
        seen = await answer.until(b'"Low"')

    assert b" tide" not in seen


async def test_usage_asked_and_kept(site: Any) -> None:
    """A client that asks for usage gets the provider's usage frame."""
    frames = openai.chat_stream(include_usage=True)
    site.provider.enqueue(Stream(frames))

    reply = await site.chat(stream=True, stream_options={"include_usage": True})

    assert reply.body == b"".join(frames)


async def test_usage_not_asked_is_hidden(site: Any) -> None:
    """The gateway asks for usage itself, and a client that did not ask sees no such frame."""
    site.provider.enqueue(Stream(openai.chat_stream(include_usage=True)))

    reply = await site.chat(stream=True)

    sent = site.provider.received[0].json
    assert sent["stream_options"] == {"include_usage": True}
    assert b'"choices":[]' not in reply.body
    assert reply.body.endswith(openai.DONE)


async def test_upstream_request(site: Any) -> None:
    """The provider gets the client's members, its own key, and nothing of the client's."""
    site.provider.enqueue(openai.chat_answer())

    await site.chat(temperature=0, seed=7, user="u-1")

    request = site.provider.received[0]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-test-upstream"
    assert request.json["temperature"] == 0 and request.json["seed"] == 7
    assert request.json["model"] == "gpt-6-sol"
    assert site.key not in str(request)


async def test_direct_address(site: Any) -> None:
    """``provider/model`` goes to that provider under the model's own name."""
    site.provider.enqueue(openai.chat_answer())

    reply = await site.chat(model="patient/gpt-6-sol")

    assert reply.headers["x-gateway-provider"] == "patient"
    assert site.provider.received[0].json["model"] == "gpt-6-sol"


async def test_embeddings_unchanged(site: Any) -> None:
    """Vectors pass as the provider wrote them."""
    answer = openai.embeddings_answer([(1.0, -2.0), (0.5, 3.0)])
    site.provider.enqueue(answer)
    body = {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "base64"}

    reply = await call(f"{site.base_url}/embeddings", body, key=site.key)

    assert (reply.status, reply.body) == (200, answer.body)


@pytest.mark.parametrize("key", [None, "wrong-key-0123456789"])
async def test_key_is_demanded(site: Any, key: str | None) -> None:
    """Without a known key nothing goes upstream."""
    reply = await call(f"{site.base_url}/chat/completions", HELLO, key=key)

    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
    assert not site.provider.received


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'"text"', None),
        (b'{"model": "m", "messages": [], "x": "\xff"}', None),
        (b"{}" + b"x", None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, None),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": 7, "messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "", "messages": [{"role": "user", "content": "x"}]}', "model"),
        (b'{"model": "m"}', "messages"),
        (b'{"model": "m", "messages": "x"}', "messages"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "user"}], "stream": "yes"}', "stream"),
        (b'{"model": "m", "model": "n", "messages": [{"role": "user"}]}', "model"),
    ],
)
async def test_malformed_body(site: Any, body: bytes, param: str | None) -> None:
    """What no provider could read is refused here, with the member at fault."""
    reply = await site.chat(body)

    assert reply.status == 400
    error = reply.json["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert not site.provider.received


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/", 404)],
)
async def test_unknown_route(site: Any, method: str, path: str, status: int) -> None:
    """What is not served is refused in the dialect's shape."""
    body = None if method == "GET" else b"{}"

    reply = await call(site.gateway.url + path, body, key=site.key, method=method)

    assert reply.status == status
    assert reply.json["error"]["message"]
