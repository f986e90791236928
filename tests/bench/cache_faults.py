"""What requests wait for while that fails what a cache needs: Redis, or the embedding model.

    uv run --all-packages python tests/bench/cache_faults.py

About two minutes, loopback only. 100 requests a second come, whatever the answers do; the provider
answers at once. Milliseconds for each request, and what became of it. Prints a Markdown table.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Hang, ScriptedProvider
from llm_gateway_testkit.ways import Way
from load import Run

RATE, SECONDS = 100, 5.0
KEY = "sk-bench"
QUESTION = "#0000000000 how deep is the water at the pier"
HEAD = ("situation", "p50", "p99", "longest", "hits", "errors", "not asked", "failed")
COUNTED = {
    "hits": "gateway_cache_hits_total",
    "errors": "gateway_cache_errors_total",
    "redis": "gateway_cache_redis_skipped_total",
    "semantic": 'gateway_cache_semantic_total{outcome="skipped"}',
}
Change = Callable[[], Awaitable[None]]


async def counters(gateway: Gateway) -> dict[str, float]:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    return {
        name: sum(
            float(line.rpartition(" ")[2])
            for line in page.split("\n")
            if line.startswith(series) and not line.startswith("#")
        )
        for name, series in COUNTED.items()
    }


async def measured(gateway: Gateway, name: str, *, unlike: bool) -> str:
    """One row of the table."""
    before = await counters(gateway)
    body = {"model": "up/m", "messages": [{"role": "user", "content": QUESTION}]}
    job: dict[str, Any] = {
        "port": urlsplit(gateway.url).port,
        "path": "/v1/chat/completions",
        "key": gateway.api_key,
        "bodies": [body],
        "rate": RATE,
        "seconds": SECONDS,
        "unlike": unlike,
    }
    found = await Run(job).run()
    told = {key: value - before[key] for key, value in (await counters(gateway)).items()}
    times = sorted(found["last"])
    cells = [times[len(times) // 2], times[int(len(times) * 0.99)], times[-1]]
    skipped = told["redis"] + told["semantic"]
    counts = [told["hits"], told["errors"], skipped, found["failed"]]
    return " | ".join(
        [f"| {name}", *(f"{each:.1f}" for each in cells), *map("{:g}".format, counts)]
    )


async def rows(
    gateway: Gateway,
    situations: Mapping[str, tuple[Change, Change]],
    well: Callable[[Gateway], Awaitable[None]],
    *,
    unlike: bool,
) -> None:
    """Each situation between its beginning and its end; all is well before it begins."""
    for name, (begin, end) in situations.items():
        await well(gateway)
        await begin()
        print(await measured(gateway, name, unlike=unlike), "|", flush=True)
        await end()


async def at_once(gateway: Gateway) -> None: ...


async def nothing() -> None: ...


def config(provider: ScriptedProvider, **cache: Any) -> dict[str, Any]:
    up = {"kind": "openai", "api_key": KEY, "base_url": f"{provider.url}/v1"}
    return {"providers": {"up": up}, **({"cache": cache} if cache else {})}


async def redis_faults(stack: AsyncExitStack, provider: ScriptedProvider) -> None:
    server = stack.enter_context(servers.redis())
    way = await stack.enter_async_context(Way(server.url).open())
    given = config(provider, backend="redis", redis={"url": way.url})

    def late(seconds: float) -> Change:
        async def change() -> None:
            way.delay = seconds

        return change

    async def done(work: Callable[[], None]) -> None:
        await asyncio.to_thread(work)

    async with running_gateway(given) as gateway:
        situations: dict[str, tuple[Change, Change]] = {
            "Redis is well": (nothing, nothing),
            "20 ms late": (late(0.02), late(0.0)),
            "200 ms late": (late(0.2), late(0.0)),
            "frozen": (lambda: done(server.freeze), lambda: done(server.thaw)),
            "killed": (lambda: done(server.stop), lambda: done(server.start)),
            "back": (nothing, nothing),
        }
        await rows(gateway, situations, back, unlike=False)


async def back(gateway: Gateway) -> None:
    """Ask until an answer is repeated."""
    body = {"model": "up/m", "messages": [{"role": "user", "content": QUESTION}]}
    async with asyncio.timeout(30):
        while True:
            url = f"{gateway.url}/v1/chat/completions"
            reply = await call(url, body, key=gateway.api_key)
            if reply.headers["x-gateway-cache"] == "hit":
                return
            await asyncio.sleep(0.05)


async def vector_faults(stack: AsyncExitStack, provider: ScriptedProvider) -> None:
    vectors = await stack.enter_async_context(ScriptedProvider())
    well = openai.embeddings_answer([[1.0, 0.0]])
    semantic = {"model": "vectors/some-embedding"}
    given = config(provider, backend="memory", semantic_cache=semantic)
    given["providers"]["vectors"] = {
        "kind": "openai",
        "api_key": KEY,
        "base_url": f"{vectors.url}/v1",
        "max_retries": 0,
    }

    def says(step: Any) -> Change:
        async def change() -> None:
            vectors.reset()
            vectors.default = step

        return change

    async with running_gateway(given) as gateway:
        await says(well)()
        late = openai.embeddings_answer([[1.0, 0.0]])
        late = type(late)(late.status, late.headers, late.body, delay_s=0.1)
        situations: dict[str, tuple[Change, Change]] = {
            "the model is well": (nothing, nothing),
            "100 ms late": (says(late), says(well)),
            "failing": (says(openai.error_answer(500)), says(well)),
            "silent": (says(Hang()), says(well)),
            "back": (nothing, nothing),
        }
        await rows(gateway, situations, recovered, unlike=True)


async def recovered(gateway: Gateway) -> None:
    async with asyncio.timeout(30):
        while (await call(f"{gateway.metrics_url}/metrics")).body.find(
            b"gateway_cache_semantic_breaker_open 0"
        ) < 0:
            await measured_once(gateway)
            await asyncio.sleep(0.1)


async def measured_once(gateway: Gateway) -> None:
    body = {"model": "up/m", "messages": [{"role": "user", "content": f"{QUESTION} now"}]}
    headers = {"cache-control": "no-cache"}
    url = f"{gateway.url}/v1/chat/completions"
    await call(url, body, key=gateway.api_key, headers=headers)


async def main() -> None:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(ScriptedProvider())
        provider.default = openai.chat_answer("word " * 250)
        print("|", " | ".join(HEAD), "|")
        print("|", " | ".join(["---", *["--:"] * (len(HEAD) - 1)]), "|")
        async with running_gateway(config(provider)) as gateway:
            await rows(gateway, {"no cache": (nothing, nothing)}, at_once, unlike=False)
        print("| **cache-redis** |", " | " * (len(HEAD) - 2), "|")
        await redis_faults(stack, provider)
        print("| **cache-semantic** |", " | " * (len(HEAD) - 2), "|")
        await vector_faults(stack, provider)


if __name__ == "__main__":
    asyncio.run(main())
