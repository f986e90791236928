"""What each key of `routing` and `resilience` changes, seen by a client of a running gateway.

Keys that other tests of this folder are about are named in `ELSEWHERE`; one test counts that no
key is without any.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import (
    Answer,
    Hang,
    Received,
    ScriptedProvider,
    Step,
    Stream,
    unreachable,
)

ANSWER, STREAM = openai.chat_answer(), Stream(openai.chat_stream())
BROKEN = openai.error_answer(500)
HERE = Path(__file__)


@dataclass(slots=True)
class Site:
    """A gateway before providers `one` and `two`; `both` has a deployment at each."""

    gateway: Gateway
    one: ScriptedProvider
    two: ScriptedProvider
    times: list[float] = field(default_factory=list)

    async def chat(self, model: str = "both", **members: Any) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **members}
        return await call(f"{self.gateway.url}/v1/chat/completions", body, key=self.gateway.api_key)

    async def served(self, count: int) -> list[str]:
        """Who answered so many requests, one after another."""
        return [(await self.chat()).headers["x-gateway-provider"] for _ in range(count)]

    async def metric(self, name: str, **labels: str) -> float:
        """The value of one series; 0 where there is none yet."""
        inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
        series = f"{name}{{{inner}}} " if inner else f"{name} "
        page = (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()
        rows = (row.removeprefix(series) for row in page.splitlines() if row.startswith(series))
        return float(next(rows, "0"))

    def timed(self, step: Step) -> Any:
        """`step`, and the time at which it was asked for."""

        def play(request: Received) -> Step:
            self.times.append(asyncio.get_running_loop().time())
            return step

        return play

    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


@asynccontextmanager
async def started(
    *,
    one: dict[str, Any] | None = None,
    deployments: Sequence[dict[str, Any]] = ({}, {}),
    routing: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **resilience: Any,
) -> AsyncIterator[Site]:
    async with ScriptedProvider() as first, ScriptedProvider() as second:
        common = {"kind": "openai", "api_key": "k"}
        rows = [
            {"provider": name, "model": "m", **own}
            for name, own in zip(("one", "two"), deployments, strict=True)
        ]
        config = {
            "providers": {
                "one": {**common, "base_url": f"{first.url}/v1", **(one or {})},
                "two": {**common, "base_url": f"{second.url}/v1"},
            },
            "routing": {"models": [{"name": "both", "deployments": rows}], **(routing or {})},
            "resilience": resilience,
            **(more or {}),
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, first, second)


# --- routing.strategy ------------------------------------------------------------------------


async def test_round_robin_and_weighted() -> None:
    """In turn; `weighted` by their weights, and it is what holds where nothing is said."""
    weights = ({"weight": 3}, {"weight": 1})
    for strategy, share in ((None, 6), ("weighted", 6), ("round_robin", 6)):
        routing = {"strategy": strategy} if strategy else {}
        async with started(deployments=weights, routing=routing) as site:
            site.one.default = site.two.default = ANSWER
            assert Counter(await site.served(8)) == {"one": share, "two": 8 - share}
    async with started(routing={"strategy": "round_robin"}) as site:
        site.one.default = site.two.default = ANSWER
        served = await site.served(6)

    assert served in (["one", "two"] * 3, ["two", "one"] * 3)


async def test_least_connections() -> None:
    """Whoever has a call under way is asked when the other has one too."""
    async with started(routing={"strategy": "least_connections"}) as site:
        site.one.default = site.two.default = Hang(of=ANSWER)
        first = asyncio.create_task(site.chat())
        while not (asked := len(site.one.received) + len(site.two.received)):
            await asyncio.sleep(0.01)
        busy, idle = (site.one, site.two) if site.one.received else (site.two, site.one)
        idle.default = ANSWER

        for _ in range(4):
            await site.chat()
        assert (asked, len(busy.received), len(idle.received)) == (1, 1, 4)
        busy.release()
        assert (await first).status == 200


async def test_latency_optimized() -> None:
    """Most requests go to who answers sooner."""
    async with started(routing={"strategy": "latency_optimized"}) as site:
        site.one.default = Answer(body=ANSWER.body, delay_s=0.3)
        site.two.default = ANSWER
        served = Counter(await site.served(30))

    assert served["two"] > 20


async def test_cost_optimized() -> None:
    """The cheaper one gets all, although the other has the weight."""
    prices = {"dear": 9, "cheap": 1}
    rows = [
        {"kind": "openai", "id": name, "prices": {"input": price, "output": price}}
        for name, price in prices.items()
    ]
    async with started(
        deployments=({"model": "dear", "weight": 9}, {"model": "cheap", "weight": 1}),
        routing={"strategy": "cost_optimized"},
        more={"plugins": {"catalog_models": {"models": rows}}},
    ) as site:
        site.one.default = site.two.default = ANSWER
        served = Counter(await site.served(10))

    assert served == {"two": 10}


# --- resilience.retry, and what is counted ---------------------------------------------------


async def test_retry_attempts_and_waits() -> None:
    """`max_attempts` at one deployment, each after a longer wait; all of it is counted."""
    retry = {"strategy": "exponential", "initial_delay_ms": 200, "backoff_multiplier": 2.0}
    async with started(retry={**retry, "max_attempts": 4}, one={"max_retries": 9}) as site:
        site.one.default = site.timed(BROKEN)
        failed = await site.chat("one/m")
        site.one.default = ANSWER
        assert (await site.chat("one/m")).status == 200

        assert (failed.status, failed.headers["x-gateway-attempts"]) == (502, "4")
        waits = zip(site.gaps(), (0.2, 0.4, 0.8), strict=True)
        assert all(gap >= least for gap, least in waits)
        assert await site.metric("gateway_retry_attempts_total", provider="one") == 3
        assert await site.metric("gateway_provider_requests_total", provider="one") == 5
        errors = {"provider": "one", "class": "server_error"}
        assert await site.metric("gateway_provider_errors_total", **errors) == 4
        assert await site.metric("gateway_provider_latency_seconds_count", provider="one") == 5
        assert await site.metric("gateway_retry_attempts_total", provider="two") == 0
        assert await site.metric("gateway_fallbacks_total") == 0


async def test_fixed_waits_and_fewer_attempts() -> None:
    """`strategy`, `max_delay_ms`; a provider's `max_retries` is the tighter bound."""
    retry = {"strategy": "fixed", "initial_delay_ms": 300, "backoff_multiplier": 9.0}
    slow = openai.error_answer(429, "rate_limit_exceeded", headers={"retry-after": "1"})
    limits = {"disabled": ["guard_provider_limits"]}
    async with started(
        retry={**retry, "max_attempts": 9, "max_delay_ms": 900},
        one={"max_retries": 2},
        more={"plugins": limits},
    ) as site:
        site.one.default = site.timed(BROKEN)
        assert (await site.chat("one/m")).headers["x-gateway-attempts"] == "3"
        assert all(gap >= 0.3 for gap in site.gaps())
        site.one.default = slow  # longer than `max_delay_ms`: the client may wait
        limited = await site.chat("one/m")

    assert (limited.status, limited.headers["x-gateway-attempts"]) == (429, "1")
    assert limited.headers["retry-after"] == "1"


