"""News of all gateways, on a connection of its own that is kept alive.

A channel for each topic: Redis writes a message to every subscriber of its channel, so nobody
is sent what he does not listen to.
"""

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from llm_gateway_api import alongside
from redis.exceptions import RedisError

from llm_gateway_state_redis.scripts import TAG
from llm_gateway_state_redis.wire import packed

log = logging.getLogger("llm_gateway_state_redis")
CHANNELS = f"{TAG}:news:"
QUIET_SECONDS = 3.0  # without a word, until the connection is tried
BACKOFF_SECONDS = (0.05, 2.0)
_SENDER_BYTES = 8
Listener = Callable[[bytes], None]


class Subscription(Protocol):
    """The part of redis-py's asyncio connection that is used here."""

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    async def send_packed_command(self, command: bytes, check_health: bool = True) -> None: ...

    async def read_response(self, *, timeout: float = ...) -> Any:  # noqa: ASYNC109  # redis-py's
        """None where nothing came within `timeout` seconds."""


class News:
    """Who listens here, and what the others say. Lost while there is no connection."""

    def __init__(self, connection: Callable[[], Subscription], connect_timeout: float) -> None:
        self._make = connection
        self._connect_timeout = connect_timeout
        self._listeners: dict[str, list[Listener]] = {}
        self._self = os.urandom(_SENDER_BYTES)
        self._connection: Subscription | None = None
        self._joining: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with alongside(self._keep(), name="redis news"):
            yield

    def listen(self, topic: str, told: Listener) -> None:
        listeners = self._listeners.setdefault(topic, [])
        listeners.append(told)
        if len(listeners) == 1 and self._connection is not None:
            joining = asyncio.get_running_loop().create_task(self._join(self._connection, topic))
            self._joining.add(joining)
            joining.add_done_callback(self._joining.discard)

    def published(self, topic: str, message: bytes) -> bytes:
        """The command that tells the others; those here are told at once, Redis or not."""
        asyncio.get_running_loop().call_soon(self._deliver, topic, message)
        return packed(b"PUBLISH", channel_of(topic), self._self + message)

    async def _keep(self) -> None:
        least, most = BACKOFF_SECONDS
        wait = least
        while True:
            connection = self._make()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await connection.connect()
                    self._connection = connection
                    if self._listeners:
                        await self._join(connection, *self._listeners)
                        await connection.read_response()
                wait = least
                while True:
                    self._heard(await self._next(connection))
            except Exception as error:
                log.debug("news.lost error=%s: %s", type(error).__name__, error)
            finally:
                self._connection = None
                with suppress(RedisError, OSError, TimeoutError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(most, wait * 2)

    async def _join(self, connection: Subscription, *topics: str) -> None:
        """The answers are read with the news. A connection that fails is found out by whoever
        reads, and all topics are joined on the next one."""
        command = packed(b"SUBSCRIBE", *map(channel_of, topics))
        with suppress(RedisError, OSError, TimeoutError):
            await connection.send_packed_command(command, check_health=False)

    async def _next(self, connection: Subscription) -> Any:
        """What comes next; a connection that says nothing is asked, and given up if it stays
        silent."""
        reply = await connection.read_response(timeout=QUIET_SECONDS)
        if reply is None:
            await connection.send_packed_command(packed(b"PING"), check_health=False)
            reply = await connection.read_response(timeout=self._connect_timeout)
        if reply is None:
            raise TimeoutError("no answer to a ping")
        return reply

    def _heard(self, reply: Any) -> None:
        if not isinstance(reply, list) or len(reply) != 3 or reply[0] != b"message":
            return
        sender, message = reply[2][:_SENDER_BYTES], reply[2][_SENDER_BYTES:]
        if sender != self._self:
            topic = reply[1].decode(errors="replace").removeprefix(CHANNELS)
            self._deliver(topic, message)

    def _deliver(self, topic: str, message: bytes) -> None:
        for told in self._listeners.get(topic, ()):
            try:
                told(message)
            except Exception:
                log.exception("news.failed topic=%s", topic)


def channel_of(topic: str) -> bytes:
    return f"{CHANNELS}{topic}".encode()
