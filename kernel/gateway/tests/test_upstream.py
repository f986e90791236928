"""Calls to providers over real sockets: one suite that both implementations pass."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from llm_gateway.session import Sessions
from llm_gateway.transport import Transport
from llm_gateway.upstream import Upstream
from llm_gateway.watchdog import Watchdog
from llm_gateway.wire import MAX_KEPT, Heads
from llm_gateway_api import FailureClass, UpstreamError, UpstreamRequest

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
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

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"https://localhost:{port}/v1/x" if tls else f"http://127.0.0.1:{port}/v1/x"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def request(url: str, body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest("POST", url, {"authorization": "Bearer x"}, body, decoder=lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here


Make = Callable[..., Transport]


@pytest.fixture(params=["upstream", "session"])
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes one or the other, and closes what it made."""
    made: list[Transport] = []

    def make(max_connections: int = 10, connect_seconds: float = 1.0) -> Transport:
        if request.param == "upstream":
            watchdog = Watchdog(asyncio.get_running_loop())
            made.append(Upstream(watchdog, max_connections, connect_seconds))
        else:
            made.append(Sessions(max_connections, connect_seconds))
        return made[-1]

    yield make
    for each in made:
        each.close()
        if isinstance(each, Sessions) and each.closing is not None:
            await each.closing


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def soon(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_connection_is_kept_and_used_again(upstream: Make) -> None:
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

    assert connections == 1


async def test_stale_connection_is_replaced_once(upstream: Make) -> None:
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
async def test_any_framing_gives_the_same_body(
    upstream: Make, framing: bytes, bytewise: bool
) -> None:
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
async def test_cut_or_garbled_answer_is_a_failure(
    upstream: Make, answer: bytes, failure: FailureClass
) -> None:
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

    assert caught.value.failure is failure


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
async def test_silence_ends_at_the_deadline(upstream: Make, head: bytes) -> None:
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

    assert caught.value.failure is FailureClass.NO_FIRST_CONTENT
    assert caught.value.status == 504


async def test_refused_connection_names_no_address(
    upstream: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a reason: both are in the log, once in a while."""
    calls = upstream()
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            await calls.send(request("http://127.0.0.1:1/v1"), soon(1))

        assert caught.value.failure is FailureClass.CONNECT
        assert "127.0.0.1" not in str(caught.value)
    told = [each for each in caplog.messages if each.startswith("upstream.unreached")]
    assert len(told) == 1
    assert "at=127.0.0.1:1 error=" in told[0] and "refused" in told[0].lower()


async def test_it_is_told_when_a_request_goes_out(upstream: Make) -> None:
    """Not before there is a connection: who was not reached has read nothing."""
    told: list[str] = []
    waiting = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        waiting.set()
        await asyncio.sleep(60)

    with pytest.raises(UpstreamError):
        await upstream().send(request("http://127.0.0.1:1/v1"), soon(1), lambda: told.append("a"))
    async with serving(script) as url:
        sending = asyncio.create_task(
            upstream().send(request(url), soon(60), lambda: told.append("b"))
        )
        await waiting.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    assert told == ["b"]


async def test_what_comes_later_may_go_to_another_sink(upstream: Make) -> None:
    first: list[bytes] = []
    second: list[bytes] = []
    passed = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none")
        await passed.wait()
        writer.write(b"two")

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(60))

        def sink(data: bytes) -> None:
            first.append(data)
            if b"".join(first) == b"one":
                connection.pass_to(second.append)
                passed.set()

        await connection.pump(sink)
        connection.release()

    assert (b"".join(first), b"".join(second)) == (b"one", b"two")


async def test_full_pool_waits_for_its_turn(upstream: Make) -> None:
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


async def test_answer_larger_than_the_limit_is_refused(upstream: Make) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 200)

    async with serving(script) as url:
        client = upstream()
        connection = await client.send(request(url), soon(5))
        with pytest.raises(UpstreamError, match="larger than 100 bytes"):
            await connection.read(100)
        connection.release()


async def test_no_header_is_split(upstream: Make) -> None:
    """A line break in a header is refused, whoever let it through."""
    bad = UpstreamRequest("POST", "http://127.0.0.1:1/", {"a": "b\r\nc: d"}, b"", lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here

    with pytest.raises(ValueError):
        await upstream().send(bad, soon(1))


async def test_what_is_sent(upstream: Make) -> None:
    """The request's own headers and body, and nothing that speaks of a library."""
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nX-One: 1\r\nx-one: 2\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as url:
        connection = await upstream().send(request(url + "?a=%2F&b=c%20d"), soon(5))
        assert await connection.read(10) == b""
        connection.release()

    lines = heads[0].lower().split(b"\r\n")
    assert lines[0] == b"post /v1/x?a=%2f&b=c%20d http/1.1"
    names = {line.split(b":")[0] for line in lines[1:] if b":" in line}
    assert names <= {
        b"host",
        b"authorization",
        b"accept-encoding",
        b"content-length",
        b"connection",
    }
    assert b"accept-encoding: identity" in lines
    assert connection.headers["x-one"] == "1"


async def test_big_answer_arrives_whole(upstream: Make) -> None:
    """Ten megabytes, in pieces as they come."""
    body = b"0123456789abcdef" * 655_360

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await reader.read()

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(10))
        assert await connection.read(len(body)) == body
        connection.release()


@pytest.mark.parametrize("name", [b"content-encoding", b"Content-Encoding"])
async def test_compressed_answer_is_unpacked(upstream: Make, name: bytes) -> None:
    """Nobody asked for it, and some send it all the same."""
    packed = gzip.compress(b"hello " * 100)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        head = b"HTTP/1.1 200 OK\r\n%b: gzip\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (name, len(packed)) + packed)

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(5))
        assert await connection.read(1000) == b"hello " * 100
        connection.release()