async def test_retry_budget() -> None:
    """Of none, nobody retries; `enabled: false` says the same of all."""
    for retry in ({"budget_percent": 0, "budget_min": 0}, {"enabled": False}):
        async with started(retry={"initial_delay_ms": 1, **retry}) as site:
            site.one.default = BROKEN
            failed = await site.chat("one/m")
        assert (failed.status, failed.headers["x-gateway-attempts"]) == (502, "1")


async def test_fallbacks_and_errors_are_counted_by_provider() -> None:
    """One request that another answered: two attempts, one error, one fallback, no retry."""
    async with started(deployments=({"weight": 1_000_000}, {"weight": 1e-6})) as site:
        site.one.enqueue(BROKEN)
        site.two.enqueue(ANSWER)
        assert (await site.chat()).headers["x-gateway-provider"] == "two"

        for provider, failed in (("one", 1), ("two", 0)):
            assert await site.metric("gateway_provider_requests_total", provider=provider) == 1
            errors = {"provider": provider, "class": "server_error"}
            assert await site.metric("gateway_provider_errors_total", **errors) == failed
            assert await site.metric("gateway_retry_attempts_total", provider=provider) == 0
        assert await site.metric("gateway_fallbacks_total") == 1


# --- resilience.circuit_breaker --------------------------------------------------------------


