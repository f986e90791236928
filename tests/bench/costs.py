"""What each operation costs that several gateways share, measured on real servers.

Microseconds are CPU time of the server that is named (`redis_`: its one thread that runs
commands; `pg_`: all processes of PostgreSQL), or of a worker (`worker_`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from statistics import median
from typing import Any

from llm_gateway_api import (
    Budget,
    CachedAnswer,
    ChatRequest,
    DatabaseSettings,
    LedgerRecord,
    Lookup,
    Metrics,
    MigrationSpec,
    Take,
    TextDelta,
    Usage,
)
from llm_gateway_audit_log.shipping import COLUMNS, INSERT
from llm_gateway_cache_redis.cache import RedisCache
from llm_gateway_cache_redis.settings import RedisCacheSettings
from llm_gateway_filter_identity.directory import TABLES
from llm_gateway_ledger_store.rows import Row, insert, row_of
from llm_gateway_limit_budget.periods import window
from llm_gateway_limit_budget.spending import spent
from llm_gateway_migrations.files import collect
from llm_gateway_migrations.plugin import SQL
from llm_gateway_migrations.runner import Runner
from llm_gateway_state_redis.news import channel_of
from llm_gateway_state_redis.state import RedisState
from llm_gateway_store_postgres.store import PostgresStore
from meters import PostgresMeter, RedisMeter, passed

Costs = dict[str, float]
CHANNEL = channel_of("bench")
BATCHES = (1, 10, 100, 500)
ROUNDS = 5
TENANTS = 200
_numbers = count()


@asynccontextmanager
async def tables(url: str) -> AsyncIterator[PostgresStore]:
    """An open store with all tables."""
    store = PostgresStore(DatabaseSettings(url=url, min_connections=1))
    async with store.open():
        await Runner(store, collect([MigrationSpec("gateway", SQL)], store.dialect)).run()
        yield store


async def each_us(
    meter: RedisMeter | PostgresMeter, times: int, work: Callable[[], Awaitable[object]]
) -> float:
    """The server's CPU time for one of `times` calls of `work`, median of rounds."""
    found = []
    for _ in range(ROUNDS):
        before = meter.read()["cpu_us"]
        for _ in range(times):
            await work()
        found.append((meter.read()["cpu_us"] - before) / times)
    return median(found)


# --- PostgreSQL ------------------------------------------------------------------------------


def record(now: int) -> Row:
    """A record of the ledger as it waits to be shipped."""
    number = next(_numbers)
    return row_of(
        LedgerRecord(
            id=f"led_{number:024x}",
            request_id=f"req_{number:024x}",
            at=now,
            tenant=f"tenant-{number % TENANTS}",
            key_id=f"key_{number % (5 * TENANTS):016x}",
            model="gpt-4o-mini",
            operation="chat",
            provider="openai",
            upstream_model="gpt-4o-mini-2024-07-18",
            region="us-east-1",
            status=200,
            error=None,
            stream=False,
            cache=None,
            attempts=1,
            duration_ms=812,
            first_content_ms=None,
            usage=Usage(input=300, output=50),
            cost_nano=75_000,
            saved_nano=None,
            price_version="2026-11-01",
        )
    )


