"""Both clients against scripted bytes: what they send, return and raise."""

from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
from llm_gateway_sdk import (
    AsyncClient,
    ChatChunk,
    ChatRequest,
    Client,
    ConnectionFailedError,
    GatewayError,
    Message,
    RetryPolicy,
    StreamInterruptedError,
    TimedOutError,
)

ASK = ChatRequest("gpt-4o", [Message.system("Be brief"), Message.user("Hi")], temperature=0.0)
ANSWER = {
    "id": "c1",
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Ho"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    "new": {},
}
ERROR = {"error": {"message": "No", "type": "t", "param": "p", "code": "c"}}
FAST = RetryPolicy(initial_delay_seconds=0.0)
Handler = Callable[[httpx.Request], httpx.Response]


def chunk(text: str | None, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"


def sync_client(handler: Handler) -> Client:
    http = httpx.Client(transport=httpx.MockTransport(handler))
    return Client("http://gw/v1", "key-1", retry=FAST, http=http)


def texts(chunks: list[ChatChunk]) -> list[str | None]:
    return [each.choices[0].delta.content for each in chunks if each.choices]


async def both(handler: Handler, stream: bool = False) -> list[Any]:
    """What each client makes of the same bytes; errors are returned."""
    client = sync_client(handler)
    found: list[Any] = []
    http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    other = AsyncClient("http://gw", "key-1", retry=FAST, http=http)
    try:
        found.append(list(client.chat_stream(ASK)) if stream else client.chat(ASK))
    except GatewayError as error:
        found.append(error)
    try:
        if stream:
            found.append([each async for each in other.chat_stream(ASK)])
        else:
            found.append(await other.chat(ASK))
    except GatewayError as error:
        found.append(error)
    await http.aclose()
    return found


async def test_chat() -> None:
    """The request is the chat API's; the answer is typed and carries the request id."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=ANSWER, headers={"x-request-id": "r1"})

    for response in await both(answer):
        assert response.choices[0].message.content == "Ho"
        assert response.usage.total_tokens == 4 and response.request_id == "r1"
    for request in asked:
        assert str(request.url) == "http://gw/v1/chat/completions"
        assert request.headers["authorization"] == "Bearer key-1"
        assert msgspec.json.decode(request.content) == {
            "model": "gpt-4o",
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": "Hi"},
            ],
            "temperature": 0.0,
        }


async def test_stream() -> None:
    """Chunks come in order; usage is asked for; comments are no chunk."""
    body = b": keep-alive\n\n" + chunk("Hel") + chunk("lo") + chunk(None, "stop")

    def answer(request: httpx.Request) -> httpx.Response:
        sent = msgspec.json.decode(request.content)
        assert sent["stream"] is True and sent["stream_options"] == {"include_usage": True}
        return httpx.Response(200, content=body + b"data: [DONE]\n\n")

    for chunks in await both(answer, stream=True):
        assert texts(chunks) == ["Hel", "lo", None]


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (chunk("a") + chunk(None, "stop"), True),
        (chunk("a") + b"data: [DONE]\n\n", True),
        (chunk("a"), False),
        (b"", False),
    ],
)
async def test_stream_end(body: bytes, whole: bool) -> None:
    """A stream without a finish and without [DONE] raises, however politely it ended."""
    found = await both(
        lambda _: httpx.Response(200, content=body, headers={"x-request-id": "r1"}), stream=True
    )

    for each in found:
        assert isinstance(each, list) is whole
        if not whole:
            assert isinstance(each, StreamInterruptedError) and each.request_id == "r1"


async def test_stream_error_frame() -> None:
    """An error inside a stream is raised with its code and the request id."""
    body = chunk("a") + b"data: " + msgspec.json.encode(ERROR) + b"\n\ndata: [DONE]\n\n"

    for error in await both(
        lambda _: httpx.Response(200, content=body, headers={"x-request-id": "r2"}), stream=True
    ):
        assert isinstance(error, GatewayError)
        assert (error.code, error.request_id) == ("c", "r2")


async def test_error() -> None:
    """A refusal keeps every word of the gateway's, and is not retried."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(400, json=ERROR, headers={"x-request-id": "r3"})

    for error in await both(answer):
        assert (error.status, error.code, error.param) == (400, "c", "p")
        assert str(error) == "No (request r3)"
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("status", "headers", "attempts"),
    [
        (503, {}, 3),
        (429, {"retry-after": "0"}, 3),
        (429, {"retry-after": "3600"}, 1),
        (503, {"x-should-retry": "false"}, 1),
        (409, {"x-should-retry": "true"}, 3),
        (404, {}, 1),
    ],
)
def test_retry(status: int, headers: dict[str, str], attempts: int) -> None:
    """What may pass is tried again; what the gateway calls final is not."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(status, text="<html>", headers=headers)

    with pytest.raises(GatewayError, match=f"answered {status}"):
        sync_client(answer).chat(ASK)

    assert len(asked) == attempts


def test_transport_errors() -> None:
    """No connection is tried again, an answer that did not come in time is not."""
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("refused")

    def stall(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadTimeout("slow")

    with pytest.raises(ConnectionFailedError, match="http://gw/"):
        sync_client(refuse).chat(ASK)
    assert len(asked) == 3
    with pytest.raises(TimedOutError):
        sync_client(stall).chat(ASK)
    assert len(asked) == 4


def test_models_and_health() -> None:
    """Models are typed; a gateway that is not well is an answer, not an error."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/health":
            return httpx.Response(503, json={"status": "unhealthy", "q": str(request.url.query)})
        return httpx.Response(200, json={"data": [{"id": "m", "owned_by": "p", "x": 1}]})

    client = sync_client(answer)

    (model,) = client.models()
    health = client.health(detailed=True)

    assert (model.id, model.owned_by) == ("m", "p")
    assert (health.ok, health.status) == (False, "unhealthy")
    assert "detailed=true" in health.details["q"]


def test_not_a_gateway() -> None:
    """Another server's answer is an error that asks about the address."""
    client = sync_client(lambda _: httpx.Response(200, text="<html>"))

    with pytest.raises(GatewayError, match="address"):
        client.models()


@pytest.mark.parametrize("url", ["localhost:8080", "http://[::1", "http://gw:port"])
def test_bad_address(url: str) -> None:
    """A wrong address is found when the client is made."""
    with pytest.raises(ValueError):
        Client(url)


def test_bad_key() -> None:
    """A key that no header can carry is found when the client is made, and not shown."""
    with pytest.raises(ValueError, match="API key") as caught:
        Client("http://gw", "schlüssel")
    assert "schl" not in str(caught.value)
