"""What is no good request is told so, over the wire: a 4xx in OpenAI's shape, never a 500.

Field by field is in the dialect's own tests; here are the bytes, HTTP's own rules included.
"""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from llm_gateway_testkit import openai_dialect as openai

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER = {"role": "user", "content": "hi"}
CHAT: dict[str, Any] = {"model": "gpt-6-sol", "messages": [USER]}


async def answered(site: Any, data: bytes) -> list[tuple[int, Any, bytes]]:
    """Send `data` as it is; the answers until the connection ends: status, body, head."""
    parts = urlsplit(site.gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    found = []
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            while head := await _head(reader):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                body = json.loads(await reader.readexactly(length))
                found.append((int(head.split(b" ")[1]), body, head))
    finally:
        writer.close()
    return found


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def head(site: Any, *lines: bytes, length: int | None = None, close: bool = True) -> bytes:
    start = [b"POST /v1/chat/completions HTTP/1.1", b"host: gateway"]
    start += [b"connection: close"] * close
    start.append(b"authorization: Bearer " + site.key.encode())
    if length is not None:
        start.append(b"content-length: %d" % length)
    return b"\r\n".join([*start, *lines]) + b"\r\n\r\n"


def refused(answers: list[tuple[int, Any, bytes]], *statuses: int) -> Any:
    """The error of the only answer, whose shape is checked."""
    assert len(answers) == 1, answers
    status, body, received = answers[0]
    assert status in statuses, (status, body)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] and body["error"]["code"]
    assert b"x-request-id:" in received.lower()
    assert b"x-should-retry: false" in received.lower()
    return body["error"]


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 2", b"transfer-encoding: chunked"],
        [b"transfer-encoding: chunked", b"content-length: 2"],
        [b"content-length: 2", b"content-length: 3"],
        [b"content-length: 2, 3"],
        [b"content-length: -1"],
        [b"content-length: +2"],
        [b"content-length: 0x2"],
        [b"content-length: 99999999999999999999999999"],
        [b"transfer-encoding: chunked, identity"],
        [b"transfer-encoding: gzip"],
        [b"transfer-encoding : chunked"],
        [b"x: a\r\n folded: b"],
        [b"x: a\rb"],
        [b"x: a\0b"],
        [b"x\0: a"],
        [b"no colon here"],
        [b": no name"],
        [b"x y: z"],
    ],
)
async def test_heads_that_two_readers_could_read_differently(site: Any, lines: list[bytes]) -> None:
    """Smuggling, folding, controls: refused, and the connection is not used again."""
    follow = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    answers = await answered(site, head(site, *lines, close=False) + b"{}" + follow)

    refused(answers, 400)  # the only one: what follows was not read


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
        b"NONSENSE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"\xff\xfe\xfd / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http(site: Any, data: bytes) -> None:
    refused(await answered(site, data), 400, 404, 405)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"x: " + b"a" * 70_000], 431),
        ([b"x%d: a" % n for n in range(200)], 431),
        ([b"x" * 70_000 + b": a"], 431),
    ],
    ids=["one long header", "many headers", "a long name"],
)
async def test_heads_larger_than_allowed(site: Any, lines: list[bytes], status: int) -> None:
    """The setting is named."""
    error = refused(await answered(site, head(site, *lines, length=2) + b"{}"), status, 400)

    assert "server.max_" in error["message"]


async def test_address_longer_than_allowed(site: Any) -> None:
    data = b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"

    assert "server.max_url_bytes" in refused(await answered(site, data), 431)["message"]


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"fffffffffffffffff\r\n{}",
        b"2\r\n{}\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
async def test_chunks_that_cannot_be_read(site: Any, chunks: bytes) -> None:
    refused(await answered(site, head(site, b"transfer-encoding: chunked") + chunks), 400)