async def ledger(store: PostgresStore, meter: PostgresMeter) -> Costs:
    """Rows in batches: what a row costs, and what a batch costs beside its rows."""
    costs: Costs = {}
    now = int(time.time() * 1000)

    async def ship(size: int) -> None:
        await insert(store, [record(now) for _ in range(size)])

    for _ in range(20):  # an index that is not empty
        await ship(500)
    rows = 0
    empty = meter.one("SELECT pg_total_relation_size('usage_records')")
    log = meter.read()["log_bytes"]
    for size in BATCHES:
        times = max(2, 400 // size)
        each = await each_us(meter, times, partial(ship, size))
        rows += size * times * ROUNDS
        costs[f"pg_row_us_in_batches_of_{size}"] = each / size
    costs["pg_row_log_bytes"] = (meter.read()["log_bytes"] - log) / rows
    for _ in range(40):
        await ship(500)
    rows += 20_000
    full = meter.one("SELECT pg_total_relation_size('usage_records')")
    costs["pg_row_disk_bytes"] = (full - empty) / rows
    few, many = BATCHES[0], BATCHES[-1]
    one, whole = costs[f"pg_row_us_in_batches_of_{few}"], costs[f"pg_row_us_in_batches_of_{many}"]
    costs["pg_row_us"] = (whole * many - one * few) / (many - few)
    costs["pg_shipment_us"] = max(0.0, one - costs["pg_row_us"])
    return costs


async def truing(store: PostgresStore, meter: PostgresMeter) -> Costs:
    """A budget's sum over the hours of its period, for each thousand of its sums."""
    rows, keys = 100_000, 150
    whole = window(Budget("bud", "tenant", 10**15, "month"), "busy", time.time())
    meter.run(
        "INSERT INTO usage_hours (hour, tenant, key_id, model, part, requests, tokens, cost_nano) "
        f"SELECT {whole.start * 1000} + n / {keys} * CAST(3600000 AS BIGINT), "
        f"'busy', 'key_' || n % {keys}, 'gpt-4o-mini', 0, 1, 350, 75000 "
        f"FROM generate_series(0, {rows - 1}) AS n"
    )
    meter.run("VACUUM ANALYZE usage_hours")
    each = await each_us(meter, 5, lambda: spent(store, whole))
    return {"pg_sum_us_per_1000_hours": each / (rows / 1000)}


async def keys(store: PostgresStore, meter: PostgresMeter) -> Costs:
    """What every worker reads when one key changed, with ten thousand keys in the store."""
    many = 10_000
    meter.run(
        "INSERT INTO api_keys (id, tenant, name, role, hash, document, created_at, updated_at, "
        "version) SELECT 'key_' || n, NULL, 'k', 'user', repeat('0', 64), '{}', "
        f"0, 0, n FROM generate_series(1, {many}) AS n"
    )
    meter.run("VACUUM ANALYZE api_keys")

    async def refresh() -> None:
        await store.fetch("SELECT realm, version FROM identity_version WHERE id = 1")
        for table in TABLES:
            sql = f"SELECT * FROM {table} WHERE version > :since"
            await store.fetch(sql, {"since": many - 1})

    look = "SELECT realm, version FROM identity_version WHERE id = 1"
    return {
        "pg_look_us": await each_us(meter, 300, lambda: store.fetch(look)),
        "pg_refresh_us": await each_us(meter, 100, refresh),
    }


async def audit(store: PostgresStore, meter: PostgresMeter) -> Costs:
    """One event on record, shipped with 99 others."""
    fixed: dict[str, Any] = dict.fromkeys(COLUMNS)
    fixed |= {"chain": "c" * 32, "at": 1, "kind": "key.created", "outcome": "ok"}
    fixed |= {"detail": "{}", "prev": "0" * 64, "body": "x" * 200, "salt": "s" * 32}
    fixed |= {"hash": "h" * 64, "actor": "admin", "tenant": "tenant-1", "subject": "key_1"}

    async def ship() -> None:
        await store.execute_many(INSERT, [{**fixed, "seq": next(_numbers)} for _ in range(100)])

    return {"pg_audit_us": await each_us(meter, 5, ship) / 100}


async def postgres_costs(url: str) -> Costs:
    async with tables(url) as store:
        meter = PostgresMeter(url)
        return {
            **await ledger(store, meter),
            **await truing(store, meter),
            **await keys(store, meter),
            **await audit(store, meter),
        }


# --- Redis -----------------------------------------------------------------------------------


async def takes(url: str, state: RedisState, meter: RedisMeter) -> Costs:
    """One step of three limits and its settlement: alone, of fifty workers at once, and 64 of
    one worker in one write."""

    async def step(state: RedisState = state) -> None:
        who = next(_numbers) % TENANTS
        grant = await state.take(
            [
                Take(f"t{who}:requests", 1, 10**6, "bucket", rate=1e4, seconds=60.0),
                Take(f"t{who}:tokens", 500, 10**9, "bucket", rate=1e7, seconds=60.0),
                Take(f"t{who}:slots", 1, 10**4, "slots", seconds=30.0),
            ]
        )
        await state.settle(grant, [1, 350, 0])  # type: ignore[arg-type]  # nothing is refused

    async def together() -> None:
        await asyncio.gather(*(step() for _ in range(64)))

    async def add_up() -> None:
        sums = [Take(f"sum:{each}", 1, 2**53, "window", seconds=90.0) for each in range(4)]
        await state.take(sums, force=True)

    async def apart() -> float:
        """Many workers, each with one question at a time, which find the server busy."""
        async with AsyncExitStack() as stack:
            states = [RedisState(url) for _ in range(50)]
            await asyncio.gather(*(stack.enter_async_context(each.open()) for each in states))
            await asyncio.gather(*(step(each) for each in states))  # connected by now
            return await each_us(meter, 4, lambda: asyncio.gather(*map(step, states))) / 50

    return {
        "redis_take_and_settle_apart_us": await apart(),
        "redis_take_and_settle_alone_us": await each_us(meter, 300, step),
        "redis_take_and_settle_us": await each_us(meter, 10, together) / 64,
        "redis_sums_us": await each_us(meter, 300, add_up),
        "redis_claim_us": await each_us(
            meter, 300, lambda: state.claim(f"bench:{next(_numbers)}", 30.0)
        ),
    }


async def news(url: str, meter: RedisMeter) -> Costs:
    """A message to many subscribers: Redis's share for each, and the share of who hears it."""
    few, many, times = 10, 200, 200
    costs = {}
    for listeners in (few, many):
        async with AsyncExitStack() as stack:
            for _ in range(listeners):
                await stack.enter_async_context(_subscriber(url))

            async def publish() -> None:
                await asyncio.to_thread(meter.client.publish, CHANNEL, b"n" * 120)
                await asyncio.sleep(0)

            costs[listeners] = await each_us(meter, times, publish)
    delivery = (costs[many] - costs[few]) / (many - few)
    return {
        "redis_publish_us": max(0.0, costs[few] - few * delivery),
        "redis_delivery_us": delivery,
        "worker_news_us": await _hearing(url, meter),
    }


@asynccontextmanager
async def _subscriber(url: str) -> AsyncIterator[None]:
    """A connection that reads what comes and does nothing with it."""
    host, _, port = url.partition("://")[2].partition("/")[0].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(CHANNEL), CHANNEL))
    await reader.read(100)

    async def drain() -> None:
        while await reader.read(65536):
            pass

    task = asyncio.create_task(drain())
    try:
        yield
    finally:
        task.cancel()
        writer.close()