async def test_breaker_thresholds_and_timeout() -> None:
    """Opens with the third failure, probes after its time, closes with the second success."""
    breaker = {"failure_threshold": 3, "success_threshold": 2, "timeout_seconds": 1}
    labels = {"provider": "one", "model": "m"}
    async with started(
        circuit_breaker=breaker, one={"models": ["m"], "max_retries": 0}, retry={"enabled": False}
    ) as site:
        states = []
        for step in (BROKEN, BROKEN, BROKEN):
            site.one.enqueue(step)
            assert (await site.chat("one/m")).status == 502
            states.append(await site.metric("gateway_circuit_breaker_state", **labels))
        assert states == [0, 0, 2]
        site.one.default = ANSWER
        async with asyncio.timeout(20):
            while (probe := await site.chat("one/m")).status == 503:
                assert probe.json["error"]["code"] == "circuit_open"
                await asyncio.sleep(0.05)
        half = await site.metric("gateway_circuit_breaker_state", **labels)
        async with asyncio.timeout(20):  # one worker probes at a time, and so does one alone
            while (await site.chat("one/m")).status == 503:
                await asyncio.sleep(0.05)
        closed = await site.metric("gateway_circuit_breaker_state", **labels)

    assert (half, closed) == (1, 0)


async def test_breaker_that_is_off() -> None:
    async with started(
        circuit_breaker={"enabled": False, "failure_threshold": 1}, one={"max_retries": 0}
    ) as site:
        site.one.default = BROKEN
        statuses = [(await site.chat("one/m")).status for _ in range(4)]

    assert statuses == [502] * 4


# --- resilience.timeout ----------------------------------------------------------------------


async def test_timeouts() -> None:
    """Each ends what it is for, long before the others' defaults would."""
    timeout = {"request_seconds": 2, "streaming_seconds": 2, "chunk_gap_seconds": 0.4}
    async with started(timeout=timeout, one={"timeout_seconds": 60, "max_retries": 0}) as site:
        site.one.enqueue(Hang(of=ANSWER))
        request = await site.chat("one/m")
        site.one.enqueue(Hang("between", 2, STREAM))
        gap = await site.chat("one/m", stream=True)
        drops = [openai.chat_stream()[1]] * 1000
        site.one.enqueue(Stream([openai.chat_stream()[0], *drops], 0.1))
        streaming = await site.chat("one/m", stream=True)

    assert (request.status, request.json["error"]["code"]) == (504, "upstream_timeout")
    assert (gap.status, gap.body.count(b"data: ")) == (200, 3)
    assert b'"error"' in gap.body and b"[DONE]" not in gap.body
    assert 3 < streaming.body.count(b"data: ") < 100
    assert b'"error"' in streaming.body and b"[DONE]" not in streaming.body


async def test_first_content_timeout() -> None:
    """Of a provider that says nothing itself; another one's `timeout_seconds` is its own."""
    async with started(
        timeout={"first_content_seconds": 0.4},
        deployments=({"weight": 1_000_000}, {"weight": 1e-6}),
    ) as site:
        site.one.enqueue(Hang("after_headers", of=STREAM))
        site.two.enqueue(STREAM)
        reply = await site.chat(stream=True)

    assert reply.headers["x-gateway-provider"] == "two"
    assert reply.headers["x-gateway-fallback"] == "no_first_content"


async def test_connect_timeout() -> None:
    """A host that does not answer at all: its queue of connections is full."""
    with unreachable() as origin:
        url = f"{origin}/v1"
        async with started(
            timeout={"connect_seconds": 0.4}, one={"base_url": url, "max_retries": 0}
        ) as site:
            reply = await site.chat("one/m")
            errors = {"provider": "one", "class": "connect_timeout"}
            counted = await site.metric("gateway_provider_errors_total", **errors)

    assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")
    assert counted == 1


# --- resilience.bulkhead ---------------------------------------------------------------------