async def test_headers_are_those_of_their_answer(upstream: Make) -> None:
    """In lower case and the first of each, also when they are looked at after the next call."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for own in (b"X-One: 1\r\nx-one: 2\r\nX-Only: first", b"X-One: 3", b"x-gone: 1"):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\ncontent-length: 2\r\n\r\nok" % own)

    told = []
    async with serving(script) as url:
        client = upstream()
        for _ in range(3):
            connection = await client.send(request(url), soon(5))
            told.append(connection.headers)
            await connection.read(100)
            connection.release()

    assert [dict(each) for each in told] == [
        {"x-one": "1", "x-only": "first", "content-length": "2"},
        {"x-one": "3", "content-length": "2"},
        {"x-gone": "1", "content-length": "2"},
    ]
    assert "x-only" not in told[1] and told[1].get("x-none") is None and len(told[1]) == 2


async def test_an_answer_with_too_many_headers_is_refused(upstream: Make) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            writer.write(b"x-%d: 1\r\n" % number)
        await writer.drain()
        await asyncio.sleep(60)

    async with serving(script) as url:
        with pytest.raises(UpstreamError) as failed:
            await upstream().send(request(url), soon(5))

    assert failed.value.failure is FailureClass.BROKEN_BEFORE_COMMIT


async def test_redirect_is_an_answer(upstream: Make) -> None:
    """The credential stays with whom it was meant for."""
    served = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        served += 1
        await read_request(reader)
        writer.write(b"HTTP/1.1 307 Go\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(5))
        await connection.read(10)
        connection.release()

    assert (connection.status, served) == (307, 1)


async def test_hold_stops_reading_until_unhold(upstream: Make) -> None:
    """While the client takes nothing, the provider cannot send without end."""
    sent = 0
    piece = b"x" * 65536
    stuck = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (400 * len(piece)))
        for _ in range(400):
            writer.write(piece)
            try:
                await asyncio.wait_for(writer.drain(), 0.3)
            except TimeoutError:
                stuck.set()
                await writer.drain()
            sent += len(piece)

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(20))
        received = 0

        def sink(data: bytes) -> None:
            nonlocal received
            if not received:
                connection.hold()
            received += len(data)

        pumping = asyncio.create_task(connection.pump(sink))
        await asyncio.wait_for(stuck.wait(), 10)
        assert received < 400 * len(piece) > sent
        connection.unhold()
        await pumping
        connection.release()

    assert received == 400 * len(piece)


async def test_deadline_may_be_moved_while_the_answer_comes(upstream: Make) -> None:
    """Later for each piece, and its class is what the caller says."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
        for _ in range(4):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        await reader.read()

    async with serving(script) as url:
        connection = await upstream().send(request(url), soon(0.25))
        connection.overdue = FailureClass.BROKEN_AFTER_COMMIT
        received: list[bytes] = []

        def sink(data: bytes) -> None:
            received.append(data)
            connection.deadline = soon(0.25)

        with pytest.raises(UpstreamError) as caught:
            await connection.pump(sink)
        connection.release()

    assert b"".join(received) == b"xxxx"
    assert caught.value.failure is FailureClass.BROKEN_AFTER_COMMIT


