"""The client's side of one request: one write for a whole answer, one for each read of a stream.

It goes to the connection's outbox, and from there to the transport with what else the turn of the
loop has for clients.

Knows HTTP/1.1 framing and nothing of what it carries. Header values come from
configuration or were made printable; a line break in one is refused.
"""

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic

from aiohttp import HttpVersion11
from aiohttp.web import RequestPayloadError
from llm_gateway_api import BodyTooLargeError, ClientGoneError, GatewayError, MalformedBodyError

from llm_gateway.connection import Incoming
from llm_gateway.screening import UNTOUCHED, Outgoing
from llm_gateway.watchdog import Watchdog

WARM_SECONDS = 15.0
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    499: "Client Closed Request",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
NEVER = float("inf")
STREAM_TYPE = "text/event-stream; charset=utf-8"


class Client:
    """Writes the answer of one request.

    `committed` turns True with the first byte of content; a warm stream (headers and
    keep-alives only) is `opened` but not committed, so another target may still answer.
    """

    __slots__ = (
        "_chunked",
        "_keep_alive_frame",
        "_last",
        "_outgoing",
        "_protocol",
        "_request",
        "_timeout",
        "_transport",
        "_watchdog",
        "committed",
        "deadline",
        "keep_alive",
        "opened",
        "status",
        "timing",
        "warm_headers",
    )

    def __init__(
        self,
        request: Incoming,
        watchdog: Watchdog,
        timeout_seconds: float,
        outgoing: Outgoing = UNTOUCHED,
    ) -> None:
        self._request = request
        self._protocol = request.protocol
        self._transport = request.protocol.transport
        self._watchdog = watchdog
        self._timeout = timeout_seconds
        self._outgoing = outgoing
        self._chunked = True
        self._keep_alive_frame = b""
        self._last = 0.0
        self.timing: Callable[[], str] | None = None
        self.warm_headers: Mapping[str, str] = {}
        self.committed = False
        self.opened = False
        self.keep_alive = request.keep_alive
        self.deadline = NEVER
        self.status = 0

    # --- in ----------------------------------------------------------------------------

    def at_hand(self) -> bytes | None:
        """The whole body if it came with its head; else `body` has to wait for it, or says what
        is wrong with it."""
        return self._request.whole()

    async def body(self) -> bytes:
        """The whole body. Raises `BodyTooLargeError`, or `GatewayError` 408 for a slow one."""
        request = self._request
        if (whole := request.whole()) is not None:
            return whole
        content, limit = request.content, request.max_body_bytes
        try:
            if int(request.headers.get("content-length", 0)) > limit:
                self.keep_alive = False
                raise BodyTooLargeError(_too_large(limit))
            if request.headers.get("expect", "").lower() == "100-continue":
                self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = bytearray()
            async with asyncio.timeout(self._timeout):
                while part := await content.readany():
                    body += part
                    if len(body) > limit:
                        break
        except TimeoutError as error:
            self.keep_alive = False
            raise GatewayError(
                "The body did not arrive in time.", status=408, code="request_timeout"
            ) from error
        except (ValueError, RequestPayloadError) as error:
            self.keep_alive = False
            raise MalformedBodyError(
                "The body cannot be read: its content-encoding or its chunks are broken."
            ) from error
        if len(body) > limit:
            self.keep_alive = False
            raise BodyTooLargeError(_too_large(limit))
        return bytes(body)

    # --- out ---------------------------------------------------------------------------

    def send(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        content_type: str = "application/json",
    ) -> None:
        """A whole answer, in one write."""
        self.committed = self.opened = True
        self.status = status
        head = self._head(status, headers, content_type, f"content-length: {len(body)}")
        self._write(head + (b"" if self._request.method == "HEAD" else body))

    def watch(self, keep_alive_frame: bytes, now: float) -> None:
        """Keep a silent stream alive: headers and a frame that is no event after 15 s."""
        self._keep_alive_frame = keep_alive_frame
        self._last = now
        self.deadline = now + min(WARM_SECONDS, self._timeout)
        self._watchdog.add(self)

    def expire(self) -> None:
        """15 s passed, or the client took nothing for too long."""
        if self.gone:
            return
        now = monotonic()
        if self.paused:
            if now - self._last >= self._timeout and self._transport is not None:
                self._transport.abort()
                return
        elif now - self._last >= WARM_SECONDS:
            if not self.opened:
                self._open(self.warm_headers, STREAM_TYPE)
            self._chunk(self._keep_alive_frame)
        self.deadline = now + min(WARM_SECONDS, self._timeout)
        self._watchdog.add(self)

    def start(self, headers: Mapping[str, str], content_type: str, first: bytes = b"") -> None:
        """Head and first frames of a stream, in one write."""
        self.committed = True
        if self.opened:
            if first:
                self._chunk(first)
            return
        self._open(headers, content_type, first)

    def write(self, data: bytes) -> None:
        if data:
            self._chunk(data)

    def end(self) -> None:
        """The stream is complete."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self.done()

    def fail(self, frame: bytes) -> None:
        """The stream failed: an error frame, then the end."""
        self.write(frame)
        self.end()

    def answer(self, headers: Mapping[str, str], body: bytes, *, stream: bool) -> None:
        """A complete answer that is at hand, as a stream or as a whole."""
        if stream:
            self.start(headers, STREAM_TYPE, body)
            self.end()
        else:
            self.send(200, headers, body)

    def done(self) -> None:
        if self.deadline != NEVER:
            self._watchdog.discard(self)
        self._protocol.on_resume = None

    @property
    def gone(self) -> bool:
        """Whether the client's connection is lost."""
        return self._transport is None or bool(self._transport.is_closing())

    # --- back-pressure -----------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether the client takes less than it is sent."""
        return bool(self._protocol.writing_paused)

    @property
    def on_resume(self) -> Callable[[], None] | None:
        found: Callable[[], None] | None = self._protocol.on_resume
        return found

    @on_resume.setter
    def on_resume(self, call: Callable[[], None] | None) -> None:
        self._protocol.on_resume = call

    async def drained(self) -> None:
        """Wait until the client takes data again."""
        if self.paused:
            taken = asyncio.Event()
            self.on_resume = taken.set
            await taken.wait()

    # --- inside ------------------------------------------------------------------------

    def _open(self, headers: Mapping[str, str], content_type: str, first: bytes = b"") -> None:
        self.opened = True
        self.status = 200
        if self._request.version < HttpVersion11:
            self._chunked = False
            self.keep_alive = False
            head = self._head(200, headers, content_type, "x-accel-buffering: no")
            self._write(head + first)
            return
        extra = "x-accel-buffering: no\r\ntransfer-encoding: chunked"
        head = self._head(200, headers, content_type, extra)
        self._write(head + (b"%x\r\n%b\r\n" % (len(first), first) if first else b""))

    def _chunk(self, data: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ClientGoneError("The client left.")
        self._last = monotonic()
        self._protocol.outbox.put(transport, data)

    def _head(
        self, status: int, headers: Mapping[str, str], content_type: str, extra: str
    ) -> bytes:
        lines = self._outgoing.lines(headers)
        more = "" if "cache-control" in headers else "cache-control: private, no-store\r\n"
        if self.timing is not None:
            more += f"server-timing: {self.timing()}\r\n"
        if not self.keep_alive:
            more += "connection: close\r\n"
        fields = "\r\n".join([STARTS.get(status) or _start(status), *lines])
        head = f"{fields}\r\n{more}content-type: {content_type}\r\n{extra}\r\n\r\n"
        if head.count("\n") != len(lines) + more.count("\n") + extra.count("\n") + 4:
            raise ValueError("a header of the answer holds a line break")
        return head.encode("latin-1", "replace")


def _start(status: int) -> str:
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"


STARTS = {status: _start(status) for status in REASONS}


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit} bytes (server.max_body_bytes)."