async def test_bulkhead_without_a_queue() -> None:
    """`max_concurrent` calls under way and no more; with a queue of none the next is refused."""
    async with started(bulkhead={"max_concurrent": 2, "max_queue": 0}) as site:
        site.one.default = Hang(of=ANSWER)
        under_way = [asyncio.create_task(site.chat("one/m")) for _ in range(2)]
        await site.one.wait_received(2)
        refused = await site.chat("one/m")
        running = await site.metric("gateway_guard_bulkhead_in_flight", provider="one")
        site.one.release()
        answered = [(await each).status for each in under_way]

    assert (refused.status, refused.json["error"]["code"]) == (503, "bulkhead_full")
    assert (running, answered) == (2, [200, 200])


async def test_bulkhead_that_is_off() -> None:
    async with started(bulkhead={"enabled": False, "max_concurrent": 1, "max_queue": 0}) as site:
        site.one.default = Hang(of=ANSWER)
        under_way = [asyncio.create_task(site.chat("one/m")) for _ in range(3)]
        await site.one.wait_received(3)
        site.one.release()
        answered = [(await each).status for each in under_way]

    assert answered == [200] * 3


# --- all of them -----------------------------------------------------------------------------

HERE_ARE = {
    "routing.strategy": "test_round_robin_and_weighted",
    "resilience.retry.enabled": "test_retry_budget",
    "resilience.retry.budget_percent": "test_retry_budget",
    "resilience.retry.budget_min": "test_retry_budget",
    "resilience.retry.strategy": "test_fixed_waits_and_fewer_attempts",
    "resilience.retry.max_attempts": "test_retry_attempts_and_waits",
    "resilience.retry.initial_delay_ms": "test_retry_attempts_and_waits",
    "resilience.retry.max_delay_ms": "test_fixed_waits_and_fewer_attempts",
    "resilience.retry.backoff_multiplier": "test_retry_attempts_and_waits",
    "resilience.circuit_breaker.enabled": "test_breaker_that_is_off",
    "resilience.circuit_breaker.failure_threshold": "test_breaker_thresholds_and_timeout",
    "resilience.circuit_breaker.success_threshold": "test_breaker_thresholds_and_timeout",
    "resilience.circuit_breaker.timeout_seconds": "test_breaker_thresholds_and_timeout",
    "resilience.timeout.connect_seconds": "test_connect_timeout",
    "resilience.timeout.request_seconds": "test_timeouts",
    "resilience.timeout.streaming_seconds": "test_timeouts",
    "resilience.timeout.chunk_gap_seconds": "test_timeouts",
    "resilience.timeout.first_content_seconds": "test_first_content_timeout",
    "resilience.bulkhead.enabled": "test_bulkhead_that_is_off",
    "resilience.bulkhead.max_concurrent": "test_bulkhead_without_a_queue",
    "resilience.bulkhead.max_queue": "test_bulkhead_without_a_queue",
}
EXPLAIN = "../../plugins/endpoint-routing/tests/test_explain.py"
ELSEWHERE = {
    "routing.default_provider": EXPLAIN,
    "routing.fallback_enabled": "test_failover.py",
    "routing.fallbacks": "test_failover.py",
    "routing.models": "test_failover.py",
    "routing.health_check_interval_seconds": "test_health.py",
    "routing.rules": EXPLAIN,
}
# Sections of which the contract has keys; those of other plugins are tested with these.
SECTIONS = (
    "routing",
    *(f"resilience.{each}" for each in ("retry", "circuit_breaker", "timeout", "bulkhead")),
)


def test_no_key_is_without_a_test() -> None:
    """The schema that editors get says which keys there are; each test named here exists."""
    done = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "config", "schema"],
        capture_output=True,
        text=True,
        check=True,
    )
    schema = json.loads(done.stdout)
    keys = {f"{path}.{key}" for path in SECTIONS for key in keys_of(schema, path)}

    assert keys == HERE_ARE.keys() | ELSEWHERE.keys()
    for key, name in HERE_ARE.items():
        assert f"def {name}(" in HERE.read_text(), key
    for key, file in ELSEWHERE.items():
        assert key.split(".")[-1] in (HERE.parent / file).read_text(), key


def keys_of(schema: Any, path: str) -> set[str]:
    """The keys at `path` that hold no section of their own."""

    def found(node: Any) -> Any:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    node = schema
    for step in path.split("."):
        node = found(node["properties"][step])
    return {key for key, each in node["properties"].items() if "properties" not in found(each)}
