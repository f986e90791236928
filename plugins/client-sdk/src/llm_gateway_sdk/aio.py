"""The client for asyncio; the same as `Client`, awaited."""
# ruff: noqa: ASYNC109 - a timeout for each request is part of the contract, and httpx's own

import asyncio
from collections.abc import AsyncGenerator
from copy import copy
from dataclasses import replace
from typing import Self, TypeVar

import httpx

from llm_gateway_sdk import operations, wire
from llm_gateway_sdk.admin import AsyncAdmin
from llm_gateway_sdk.exchange import Exchange, Options
from llm_gateway_sdk.operations import Call, Operation
from llm_gateway_sdk.retry import RetryPolicy
from llm_gateway_sdk.values import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Health,
    Model,
    RerankRequest,
    RerankResponse,
)

T = TypeVar("T")


class AsyncChatStream:
    """Chunks as they come. Closing it, or leaving its ``async with``, hangs up."""

    def __init__(self, chunks: AsyncGenerator[ChatChunk, None]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        return await anext(self._chunks)

    async def close(self) -> None:
        await self._chunks.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class AsyncClient:
    """Asks the gateway; keeps its connections. Use it in ``async with``, or await `close`.

    `timeout` (seconds) bounds connecting and each wait for bytes; every method takes its
    own. `http` is an `httpx.AsyncClient` to use instead of one of our own, which stays open.
    `signing` is a `RequestSigning`, where the gateway demands signatures.

    Every method raises `GatewayError`.
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
        self._options = Options.of(base_url, api_key, timeout, retry)
        self._owned = http is None
        self._signing = httpx.USE_CLIENT_DEFAULT if signing is None else signing
        limits = httpx.Limits(max_connections=max_connections)
        proxied = wire.uses_proxy(self._options.base)
        self._http = http or httpx.AsyncClient(
            limits=limits, trust_env=proxied, verify=wire.certificates()
        )

    async def chat(self, request: ChatRequest, *, timeout: float | None = None) -> ChatResponse:
        """The whole answer."""
        return await self._run(operations.chat(request), timeout)

    def chat_stream(self, request: ChatRequest, *, timeout: float | None = None) -> AsyncChatStream:
        """The answer as it comes; raises if it ends before its end.

        It is asked for with the first chunk.
        """
        return AsyncChatStream(self._stream(operations.chat_call(request, stream=True), timeout))

    async def embeddings(
        self, request: EmbeddingRequest, *, timeout: float | None = None
    ) -> EmbeddingResponse:
        """A vector for each text."""
        return await self._run(operations.embeddings(request), timeout)

    async def rerank(
        self, request: RerankRequest, *, timeout: float | None = None
    ) -> RerankResponse:
        """The documents by relevance, the best first."""
        return await self._run(operations.rerank(request), timeout)

    async def models(
        self, *, parameters: bool = False, timeout: float | None = None
    ) -> tuple[Model, ...]:
        """The models that the key may use; `parameters` asks what becomes of each as well."""
        return await self._run(operations.models(parameters), timeout)

    async def health(self, *, detailed: bool = False, timeout: float | None = None) -> Health:
        """How the gateway is; not being well is an answer, not being there an error."""
        return await self._run(operations.health(detailed), timeout)

    @property
    def admin(self) -> AsyncAdmin:
        """What operators and administrators ask; needs the admin key."""
        return AsyncAdmin(self._run)

    def with_options(
        self, *, timeout: float | None = None, retry: RetryPolicy | None = None
    ) -> "AsyncClient":
        """The same client, on the same connections, with another time-out or retry policy."""
        other = copy(self)
        other._owned = False
        other._options = replace(
            self._options,
            timeout=self._options.timeout if timeout is None else timeout,
            retry=retry or self._options.retry,
        )
        return other

    async def close(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _run(self, operation: Operation[T], timeout: float | None = None) -> T:
        with Exchange(self._options, operation.call, timeout) as exchange:
            response = await self._open(exchange)
            try:
                body = await response.aread()
            finally:
                await response.aclose()
            return exchange.result(operation, response, body)

    async def _stream(self, call: Call, timeout: float | None) -> AsyncGenerator[ChatChunk, None]:
        with Exchange(self._options, call, timeout) as exchange:
            response = await self._open(exchange)
            try:
                reader = exchange.reader()
                async for data in response.aiter_bytes():
                    for chunk in reader.feed(data):
                        yield chunk
                for chunk in reader.finish():
                    yield chunk
            finally:
                await response.aclose()

    async def _open(self, exchange: Exchange) -> httpx.Response:
        """An answer whose body is still to come, after as many attempts as it takes."""
        while True:
            try:
                request = self._http.build_request(**exchange.request())
                response = await self._http.send(request, stream=True, auth=self._signing)
                if exchange.stands(response):
                    return response
                try:
                    body = await response.aread()
                finally:
                    await response.aclose()
                wait = exchange.refused(response, body)
            except httpx.HTTPError as error:
                wait = exchange.broke(error)
            await asyncio.sleep(wait)
