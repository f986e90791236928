"""The server's end of a connection: aiohttp reads and parses, and one loop answers.

aiohttp makes a task, a writer and a future for each request; here a connection is one task
in which its requests are handled one after another. Parsing, limits, pipelining, keep-alive
and the answers to malformed requests stay aiohttp's.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from aiohttp.web_request import BaseRequest
from llm_gateway_api import ConfigurationError
from multidict import CIMultiDict, CIMultiDictProxy

from llm_gateway import malformed
from llm_gateway.outbox import Outbox

log = logging.getLogger("llm_gateway.connection")
IDLE_SECONDS = 1.0  # a connection unused for so long may be closed
CHUNKED = "chunked"
VERSIONS = (HttpVersion11, HttpVersion10)
# RFC 9112, 3.2 and RFC 3986, 3.2.2: empty where the address has no authority.
HOST = re.compile(
    r"(?:\[[0-9A-Za-z:.%_~!$&'()*+,;=-]+\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
SPARE_CONNECTIONS = 128  # over the limit: each is told so in one answer


class Answered:
    """What the handler returns: the answer is on its way already."""

    __slots__ = ("keep_alive", "status")
    body_length = 0

    def __init__(self, status: int, keep_alive: bool) -> None:
        self.status = status
        self.keep_alive = keep_alive

    async def prepare(self, request: BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Incoming:
    """One request as aiohttp's parser read it: what a handler needs, without `web.Request`.

    `path` is decoded but for slashes (``%2F``) and percent signs (``%25``): an encoded slash is
    part of a name and separates nothing. `query` is not decoded. `content` is the body's reader,
    `task` the one that handles the request.
    """

    __slots__ = (
        "content",
        "headers",
        "keep_alive",
        "max_body_bytes",
        "method",
        "path",
        "protocol",
        "query",
        "task",
        "version",
    )

    def __init__(
        self, message: Any, content: Any, protocol: "Protocol", task: Any, max_body_bytes: int
    ) -> None:
        path, _, query = message.path.partition("?")
        plain = path.startswith("/") and "%" not in path and "#" not in path
        self.method: str = message.method
        self.path: str = path if plain else message.url.path_safe
        self.query: str = query
        self.version = message.version
        self.headers = message.headers if plain else targeted(message)
        self.keep_alive = not message.should_close
        self.content = content
        self.protocol = protocol
        self.task = task
        self.max_body_bytes = max_body_bytes

    def whole(self) -> bytes | None:
        """The body if it is no larger than it may be and came with its head, as most do.

        It is looked at and not taken: for that aiohttp asks six functions more, whether it may
        read on among others.
        """
        content = self.content
        if not content.is_eof() or content.exception() or content.total_bytes > self.max_body_bytes:
            return None
        if not content.total_bytes:
            return b""
        pieces = content._buffer
        return bytes(pieces[0]) if len(pieces) == 1 and not content._buffer_offset else None

    def _cancel(self, error: BaseException) -> None:
        """aiohttp says that the rest of the body will not come."""
        set_exception(self.content, error)


def targeted(message: Any) -> CIMultiDictProxy[str]:
    """The headers of `message`; a host that its address names stands in place of ``Host``
    (RFC 9112, 3.2.2), so that nobody is told another one than was asked for."""
    if message.path.startswith("/"):
        headers: CIMultiDictProxy[str] = message.headers
        return headers
    changed = CIMultiDict(message.headers)
    changed["host"] = message.url.raw_authority
    return CIMultiDictProxy(changed)


def framed(message: Any) -> bool:
    """Whether nobody can read another end of the request: no coding but ``chunked``, which
    only HTTP/1.1 has, and no version before 1.0."""
    version = message.version
    if message.chunked or "transfer-encoding" in message.headers:
        codings = message.headers.getall("transfer-encoding")
        return bool(version == HttpVersion11 and [c.lower() for c in codings] == [CHUNKED])
    return version in VERSIONS


Handler: TypeAlias = Callable[[Incoming], Awaitable[Answered]]


class Protocol(RequestHandler):
    """One connection; tells when its client takes data again.

    `client` is the client's address: the connection's own unless somebody who may said
    another, and "" where there is none.
    """

    __slots__ = ("client", "handler", "host", "on_resume", "outbox")

    def __init__(self, server: "HttpServer", client: str | None, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.client = client
        self.handler = server.handler
        self.outbox = server.outbox
        self.host: str | None = None  # as the last request had it
        self.on_resume: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.client is None:
            peer = transport.get_extra_info("peername")
            self.client = peer[0] if peer and isinstance(peer, tuple) else ""
        super().connection_made(transport)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls it after each body, and parses nothing once more for it."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_resume is not None:
            self.on_resume()

    def idle(self) -> float:
        """Seconds since it was opened or answered last; 0 while a request is under way."""
        if self._request_in_progress or self._messages:
            return 0.0
        return self._loop.time() - self._next_keepalive_close_time + self._keepalive_timeout

    def force_close(self) -> None:
        """Close now, with what was answered on its way."""
        self.outbox.flush()
        super().force_close()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not read."""
        server: Any = self._manager
        return malformed.answer(exc, status, server.added())

    async def start(self) -> None:
        """Answer what comes, one request after another, until the connection ends."""
        server: Any = self._manager
        while not self._force_close:
            if not self._messages:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            if not self._readable():
                self.outbox.flush()
                await super().start()
                return
            message, payload = self._next()
            request: Any = Incoming(
                message, payload, self, self._task_handler, server.max_body_bytes
            )
            self._request_in_progress, self._current_request = True, request
            try:
                answered = await self.handler(request)
                self._keepalive = answered.keep_alive
                if not payload.is_eof():
                    await self._linger(payload)
            except asyncio.CancelledError:
                self.force_close()
                raise
            except Exception:
                log.exception("connection.failed")
                self.force_close()
            finally:
                self._request_in_progress, self._current_request = False, None
                if self._handler_waiter is not None:
                    self._handler_waiter.set_result(None)
            del message, payload, request  # an idle connection holds no body
            if not self._keepalive or self._close or self._force_close:
                break
            self._rests()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.outbox.flush()
                self.transport.close()

    def _readable(self) -> bool:
        """Whether the oldest request is one for us; what is malformed or wants another protocol
        is left to aiohttp's own loop."""
        message: Any = self._messages[0][0]
        if getattr(message, "upgrade", True):
            return False
        wrong = None if framed(message) else BadHttpMessage("framing")
        if (host := message.headers.get("host")) != self.host:
            wrong = wrong or self._hosted(host)
        if wrong is not None:
            self._messages[0] = (_ErrInfo(400, wrong, ""), EMPTY_PAYLOAD)
        return wrong is None

    def _rests(self) -> None:
        """From now on the connection may be closed once it has been idle for long."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    def _hosted(self, host: str | None) -> BadHttpMessage | None:
        """What is wrong with a ``Host`` that is not the one of the request before; aiohttp has
        refused several, and none where there has to be one."""
        if host is not None and HOST.fullmatch(host) is None:
            return malformed.HostError("host")
        self.host = host
        return None

    def _next(self) -> tuple[Any, Any]:
        """The oldest request; reading goes on once few are left."""
        found = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return found

    async def _linger(self, payload: Any) -> None:
        """Read the rest of a body that was not wanted, so that the client sees its answer."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        except (TimeoutError, HttpProcessingError, web.RequestPayloadError):
            self.close()