BODIES: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "blank": (b"   ", None),
    "no JSON": (b"hello", None),
    "cut": (b'{"model": "m", "messages": [', None),
    "rest": (json.dumps(CHAT).encode() + b"}", None),
    "list": (b"[]", None),
    "text": (b'"x"', None),
    "null": (b"null", None),
    "invalid UTF-8": (b'{"model": "\xff\xfe", "messages": []}', None),
    "lone surrogate": (b'{"model": "\\ud800", "messages": []}', None),
    "byte order mark": (b"\xef\xbb\xbf" + json.dumps(CHAT).encode(), None),
    "NUL": (b'{"model": "m\0", "messages": []}', None),
    "NaN": (b'{"model": "m", "messages": [], "temperature": NaN}', None),
    "duplicate": (b'{"model": "a", "model": "b", "messages": []}', "model"),
    "deep list": (b'{"model": "m", "messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "deep object": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),
    "deep and open": (b"[" * 5_000_000, None),
    "no model": (b'{"messages": []}', "model"),
    "model a number": (b'{"model": 1, "messages": []}', "model"),
    "model empty": (b'{"model": "", "messages": []}', "model"),
    "messages a text": (b'{"model": "sim/x", "messages": "hi"}', "messages"),
    "stream a text": (b'{"model": "m", "messages": [], "stream": "yes"}', "stream"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bodies_that_cannot_be_taken(site: Any, name: str) -> None:
    """The field is named where there is one."""
    body, param = BODIES[name]
    error = refused(await answered(site, head(site, length=len(body)) + body), 400, 404)

    if param is not None:
        assert error["param"] == param


@pytest.mark.parametrize(
    "model",
    ["a\r\nx-injected: 1", "a\nb", "a\0b", "a\x7f", "\u2028", "ü" * 400, "x" * 100_000, "../..",
     "%0d%0ax: 1", "a/b/c/d"],
)  # fmt: skip
async def test_a_models_name_reaches_no_header(site: Any, model: str) -> None:
    """Whatever it is, no header but ours comes of it, and no metric's label."""
    site.provider.enqueue(openai.chat_answer())
    body = json.dumps({**CHAT, "model": model}).encode()
    sent = head(site, length=len(body)) + body

    answers = await answered(site, sent)

    assert len(answers) == 1
    status, _, received = answers[0]
    assert status < 500, status
    assert b"x-injected:" not in received.lower()


async def test_more_than_the_body_may_hold(site: Any) -> None:
    """Refused by its claim, before it is sent; and by its size, where it makes no claim."""
    claimed = await answered(site, head(site, length=2**40))
    error = refused(claimed, 413)

    assert "server.max_body_bytes" in error["message"]


@pytest.mark.parametrize(
    "host",
    [
        *(b"a b", b"a/b", b"user@gateway", b"[::1", b"gateway:http", b"a?b", b"a#b", b"a%zz"),
        *(b"a\\b", b"\xe9", b"a:1:2", b'"a"', b"<a>"),
    ],
)
async def test_a_host_that_is_none(site: Any, host: bytes) -> None:
    """On the first request of a connection, and on a later one."""
    good = b"GET /health/live HTTP/1.1\r\nhost: gateway\r\n\r\n"
    bad = good.replace(b"gateway", host)

    assert "Host" in refused(await answered(site, bad), 400)["message"]
    first, *rest = await answered(site, good + bad)
    assert first[0] == 200
    assert "Host" in refused(rest, 400)["message"]


@pytest.mark.parametrize(
    "host", [b"", b"gateway:", b"x_y.example:8080", b"[::1]:80", b"a%20b", b"10.0.0.1"]
)
async def test_a_host_that_is_one(site: Any, host: bytes) -> None:
    data = b"GET /health/live HTTP/1.1\r\nhost: " + host + b"\r\n"
    twice = data + b"\r\n" + data + b"connection: close\r\n\r\n"

    assert [each[0] for each in await answered(site, twice)] == [200, 200]
