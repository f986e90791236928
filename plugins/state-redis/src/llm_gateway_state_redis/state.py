"""`StateBackend` on Redis 6.2 and later, or Valkey."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from llm_gateway_api import DONE, Denial, Grant, Take
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from llm_gateway_state_redis.link import Link, StateLostError
from llm_gateway_state_redis.news import Listener, News
from llm_gateway_state_redis.scripts import RENEW, SETTLE, TAG, TAKE, USED
from llm_gateway_state_redis.wire import PING, evaluated, packed

TIMEOUT_SECONDS = 0.25
CONNECT_SECONDS = 1.0
# A slot is a lease: it outlives its holder by this at most, whatever the take says.
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
RENEWED_AT_ONCE = 200
_KINDS = {"bucket": b"b", "window": b"w", "slots": b"s"}


class RedisState:
    """All gateways with the same server and database share it; the server's clock decides.

    Raises:
        ValueError, TypeError: `url` is none, or has an option that is none.
    """

    def __init__(self, url: str) -> None:
        connection, timeout, connect_timeout = connector(url)
        connection()  # an unknown option shows here
        self._link = Link(
            connection,
            timeout=timeout,
            connect_timeout=connect_timeout,
            restored=self._renew,
        )
        self._news = News(connection, connect_timeout)
        self._self = os.urandom(6).hex()
        self._numbers = itertools.count()
        self._held: dict[tuple[str, str], int] = {}  # (lease, key): slots

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._news.open())
            await stack.enter_async_context(self._link.open())
            renewing = asyncio.create_task(self._keep_leases(), name="redis leases")
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.wait({renewing})

    async def healthy(self) -> bool:
        try:
            return bool(await self._link.ask(PING) == b"PONG")
        except (StateLostError, RedisError):
            return False

    async def take(self, takes: Sequence[Take], *, force: bool = False) -> Grant | Denial:
        lease = f"{self._self}-{next(self._numbers):x}"
        words = [b"1" if force else b"0", lease.encode()]
        for each in takes:
            words += (
                b"f" if each.filled else _KINDS[each.kind],
                b"%d" % each.amount,
                b"%d" % each.limit,
                repr(each.rate).encode(),
                repr(_seconds(each)).encode(),
            )
        command = evaluated(TAKE, [key_of(each.kind, each.key) for each in takes], words)
        asking = self._link.ask(command, lambda late: self._orphaned(takes, lease, late))
        try:
            reply = await asking
        except asyncio.CancelledError:
            if not asking.cancelled() and asking.exception() is None:  # just answered
                self._orphaned(takes, lease, asking.result())
            raise
        if reply[0] == 2:
            return Denial(reply[1], 0.0, (), unfilled=True)
        if reply[0] == 0:
            wait = float("inf") if reply[2] < 0 else reply[2] / 1e6
            return Denial(reply[1], wait, tuple(reply[3:]))
        return self._granted(takes, lease, reply)

    def settle(self, grant: Grant, amounts: Sequence[int]) -> Awaitable[None]:
        """Of what was used as it was taken nothing need be said."""
        token: Any = grant.token
        lease, ends = token
        keys: list[bytes] = []
        words: list[bytes] = [lease.encode()]
        for take, amount, end in zip(grant.takes, amounts, ends, strict=True):
            if amount == take.amount:
                continue
            if take.kind == "slots":
                self._keep(lease, take.key, amount)
            keys.append(key_of(take.kind, take.key))
            words += (
                _KINDS[take.kind],
                b"%d" % take.amount,
                b"%d" % amount,
                b"%d" % take.limit,
                repr(take.rate).encode(),
                repr(_seconds(take)).encode(),
                end,
            )
        return self._link.ask(evaluated(SETTLE, keys, words)) if keys else DONE

    async def used(self, keys: Sequence[str]) -> Sequence[int]:
        both = [key_of(kind, key) for key in keys for kind in ("window", "slots")]
        return list(await self._link.ask(evaluated(USED, both, ())))

    async def claim(self, key: str, seconds: float) -> bool:
        name = f"{TAG}:c:{key}".encode()
        milliseconds = b"%d" % max(1, round(seconds * 1000))
        reply = await self._link.ask(packed(b"SET", name, b"1", b"NX", b"PX", milliseconds))
        return reply is not None

    def publish(self, topic: str, message: bytes) -> None:
        command = self._news.published(topic, message)
        with suppress(StateLostError):
            self._link.ask(command)

    def listen(self, topic: str, told: Listener) -> None:
        self._news.listen(topic, told)

    def _granted(self, takes: Sequence[Take], lease: str, reply: list[Any]) -> Grant:
        many = len(takes)
        for each in takes:
            if each.kind == "slots":
                self._held[lease, each.key] = each.amount
        return Grant(tuple(takes), tuple(reply[1 + many :]), (lease, reply[1 : 1 + many]))

    def _orphaned(self, takes: Sequence[Take], lease: str, reply: list[Any]) -> None:
        """Whoever asked has left, and will not give back what was taken."""
        if reply[0] == 1:
            grant = self._granted(takes, lease, reply)
            with suppress(StateLostError):
                self.settle(grant, [0] * len(takes))

    def _keep(self, lease: str, key: str, slots: int) -> None:
        if slots > 0 and (lease, key) in self._held:
            self._held[lease, key] = slots
        else:
            self._held.pop((lease, key), None)

    def _renew(self) -> None:
        """Every slot that is held here, also one that the server has forgotten."""
        held = list(self._held.items())
        for at in range(0, len(held), RENEWED_AT_ONCE):
            keys: list[bytes] = []
            words: list[bytes] = []
            for (lease, key), slots in held[at : at + RENEWED_AT_ONCE]:
                keys.append(key_of("slots", key))
                words += (lease.encode(), b"%d" % slots, b"%d" % LEASE_SECONDS)
            with suppress(StateLostError):
                self._link.ask(evaluated(RENEW, keys, words))

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            self._renew()


def key_of(kind: str, key: str) -> bytes:
    """A bucket, a window and slots of one name are three things."""
    return f"{TAG}:{kind[0]}:{key}".encode()


def connector(url: str) -> tuple[Callable[[], Any], float, float]:
    """What makes connections to `url`, and the two time-outs, which the URL may set as
    ``socket_timeout`` and ``socket_connect_timeout``."""
    pool = ConnectionPool.from_url(url)
    given = dict(pool.connection_kwargs)
    timeout = given.pop("socket_timeout", None) or TIMEOUT_SECONDS
    connect_timeout = given.pop("socket_connect_timeout", None) or CONNECT_SECONDS
    given |= {"socket_timeout": None, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
    return lambda: pool.connection_class(**given), timeout, connect_timeout


def _seconds(take: Take) -> float:
    return min(take.seconds, LEASE_SECONDS) if take.kind == "slots" else take.seconds
