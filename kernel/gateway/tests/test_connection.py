"""The server's end of a connection, over a real socket: what HTTP/1.1 asks for."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp.streams import StreamReader
from llm_gateway.client import Client
from llm_gateway.connection import SPARE_CONNECTIONS, Answered, HttpServer, Incoming
from llm_gateway.watchdog import Watchdog
from llm_gateway_api import BodyTooLargeError, GatewayError

Handle = Callable[[Incoming], Awaitable[Answered]]
LIMIT = 100_000


async def echo(request: Incoming) -> Answered:
    """Answers with what it was sent."""
    client = Client(request, Watchdog(asyncio.get_running_loop()), 2.0)
    try:
        body = await client.body()
    except GatewayError as error:
        client.send(error.status, {}, error.code.encode())
    else:
        client.send(200, {}, f"{request.method} {request.path} ".encode() + body)
    return Answered(client.status, client.keep_alive)


@asynccontextmanager
async def connected(
    handle: Handle = echo,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    http = HttpServer(handle, LIMIT, 10, access_log=None)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()
        await http.shutdown(1.0)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return head, await reader.readexactly(length)


def post(body: bytes, *headers: str, path: str = "/a") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_requests_of_one_connection_are_answered_in_order() -> None:
    """Pipelined in one segment, and more than the parser's queue holds."""
    async with connected() as (reader, writer):
        writer.write(b"".join(post(b"%d" % number) for number in range(40)))

        bodies = [(await answer(reader))[1] for _ in range(40)]

    assert bodies == [b"POST /a %d" % number for number in range(40)]


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (post(b"", "connection: close"), b"200"),
        (post(b"", "connection: upgrade", "upgrade: nothing"), b"200"),
        (b"POST /a HTTP/1.1\r\nhost: a b\r\ncontent-length: 0\r\n\r\n", b"400"),
    ],
    ids=["closes", "upgrades", "wrong host"],
)
async def test_answers_before_the_last_one_stay_before_it(last: bytes, status: bytes) -> None:
    """Whoever writes it, and though all of them are answered in one turn of the loop."""
    async with connected() as (reader, writer):
        writer.write(post(b"one") + post(b"two") + last)

        found = [await answer(reader) for _ in range(3)]

    assert [body for _, body in found[:2]] == [b"POST /a one", b"POST /a two"]
    assert found[2][0].split(b" ")[1] == status


async def test_an_idle_connection_holds_nothing_of_its_last_request() -> None:
    """Bodies are large and idle connections many."""
    async with connected() as (reader, writer):
        writer.write(post(b"held"))
        assert (await answer(reader))[1] == b"POST /a held"
        gc.collect()
        held = [each for each in gc.get_objects() if isinstance(each, Incoming | StreamReader)]

        assert [each for each in held if getattr(each, "total_bytes", 1)] == []
        writer.write(post(b"next"))
        assert (await answer(reader))[1] == b"POST /a next"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_body_in_any_pieces_and_chunks(size: int) -> None:
    body = b"abcdefg" * 40
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    async with connected() as (reader, writer):
        writer.write(b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        writer.write(post(b"next"))

        assert (await answer(reader))[1] == b"POST /c " + body
        assert (await answer(reader))[1] == b"POST /a next"


async def test_client_that_waits_for_100_is_told_to_go_on() -> None:
    async with connected() as (reader, writer):
        head, body = post(b"hello", "expect: 100-continue").split(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")

        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)

        assert (await answer(reader))[1] == b"POST /a hello"


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_body_over_the_limit_is_refused_and_the_connection_ends(framing: str) -> None:
    body = b"x" * (LIMIT + 1)
    async with connected() as (reader, writer):
        if framing == "length":
            writer.write(post(body))
        else:
            writer.write(b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

        head, said = await answer(reader)

        assert head.startswith(b"HTTP/1.1 413") and said == BodyTooLargeError.code.encode()
        assert await reader.read() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\n",
        b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"GET /a HTTP/1.1\r\nhost: x\r\nbad\x00name: y\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_ambiguous_or_malformed_request_is_refused(data: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(post(b"before"))
        assert (await answer(reader))[1] == b"POST /a before"
        writer.write(data + post(b"smuggled"))
        rest = await reader.read()

    assert rest.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"smuggled" not in rest


async def test_upgrade_that_nobody_offers_is_an_ordinary_request() -> None:
    async with connected() as (reader, writer):
        writer.write(post(b"", "connection: upgrade", "upgrade: websocket"))

        assert (await answer(reader))[1] == b"POST /a "
        writer.write(post(b"next"))
        assert (await answer(reader))[1] == b"POST /a next"


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (post(b"x"), True),
        (post(b"x", "connection: close"), False),
        (b"GET /a HTTP/1.0\r\nhost: x\r\n\r\n", False),
    ],
)
async def test_connection_is_kept_as_the_client_asks(data: bytes, kept: bool) -> None:
    async with connected() as (reader, writer):
        writer.write(data)
        head, _ = await answer(reader)

        assert (b"connection: close" not in head) is kept
        if not kept:
            assert await reader.read() == b""


