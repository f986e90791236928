"""Questions and answers between the supervisor and one worker, over a socket pair.

One JSON object a line: a question is ``{"id", "do", "with"}``, its answer ``{"re", "value"}`` or
``{"re", "error"}``. Either side may ask; a question does not hold up the others.
"""

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

log = logging.getLogger("llm_gateway.channel")
LINE = 64 * 2**20  # a snapshot of very many metrics


class ChannelError(Exception):
    """The other side is gone, does not answer, or refuses; the text says which."""


class Message(msgspec.Struct, omit_defaults=True):
    do: str = ""
    id: int = 0
    re: int = 0
    error: str | None = None
    value: Any = None


Handler = Callable[[str, Any], Awaitable[Any]]
_decode = msgspec.json.Decoder(Message).decode


class Channel:
    """One end. `handle` answers what the other side asks; what it raises is told to it."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None
        self.opened = asyncio.Event()

    async def run(self, end: socket.socket) -> None:
        """Read until the other side closes or dies."""
        reader, self._writer = await asyncio.open_unix_connection(sock=end, limit=LINE)
        self.opened.set()
        try:
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    self._arrived(_decode(line))
        finally:
            self.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ChannelError("the other process is gone"))

    async def ask(self, do: str, value: Any = None, seconds: float = 5.0) -> Any:
        """The other side's answer; raises `ChannelError`."""
        if not self.open:
            raise ChannelError("the other process is gone")
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(Message(do=do, id=number, value=value))
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise ChannelError(f"no answer to {do!r} in {seconds:g} s") from None
        finally:
            del self._waiting[number]

    @property
    def open(self) -> bool:
        return self._writer is not None and not self._writer.is_closing()

    def close(self) -> None:
        """The other side sees this one gone."""
        if self._writer is not None:
            self._writer.close()

    def _send(self, message: Message) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    def _arrived(self, message: Message) -> None:
        if message.re:
            future = self._waiting.get(message.re)
            if future is not None and not future.done():
                if message.error is None:
                    future.set_result(message.value)
                else:
                    future.set_exception(ChannelError(message.error))
            return
        task = asyncio.get_running_loop().create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Message) -> None:
        try:
            value = await self._handle(message.do, message.value)
            self._send(Message(re=message.id, value=value))
        except ChannelError as error:
            self._send(Message(re=message.id, error=str(error)))
        except Exception as error:
            log.exception("channel.failed do=%s", message.do)
            self._send(Message(re=message.id, error=f"{type(error).__name__}: {error}"))
