"""One call with all its attempts: what to send, what stands, when to ask again.

It sends nothing and waits for nothing; `Client` and `AsyncClient` do, each in its way.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from llm_gateway_sdk import wire
from llm_gateway_sdk.errors import GatewayError
from llm_gateway_sdk.operations import Call, Operation
from llm_gateway_sdk.retry import RetryPolicy
from llm_gateway_sdk.tracing import Trace

T = TypeVar("T")
VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Options:
    """What all calls of a client have in common; `timeout` in seconds."""

    base: str
    headers: dict[str, str]
    timeout: float
    retry: RetryPolicy

    @classmethod
    def of(
        cls, base_url: str, api_key: str | None, timeout: float, retry: RetryPolicy | None
    ) -> "Options":
        """Raises `ValueError` for an address, a key or a time-out that cannot be right."""
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout:g}")
        headers = {"user-agent": f"llm-gateway-sdk/{VERSION}", **wire.headers(api_key)}
        return cls(wire.base_of(base_url), headers, timeout, retry or RetryPolicy())


class Exchange:
    """A context manager around the attempts: it ends the span, and turns the HTTP library's
    errors into ours."""

    def __init__(self, options: Options, call: Call, timeout: float | None) -> None:
        self._options = options
        self._call = call
        self._timeout = options.timeout if timeout is None else timeout
        self._request_id: str | None = None
        self._attempts = 0
        self._trace = Trace(call, options.base, VERSION)
        self._reader: wire.ChunkReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        told = self._ours(error) if isinstance(error, httpx.HTTPError) else error
        if isinstance(told, GatewayError):
            told.attempts = self._attempts
        if self._reader is not None:
            self._trace.used(self._reader.model, self._reader.usage)
        self._trace.end(self._attempts, told)
        if told is not error and told is not None:
            raise told from error

    def request(self) -> dict[str, Any]:
        """What `build_request` takes for the next attempt."""
        self._attempts += 1
        call = self._call
        typed = {"content-type": "application/json"} if call.body is not None else {}
        return {
            "method": call.method,
            "url": self._options.base + call.path,
            "content": call.body,
            "params": call.params,
            "headers": {**self._options.headers, **typed, **self._trace.headers()},
            "timeout": self._timeout,
        }

    def stands(self, response: httpx.Response) -> bool:
        """Whether the answer is one, and not an error."""
        self._request_id = response.headers.get("x-request-id")
        self._trace.answered(response)
        return response.status_code < 400 or response.status_code in self._call.also_fine

    def refused(self, response: httpx.Response, body: bytes) -> float:
        """Seconds until the next attempt; raises where there is none."""
        error = wire.error_of(response.status_code, response.headers, body)
        return self._wait(error, response.headers.get("x-should-retry"))

    def broke(self, error: httpx.HTTPError) -> float:
        """The same where no answer came."""
        return self._wait(self._ours(error), None, error)

    def result(self, operation: Operation[T], response: httpx.Response, body: bytes) -> T:
        found = operation.read(response, body)
        self._trace.used(getattr(found, "model", None), getattr(found, "usage", None))
        return found

    def reader(self) -> wire.ChunkReader:
        """Reads the stream that this call has begun."""
        self._reader = wire.ChunkReader(self._request_id)
        return self._reader

    def _wait(
        self, error: GatewayError, should_retry: str | None, cause: Exception | None = None
    ) -> float:
        wait = self._options.retry.wait(self._attempts, error, should_retry)
        if wait is None:
            raise error from cause
        return wait

    def _ours(self, error: httpx.HTTPError) -> GatewayError:
        return wire.transport_error(error, self._options.base, self._request_id)
