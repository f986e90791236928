"""Calls to providers: HTTP/1.1 on asyncio protocols with llhttp (httptools).

One protocol per connection, a last-in-first-out pool per origin, head and body in one
write (with the others of a turn of the loop), a streamed body handed to a sink straight from
`data_received`. Redirects are never followed. Library exceptions become `UpstreamError` here and
nowhere else.
"""

import asyncio
import ssl
import zlib
from collections import deque
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from llm_gateway_api import FailureClass, UpstreamError, UpstreamRequest

from llm_gateway.outbox import Outbox
from llm_gateway.received import Received
from llm_gateway.transport import TIMED_OUT, Sink, Told, Unreached, collected
from llm_gateway.watchdog import Watchdog
from llm_gateway.wire import Heads

IDLE_SECONDS = 50.0
MAX_HEADERS = 200
DEFLATED = ("gzip", "deflate")
NONE = Received({})


class StaleConnection(Exception):
    """A kept connection was closed by the peer before any byte of the answer."""


class Connection(asyncio.Protocol):
    """One connection and the exchange on it. The pool owns it between exchanges."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: "Pool") -> None:
        self._loop = loop
        self._pool = pool
        self._chunks: list[bytes] = []
        self._fields: dict[bytes, bytes] = {}
        # What the parser calls for each piece and each header; it takes them as they are now.
        self.on_body = self._chunks.append
        self.on_header = self._fields.setdefault
        self._parser: Any = HttpResponseParser(self)
        self.transport: asyncio.Transport | None = None
        self.deadline = float("inf")
        self.overdue = FailureClass.NO_FIRST_CONTENT
        self.idle_since = 0.0
        self.reused = False
        self.status = 0
        self.headers = NONE
        self._head: asyncio.Future[None] | None = None
        self._end: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._early: list[bytes] = []
        self._inflate: Any = None
        self._complete = False
        self._answered = False
        self._close_after = False
        self._error: Exception | None = None
        self._held = False

    # --- one exchange ------------------------------------------------------------------

    def send(self, data: bytes, deadline: float, sending: Told | None) -> asyncio.Future[None]:
        """Write one request; what is returned is done when the head of its answer is in."""
        if sending is not None:
            sending()
        self.deadline, self.overdue = deadline, FailureClass.NO_FIRST_CONTENT
        self._pool.watchdog.add(self)
        self._head = head = self._loop.create_future()
        self._end = None
        self._complete, self._answered, self._error, self._inflate = False, False, None, None
        self._early.clear()
        self._chunks.clear()
        self._fields.clear()
        assert self.transport is not None
        self._pool.outbox.put(self.transport, data)
        return head

    async def pump(self, sink: Sink) -> None:
        """Hand each piece of the body to `sink` as it arrives, and return at its end."""
        self._sink = sink
        for data in self._early:
            self._sink(data)
        self._early.clear()
        if self._error is not None:
            raise self._error
        if not self._complete:
            self._end = self._loop.create_future()
            await self._end

    def pass_to(self, sink: Sink) -> None:
        self._sink = sink

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""
        early = self._early
        if self._complete and self._error is None and len(early) == 1 and len(early[0]) <= limit:
            return early.pop()  # the common case: it came with its head
        return await collected(self, limit)

    def hold(self) -> None:
        """Stop reading: the client takes no more for now."""
        if not self._held and self.transport is not None:
            self._held = True
            self.transport.pause_reading()

    def unhold(self) -> None:
        if self._held and self.transport is not None:
            self._held = False
            self.transport.resume_reading()

    def release(self) -> None:
        """The exchange is over: keep the connection if its answer was read to the end."""
        self._pool.watchdog.discard(self)
        self._sink = None
        if self._held:
            self.unhold()
        transport = self.transport
        if self._complete and not self._close_after and transport is not None:
            self._pool.put(self)
        else:
            self._pool.forget(self)
            if transport is not None:
                transport.abort()

    # --- what the loop calls -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream has both directions

    def data_received(self, data: bytes) -> None:
        self._answered = True
        if self._head is None or self._complete:
            self._close_after = True  # bytes that nobody asked for
            if self.transport is not None:
                self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
            if len(self._fields) > MAX_HEADERS:
                raise HttpParserError("too many headers")
        except (HttpParserError, HttpParserUpgrade):
            self._fail(UpstreamError(FailureClass.BROKEN_BEFORE_COMMIT, "the answer is no HTTP"))
            return
        self._deliver()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.transport = None
        self._close_after = True
        self._pool.forget(self)
        if self._head is not None and not self._head.done():
            if self.reused and not self._answered:
                self._fail(StaleConnection())
            else:
                self._fail(
                    UpstreamError(
                        FailureClass.BROKEN_BEFORE_COMMIT, "the provider closed the connection"
                    )
                )
        elif self._head is not None and not self._complete:
            self._at_eof(clean=exc is None)

    def expire(self) -> None:
        """The deadline passed."""
        self._close_after = True
        self._fail(UpstreamError(self.overdue, TIMED_OUT[self.overdue]))
        if self.transport is not None:
            self.transport.abort()

    # --- what the parser calls ---------------------------------------------------------

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._fields.clear()  # only announces the answer
            return
        self.status = status
        self.headers = headers = Received(self._fields.copy())
        if self._head is None or self._head.done():
            self._close_after = True  # a second answer to one request
            return
        if headers.mentions(b"content-encoding") and headers.get("content-encoding") in DEFLATED:
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._close_after = not self._parser.should_keep_alive()
        self._head.set_result(None)

    def on_message_complete(self) -> None:
        if self._head is not None and self._head.done():
            self._complete = True

    # --- inside ------------------------------------------------------------------------

    def _deliver(self) -> None:
        """Hand on, in one piece, what one read brought."""
        chunks = self._chunks
        if chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            try:
                if self._inflate is not None:
                    data = self._inflate.decompress(data)
                if self._sink is None:
                    self._early.append(data)
                else:
                    self._sink(data)
            except zlib.error:
                self._fail(
                    UpstreamError(FailureClass.BROKEN_BEFORE_COMMIT, "the answer is garbled")
                )
                return
            except Exception as error:
                self._fail(error)
                return
        if self._complete and self._end is not None and not self._end.done():
            self._end.set_result(None)

    def _at_eof(self, *, clean: bool) -> None:
        """The peer closed inside a body: fine if only the end delimits it."""
        framed = "content-length" in self.headers or "transfer-encoding" in self.headers
        if clean and not framed:
            self._complete = True
            self._deliver()
        else:
            self._fail(UpstreamError(FailureClass.BROKEN_BEFORE_COMMIT, "the answer was cut off"))

    def _fail(self, error: Exception) -> None:
        self._close_after = True
        for future in (self._head, self._end):
            if future is not None and not future.done():
                future.set_exception(error)
                return
        self._error = error


class Pool:
    """Connections to one origin: newest first, bounded, with a fair queue."""

    def __init__(self, watchdog: Watchdog, outbox: Outbox, url: str, max_connections: int) -> None:
        parts = urlsplit(url)
        self.watchdog = watchdog
        self.outbox = outbox
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._max = max_connections
        self._unreached = Unreached()

    def take(self) -> Connection | None:
        """The kept connection that was used last, unless all are gone."""
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is None or connection.transport.is_closing():
                continue
            if monotonic() - connection.idle_since < IDLE_SECONDS:
                connection.reused = True
                return connection
            connection.transport.abort()
        return None

    async def get(self, *, fresh: bool, connect_seconds: float) -> Connection:
        """A new connection, or unless `fresh` one that others gave back while it had to wait.

        Raises `UpstreamError` when none can be had.
        """
        loop = asyncio.get_running_loop()
        while len(self._open) + self._connecting >= self._max:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                async with asyncio.timeout(connect_seconds):
                    await waiter
            except TimeoutError as error:
                raise UpstreamError(
                    FailureClass.CONNECT_TIMEOUT, "all connections to the provider are in use"
                ) from error
            if not fresh and (kept := self.take()) is not None:
                return kept
        return await self._connect(loop, connect_seconds)

    async def _connect(self, loop: asyncio.AbstractEventLoop, seconds: float) -> Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host if self._tls else None,
                )
        except TimeoutError as error:
            self._unreached.tell(f"{self._host}:{self._port}", f"not within {seconds:g} s")
            raise UpstreamError(
                FailureClass.CONNECT_TIMEOUT, TIMED_OUT[FailureClass.CONNECT_TIMEOUT]
            ) from error
        except OSError as error:
            self._unreached.tell(f"{self._host}:{self._port}", error)
            raise UpstreamError(FailureClass.CONNECT, "the provider cannot be reached") from error
        finally:
            self._connecting -= 1
            self._wake()
        self._open.add(connection)
        return connection

    def put(self, connection: Connection) -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)
        if self._waiters:
            self._wake()

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def close(self) -> None:
        """Close what is idle; what is in use ends with its exchange."""
        for connection in list(self._idle):
            if connection.transport is not None:
                connection.transport.abort()
        self._idle.clear()
        self._max = 0 if not self._open else self._max


class Upstream:
    """The way to one provider instance: its pools by origin, its connect deadline."""

    def __init__(self, watchdog: Watchdog, max_connections: int, connect_seconds: float) -> None:
        self._watchdog = watchdog
        self._outbox = Outbox()
        self._max = max_connections
        self._connect_seconds = connect_seconds
        self._heads = Heads()
        self._pools: dict[str, Pool] = {}

    async def send(
        self, request: UpstreamRequest, deadline: float, sending: Told | None = None
    ) -> Connection:
        """Send `request`; return its connection once the head of the answer is in.

        Raises `UpstreamError`. A kept connection that turns out to be dead before any byte
        of the answer is replaced by a fresh one, once.
        """
        origin, data = self._heads.wire(request)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(self._watchdog, self._outbox, request.url, self._max)
        seconds = self._connect_seconds
        connection = pool.take() or await pool.get(fresh=False, connect_seconds=seconds)
        try:
            await connection.send(data, deadline, sending)
        except BaseException as error:
            connection.release()
            if not isinstance(error, StaleConnection):
                raise
            connection = await pool.get(fresh=True, connect_seconds=seconds)
            try:
                await connection.send(data, deadline, sending)
            except BaseException:
                connection.release()
                raise
        return connection

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
