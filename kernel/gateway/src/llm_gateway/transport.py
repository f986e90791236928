"""How a call reaches a provider: the small contract that two implementations meet.

`upstream.Upstream` is the quick one; `session.Sessions` goes through proxies. One test
suite holds both to the same behaviour.
"""

import logging
import os
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from llm_gateway_api import FailureClass, Headers, UpstreamError, UpstreamRequest

log = logging.getLogger("llm_gateway.transport")
QUIET_SECONDS = 60.0  # between two lines about one upstream that is not reached
Sink = Callable[[bytes], None]
Told = Callable[[], object]
TIMED_OUT = {
    FailureClass.CONNECT_TIMEOUT: "the provider could not be reached in time",
    FailureClass.NO_FIRST_CONTENT: "the provider did not answer in time",
    FailureClass.BROKEN_AFTER_COMMIT: "the provider fell silent in the middle of its answer",
}


class Unreached:
    """Tells the log why an upstream is not reached, which no client is told; at once, and then
    rarely, however many calls fail."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def tell(self, where: str, reason: OSError | str) -> None:
        if (now := monotonic()) >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            if isinstance(reason, ConnectionError) and reason.errno:
                reason = os.strerror(reason.errno)  # asyncio's own text has the address alone
            elif isinstance(reason, OSError):
                reason = reason.strerror or str(reason)
            log.warning("upstream.unreached at=%s error=%s", where, reason)


class Exchange(Protocol):
    """A call whose answer's head is in. What fails is an `UpstreamError`.

    `deadline` (the event loop's clock) may be moved at any time; when it passes, the
    failure class is `overdue`. Header names are in lower case, a repeated header keeps its
    first value.
    """

    status: int
    overdue: FailureClass

    @property
    def headers(self) -> Headers: ...

    @property
    def deadline(self) -> float: ...

    @deadline.setter
    def deadline(self, value: float) -> None: ...

    async def pump(self, sink: Sink) -> None:
        """Hand each piece of the body to `sink` as it arrives, and return at its end."""

    async def read(self, limit: int) -> bytes:
        """The whole body, at most `limit` bytes."""

    def pass_to(self, sink: Sink) -> None:
        """What `pump` brings from now on goes to `sink`."""

    def hold(self) -> None:
        """Stop reading: the client takes no more for now."""

    def unhold(self) -> None: ...

    def release(self) -> None:
        """Over: the connection is kept if its answer was read to the end, else closed."""


class Transport(Protocol):
    """The way to one provider instance. Redirects are never followed."""

    async def send(
        self, request: UpstreamRequest, deadline: float, sending: Told | None = None
    ) -> Exchange:
        """Send `request`; return once the head of the answer is in. `sending` is called when
        there is a connection and the request goes out on it.

        Raises `UpstreamError`. A kept connection that turns out to be dead before any byte
        of the answer is replaced by a fresh one, once.
        """

    def close(self) -> None:
        """Close what is idle; what is in use ends with its exchange."""


async def collected(exchange: Exchange, limit: int) -> bytes:
    """The whole body through `pump`."""
    pieces: list[bytes] = []
    size = 0

    def collect(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            raise UpstreamError(
                FailureClass.BROKEN_BEFORE_COMMIT, f"the answer is larger than {limit} bytes"
            )
        pieces.append(data)

    await exchange.pump(collect)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