async def test_head_has_no_body() -> None:
    async with connected() as (reader, writer):
        writer.write(b"HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n" + post(b"next"))

        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 8\r\n" in head
        assert (await answer(reader))[1] == b"POST /a next"


@pytest.mark.parametrize(
    ("target", "path"), [("/a%20b?q=%31", "/a b"), ("http://x/abs?q", "/abs"), ("/a?b?c", "/a")]
)
async def test_path_is_decoded_and_has_no_query(target: str, path: str) -> None:
    async with connected() as (reader, writer):
        writer.write(post(b"", path=target))

        assert (await answer(reader))[1] == f"POST {path} ".encode()


async def test_client_that_leaves_cancels_its_request() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: Incoming) -> Answered:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with connected(hang) as (_, writer):
        writer.write(post(b""))
        await begun.wait()
        writer.close()

        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_body_that_is_not_read_does_not_harm_the_next_request() -> None:
    async def early(request: Incoming) -> Answered:
        client = Client(request, Watchdog(asyncio.get_running_loop()), 2.0)
        client.send(200, {}, request.path.encode())
        return Answered(200, True)

    async with connected(early) as (reader, writer):
        data = post(b"x" * 5000)
        writer.write(data[:-100])
        assert (await answer(reader))[1] == b"/a"
        writer.write(data[-100:] + post(b"", path="/next"))

        assert (await answer(reader))[1] == b"/next"


async def test_connections_over_the_limit_are_told_so_and_closed() -> None:
    """The spare ones are answered, those beyond are cut; when one ends, the next is served."""

    async def crowded(request: Incoming) -> Answered:
        request.keep_alive = False
        client = Client(request, Watchdog(asyncio.get_running_loop()), 2.0)
        client.send(503, {}, b"full")
        return Answered(client.status, client.keep_alive)

    http = HttpServer(echo, LIMIT, 2, crowded=crowded, access_log=None)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    opened = [await asyncio.open_connection(*address) for _ in range(2 + SPARE_CONNECTIONS + 1)]
    try:
        async with asyncio.timeout(5):
            assert await opened[-1][0].read() == b""
        for _, writer in opened[:3]:
            writer.write(post(b"a" * 1000))
        answers = [await answer(reader) for reader, _ in opened[:3]]
        async with asyncio.timeout(5):
            end = await opened[2][0].read()
        for _, writer in opened[1:]:
            writer.close()
        for _ in range(500):
            if len(http.connections) > 1:
                await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*address)
        opened.append((reader, writer))
        writer.write(post(b"again"))
        again = await answer(reader)
    finally:
        for _, writer in opened:
            writer.close()
        server.close()
        await http.shutdown(1.0)

    assert [body[:6] for _, body in answers] == [b"POST /", b"POST /", b"full"]
    assert b"connection: close" in answers[2][0].lower()
    assert end == b""
    assert again[1] == b"POST /a again"