class HttpServer(web.Server):
    """aiohttp's low-level server with our protocol, body cap and number of connections."""

    def __init__(
        self,
        handler: Handler,
        max_body_bytes: int,
        max_connections: int,
        added: Callable[[], Mapping[str, str]] = lambda: malformed.NOTHING,
        crowded: Handler | None = None,
        outbox: Outbox | None = None,
        **kwargs: Any,
    ) -> None:
        if HttpRequestParser is HttpRequestParserPy:
            raise ConfigurationError(
                "aiohttp runs without its C parser, and the other one is laxer with malformed "
                "requests: install aiohttp from its wheel, without AIOHTTP_NO_EXTENSIONS."
            )
        made_for_aiohttp: Any = self._handle
        super().__init__(made_for_aiohttp, handler_cancellation=True, **kwargs)
        self.handler = handler
        self._crowded = crowded  # answers the only request of a connection over the limit
        self.max_body_bytes = max_body_bytes
        self.outbox = outbox or Outbox()
        self._max_connections = max_connections
        self.added = added  # headers of the answer to what is no request

    async def _handle(self, request: BaseRequest) -> Answered | web.Response:
        """A request that aiohttp's own loop handles: one that asked for an upgrade."""
        if not framed(request._message):
            return malformed.answer(BadHttpMessage("framing"), 400, self.added())
        protocol: Any = request.protocol
        task = asyncio.current_task()
        answered: Answered = await protocol.handler(
            Incoming(request._message, request.content, protocol, task, self.max_body_bytes)
        )
        self.outbox.flush()
        return answered

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Refuse what is over ``server.max_connections``: with an answer while some are spare."""
        super().connection_made(handler, transport)
        over = len(self._connections) - self._max_connections
        if over <= 0:
            return
        if self._crowded is None or over > SPARE_CONNECTIONS:
            transport.abort()
        else:
            handler.handler = self._crowded

    def quiet(self) -> bool:
        """Whether no connection is or just was in use.

        A client that is about to use its connection again is to be answered, and told that
        it ends; closing it under its hands would fail that request.
        """
        return all(
            each.idle() >= IDLE_SECONDS
            for each in self._connections
            if isinstance(each, Protocol) and each.transport is not None
        )

    def __call__(self, client: str | None = None) -> Protocol:
        return Protocol(self, client, loop=self._loop, **self._kwargs)
