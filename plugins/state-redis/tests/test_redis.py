"""State in every Redis and Valkey found here: the contract, and servers that fail."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from llm_gateway_api import ConfigurationError, Denial, Grant, StateSettings, Take
from llm_gateway_state_redis import plugin, state
from llm_gateway_state_redis.link import StateLostError
from llm_gateway_state_redis.news import channel_of
from llm_gateway_state_redis.scripts import TAG
from llm_gateway_state_redis.state import RedisState
from llm_gateway_testkit import servers
from llm_gateway_testkit.states import Pair, StateSuite
from llm_gateway_testkit.ways import Way

PROGRAMS = servers.redis_programs()
SLOT = Take("slot", 1, 2, "slots", seconds=900)
# Twice the time-out, a quarter each for the granularity, and what a busy machine adds.
BOUND_SECONDS = 0.25 * 2.5 + 0.5


@pytest.fixture(scope="module", params=PROGRAMS, ids=[each.parts[-3] for each in PROGRAMS])
def server(request: pytest.FixtureRequest) -> Iterator[servers.Server]:
    with servers.redis(request.param) as running:
        yield running


@pytest.fixture
async def states(server: servers.Server) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        made = RedisState(server.url), RedisState(server.url)
        for each in made:
            await stack.enter_async_context(each.open())
        await raw(server, b"FLUSHALL")
        yield made


async def raw(server: servers.Server, *words: bytes) -> Any:
    """One command on a connection of its own."""
    connection = state.connector(server.url)[0]()
    try:
        await connection.send_command(*words)
        return await connection.read_response()
    finally:
        await connection.disconnect()


async def until(holds: Callable[[], Any], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # what a server does is no event here
            await asyncio.sleep(0.02)


class TestRedis(StateSuite):
    """The contract."""


async def test_every_key_is_of_this_version_and_of_one_node(
    states: Pair, server: servers.Server
) -> None:
    takes = [Take("b", 1, 5, rate=1.0), Take("w", 1, 5, "window"), SLOT]
    grant = await states[0].take(takes)
    assert isinstance(grant, Grant)
    await states[0].claim("nonce", 30)
    keys = await raw(server, b"KEYS", b"*")

    assert len(keys) == 4
    assert all(key.startswith(TAG.encode()) for key in keys)
    assert [await raw(server, b"PTTL", key) > 0 for key in keys] == [True] * 4


async def test_what_is_asked_at_once_goes_out_together(states: Pair, monkeypatch: Any) -> None:
    """A hundred takes are one write, or the first and the others."""
    writes = []
    link = states[0]._link  # type: ignore[attr-defined]
    answers = link._answers

    async def counted(connection: Any) -> Any:
        writes.append(len(link._flying))
        return await answers(connection)

    monkeypatch.setattr(link, "_answers", counted)
    await asyncio.gather(*(states[0].take([Take("many", 1, 500)]) for _ in range(100)))

    assert sum(writes) == 100
    assert len(writes) <= 2


async def test_a_caller_that_leaves_gives_back_its_slot(states: Pair) -> None:
    """Whether its question was sent or not, nobody is left to settle."""
    for waited in range(20):
        asking = asyncio.ensure_future(states[0].take([SLOT]))
        for _ in range(waited % 5):
            await asyncio.sleep(0)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            granted = await asking
            await states[0].settle(granted, [0])  # type: ignore[arg-type]  # it came first
    await until(lambda: held(states, 0))


async def held(states: Pair, many: int) -> bool:
    return list(await states[1].used([SLOT.key])) == [many]


async def test_slots_of_a_dead_holder_come_back_and_those_of_a_live_one_stay(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease ends unless its holder renews it."""
    await raw(server, b"FLUSHALL")
    monkeypatch.setattr(state, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(state, "RENEW_SECONDS", 0.2)
    living, dying = RedisState(server.url), RedisState(server.url)
    async with living.open():
        async with dying.open():
            assert isinstance(await living.take([SLOT]), Grant)
            assert isinstance(await dying.take([SLOT]), Grant)
            assert isinstance(await living.take([SLOT]), Denial)
        began = time.monotonic()
        await until(lambda: held((living, living), 1))
        await asyncio.sleep(max(0.0, began + 1.5 - time.monotonic()))
        assert await held((living, living), 1)


async def test_a_restart_forgets_no_slot_that_is_held(states: Pair, server: servers.Server) -> None:
    grant = await states[0].take([SLOT])
    assert isinstance(grant, Grant)
    server.stop()
    server.start()

    async def again() -> bool:
        with suppress(StateLostError):
            return await held(states, 1)
        return False

    await until(again)
    await until(states[0].healthy)
    await states[0].settle(grant, [0])
    assert await held(states, 0)


async def test_scripts_that_were_flushed_are_loaded_again(
    states: Pair, server: servers.Server
) -> None:
    await raw(server, b"SCRIPT", b"FLUSH")
    answers = await asyncio.gather(*(states[0].take([Take("flush", 1, 3)]) for _ in range(5)))

    assert sum(isinstance(each, Grant) for each in answers) == 3


async def test_a_stopped_server_is_known_at_once_and_found_again(
    states: Pair, server: servers.Server
) -> None:
    server.stop()
    await until(lambda: failing(states))
    began = time.monotonic()
    for _ in range(100):
        assert await failing(states)
    took = time.monotonic() - began
    well = await states[0].healthy()
    server.start()
    await until(states[0].healthy)

    assert not well
    assert took < 0.1
    assert isinstance(await states[0].take([Take("back", 1, 1)]), Grant)


async def failing(states: Pair) -> bool:
    try:
        await states[0].take([Take("x", 1, 1_000_000)])
    except StateLostError:
        return True
    return False


async def test_a_frozen_server_costs_the_time_out_once(
    states: Pair, server: servers.Server
) -> None:
    server.freeze()
    try:
        began = time.monotonic()
        first = await asyncio.gather(*(failing(states) for _ in range(50)))
        waited = time.monotonic() - began
        began = time.monotonic()
        then = [await failing(states) for _ in range(100)]
        at_once = time.monotonic() - began
    finally:
        server.thaw()
    await until(states[0].healthy)

    assert all(first)
    assert all(then)
    assert waited < BOUND_SECONDS
    assert at_once < 0.1


async def test_a_slow_server_is_as_good_as_none(server: servers.Server) -> None:
    """Each answer comes, but later than anybody waits."""
    async with Way(server.url).open() as way, (made := RedisState(way.url)).open():
        assert isinstance(await made.take([Take("quick", 1, 9)]), Grant)
        way.delay = 0.6
        began = time.monotonic()
        assert await failing((made, made))

        assert time.monotonic() - began < BOUND_SECONDS
        assert not await made.healthy()
        way.delay = 0.0
        await until(made.healthy)


async def test_nobody_is_sent_what_he_does_not_listen_to(
    states: Pair, server: servers.Server
) -> None:
    """A message costs the server a write for each listener of its topic, not for each gateway;
    one that begins to listen later hears what is said from then on."""

    async def listeners(topic: str) -> int:
        return int((await raw(server, b"PUBSUB", b"NUMSUB", channel_of(topic)))[1])

    async def heard_by_both() -> bool:
        return await listeners("both") == 2

    heard = asyncio.Event()
    states[1].listen("one", lambda message: heard.set())
    for each in states:
        each.listen("both", lambda message: None)
    await until(heard_by_both)

    assert await listeners("one") == 1
    assert await listeners("none") == 0
    async with asyncio.timeout(10):
        while not heard.is_set():
            states[0].publish("one", b"m")
            await asyncio.sleep(0.02)


async def test_news_go_on_after_a_restart(states: Pair, server: servers.Server) -> None:
    heard = asyncio.Event()
    states[1].listen("topic", lambda message: heard.set())
    server.stop()
    server.start()

    async def told() -> bool:
        states[0].publish("topic", b"m")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await heard.wait()
        return heard.is_set()

    await until(told)


async def test_it_opens_without_a_server() -> None:
    made = RedisState(f"redis://127.0.0.1:{servers.free_port()}/0")
    began = time.monotonic()
    async with made.open():
        assert not await made.healthy()
        assert await failing((made, made))
        heard = asyncio.Event()
        made.listen("topic", lambda message: heard.set())
        made.publish("topic", b"those of this process hear it all the same")
        await heard.wait()

    assert time.monotonic() - began < 2


WORKER = """
import asyncio, sys
from llm_gateway_api import Grant, Take
from llm_gateway_state_redis.state import RedisState

async def main():
    state = RedisState(sys.argv[1])
    async with state.open():
        takes = [Take("k", 1, 500), Take("w", 1, 10_000, "window")]
        answers = [await asyncio.gather(*(state.take(takes) for _ in range(50))) for _ in range(8)]
        print(sum(isinstance(each, Grant) for some in answers for each in some), flush=True)

asyncio.run(main())
"""


def test_four_processes_share_one_bucket_exactly(server: servers.Server) -> None:
    asyncio.run(raw(server, b"FLUSHALL"))
    command = [sys.executable, "-c", WORKER, server.url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    got = [int(each.communicate(timeout=60)[0]) for each in running]

    assert sum(got) == 500


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "REDIS_URL"),
        ("", "REDIS_URL"),
        ("http://redis", "redis_url"),
        ("redis://host/0?no_such_option=1", "no_such_option"),
    ],
)
def test_a_wrong_address_is_refused_at_the_start(url: str | None, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        plugin.make(StateSettings(redis_url=url))


def test_the_url_sets_the_time_outs() -> None:
    _, timeout, connect_timeout = state.connector("redis://h/0?socket_timeout=0.1")

    assert (timeout, connect_timeout) == (0.1, state.CONNECT_SECONDS)
