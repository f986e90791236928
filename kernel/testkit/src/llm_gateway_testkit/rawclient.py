"""An HTTP/1.1 client that hides nothing: bytes as they came, and a door to slam.

For tests of what goes over the wire; one connection per call, no retries.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """An answer under way: its head is in, its body is read piece by piece."""

    def __init__(
        self, status: int, headers: Mapping[str, str], reader: asyncio.StreamReader
    ) -> None:
        self.status, self.headers, self._reader = status, headers, reader

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises `asyncio.IncompleteReadError` when it is cut off."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._line()).split(b";")[0], 16):
                data = await self._reader.readexactly(size + 2)
                yield data[:-2]
            while await self._line():
                pass
        elif "content-length" in self.headers:
            yield await self._reader.readexactly(int(self.headers["content-length"]))
        else:
            while data := await self._reader.read(65536):
                yield data

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def until(self, mark: bytes) -> bytes:
        """Read until `mark` has come; returns all up to then."""
        seen = bytearray()
        async for piece in self.pieces():
            seen += piece
            if mark in seen:
                return bytes(seen)
        raise AssertionError(f"{mark!r} never came: {bytes(seen)!r}")

    async def _line(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n"))[:-2]


@asynccontextmanager
async def exchange(
    url: str,
    body: bytes | Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
) -> AsyncIterator[Exchange]:
    """Send one request and give its answer; leaving the block hangs up."""
    parts = urlsplit(url)
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = {"host": parts.netloc, "content-length": str(len(data)), "connection": "close"}
    sent["content-type"] = "application/json"
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    verb = method or ("GET" if body is None else "POST")
    lines = [f"{verb} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + data)
        status, received = await _head(reader)
        yield Exchange(status, received, reader)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def call(
    url: str,
    body: bytes | Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
) -> Reply:
    """Send one request and read the whole answer."""
    async with exchange(url, body, key=key, headers=headers, method=method) as answer:
        return Reply(answer.status, answer.headers, await answer.body())


async def _head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = text[:-4].split("\r\n")
    pairs = (each.partition(":") for each in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return int(line.split(" ", 2)[1]), headers
