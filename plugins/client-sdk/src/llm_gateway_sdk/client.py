"""The client that blocks."""

import time
from collections.abc import Generator
from copy import copy
from dataclasses import replace
from typing import Self, TypeVar

import httpx

from llm_gateway_sdk import operations, wire
from llm_gateway_sdk.admin import Admin
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


class ChatStream:
    """Chunks as they come. Closing it, or leaving its ``with``, hangs up."""

    def __init__(self, chunks: Generator[ChatChunk, None, None]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ChatChunk:
        return next(self._chunks)

    def close(self) -> None:
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Client:
    """Asks the gateway; keeps its connections. Use it in ``with``, or call `close`.

    `timeout` (seconds) bounds connecting and each wait for bytes; every method takes its
    own. `http` is an `httpx.Client` to use instead of one of our own, which stays open.
    `signing` is a `RequestSigning`, where the gateway demands signatures.

    Every method raises `GatewayError`. One client serves many threads.
    """

    def __init__(
        self,
        base_url: str = "http://localhost:8080",
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        retry: RetryPolicy | None = None,
        max_connections: int = 100,
        http: httpx.Client | None = None,
        signing: httpx.Auth | None = None,
    ) -> None:
        self._options = Options.of(base_url, api_key, timeout, retry)
        self._owned = http is None
        self._signing = httpx.USE_CLIENT_DEFAULT if signing is None else signing
        limits = httpx.Limits(max_connections=max_connections)
        proxied = wire.uses_proxy(self._options.base)
        self._http = http or httpx.Client(
            limits=limits, trust_env=proxied, verify=wire.certificates()
        )

    def chat(self, request: ChatRequest, *, timeout: float | None = None) -> ChatResponse:
        """The whole answer."""
        return self._run(operations.chat(request), timeout)

    def chat_stream(self, request: ChatRequest, *, timeout: float | None = None) -> ChatStream:
        """The answer as it comes; raises if it ends before its end.

        It is asked for with the first chunk.
        """
        return ChatStream(self._stream(operations.chat_call(request, stream=True), timeout))

    def embeddings(
        self, request: EmbeddingRequest, *, timeout: float | None = None
    ) -> EmbeddingResponse:
        """A vector for each text."""
        return self._run(operations.embeddings(request), timeout)

    def rerank(self, request: RerankRequest, *, timeout: float | None = None) -> RerankResponse:
        """The documents by relevance, the best first."""
        return self._run(operations.rerank(request), timeout)

    def models(
        self, *, parameters: bool = False, timeout: float | None = None
    ) -> tuple[Model, ...]:
        """The models that the key may use; `parameters` asks what becomes of each as well."""
        return self._run(operations.models(parameters), timeout)

    def health(self, *, detailed: bool = False, timeout: float | None = None) -> Health:
        """How the gateway is; not being well is an answer, not being there an error."""
        return self._run(operations.health(detailed), timeout)

    @property
    def admin(self) -> Admin:
        """What operators and administrators ask; needs the admin key."""
        return Admin(self._run)

    def with_options(
        self, *, timeout: float | None = None, retry: RetryPolicy | None = None
    ) -> "Client":
        """The same client, on the same connections, with another time-out or retry policy."""
        other = copy(self)
        other._owned = False
        other._options = replace(
            self._options,
            timeout=self._options.timeout if timeout is None else timeout,
            retry=retry or self._options.retry,
        )
        return other

    def close(self) -> None:
        if self._owned:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, operation: Operation[T], timeout: float | None = None) -> T:
        with Exchange(self._options, operation.call, timeout) as exchange:
            response = self._open(exchange)
            try:
                body = response.read()
            finally:
                response.close()
            return exchange.result(operation, response, body)

    def _stream(self, call: Call, timeout: float | None) -> Generator[ChatChunk, None, None]:
        with Exchange(self._options, call, timeout) as exchange:
            response = self._open(exchange)
            try:
                reader = exchange.reader()
                for data in response.iter_bytes():
                    yield from reader.feed(data)
                yield from reader.finish()
            finally:
                response.close()

    def _open(self, exchange: Exchange) -> httpx.Response:
        """An answer whose body is still to come, after as many attempts as it takes."""
        while True:
            try:
                request = self._http.build_request(**exchange.request())
                response = self._http.send(request, stream=True, auth=self._signing)
                if exchange.stands(response):
                    return response
                try:
                    body = response.read()
                finally:
                    response.close()
                wait = exchange.refused(response, body)
            except httpx.HTTPError as error:
                wait = exchange.broke(error)
            time.sleep(wait)
