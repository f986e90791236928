"""The client for asyncio; the same as `Client`, awaited."""
# ruff: noqa: ASYNC109 - a timeout for each request is part of the contract, and httpx's own

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import httpx
import msgspec

from llm_gateway_sdk import wire
from llm_gateway_sdk.errors import GatewayError
from llm_gateway_sdk.retry import Failed, RetryPolicy
from llm_gateway_sdk.values import ChatChunk, ChatRequest, ChatResponse, Health, Model, ModelList


class AsyncClient:
    """Asks the gateway; keeps its connections. Use it in ``async with``, or await `close`.

    `timeout` (seconds) bounds connecting and each wait for bytes; every method takes its
    own. `http` is an `httpx.AsyncClient` to use instead of one of our own, which stays open.
    `signing` is a `RequestSigning`, where the gateway demands signatures.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8080",
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        retry: RetryPolicy | None = None,
        max_connections: int = 100,
        http: httpx.AsyncClient | None = None,
        signing: httpx.Auth | None = None,
    ) -> None:
        self._base = wire.base_of(base_url)
        self._headers = wire.headers(api_key)
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self._owned = http is None
        self._signing = httpx.USE_CLIENT_DEFAULT if signing is None else signing
        limits = httpx.Limits(max_connections=max_connections)
        self._http = http or httpx.AsyncClient(limits=limits, trust_env=wire.uses_proxy(self._base))

    async def chat(self, request: ChatRequest, *, timeout: float | None = None) -> ChatResponse:
        """Return the whole answer, or raise `GatewayError`."""
        async with self._answer(wire.chat_call(request, stream=False), timeout) as response:
            request_id = response.headers.get("x-request-id")
            answer = wire.decoded(await self._read(response), ChatResponse, request_id)
        return msgspec.structs.replace(answer, request_id=request_id)

    async def chat_stream(
        self, request: ChatRequest, *, timeout: float | None = None
    ) -> AsyncGenerator[ChatChunk, None]:
        """Yield the answer as it comes; raise if it ends before its end.

        It is asked for with the first chunk. Whoever may leave the loop early wraps the
        generator in `contextlib.aclosing`, which hangs up at once.
        """
        async with self._answer(wire.chat_call(request, stream=True), timeout) as response:
            reader = wire.ChunkReader(response.headers.get("x-request-id"))
            async for data in self._bytes(response):
                for chunk in reader.feed(data):
                    yield chunk
            for chunk in reader.finish():
                yield chunk

    async def models(
        self, *, parameters: bool = False, timeout: float | None = None
    ) -> tuple[Model, ...]:
        """The models that the key may use; `parameters` asks what becomes of each as well."""
        params = {"parameters": "true"} if parameters else None
        async with self._answer(wire.Call("GET", "v1/models", params=params), timeout) as response:
            request_id = response.headers.get("x-request-id")
            return wire.decoded(await self._read(response), ModelList, request_id).data

    async def health(self, *, detailed: bool = False, timeout: float | None = None) -> Health:
        """How the gateway is; not being well is an answer, not being there an error."""
        params = {"detailed": "true"} if detailed else None
        call = wire.Call("GET", "health", params=params)
        response = await self._send(call, timeout)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        if response.status_code >= 400 and response.status_code != 503:
            raise wire.error_of(response.status_code, response.headers, body)
        return wire.health_of(response.status_code, body)

    async def close(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @asynccontextmanager
    async def _answer(
        self, call: wire.Call, timeout: float | None
    ) -> AsyncIterator[httpx.Response]:
        """An answer that is no error, closed at the end of the block."""
        attempt = 1
        while True:
            try:
                response = await self._asked(call, timeout)
                break
            except Failed as failed:
                wait = self._retry.wait(attempt, failed.error, failed.should_retry)
                if wait is None:
                    raise failed.error from failed.__cause__
            attempt += 1
            await asyncio.sleep(wait)
        try:
            yield response
        finally:
            await response.aclose()

    async def _asked(self, call: wire.Call, timeout: float | None) -> httpx.Response:
        try:
            response = await self._send(call, timeout)
        except GatewayError as error:
            raise Failed(error, None) from error.__cause__
        if response.status_code < 400:
            return response
        try:
            refused = wire.error_of(
                response.status_code, response.headers, await self._read(response)
            )
        finally:
            await response.aclose()
        raise Failed(refused, response.headers.get("x-should-retry"))

    async def _send(self, call: wire.Call, timeout: float | None) -> httpx.Response:
        request = self._http.build_request(
            call.method,
            self._base + call.path,
            content=call.body,
            params=call.params,
            headers=self._headers | wire.call_headers(call),
            timeout=self._timeout if timeout is None else timeout,
        )
        try:
            return await self._http.send(request, stream=True, auth=self._signing)
        except httpx.HTTPError as error:
            raise wire.transport_error(error, self._base, None) from error

    async def _read(self, response: httpx.Response) -> bytes:
        return b"".join([data async for data in self._bytes(response)])

    async def _bytes(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for data in response.aiter_bytes():
                yield data
        except httpx.HTTPError as error:
            request_id = response.headers.get("x-request-id")
            raise wire.transport_error(error, self._base, request_id) from error