async def _hearing(url: str, meter: RedisMeter) -> float:
    """CPU time of a worker for one message, delivered but not looked at by anybody."""
    times, heard = 5000, 0
    done = asyncio.Event()

    def told(_: bytes) -> None:
        nonlocal heard
        heard += 1
        if heard % times == 0:
            done.set()

    state = RedisState(url)
    state.listen("bench", told)
    script = "for i = 1, tonumber(ARGV[1]) do redis.call('PUBLISH', KEYS[1], ARGV[2]) end"
    message = b"12345678" + b"n" * 120
    found = []
    async with state.open():
        await asyncio.sleep(0.2)  # until it is subscribed
        for _ in range(ROUNDS):
            done.clear()
            meter.client.eval(script, 1, CHANNEL, str(times), message)
            began = time.thread_time()
            async with asyncio.timeout(30):
                await done.wait()
            found.append((time.thread_time() - began) * 1e6 / times)
    return median(found)


async def cache(url: str, meter: RedisMeter) -> Costs:
    """An answer of 1.2 KB: kept, found, not found."""
    answer = CachedAnswer((TextDelta("word " * 230),), "m", "openai", "m", None, time.time())
    made = RedisCache(RedisCacheSettings(timeout_seconds=5), url, time.monotonic, Metrics())

    def lookup(number: int) -> Lookup:
        return Lookup(f"{number:064x}", "tenant", "", "", ChatRequest("m", ()))

    async with made.open():
        put = await each_us(meter, 200, lambda: made.put(lookup(next(_numbers)), answer, 600.0))
        await made.put(lookup(0), answer, 600.0)
        hit = await each_us(meter, 200, lambda: made.get(lookup(0)))
        miss = await each_us(meter, 200, lambda: made.get(lookup(-1)))
        key: Any = next(iter(meter.client.scan_iter("llm-gateway:cache:*")))
        size: Any = meter.client.memory_usage(key)
    costs = {"redis_cache_put_us": put, "redis_cache_hit_us": hit, "redis_cache_miss_us": miss}
    return costs | {"redis_cache_entry_bytes": float(size)}


async def redis_costs(url: str) -> Costs:
    meter = RedisMeter(url)
    state = RedisState(url)
    async with state.open():
        costs = await takes(url, state, meter)
    return {**costs, **await news(url, meter), **await cache(url, meter)}


def between(before: Mapping[str, float], after: Mapping[str, float], many: float) -> Costs:
    """What passed, for each of `many`."""
    return {name: value / many for name, value in passed(dict(before), dict(after)).items()}
