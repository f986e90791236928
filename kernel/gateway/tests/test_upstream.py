"""Calls to providers over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from llm_gateway.upstream import Upstream, wire
from llm_gateway.watchdog import Watchdog
from llm_gateway_api import FailureClass, UpstreamError, UpstreamRequest

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    """A raw server on loopback; `script` handles each connection."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/x"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def request(url: str, body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest("POST", url, {"authorization": "Bearer x"}, body, decoder=lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here


def upstream(max_connections: int = 10, connect_seconds: float = 1.0) -> Upstream:
    return Upstream(Watchdog(asyncio.get_running_loop()), max_connections, connect_seconds)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_connection_is_kept_and_used_again() -> None:
    """Two calls in a row share one connection."""
    connections = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with serving(script) as url:
        client = upstream()
        for _ in range(3):
            connection = await client.send(request(url), soon(5))
            assert await connection.read(100) == b"ok"
            connection.release()
        client.close()

    assert connections == 1


async def test_stale_connection_is_replaced_once() -> None:
    """A kept connection that died before any byte of the answer is no failure."""
    served = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await read_request(reader)
        served += 1
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        if served == 1:
            await reader.readexactly(1)  # the next request meets a closing socket

    async with serving(script) as url:
        client = upstream()
        first = await client.send(request(url), soon(5))
        await first.read(100)
        first.release()
        second = await client.send(request(url), soon(5))
        assert await second.read(100) == b"ok"
        second.release()
        client.close()

    assert served == 2


@pytest.mark.parametrize(
    "framing",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde",
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_any_framing_gives_the_same_body(framing: bytes, bytewise: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in (framing[i : i + 1] for i in range(len(framing))) if bytewise else (framing,):
            writer.write(piece)
            await asyncio.sleep(0)

    async with serving(script) as url:
        client = upstream()
        connection = await client.send(request(url), soon(5))
        assert await connection.read(100) == b"abcde"
        connection.release()
        client.close()


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", FailureClass.BROKEN_BEFORE_COMMIT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", FailureClass.BROKEN_BEFORE_COMMIT),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            FailureClass.BROKEN_BEFORE_COMMIT,
        ),
        (b"NOT HTTP AT ALL\r\n\r\n", FailureClass.BROKEN_BEFORE_COMMIT),
    ],
)
async def test_cut_or_garbled_answer_is_a_failure(answer: bytes, failure: FailureClass) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    async with serving(script) as url:
        client = upstream()
        with pytest.raises(UpstreamError) as caught:
            connection = await client.send(request(url), soon(5))
            try:
                await connection.read(100)
            finally:
                connection.release()
        client.close()

    assert caught.value.failure is failure


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
async def test_silence_ends_at_the_deadline(head: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(head)
        await reader.read()

    async with serving(script) as url:
        client = upstream()
        with pytest.raises(UpstreamError) as caught:
            connection = await client.send(request(url), soon(0.2))
            try:
                await connection.read(100)
            finally:
                connection.release()
        client.close()

    assert caught.value.failure is FailureClass.NO_FIRST_CONTENT
    assert caught.value.status == 504


async def test_refused_connection_names_no_address() -> None:
    with pytest.raises(UpstreamError) as caught:
        await upstream().send(request("http://127.0.0.1:1/v1"), soon(1))

    assert caught.value.failure is FailureClass.CONNECT
    assert "127.0.0.1" not in str(caught.value)


async def test_full_pool_waits_for_its_turn() -> None:
    """More calls than connections: the third waits for a free one."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with serving(script) as url:
        client = upstream(max_connections=2)

        async def call() -> bytes:
            connection = await client.send(request(url), soon(5))
            await asyncio.sleep(0.01)
            body = await connection.read(100)
            connection.release()
            return body

        assert await asyncio.gather(*(call() for _ in range(8))) == [b"ok"] * 8
        client.close()


async def test_answer_larger_than_the_limit_is_refused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 200)

    async with serving(script) as url:
        client = upstream()
        connection = await client.send(request(url), soon(5))
        with pytest.raises(UpstreamError, match="larger than 100 bytes"):
            await connection.read(100)
        connection.release()
        client.close()


def test_line_break_in_a_header_is_refused() -> None:
    bad = UpstreamRequest("POST", "http://h/x", {"a": "b\r\nc: d"}, b"", decoder=lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here

    with pytest.raises(ValueError, match="line break"):
        wire(bad)
