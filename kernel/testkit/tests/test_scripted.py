"""The scripted provider against raw sockets: what it says is what goes over the wire."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.rawclient import call, exchange
from llm_gateway_testkit.scripted import (
    Answer,
    Cut,
    Garbage,
    Hang,
    Received,
    Reset,
    ScriptedProvider,
    Stream,
)

FRAMES = openai.chat_stream()


async def raw(provider: ScriptedProvider, sent: bytes) -> tuple[bytes, bool]:
    """All that comes back for `sent`, and whether it ended with a reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(sent)
    received = b""
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionResetError:
        return received, True
    finally:
        writer.close()
    return received, False


MISSING = "missing_required_parameter"
GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_answer_and_record() -> None:
    """A request is recorded as it came, and answered with the next step."""
    async with ScriptedProvider(Answer(201, {"X-Own": "1"}, b"hello")) as provider:
        reply = await call(f"{provider.url}/v1/x?y=1", b'{"a": 1}', key="k")

        assert (reply.status, reply.body, reply.headers["x-own"]) == (201, b"hello", "1")
        received = provider.received[0]
        assert (received.method, received.path) == ("POST", "/v1/x?y=1")
        assert received.headers["authorization"] == "Bearer k"
        assert received.json == {"a": 1}


async def test_keep_alive_and_pipelining() -> None:
    """Two requests in one segment are answered in turn on one connection."""
    async with ScriptedProvider(Answer(body=b"one"), Answer(body=b"two")) as provider:
        closing = GET.replace(b"host: x", b"connection: close")
        received, reset = await raw(provider, GET + closing)

        assert not reset
        assert received.index(b"one") < received.index(b"two")
        assert (provider.connections_made, len(provider.received)) == (1, 2)
        await provider.wait_closed()


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_stream(size: int | None, framing: str) -> None:
    """The frames arrive whole, however they are cut and framed."""
    stream = Stream(FRAMES, chunk_size=size, framing="close" if framing == "close" else "chunked")
    async with ScriptedProvider(stream) as provider:
        reply = await call(provider.url, b"{}")

        assert reply.body == b"".join(FRAMES)
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_default_rotates() -> None:
    """Once the queue is empty the default steps answer in turn; a callable sees the request."""
    async with ScriptedProvider(Answer(201)) as provider:
        provider.default = (Answer(202), lambda request: Answer(body=request.body))

        replies = [await call(provider.url, b"{}") for _ in range(4)]

        assert [reply.status for reply in replies] == [201, 202, 200, 202]
        assert replies[2].body == b"{}"


async def test_unscripted_request_fails_the_block() -> None:
    """A request that nobody expected is not passed over in silence."""
    with pytest.raises(AssertionError, match="nothing was scripted"):
        async with ScriptedProvider() as provider:
            assert (await call(provider.url)).status == 599


@pytest.mark.parametrize(
    ("where", "after", "sent"),
    [
        ("before_headers", 0, []),
        ("after_headers", 0, []),
        ("between", 2, FRAMES[:2]),
    ],
)
@pytest.mark.parametrize("kind", [Reset, Cut])
async def test_broken_connection(
    kind: type[Reset | Cut], where: str, after: int, sent: Sequence[bytes]
) -> None:
    """A fault comes where the script says: by RST or by FIN, after just so many frames."""
    fault = kind(where, after, Stream(FRAMES))  # type: ignore[arg-type]  # a Literal
    async with ScriptedProvider(fault) as provider:
        received, reset = await raw(provider, GET)

        assert reset is (kind is Reset)
        assert received.startswith(b"HTTP/1.1 200 OK") is (where != "before_headers")
        assert received.count(b"data: ") == len(sent)
        assert all(frame in received for frame in sent)
        await provider.wait_closed()


async def test_cut_inside_a_body() -> None:
    """Half of what ``content-length`` promised, and then the end."""
    async with ScriptedProvider(Cut("mid_body", of=Answer(body=b"0123456789"))) as provider:
        received, reset = await raw(provider, GET)

        assert not reset
        assert b"content-length: 10" in received
        assert received.endswith(b"\r\n\r\n01234")


async def test_hang_is_held_until_released() -> None:
    """A hang holds the rest of the answer back, and `release` lets it go."""
    hang = Hang("between", 1, Stream(FRAMES))
    async with ScriptedProvider(hang) as provider, exchange(provider.url, b"{}") as answer:
        pieces = answer.pieces()
        assert await anext(pieces) == FRAMES[0]
        waiting = asyncio.ensure_future(anext(pieces))
        assert not (await asyncio.wait({waiting}, timeout=0.05))[0]

        provider.release()

        assert await waiting == FRAMES[1]
        assert [piece async for piece in pieces] == FRAMES[2:]


async def test_client_that_leaves_is_noticed() -> None:
    """A client that hangs up during a hang closes its connection here."""
    async with ScriptedProvider(Hang()) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(GET)
        await provider.wait_received(1)
        assert provider.connections_open == 1

        writer.close()

        await provider.wait_closed()
        assert await reader.read() == b""


async def test_wait_closed_gives_up() -> None:
    """A connection that stays open is a failed assertion, not a hang of the test."""
    async with ScriptedProvider(Hang()) as provider:
        _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(GET)
        await provider.wait_received(1)

        with pytest.raises(AssertionError, match="1 connections open"):
            await provider.wait_closed(timeout_s=0.05)
        writer.close()


async def test_garbage_and_refusal() -> None:
    """Bytes that are no HTTP go out as they are; a refused port refuses."""
    async with ScriptedProvider(Garbage(b"\x00nonsense")) as provider:
        assert await raw(provider, GET) == (b"\x00nonsense", False)

        with pytest.raises(ConnectionRefusedError):
            await call(provider.refused_url())


@pytest.mark.parametrize(
    ("path", "key", "body", "status", "code", "param"),
    [
        ("/v1/chat/completions", "sk", {"model": "m", "messages": [1]}, 200, None, None),
        ("/v1/chat/completions", "no", {"model": "m"}, 401, "invalid_api_key", None),
        (
            "/v1/chat/completions",
            "sk",
            {"model": "m"},
            400,
            MISSING,
            "messages",
        ),
        ("/v1/embeddings", "sk", {"input": "x"}, 400, MISSING, "model"),
        ("/v1/embeddings", "sk", {"top_q": 1}, 400, "unknown_parameter", "top_q"),
        ("/v1/nothing", "sk", {}, 404, "unknown_url", None),
    ],
)
def test_strict(
    path: str, key: str, body: object, status: int, code: str | None, param: str | None
) -> None:
    """The strict validator refuses what OpenAI refuses, in OpenAI's shape."""
    request = Received("POST", path, {"authorization": f"Bearer {key}"}, json.dumps(body).encode())

    answer = openai.strict("sk")(request)

    if status == 200:
        assert answer is None
        return
    assert answer is not None and answer.status == status
    error = json.loads(answer.body)["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert set(error) == {"message", "type", "param", "code"}
