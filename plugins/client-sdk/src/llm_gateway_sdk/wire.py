"""Requests and answers as bytes, for both clients. Opens nothing and waits for nothing."""

import ssl
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
import llm_gateway_api as gw
import msgspec

from llm_gateway_sdk.errors import (
    ConnectionFailedError,
    GatewayError,
    StreamInterruptedError,
    TimedOutError,
)
from llm_gateway_sdk.local import on_this_machine
from llm_gateway_sdk.values import ChatChunk, Served, Usage

T = TypeVar("T")
DONE = b"[DONE]"


def base_of(url: str) -> str:
    """The gateway's own base, whether or not an OpenAI-like ``/v1`` was given."""
    url = url.rstrip("/").removesuffix("/v1")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the address {url!r} must start with http:// or https://")
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"the address {url!r} is not valid: {error}") from error
    return url + "/"


def uses_proxy(base: str) -> bool:
    """Whether the environment's proxy is for `base`: never for this machine."""
    return not on_this_machine(base)


def certificates() -> ssl.SSLContext:
    """What a server's certificate is held against; SSL_CERT_FILE counts on this machine too."""
    return httpx.create_ssl_context()


def headers(api_key: str | None) -> dict[str, str]:
    found = {"user-agent": "llm-gateway-sdk/0.1.0"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key holds a character that no HTTP header can carry")
        found["authorization"] = f"Bearer {api_key}"
    return found


def decoded(body: bytes, kind: type[T], request_id: str | None) -> T:
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError(
            f"The answer is not what a gateway sends ({error}); is the address right?",
            request_id=request_id,
        ) from error


def served(found: httpx.Headers) -> Served:
    """What the ``x-gateway-…`` headers tell."""
    attempts = found.get("x-gateway-attempts", "")
    try:
        cost = Decimal(found["x-gateway-cost"]) if "x-gateway-cost" in found else None
    except InvalidOperation:
        cost = None
    dropped = found.get("x-gateway-dropped", "").split(",")
    return Served(
        found.get("x-gateway-provider"),
        found.get("x-gateway-model"),
        found.get("x-gateway-cache"),
        int(attempts) if attempts.isdecimal() else None,
        cost,
        tuple(name for each in dropped if (name := each.strip())),
    )


def error_of(status: int, found: httpx.Headers, body: bytes) -> GatewayError:
    """The error that an answer with a status of 400 and more means."""
    return _error(body, status, found.get("x-request-id"), _wait(found.get("retry-after")))


def _wait(told: str | None) -> float | None:
    """Seconds of a ``retry-after``, which is a number or an HTTP date; None for any other."""
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(seconds, 0.0) if seconds < float("inf") else None


def _error(
    body: bytes, status: int, request_id: str | None, retry_after: float | None = None
) -> GatewayError:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    told = document.get("error") if isinstance(document, dict) else None
    if not isinstance(told, dict):
        told = {"message": told if isinstance(told, str) else f"The gateway answered {status}."}
    words = {key: str(told[key]) for key in ("code", "type", "param") if told.get(key) is not None}
    return GatewayError(
        str(told.get("message") or f"The gateway answered {status}."),
        status=status,
        request_id=request_id or told.get("request_id"),
        retry_after=retry_after,
        **words,
    )


def transport_error(error: httpx.HTTPError, base: str, request_id: str | None) -> GatewayError:
    """Our error for the library's, by what it means for another try."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return ConnectionFailedError(f"The gateway at {base} cannot be reached: {error}")
    if isinstance(error, httpx.TimeoutException):
        return TimedOutError("The gateway did not answer in time.", request_id=request_id)
    return StreamInterruptedError(
        f"The connection broke before the end of the answer: {error}", request_id=request_id
    )


class ChunkReader:
    """Bytes of a stream in, chunks out.

    OPEN --"[DONE]", or a finish reason for each choice--> ENDED. `finish` raises while
    OPEN, so that nobody takes half an answer for a whole one.
    """

    def __init__(self, request_id: str | None) -> None:
        self._sse = gw.SSEParser()
        self._request_id = request_id
        self._open: set[int] = set()
        self._seen = False
        self.done = False
        self.model: str | None = None
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> list[ChatChunk]:
        return self._chunks(self._sse.feed(data))

    def finish(self) -> list[ChatChunk]:
        chunks = self._chunks([payload for _, payload in self._sse.flush()])
        if not self.done and (self._open or not self._seen):
            raise StreamInterruptedError(
                "The stream ended before its end; the answer is not complete.",
                request_id=self._request_id,
            )
        return chunks

    def _chunks(self, payloads: list[bytes]) -> list[ChatChunk]:
        chunks = []
        for payload in payloads:
            if payload == DONE:
                self.done = True
            elif not self.done:
                chunks.append(self._chunk(payload))
        return chunks

    def _chunk(self, payload: bytes) -> ChatChunk:
        document = decoded(payload, dict[str, msgspec.Raw], self._request_id)
        if "error" in document and bytes(document["error"]) != b"null":
            raise _error(payload, 0, self._request_id)
        chunk = decoded(payload, ChatChunk, self._request_id)
        self.model, self.usage = chunk.model or self.model, chunk.usage or self.usage
        for choice in chunk.choices:
            self._seen = True
            if choice.finish_reason is None:
                self._open.add(choice.index)
            else:
                self._open.discard(choice.index)
        return msgspec.structs.replace(chunk, request_id=self._request_id)