@pytest.mark.parametrize("answered", [False, True])
async def test_cancelled_call_closes_its_connection(upstream: Make, answered: bool) -> None:
    """At once, whether the head was in or not."""
    closed, begun = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if answered:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        begun.set()
        await reader.read()
        closed.set()

    async with serving(script) as url:
        client = upstream()

        async def call() -> None:
            connection = await client.send(request(url), soon(9))
            try:
                await connection.read(100)
            finally:
                connection.release()

        task = asyncio.create_task(call())
        await begun.wait()
        if answered:
            await asyncio.sleep(0.05)  # the head is on its way
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 1)


async def test_tls_is_verified(
    upstream: Make, certificate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate that nobody vouches for is no connection; no byte is sent."""
    heads: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_request(reader))

    async with serving(script, certificate.server()) as url:
        with pytest.raises(UpstreamError) as caught:
            await upstream().send(request(url), soon(5))

    assert caught.value.failure is FailureClass.CONNECT
    assert heads == []
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_tls_with_a_trusted_certificate(
    upstream: Make, certificate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with serving(script, certificate.server()) as url:
        connection = await upstream().send(request(url), soon(5))
        assert await connection.read(10) == b"ok"
        connection.release()


def written(
    headers: dict[str, str], body: bytes = b"", url: str = "http://h/x?y"
) -> UpstreamRequest:
    return UpstreamRequest("POST", url, headers, body, decoder=lambda: None)  # type: ignore[arg-type,return-value]  # not decoded here


@pytest.mark.parametrize("bad", ["b\r\nc: d", "b\nc: d", "b\rc: d", "b\0"])
def test_line_break_in_a_header_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        Heads().wire(written({"a": bad}))


def test_head_follows_its_headers_and_its_body() -> None:
    """Heads are kept by URL, but a changed header or body is what goes out."""
    heads, headers = Heads(), {"authorization": "one"}
    first = heads.wire(written(headers, b"12"))
    headers["authorization"] = "two"
    second = heads.wire(written(headers, b"123"))

    assert first == (
        "http://h",
        b"POST /x?y HTTP/1.1\r\nhost: h\r\nauthorization: one\r\n"
        b"accept-encoding: identity\r\ncontent-length: 2\r\n\r\n12",
    )
    assert second[1] == first[1].replace(b"one", b"two").replace(b": 2", b": 3") + b"3"


def test_heads_are_bounded() -> None:
    heads = Heads()
    for number in range(2 * MAX_KEPT):
        origin, data = heads.wire(written({}, url=f"http://h{number}/"))
        assert (origin, data[:8]) == (f"http://h{number}", b"POST / H")

    assert len(heads._kept) <= MAX_KEPT
