"""The guarded fetch over real sockets: where it goes, how far it follows, when it stops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from llm_gateway.fetching import Fetcher, checked
from llm_gateway.sections import Egress
from llm_gateway_api import EgressRefusedError, FetchError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on loopback: its port. What still runs at the end is ended."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks)
    await asyncio.sleep(0)  # transports close in the loop's next round


@asynccontextmanager
async def serving(
    answer: Callable[[bytes], bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers by the head: its port, and the heads it received."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer(heads[-1]))
        await writer.drain()

    async with served(handle, tls) as port:
        yield port, heads


class Names(AbstractResolver):
    """Resolves as it is told, differently each time if it is told so."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def fetcher(*names: str, **settings: Any) -> Fetcher:
    given = {"allow_private": ("127.0.0.1",), **settings}
    return Fetcher(Egress(**given), Names(*names) if names else None)


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()


async def test_an_answer_is_read_whole() -> None:
    async with serving(lambda head: ok(b"pixels", b"content-type: image/png")) as (port, heads):
        found = await fetcher("127.0.0.1")(f"http://pictures.example:{port}/a?b=c")

    assert (found.status, found.body) == (200, b"pixels")
    assert found.headers["content-type"] == "image/png"
    assert heads[0].startswith(b"GET /a?b=c HTTP/1.1")
    assert b"cookie" not in heads[0].lower() and b"authorization" not in heads[0].lower()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]",
             "[::ffff:127.0.0.1]", "127.0.0.1.", "①②⑦.0.0.1"]
)  # fmt: skip
async def test_loopback_is_refused_however_it_is_written(host: str) -> None:
    """No byte arrives there, whatever the form of the address."""
    async with serving(lambda head: ok(b"secret")) as (port, heads):
        with pytest.raises(FetchError):
            await Fetcher(Egress())(f"http://{host}:{port}/")

    assert heads == []


async def test_the_address_is_judged_when_it_is_connected_to() -> None:
    """A name that stands for something else at its second asking gains nothing."""
    async with serving(lambda head: ok(b"secret")) as (port, heads):
        guarded = Fetcher(Egress(fetch_seconds=2), Names("127.0.0.1", "127.0.0.1"))
        for _ in range(2):
            with pytest.raises(EgressRefusedError, match="private or reserved"):
                await guarded(f"http://rebinding.example:{port}/")

    assert heads == []


async def test_each_redirect_is_judged_again() -> None:
    async with serving(lambda head: ok(b"secret")) as (inside, reached):
        target = f"http://inner.example:{inside}/"
        async with serving(lambda head: moved(target)) as (port, _):
            guarded = fetcher("127.0.0.1", "127.0.0.2", allow_private=("127.0.0.1",))
            with pytest.raises(EgressRefusedError, match=r"inner\.example"):
                await guarded(f"http://outer.example:{port}/")

    assert reached == []


async def test_redirects_are_followed_up_to_a_bound() -> None:
    """Relative ones too; a circle ends."""
    answers = {b"/a": moved("/b"), b"/b": ok(b"here"), b"/round": moved("/round")}
    async with serving(lambda head: answers[head.split(b" ")[1]]) as (port, heads):
        found = await fetcher()(f"http://127.0.0.1:{port}/a")
        with pytest.raises(FetchError, match="more than 5 times"):
            await fetcher()(f"http://127.0.0.1:{port}/round")

    assert (found.body, found.url) == (b"here", f"http://127.0.0.1:{port}/b")
    assert len(heads) == 2 + 6


@pytest.mark.parametrize(
    "call", [{"headers": {"authorization": "Bearer x"}}, {"method": "POST", "body": b"{}"}]
)
async def test_a_call_that_carries_something_is_not_redirected(call: Any) -> None:
    async with (
        serving(lambda head: ok(b"mine now")) as (other, reached),
        serving(lambda head: moved(f"http://127.0.0.1:{other}/")) as (port, _),
    ):
        with pytest.raises(FetchError, match="redirected"):
            await fetcher()(f"http://127.0.0.1:{port}/", **call)

    assert reached == []


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "//", "http:///x"]
)
async def test_redirect_to_another_scheme_is_refused(target: str) -> None:
    async with serving(lambda head: moved(target)) as (port, _):
        with pytest.raises(FetchError):
            await fetcher()(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "url",
    ["", "x", "file:///etc/passwd", "http://", "http://u:p@a.example/", "http://a.example:0/",
     "http://a.example:99999/", "http://a b/", "http://a.example/\r\nx: y", "http://a\\@b/",
     "data:image/png;base64,AA", "http://[::1", "http://a.example/" + "x" * 9000],
)  # fmt: skip
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        checked(url)


@pytest.mark.parametrize(
    "framing", [b"content-length: 200", b"transfer-encoding: chunked", b"x: y"]
)
async def test_an_answer_larger_than_allowed_is_dropped(framing: bytes) -> None:
    body = b"c8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n" if b"chunked" in framing else b"x" * 200
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n" + framing + b"\r\n\r\n" + body
    async with serving(lambda head: answer) as (port, _):
        url = f"http://127.0.0.1:{port}/"
        with pytest.raises(FetchError, match="larger than 100 bytes"):
            await fetcher(max_fetch_bytes=100)(url)
        with pytest.raises(FetchError, match="larger than 7 bytes"):
            await fetcher(max_fetch_bytes=100)(url, max_bytes=7)
        assert len((await fetcher(max_fetch_bytes=200)(url, max_bytes=10**9)).body) == 200


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """A small answer that would become a large one is refused."""
    async with serving(lambda head: ok(b"\x1f\x8b", b"content-encoding: gzip")) as (port, _):
        with pytest.raises(FetchError, match="compressed"):
            await fetcher()(f"http://127.0.0.1:{port}/")


async def test_silence_ends() -> None:
    async with serving(lambda head: b"") as (port, _):
        with pytest.raises(FetchError):
            await fetcher()(f"http://127.0.0.1:{port}/")

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up

    async with served(silent) as port:
        with pytest.raises(FetchError, match=r"longer than 0\.1 s"):
            await fetcher(fetch_seconds=0.1)(f"http://127.0.0.1:{port}/")


async def test_a_certificate_nobody_trusts_is_told(certificate: Any) -> None:
    """And no request reached who showed it."""
    async with serving(lambda head: ok(b"x"), certificate.server()) as (port, heads):
        with pytest.raises(FetchError, match="certificate is not trusted"):
            await fetcher()(f"https://localhost:{port}/")

    assert heads == []


async def test_only_so_many_at_once() -> None:
    """The third waits until one of two is answered."""
    waiting: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = asyncio.Event()
        waiting.put_nowait(answer)
        await answer.wait()
        writer.write(ok(b"x"))

    async with served(handle) as port, asyncio.timeout(10):
        get = fetcher(max_concurrent_fetches=2)
        calls = [asyncio.create_task(get(f"http://127.0.0.1:{port}/")) for _ in range(4)]
        first, second = await waiting.get(), await waiting.get()
        assert waiting.empty()
        first.set()
        third = await waiting.get()
        assert waiting.empty()
        second.set()
        third.set()
        (await waiting.get()).set()
        assert [each.body for each in await asyncio.gather(*calls)] == [b"x"] * 4


async def test_environment_proxies_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving(lambda head: ok(b"direct")) as (port, _):
        assert (await fetcher()(f"http://127.0.0.1:{port}/")).body == b"direct"
