"""A client that takes slowly slows its provider; one that takes nothing is dropped."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Hang, ScriptedProvider, Stream

ROLE, CONTENT, *END = openai.chat_stream()
FRAMES = 4000
# One frame of 16 KiB; all together are far more than what sockets and buffers hold.
FRAME = CONTENT.replace(b"Low", b"Low" + b"." * 16384)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


@dataclass
class Firehose:
    """A provider that writes as fast as it is read."""

    url: str = ""
    written: int = 0
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD + ROLE)
            for _ in range(FRAMES):
                writer.write(FRAME)
                await writer.drain()
                self.written += 1
            writer.write(b"".join(END))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            self.done.set()
            writer.close()

    async def stalled(self) -> int:
        """Wait until nothing more is written for a while, and return how much was."""
        before = -1
        async with asyncio.timeout(20):
            while before != self.written or not self.written:
                before = self.written
                await asyncio.sleep(0.3)
        return before


@asynccontextmanager
async def site(**server: Any) -> AsyncIterator[tuple[Firehose, Gateway]]:
    provider = Firehose()
    listening = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    up = {"kind": "openai", "api_key": "sk-1", "base_url": f"http://127.0.0.1:{port}/v1"}
    config = {"providers": {"up": up}, **({"server": server} if server else {})}
    async with listening, running_gateway(config) as gateway:
        yield provider, gateway


async def ask(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the question on a connection that takes as little as it can ahead of reading."""
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plug.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plug, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plug, limit=4096)
    body = json.dumps(
        {"model": "m-1", "stream": True, "messages": [{"role": "user", "content": "When?"}]}
    ).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"authorization: Bearer %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (gateway.api_key.encode(), len(body), body)
    )
    return reader, writer


async def test_slow_client_slows_its_provider() -> None:
    """What the client does not take is not read from the provider; then all of it comes."""
    async with site() as (provider, gateway):
        reader, writer = await ask(gateway)

        held = await provider.stalled()
        other = await call(f"{gateway.url}/health/live")
        got = bytearray()
        while data := await reader.read(1 << 20):
            got += data
        writer.close()

    assert held < FRAMES / 2
    assert other.status == 200
    assert got.count(b"." * 16384) == FRAMES
    assert b"[DONE]" in got
    assert b'{"error"' not in got


async def test_client_that_takes_nothing_is_dropped() -> None:
    """After `server.timeout_seconds` its connection and the provider's are closed."""
    async with site(timeout_seconds=1) as (provider, gateway):
        _, writer = await ask(gateway)

        async with asyncio.timeout(10):
            await provider.done.wait()
        other = await call(f"{gateway.url}/health/live")
        writer.close()

    assert provider.written < FRAMES / 2
    assert other.status == 200


@pytest.mark.slow
@pytest.mark.parametrize("good", [True, False])
async def test_silent_stream_is_kept_alive(good: bool) -> None:
    """After 15 s comes a 200 and a comment; who answers is still open, and an error a frame."""
    answer = Stream(openai.chat_stream())
    async with ScriptedProvider() as provider:
        up = {"kind": "openai", "api_key": "sk-1", "base_url": f"{provider.url}/v1"}
        limits = {"timeout_seconds": 60 if good else 17, "max_retries": 0}
        async with running_gateway({"providers": {"up": {**up, **limits}}}) as gateway:
            provider.enqueue(Hang(of=answer))
            reader, writer = await ask(gateway)
            async with asyncio.timeout(20):
                opened = await reader.readuntil(b"\r\n\r\n")
                size = int(await reader.readuntil(b"\r\n"), 16)
                comment = await reader.readexactly(size + 2)
            if good:
                provider.release()
            rest = await reader.read()
            writer.close()

    assert opened.startswith(b"HTTP/1.1 200 ")
    assert comment.startswith(b":")
    assert (b"[DONE]" in rest) is good
    assert (b'{"error"' in rest) is not good
