"""A provider on loopback that does what a script says, down to the TCP segment.

Pure asyncio, so that nothing tidies up what a test wants broken. Each request takes the
next step of the queue, then those of `default` in turn; a request that finds neither is
answered with 599 and fails the test at the end of the block.
"""

import asyncio
import itertools
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from llm_gateway_testkit.steps import (
    Answer,
    Cut,
    Garbage,
    Hang,
    Received,
    Reset,
    Script,
    Step,
    Stream,
    frames,
    head,
    split,
)

__all__ = [
    "Answer",
    "Cut",
    "Garbage",
    "Hang",
    "Received",
    "Reset",
    "ScriptedProvider",
    "Step",
    "Stream",
    "Validator",
    "unreachable",
]

Validator = Callable[[Received], Answer | None]
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class ScriptedProvider:
    """An HTTP/1.1 server for the length of an ``async with`` block.

    `validator` sees each request first; what it returns is the answer, and no step is
    used up.
    """

    def __init__(self, *steps: Script, validator: Validator | None = None) -> None:
        self.received: list[Received] = []
        # With a `probe`, it answers who asks whether it is well: beside the script, at any time.
        self.probes: list[Received] = []
        self.probe: Step | None = None
        self.unexpected: list[Received] = []
        self.validator = validator
        self.connections_made = 0
        self._queue: deque[Script] = deque(steps)
        self._default: tuple[Script, ...] = ()
        self._rotation: Iterator[Script] = iter(())
        self._open: set[_Connection] = set()
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        self._refusing: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            await connection.stop()
        for holder in self._refusing:
            holder.close()
        if error is None and self.unexpected:
            raise AssertionError(f"nothing was scripted for {self.unexpected[0]}")

    @property
    def url(self) -> str:
        """The origin, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def default(self) -> tuple[Script, ...]:
        """The steps that answer in turn, for ever, once the queue is empty."""
        return self._default

    @default.setter
    def default(self, steps: Script | Sequence[Script]) -> None:
        self._default = tuple(steps) if isinstance(steps, Sequence) else (steps,)
        self._rotation = itertools.cycle(self._default)

    def enqueue(self, *steps: Script) -> None:
        """Answer the next requests with `steps`, one each, in their order."""
        self._queue.extend(steps)

    def release(self) -> None:
        """Let every `Hang` go on; later ones do not hold either."""
        self._released.set()

    def reset(self) -> None:
        """Forget script and records and end what hangs; the port stays."""
        self._released.set()
        self._released = asyncio.Event()
        self._queue.clear()
        self.default = ()
        self.received.clear()
        self.unexpected.clear()

    def refused_url(self) -> str:
        """An origin that refuses connections, held free of others until the end."""
        holder = socket.socket()
        holder.bind(("127.0.0.1", 0))  # bound and not listening: the kernel answers RST
        self._refusing.append(holder)
        return f"http://127.0.0.1:{holder.getsockname()[1]}"

    @property
    def connections_open(self) -> int:
        return len(self._open)

    async def wait_closed(self, n: int = 0, timeout_s: float = 1.0) -> None:
        """Wait until at most `n` connections are open, or raise `AssertionError`."""
        await self._until(lambda: len(self._open) <= n, timeout_s)

    async def wait_received(self, n: int, timeout_s: float = 5.0) -> None:
        """Wait until `n` requests have come in, or raise `AssertionError`."""
        await self._until(lambda: len(self.received) >= n, timeout_s)

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"after {timeout_s} s: {len(self._open)} connections open, "
                f"{len(self.received)} requests received"
            ) from None

    # --- what a connection calls -------------------------------------------------------

    def _joined(self, connection: "_Connection") -> None:
        self.connections_made += 1
        self._open.add(connection)
        self._changed.set()

    def _left(self, connection: "_Connection") -> None:
        self._open.discard(connection)
        self._changed.set()

    def _next(self, request: Received) -> Step:
        if (
            self.probe is not None
            and request.method == "GET"
            and request.path.partition("?")[0].endswith("models")
        ):
            self.probes.append(request)
            self._changed.set()
            return self.probe
        self.received.append(request)
        self._changed.set()
        if self.validator is not None and (refusal := self.validator(request)) is not None:
            return refusal
        script = self._queue.popleft() if self._queue else next(self._rotation, None)
        if script is None:
            self.unexpected.append(request)
            return Answer(status=599, body=b'{"error":{"message":"nothing was scripted"}}')
        return script(request) if callable(script) else script


class _Connection(asyncio.Protocol):
    """One connection; its task ends when the peer leaves, wherever it stands."""

    transport: asyncio.Transport

    def __init__(self, provider: ScriptedProvider) -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- what the loop calls; an eof without an answer closes, as asyncio does by default

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._provider._joined(self)
        self._task = asyncio.get_running_loop().create_task(self._quietly(self._serve()))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()
        self._provider._left(self)
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """End the connection and its task."""
        self.transport.abort()
        await self._lost.wait()
        if self._task is not None:
            await asyncio.wait({self._task})

    # --- one exchange after the other --------------------------------------------------

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            self.transport.abort()
            raise

    async def _serve(self) -> None:
        while True:
            request = await self._request()
            step = self._provider._next(request)
            await self._play(step)
            if self.transport.is_closing():
                return
            if request.headers.get("connection", "").lower() == "close":
                self.transport.close()
                return

    async def _request(self) -> Received:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        line, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, path, _version = line.split(" ", 2)
        pairs = (each.partition(":") for each in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        stop = end + 4 + int(headers.get("content-length", "0"))
        while len(self._buffer) < stop:
            await self._more()
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        return Received(method, path, headers, body)

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _play(self, step: Step) -> None:
        match step:
            case Answer():
                await asyncio.sleep(step.delay_s)
                await self._write([head(step) + step.body])
            case Stream():
                await self._stream(step)
            case Hang():
                sent, kept = split(step)
                await self._write(sent)
                await self._provider._released.wait()
                await self._write(kept)
            case Reset():
                await self._write(split(step)[0])
                self._reset()
            case Cut():
                await self._write(split(step)[0])
                self.transport.close()
            case Garbage():
                await self._write([step.data])
                self.transport.close()

    async def _stream(self, step: Stream) -> None:
        await self._write([head(step)])
        for each in frames(step):
            await asyncio.sleep(step.delay_s)
            await self._write(each)
        if step.framing == "close":
            self.transport.close()

    async def _write(self, pieces: Sequence[bytes]) -> None:
        """One segment for each piece, so far as the network's buffers allow."""
        for piece in pieces:
            await self._writable.wait()
            self.transport.write(piece)
            await asyncio.sleep(0)

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.transport.abort()


@contextmanager
def unreachable() -> Iterator[str]:
    """An origin that takes no connection and refuses none: its queue of them is full."""
    with socket.socket() as listener, socket.socket() as waiting, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for each in (waiting, second):
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
