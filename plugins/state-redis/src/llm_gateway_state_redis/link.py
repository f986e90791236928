"""One connection that all callers share, and the breaker around it.

What is asked while an answer is awaited goes out together, in one write. Time-outs are counted
in ticks of one timer, which costs a request nothing and forgives a stall of this process. When
the server is gone, too slow or in no state to serve, whoever waits is told so, and everybody
after at once, until a connection of the background has shown that it works.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from redis.exceptions import (
    AskError,
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from llm_gateway_state_redis.scripts import ALL
from llm_gateway_state_redis.wire import PING, packed

log = logging.getLogger("llm_gateway_state_redis")
TICKS = 4  # in one time-out
IDLE_TICKS = 8  # without a question, until the connection is tried
BATCH = 1000
BACKOFF_SECONDS = (0.05, 2.0)
STEADY_SECONDS = 5.0  # that a connection must last before the next loss is a new one
# Answers of a server that is not the one to ask now: a replica, another node (MOVED is one of
# these), a cluster without a master. One that loads or wants a password ends the connection.
NOT_NOW = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)
BUSY = "BUSY"  # a script of somebody else runs for too long


class StateLostError(ConnectionError):
    """The shared state cannot be reached now."""


class Connection(Protocol):
    """The part of redis-py's asyncio connection that is used here."""

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...

    async def read_response(self) -> Any: ...


class Asked:
    """One command, and whoever waits for its answer; `orphaned` gets it where nobody does."""

    __slots__ = ("answer", "command", "orphaned")

    def __init__(
        self,
        command: bytes,
        answer: "asyncio.Future[Any]",
        orphaned: Callable[[Any], None] | None,
    ) -> None:
        self.command = command
        self.answer = answer
        self.orphaned = orphaned

    def told(self, reply: Any) -> None:
        if self.answer.cancelled():
            if self.orphaned is not None and not isinstance(reply, Exception):
                self.orphaned(reply)
        elif self.answer.done():
            return
        elif isinstance(reply, Exception):
            self.answer.set_exception(reply)
            self.answer.exception()  # not everybody looks
        else:
            self.answer.set_result(reply)


class Link:
    """`timeout` bounds a question in seconds (to a quarter of it), `connect_timeout` a new
    connection; `restored` is called with each new one, before anybody else asks."""

    def __init__(
        self,
        connection: Callable[[], Connection],
        *,
        timeout: float,
        connect_timeout: float,
        restored: Callable[[], None],
    ) -> None:
        self._make = connection
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._restored = restored
        self._queue: list[Asked] = []
        self._flying: list[Asked] = []
        self._wake = asyncio.Event()
        self._ticks = 0
        self._serving: asyncio.Task[None] | None = None
        self.up = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Opens without a server too; waits for the first attempt, so that the first caller
        meets a connection where there is one."""
        loop = asyncio.get_running_loop()
        tried = asyncio.Event()
        tasks = {
            loop.create_task(self._keep(tried), name="redis connection"),
            loop.create_task(self._watch(), name="redis time-outs"),
        }
        try:
            await tried.wait()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def ask(
        self, command: bytes, orphaned: Callable[[Any], None] | None = None
    ) -> "asyncio.Future[Any]":
        """The answer to come. Where it is cancelled first, the command is not sent, or
        `orphaned` is called with the answer.

        Raises:
            StateLostError: at once, or by the future.
        """
        if not self.up:
            raise StateLostError("Redis cannot be reached")
        asked = Asked(command, asyncio.get_running_loop().create_future(), orphaned)
        self._queue.append(asked)
        self._wake.set()
        return asked.answer

    async def _keep(self, tried: asyncio.Event) -> None:
        """A connection at all times, as far as it depends on this side."""
        loop = asyncio.get_running_loop()
        least, most = BACKOFF_SECONDS
        wait = least
        while True:
            connection = self._make()
            began = loop.time()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await connection.connect()
                async with asyncio.timeout(self._timeout):
                    await self._prepare(connection)
                await self._serve(connection, tried)
            except Exception as error:
                level = logging.WARNING if self.up or not tried.is_set() else logging.DEBUG
                log.log(level, "redis.lost error=%s: %s", type(error).__name__, error)
            finally:
                self._lost()
                with suppress(RedisError, OSError, TimeoutError):
                    await connection.disconnect(nowait=True)
            tried.set()
            wait = least if loop.time() - began > STEADY_SECONDS else min(most, wait * 2)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    async def _prepare(self, connection: Connection) -> None:
        """Ask it to write, which a replica or a full node refuses, and teach it the scripts."""
        commands = [packed(b"SCRIPT", b"LOAD", script) for script in ALL]
        await connection.send_packed_command(b"".join([PING, *commands]), check_health=False)
        for _ in range(1 + len(ALL)):
            await connection.read_response()

    async def _serve(self, connection: Connection, tried: asyncio.Event) -> None:
        """Until it fails, or `_watch` says that it took too long."""
        self.up = True
        log.info("redis.connected")
        self._restored()
        tried.set()
        self._serving = asyncio.create_task(self._exchange(connection), name="redis exchange")
        try:
            await asyncio.wait({self._serving})
            if self._serving.cancelled():
                raise TimeoutError
            self._serving.result()
        finally:
            self._serving.cancel()

    async def _exchange(self, connection: Connection) -> None:
        while True:
            await self._wake.wait()
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            if not self._queue:
                self._wake.clear()
            self._flying = [each for each in batch if not each.answer.cancelled()]
            self._ticks = 0
            text = b"".join([each.command for each in self._flying])
            if text:
                await connection.send_packed_command(text, check_health=False)
            self._flying = await self._answers(connection)
            if self._flying:
                await self._prepare(connection)
                self._queue[:0] = self._flying
                self._wake.set()

    async def _answers(self, connection: Connection) -> list[Asked]:
        """Tell everybody of the batch; return those whose script the server did not know."""
        again = []
        for asked in self._flying:
            try:
                asked.told(await connection.read_response())
            except NoScriptError:  # nothing ran; somebody flushed the scripts
                again.append(asked)
            except ResponseError as error:
                if isinstance(error, NOT_NOW) or str(error).startswith(BUSY):
                    raise
                asked.told(error)
        return again

    async def _watch(self) -> None:
        """End what takes too long; try a connection that nobody has used for a while."""
        idle = 0
        while True:
            await asyncio.sleep(self._timeout / TICKS)
            if self._serving is None or not self.up:
                continue
            if self._flying or self._queue:
                idle = 0
                self._ticks += 1
                if self._ticks > TICKS:
                    self._serving.cancel()
                continue
            idle += 1
            if idle >= IDLE_TICKS:
                idle = 0
                with suppress(StateLostError):
                    self.ask(PING)

    def _lost(self) -> None:
        """Tell everybody who waits."""
        self.up = False
        error = StateLostError("Redis cannot be reached")
        for asked in (*self._flying, *self._queue):
            asked.told(error)
        self._flying, self._queue = [], []
        self._wake.clear()
