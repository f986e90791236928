"""The guarded fetch that plugins and the inlining of pictures use; meets `Fetch`.

A connection of its own for each hop: nothing is shared between destinations, and the check
stands where the socket is made, after the name was resolved.
"""

import asyncio
import socket
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from llm_gateway_api import EgressRefusedError, Fetched, FetchError, Headers

from llm_gateway.egress import Rules
from llm_gateway.sections import Egress

MAX_REDIRECTS = 5
MAX_URL = 8192
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetcher:
    """Calls under the rules of ``security.egress``; `resolver` is the system's if None."""

    def __init__(self, egress: Egress, resolver: AbstractResolver | None = None) -> None:
        self._rules = Rules.of(egress.allow_private)
        self._seconds = egress.fetch_seconds
        self._max_bytes = egress.max_fetch_bytes
        self._places = asyncio.Semaphore(egress.max_concurrent_fetches)
        self._resolver = resolver

    async def __call__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Headers | None = None,
        body: bytes = b"",
        seconds: float | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        limit = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        wait = self._seconds if seconds is None else min(seconds, self._seconds)
        try:
            async with asyncio.timeout(wait), self._places:
                return await self._follow(url, method, headers or {}, body, limit)
        except TimeoutError as error:
            raise FetchError(f"it took longer than {wait:g} s") from error
        except aiohttp.ClientSSLError as error:
            raise FetchError("its TLS certificate is not trusted") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError("it cannot be reached") from error

    async def _follow(
        self, url: str, method: str, headers: Headers, body: bytes, limit: int
    ) -> Fetched:
        plain = method == "GET" and not headers and not body
        for _ in range(MAX_REDIRECTS + 1):
            parts = checked(url)
            found = await self._hop(url, parts, method, headers, body, limit)
            location = found.headers.get("location")
            if found.status not in _REDIRECTS or location is None:
                return found
            if not plain:
                raise FetchError("it was redirected, which a call that carries data is not")
            url = urljoin(url, location)
            if parts.scheme == "https" and urlsplit(url).scheme != "https":
                raise EgressRefusedError("it was redirected from https to an open connection")
        raise FetchError(f"it was redirected more than {MAX_REDIRECTS} times")

    async def _hop(
        self, url: str, parts: SplitResult, method: str, headers: Headers, body: bytes, limit: int
    ) -> Fetched:
        host, refused = parts.hostname or "", []

        def judged(info: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, address = info
            if not self._rules.allow(host, address[0]):
                refused.append(address[0])
                raise OSError("the address is not allowed")
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(
            resolver=self._resolver, use_dns_cache=False, socket_factory=judged, force_close=True
        )
        async with aiohttp.ClientSession(
            connector=connector,
            connector_owner=True,
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "user-agent": "llm-gateway"},
        ) as session:
            try:
                async with session.request(
                    method, url, headers=headers, data=body or None, allow_redirects=False
                ) as answer:
                    return await _read(url, answer, limit)
            except aiohttp.ClientConnectorError as error:
                if refused:
                    raise EgressRefusedError(
                        f"{host} is at a private or reserved address "
                        "(security.egress.allow_private)"
                    ) from error
                raise


async def _read(url: str, answer: aiohttp.ClientResponse, limit: int) -> Fetched:
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        headers.setdefault(name.lower(), value)
    if answer.status in _REDIRECTS:
        return Fetched(url, answer.status, headers, b"")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchError("its answer is compressed, which was not asked for")
    if (answer.content_length or 0) > limit:
        raise FetchError(f"its answer is larger than {limit} bytes")
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > limit:
            raise FetchError(f"its answer is larger than {limit} bytes")
        pieces.append(piece)
    return Fetched(url, answer.status, headers, b"".join(pieces))


def checked(url: str) -> SplitResult:
    """`url` in parts. Raises `EgressRefusedError` for what is no plain web address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EgressRefusedError("it is no web address") from error
    if len(url) > MAX_URL or not url.isprintable() or " " in url or "\\" in url:
        raise EgressRefusedError("it is no web address")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise EgressRefusedError("it is no http or https address")
    if parts.username is not None or parts.password is not None:
        raise EgressRefusedError("an address holds no name and password")
    return parts
