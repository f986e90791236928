"""Calls to providers with aiohttp's client: for what the quick way does not do, proxies.

Costs several times as much for each call, so nothing else goes this way.
"""

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
from llm_gateway_api import FailureClass, Headers, UpstreamError, UpstreamRequest
from yarl import URL

from llm_gateway.transport import TIMED_OUT, Exchange, Sink, Told, Unreached, collected

IDLE_SECONDS = 50.0
_BREAKS = frozenset("\r\n\0")
_AUTOMATIC = ("user-agent", "accept", "content-type")


class SessionExchange:
    """One call of a session; meets `Exchange`."""

    def __init__(self, answer: aiohttp.ClientResponse, deadline: float) -> None:
        self._answer = answer
        self._deadline = deadline
        self._timer: asyncio.Timeout | None = None
        self._sink: Sink | None = None
        self._readable = asyncio.Event()
        self._readable.set()
        self.status = answer.status
        self.overdue = FailureClass.NO_FIRST_CONTENT
        headers: dict[str, str] = {}
        for name, value in answer.headers.items():
            headers.setdefault(name.lower(), value)
        self.headers: Headers = headers

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline = value
        if self._timer is not None:
            self._timer.reschedule(_when(value))

    async def pump(self, sink: Sink) -> None:
        content = self._answer.content
        self._sink = sink
        try:
            async with asyncio.timeout_at(_when(self._deadline)) as self._timer:
                while data := await content.readany():
                    self._sink(data)
                    await self._readable.wait()
        except TimeoutError as error:
            raise UpstreamError(self.overdue, TIMED_OUT[self.overdue]) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(
                FailureClass.BROKEN_BEFORE_COMMIT, "the answer was cut off"
            ) from error
        finally:
            self._timer = None

    def pass_to(self, sink: Sink) -> None:
        self._sink = sink

    async def read(self, limit: int) -> bytes:
        return await collected(self, limit)

    def hold(self) -> None:
        self._readable.clear()

    def unhold(self) -> None:
        self._readable.set()

    def release(self) -> None:
        self._readable.set()
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


class Sessions:
    """Meets `Transport`; all calls through `proxy` (a URL, with its user if any), if given."""

    def __init__(
        self, max_connections: int, connect_seconds: float, proxy: str | None = None
    ) -> None:
        self._max = max_connections
        self._timeout = aiohttp.ClientTimeout(connect=connect_seconds, total=None, sock_read=None)
        self._proxy = proxy
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._unreached = Unreached()
        self.closing: asyncio.Task[None] | None = None

    async def send(
        self, request: UpstreamRequest, deadline: float, sending: Told | None = None
    ) -> Exchange:
        if any(set(value) & _BREAKS for value in request.headers.values()):
            raise ValueError("a header of the upstream request holds a line break")
        if self._kept is None:
            self._kept = self._session(force_close=False)
        seen = SimpleNamespace(reused=False, sending=sending)
        try:
            return await self._sent(self._kept, request, deadline, seen)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if not seen.reused:
                raise UpstreamError(
                    FailureClass.BROKEN_BEFORE_COMMIT, "the provider closed the connection"
                ) from error
        if self._fresh is None:
            self._fresh = self._session(force_close=True)
        try:
            return await self._sent(self._fresh, request, deadline, seen)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise UpstreamError(
                FailureClass.BROKEN_BEFORE_COMMIT, "the provider closed the connection"
            ) from error

    async def _sent(
        self,
        session: aiohttp.ClientSession,
        request: UpstreamRequest,
        deadline: float,
        seen: SimpleNamespace,
    ) -> Exchange:
        """Library exceptions become ours, but for the two that may mean a stale connection."""
        try:
            async with asyncio.timeout_at(_when(deadline)):
                answer = await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers={"accept-encoding": "identity", **request.headers},
                    data=request.body,
                    allow_redirects=False,
                    proxy=self._proxy,
                    timeout=self._timeout,
                    trace_request_ctx=seen,
                )
        except aiohttp.ServerTimeoutError as error:
            timed_out = FailureClass.CONNECT_TIMEOUT
            raise UpstreamError(timed_out, TIMED_OUT[timed_out]) from error
        except TimeoutError as error:
            timed_out = FailureClass.NO_FIRST_CONTENT
            raise UpstreamError(timed_out, TIMED_OUT[timed_out]) from error
        except aiohttp.ClientHttpProxyError as error:
            self._unreached.tell(str(URL(request.url).host), f"the proxy answers {error.status}")
            raise UpstreamError(
                FailureClass.CONNECT, f"the proxy refused the call ({error.status})"
            ) from error
        except aiohttp.ClientConnectorError as error:
            what = "proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else "provider"
            self._unreached.tell(f"{error.host}:{error.port}", error.os_error)
            raise UpstreamError(FailureClass.CONNECT, f"the {what} cannot be reached") from error
        except aiohttp.ClientOSError:
            raise
        except aiohttp.ServerDisconnectedError:
            raise
        except aiohttp.ClientError as error:
            raise UpstreamError(
                FailureClass.BROKEN_BEFORE_COMMIT, "the answer is no HTTP"
            ) from error
        return SessionExchange(answer, deadline)

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        async def reused(session: Any, context: SimpleNamespace, params: Any) -> None:
            context.trace_request_ctx.reused = True

        async def sending(session: Any, context: SimpleNamespace, params: Any) -> None:
            if context.trace_request_ctx.sending is not None:
                context.trace_request_ctx.sending()

        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(reused)
        tracing.on_request_headers_sent.append(sending)
        kept: dict[str, Any] = {} if force_close else {"keepalive_timeout": IDLE_SECONDS}
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=self._max,
            force_close=force_close,
            ssl=ssl.create_default_context(),  # aiohttp's own is made at its import
            **kept,
        )
        return aiohttp.ClientSession(
            connector=connector,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
            trace_configs=[tracing],
        )

    def close(self) -> None:
        sessions = [each for each in (self._kept, self._fresh) if each is not None]
        self._kept = self._fresh = None

        async def close_all() -> None:
            for each in sessions:
                await each.close()

        if sessions:
            self.closing = asyncio.get_running_loop().create_task(close_all())


def _when(deadline: float) -> float | None:
    return None if deadline == float("inf") else deadline
