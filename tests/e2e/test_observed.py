"""Each metric and each field of the log line that the product promises, by its exact name.

`METRICS` and `FIELDS` are the words of the contract. Each situation of `TABLE` says by how much
every promised metric moves; one that it does not name must stay where it is.
"""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_api import FailureClass as F
from llm_gateway_testkit import failures, vendors
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call, exchange
from llm_gateway_testkit.scripted import Cut, Hang, ScriptedProvider, Step, Stream, unreachable

pytestmark = pytest.mark.asyncio(loop_scope="module")

METRICS = """
`gateway_requests_total` [status, provider, model], `gateway_request_duration_seconds` (histogram),
`gateway_request_tokens_total` [direction input/output, provider, model],
`gateway_provider_requests_total` [provider], `gateway_provider_errors_total` [provider, class],
`gateway_provider_latency_seconds` [provider] (histogram), `gateway_circuit_breaker_state`
[provider, model] (0 closed, 1 half-open, 2 open), `gateway_retry_attempts_total` [provider],
`gateway_rate_limit_exceeded_total` [scope], `gateway_cache_hits_total`,
`gateway_cache_misses_total`, `gateway_cache_size_bytes`
"""
# "beside them": the contract gives these no name; they are the documentation's.
BESIDE = {
    "time to first token": "`gateway_time_to_first_token_seconds` [provider] (histogram)",
    "tokens per second": "`gateway_tokens_per_second` [provider] (histogram)",
    "in-flight": "`gateway_requests_in_flight`",
    "streams": "`gateway_streams_open`",
    "queue depth": "`gateway_guard_bulkhead_queue_depth` [provider]",
    "cost": "`gateway_cost_usd_total` [provider, model]",
    "fallback": "`gateway_fallbacks_total`",
    "overhead": "`gateway_overhead_seconds` (histogram)",
}
FIELDS = """`timestamp`, `level`, `target`, `message`, `request_id`, `provider`, `model`,
`latency_ms`, `tokens`, `status`, `tenant`, `key_id`, `cache`, `attempts`, `cost_usd`, `ttft_ms`,
`trace_id`"""
ALWAYS = 10  # so many of the fields are in every line

ADMIN = "admin-key-0123456789abcdef"
TRACE = "0af7651916cd43dd8448eb211c80319c"
ANSWER = openai.chat_answer(model="m-1")
STREAM = Stream(openai.chat_stream(model="m-1", include_usage=True))
LEFT, BROKEN = "left by the client", "broken after its first content"
OPENAI = next(each for each in vendors.vendors() if each.kind == "openai")
REQUESTS = "gateway_requests_total"
CLASSES = [each for each in F if each is not F.BROKEN_AFTER_COMMIT]
Moves = dict[str, float]


def shape(text: str) -> tuple[str, str, frozenset[str]]:
    """Name, kind and labels of a metric, from the contract's words."""
    found = re.fullmatch(r"`(\w+)`\s*(?:\[([^]]*)\])?\s*(?:\((.*)\))?", text.strip(), re.S)
    assert found, text
    name, labels, about = found[1], found[2] or "", found[3] or ""
    kind = "counter" if name.endswith("_total") else "gauge"
    names = frozenset(each.split()[0] for each in labels.split(",") if each)
    return name, "histogram" if about == "histogram" else kind, names


SHAPES = [shape(each) for each in re.split(r",\s*(?=`)", METRICS.strip())]
SHAPES += [shape(each) for each in BESIDE.values()]
GAUGES = {name for name, kind, _ in SHAPES if kind == "gauge"}


def moved(status: int, provider: str, model: str = "m-1", **more: float) -> Moves:
    """What every request moves, and `more` by the name without ``gateway_``."""
    labels = f'{{status="{status}",provider="{provider}",model="{model}"}}'
    return {
        f"gateway_requests_total{labels}": 1,
        "gateway_request_duration_seconds": 1,
        "gateway_overhead_seconds": 1,
        **{f"gateway_{name}": amount for name, amount in more.items()},
    }


def attempts(provider: str, made: int = 1, failure: F | None = None) -> Moves:
    """So many attempts at `provider`, one of them a failure if it is given."""
    by = f'{{provider="{provider}"}}'
    failed = f'gateway_provider_errors_total{{provider="{provider}",class="{failure}"}}'
    return {
        f"gateway_provider_requests_total{by}": made,
        f"gateway_provider_latency_seconds{by}": made,
        **({failed: 1} if failure is not None else {}),
    }


def used(provider: str, tokens: tuple[int, int] = (9, 2), model: str = "m-1") -> Moves:
    """The tokens of an answer, and their cost."""
    by = f'provider="{provider}",model="{model}"'
    return {
        f'gateway_request_tokens_total{{direction="input",{by}}}': tokens[0],
        f'gateway_request_tokens_total{{direction="output",{by}}}': tokens[1],
        f"gateway_cost_usd_total{{{by}}}": (tokens[0] * 2.5 + tokens[1] * 10) / 1_000_000,
    }


def streamed(provider: str) -> Moves:
    by = f'{{provider="{provider}"}}'
    return {
        f"gateway_time_to_first_token_seconds{by}": 1,
        f"gateway_tokens_per_second{by}": 1.0,
    }


def guessed(name: str) -> tuple[int, int]:
    """The tokens of a row that ends within its answer: of its text and of ``Low tide``."""
    return 8 + math.ceil(len(name) / 3.5), math.ceil(len("Low tide") / 3.5)


MISS: Moves = {"gateway_cache_misses_total": 1}
HIT: Moves = {"gateway_cache_hits_total": 1}
GOOD: dict[str, Any] = {"tokens": {"input": 9, "output": 2}, "cost_usd": "0.0000425"}


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked (`model`, `members`), what the provider does, what moves, what is logged."""

    model: str
    steps: tuple[Step, ...]
    moves: Moves
    line: Mapping[str, Any]
    stream: bool = False
    text: str = ""
    caller: str = "usual"
    leaves: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def line(status: int, provider: str | None, model: str | None, **more: Any) -> dict[str, Any]:
    """The fields of a line whose values are known beforehand."""
    level = "ERROR" if status >= 500 else "INFO"
    message = "Request failed" if "error" in more else "Request completed"
    return {
        "level": level,
        "target": "llm_gateway.server",
        "message": message,
        "provider": provider,
        "model": model,
        "tokens": {"input": 0, "output": 0},
        "status": status,
        **more,
    }


def refusal(failure: F) -> Row:
    """One attempt that fails so, at a provider of its own."""
    name = f"at-{failure.replace('_', '-')}"
    code, status = EXPECTED[failure]
    steps = {
        F.CONNECT: (),
        F.CONNECT_TIMEOUT: (),
        F.NO_FIRST_CONTENT: (Hang("after_headers", of=ANSWER),),
        F.BROKEN_BEFORE_COMMIT: (Cut("mid_body", of=ANSWER),),
    }.get(failure) or (() if failure in UNREACHED else (REFUSALS[failure],))
    moves = {**moved(status, name), **attempts(name, failure=failure), **MISS}
    told = line(status, name, f"{name}/m-1", cache="miss", attempts=1, error=code)
    return Row(f"{name}/m-1", steps, moves, told)


UNREACHED = (F.CONNECT, F.CONNECT_TIMEOUT)
REFUSALS = failures.refusals(OPENAI)
EXPECTED: dict[F, tuple[str, int]] = {
    F.CALLER_FAULT: ("invalid_value", 400),
    F.CONTEXT_TOO_LONG: ("context_length_exceeded", 400),
    F.CONTENT_POLICY: ("content_policy_violation", 400),
    F.RATE_LIMITED: ("rate_limit_exceeded", 429),
    F.OVERLOADED: ("upstream_overloaded", 503),
    F.SERVER_ERROR: ("upstream_error", 502),
    F.CONNECT: ("upstream_unreachable", 502),
    F.CONNECT_TIMEOUT: ("upstream_timeout", 504),
    F.NO_FIRST_CONTENT: ("upstream_timeout", 504),
    F.BROKEN_BEFORE_COMMIT: ("upstream_truncated", 502),
    F.CREDENTIAL_REFUSED: ("upstream_credentials", 502),
    F.ACCOUNT_EMPTY: ("upstream_quota", 502),
    F.MODEL_GONE: ("model_not_found", 404),
}
TABLE: dict[str, Row] = {
    "answer": Row(
        "plain",
        (ANSWER,),
        {**moved(200, "one"), **attempts("one"), **used("one"), **MISS},
        line(200, "one", "plain", cache="miss", attempts=1, **GOOD),
    ),
    "stream": Row(
        "plain",
        (STREAM,),
        {**moved(200, "one"), **attempts("one"), **used("one"), **streamed("one"), **MISS},
        line(200, "one", "plain", cache="miss", attempts=1, **GOOD),
        stream=True,
    ),
    "answer from the cache": Row(
        "plain",
        (),
        {**moved(200, "one"), **HIT},
        line(200, "one", "plain", cache="hit", tokens=GOOD["tokens"], cost_usd="0"),
        text="answer",
    ),
    "stream from the cache": Row(
        "plain",
        (),
        {**moved(200, "one"), **HIT},
        line(200, "one", "plain", cache="hit", tokens=GOOD["tokens"], cost_usd="0"),
        stream=True,
        text="stream",
    ),
    "retried": Row(
        "again/m-1",
        (openai.error_answer(500), ANSWER),
        {
            **moved(200, "again"),
            **attempts("again", 2, F.SERVER_ERROR),
            **used("again"),
            **MISS,
            'gateway_retry_attempts_total{provider="again"}': 1,
        },
        line(200, "again", "again/m-1", cache="miss", attempts=2, **GOOD),
    ),
    "fallen back": Row(
        "fallen",
        (ANSWER,),
        {
            **moved(200, "one", fallbacks_total=1),
            **attempts("one"),
            **attempts("refused", failure=F.CONNECT),
            **used("one"),
            **MISS,
        },
        line(200, "one", "fallen", cache="miss", attempts=2, fallback="connect", **GOOD),
    ),
    LEFT: Row(
        "plain",
        (Hang("between", 3, STREAM),),
        {
            **moved(499, "one"),
            **attempts("one"),
            **used("one", guessed(LEFT)),
            **streamed("one"),
            **MISS,
        },
        line(
            499,
            "one",
            "plain",
            cache="miss",
            attempts=1,
            error="client_closed_request",
            tokens=dict(zip(("input", "output"), guessed(LEFT), strict=True)),
            cost_usd="0.000065",
        ),
        stream=True,
        leaves=b"tide",
    ),
    BROKEN: Row(
        "plain",
        (Cut("between", 3, STREAM),),
        {
            **moved(502, "one"),
            **attempts("one", failure=F.BROKEN_AFTER_COMMIT),
            **used("one", guessed(BROKEN)),
            **streamed("one"),
            **MISS,
        },
        line(
            502,
            "one",
            "plain",
            cache="miss",
            attempts=1,
            error="upstream_truncated",
            tokens=dict(zip(("input", "output"), guessed(BROKEN), strict=True)),
            cost_usd="0.0000725",
        ),
        stream=True,
    ),
    "over the limit of a key": Row(
        "plain",
        (),
        {**moved(429, "none", "plain"), 'gateway_rate_limit_exceeded_total{scope="key"}': 1},
        line(429, None, "plain", error="rate_limit_exceeded"),
        caller="limited key",
    ),
    "over the limit of a tenant": Row(
        "plain",
        (),
        {**moved(429, "none", "plain"), 'gateway_rate_limit_exceeded_total{scope="tenant"}': 1},
        line(429, None, "plain", error="rate_limit_exceeded"),
        caller="limited tenant",
    ),
    "a model that nobody knows": Row(
        "an-invention",
        (),
        {**moved(404, "none", "other"), **MISS},
        line(404, None, "an-invention", cache="miss", error="model_not_found"),
    ),
    "a model that only its provider might know": Row(
        "one/an-invention",
        (ANSWER,),
        {
            **moved(200, "one", "other"),
            **attempts("one"),
            **{
                name: many
                for name, many in used("one", model="other").items()
                if "cost" not in name
            },
            **MISS,
        },
        line(200, "one", "one/an-invention", cache="miss", attempts=1, tokens=GOOD["tokens"]),
    ),
    "an unknown key": Row(
        "plain",
        (),
        moved(401, "none", "other"),
        line(401, None, None, error="invalid_api_key"),
        caller="nobody",
    ),
    **{f"failure: {each}": refusal(each) for each in CLASSES},
}


@dataclass(frozen=True, slots=True)
class Site:
    """`callers` are secrets, tenants and ids of keys, by name."""

    gateway: Gateway
    provider: ScriptedProvider
    callers: Mapping[str, tuple[str, str | None, str | None]]

    async def page(self) -> str:
        return (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()

    async def promised(self) -> Moves:
        """Each series of a promised metric; of a histogram, how often it was observed."""
        found: Moves = {}
        for row in (await self.page()).splitlines():
            series, _, value = row.rpartition(" ")
            name, brace, labels = series.partition("{")
            plain = name.removesuffix("_count")
            if any(plain == each[0] for each in SHAPES):
                found[plain + brace + labels] = float(value)
        return found

    def lines(self) -> list[dict[str, Any]]:
        found = (json.loads(each) for each in self.gateway.log_lines() if each.startswith("{"))
        return [each for each in found if "latency_ms" in each]

    async def told(self, many: int) -> list[dict[str, Any]]:
        """The lines, once there are so many."""
        async with asyncio.timeout(30):
            while len(found := self.lines()) < many:
                await asyncio.sleep(0.02)
        return found

    async def ask(self, name: str, row: Row) -> Reply | None:
        """None where the client leaves in the middle."""
        url = f"{self.gateway.url}/v1/chat/completions"
        messages = [{"role": "user", "content": row.text or name}]
        body = {"model": row.model, "messages": messages, "stream": row.stream}
        parent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}
        key = self.callers[row.caller][0]
        self.provider.enqueue(*row.steps)
        if not row.leaves:
            return await call(url, body, key=key, headers=parent)
        async with exchange(url, body, key=key, headers=parent) as answer:
            await answer.until(row.leaves)
        return None

    async def until(self, holds: Callable[[Moves], bool]) -> Moves:
        async with asyncio.timeout(30):
            while not holds(found := await self.promised()):
                await asyncio.sleep(0.02)
        return found


def configuration(provider: ScriptedProvider, nowhere: str) -> dict[str, Any]:
    """A provider for each class of failure, so that none is left alone for another's."""

    def own(origin: str = provider.url, **more: Any) -> dict[str, Any]:
        base = {"kind": "openai", "api_key": "sk-test", "base_url": f"{origin}/v1"}
        return {**base, "max_retries": 0, **more}

    refused = provider.refused_url()
    origins = {F.CONNECT: refused, F.CONNECT_TIMEOUT: nowhere}
    failing = {
        f"at-{each.replace('_', '-')}": own(
            origins.get(each, provider.url),
            timeout_seconds=0.5 if each is F.NO_FIRST_CONTENT else 30,
            models=["m-1"],
        )
        for each in CLASSES
    }
    fallen = [
        {"provider": "refused", "model": "m-2", "weight": 1_000_000},
        {"provider": "one", "model": "m-1", "weight": 1e-6},
    ]
    return {
        "providers": {
            "one": own(models=["m-1"]),
            "again": own(models=["m-1"], max_retries=2),
            "narrow": own(models=["m-1"]),
            "refused": own(refused, models=["m-2"]),
            **failing,
        },
        "routing": {
            "models": [
                {"name": "plain", "deployments": [{"provider": "one", "model": "m-1"}]},
                {"name": "fallen", "deployments": fallen},
            ]
        },
        "resilience": {
            "retry": {"initial_delay_ms": 1},
            "timeout": {"connect_seconds": 0.5},
            "bulkhead": {"max_concurrent": 1, "max_queue": 5},
            "circuit_breaker": {"failure_threshold": 2},
        },
        "cache": {"backend": "memory"},
        "security": {"rate_limit": {"requests_per_minute": 100_000, "burst_size": 100_000}},
        "telemetry": {"tracing": {"otlp_endpoint": refused, "sample_rate": 0}},
        "plugins": {
            "catalog_models": {
                "models": [{"kind": "openai", "id": "m-1", "prices": {"input": 2.5, "output": 10}}]
            },
        },
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with ScriptedProvider() as provider:
        with unreachable() as nowhere:
            config = configuration(provider, nowhere)
            async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
                yield Site(gateway, provider, await callers(gateway))


async def callers(gateway: Gateway) -> dict[str, tuple[str, str | None, str | None]]:
    async def made(what: str, body: dict[str, Any]) -> Any:
        return (await call(f"{gateway.url}/admin/v1/{what}", body, key=ADMIN)).json

    none = {"limits": {"requests_per_minute": 0}}
    await made("tenants", {"id": "acme"})
    await made("tenants", {"id": "limited", **none})
    found: dict[str, tuple[str, str | None, str | None]] = {"nobody": ("a-guess", None, None)}
    for name, body in (
        ("usual", {"tenant": "acme"}),
        ("limited key", {"tenant": "acme", **none}),
        ("limited tenant", {"tenant": "limited"}),
    ):
        key = await made("keys", body)
        found[name] = (key["key"], body["tenant"], key["id"])
    return found


@pytest.mark.parametrize("name", TABLE)
async def test_every_metric_moves_by_what_happened_and_no_other_does(site: Site, name: str) -> None:
    row = TABLE[name]
    if row.text:
        await site.ask(row.text, TABLE[row.text])  # kept by the cache from here on
    site.provider.reset()
    before = await site.until(idle)
    said = int(sum_of(before, REQUESTS))
    await site.told(said)

    reply = await site.ask(name, row)

    after = await site.until(lambda now: idle(now) and sum_of(now, REQUESTS) == said + 1)
    assert reply is None or reply.status == (200 if row.stream else row.line["status"])
    steps = {key: value - before.get(key, 0) for key, value in after.items()}
    differing = {k: v for k, v in steps.items() if k.partition("{")[0] not in GAUGES}
    assert {k: pytest.approx(v) for k, v in differing.items() if v} == row.moves
    told = (await site.told(said + 1))[said]
    _, tenant, key_id = site.callers[row.caller]
    who = {"tenant": tenant, "key_id": key_id} if tenant else {}
    check(told, {**row.line, **who}, reply, row)


def check(told: dict[str, Any], known: dict[str, Any], reply: Reply | None, row: Row) -> None:
    """Each field has its value; those of time and identity have their form."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told.pop("timestamp"))
    latency, first = told.pop("latency_ms"), told.pop("ttft_ms", None)
    assert isinstance(latency, float) and latency > 0
    streamed = any("first_token" in each for each in row.moves)
    assert (first is not None) == streamed
    assert first is None or 0 < first <= latency
    request_id = told.pop("request_id")
    assert reply is None or request_id == reply.headers["x-request-id"]
    assert told.pop("trace_id") == TRACE
    assert told == known


def idle(now: Moves) -> bool:
    return now["gateway_requests_in_flight"] == now["gateway_streams_open"] == 0


def sum_of(page: Moves, name: str) -> float:
    return sum(value for series, value in page.items() if series.partition("{")[0] == name)


async def test_the_state_of_a_breaker_is_0_2_and_again_0(site: Site) -> None:
    state = 'gateway_circuit_breaker_state{provider="narrow",model="m-1"}'
    row = Row("narrow/m-1", (ANSWER,), {}, {})
    await site.ask("closed", row)
    closed = (await site.promised())[state]
    for number in range(2):
        broken = Row("narrow/m-1", (openai.error_answer(500),), {}, {})
        await site.ask(f"broken {number}", broken)

    assert (closed, (await site.promised())[state]) == (0, 2)


async def test_what_is_open_is_counted_while_it_is_and_not_after(site: Site) -> None:
    """A stream under way, and a call that waits for its place in the bulkhead."""
    depth = 'gateway_guard_bulkhead_queue_depth{provider="one"}'
    url = f"{site.gateway.url}/v1/chat/completions"
    key = site.callers["usual"][0]
    body = {"model": "plain", "messages": [{"role": "user", "content": "open"}], "stream": True}
    site.provider.enqueue(Hang("between", 3, STREAM), ANSWER)
    async with exchange(url, body, key=key) as answer:
        await answer.until(b"Low")
        asking = asyncio.create_task(site.ask("waiting", Row("plain", (), {}, {})))
        # a page is written in pieces: the first may be older than what the last one tells
        under_way = await site.until(
            lambda now: now[depth] == 1 and now["gateway_requests_in_flight"] > 1
        )
        site.provider.release()
        assert b"[DONE]" in await answer.body()
    waited = await asking
    after = await site.until(idle)

    assert (under_way["gateway_requests_in_flight"], under_way["gateway_streams_open"]) == (2, 1)
    assert waited is not None and waited.status == 200
    assert after[depth] == 0


async def test_the_size_of_the_cache_is_that_of_what_it_keeps(site: Site) -> None:
    await site.ask("kept for its size", Row("plain", (ANSWER,), {}, {}))
    stats = (await call(f"{site.gateway.url}/admin/v1/cache/stats", key=ADMIN)).json["caches"]

    assert (await site.promised())["gateway_cache_size_bytes"] == stats[0]["bytes"] > 0


async def test_every_promised_counter_and_histogram_moves_in_some_row() -> None:
    """Gauges have tests of their own, below the table."""
    seen = {series.partition("{")[0] for row in TABLE.values() for series in row.moves}

    assert {name for name, _, _ in SHAPES} - GAUGES - seen == set()


@pytest.mark.parametrize(("name", "kind", "labels"), SHAPES, ids=[each[0] for each in SHAPES])
async def test_every_promised_metric_has_its_name_kind_and_labels(
    site: Site, name: str, kind: str, labels: frozenset[str]
) -> None:
    """After all that the tests above have asked, each has been seen."""
    for each in ("answer", "retried", "over the limit of a key"):
        await site.ask(f"{each} for {name}", TABLE[each])
    page = await site.page()
    series = re.findall(rf"^{name}(?:_bucket|_sum|_count)?(?:{{(.*)}})? \S+$", page, re.M)

    assert f"# TYPE {name} {kind}\n" in page
    assert re.search(rf"^# HELP {name} \S", page, re.M)
    assert series, f"{name} has no series"
    for each in series:
        assert set(re.findall(r'(\w+)="', each)) - {"le"} == labels


def whole(line: Mapping[str, Any]) -> bool:
    """Whether it is of a stream that came to its end."""
    return "ttft_ms" in line and "error" not in line


async def test_every_field_of_the_line_has_been_seen(site: Site) -> None:
    names = re.findall(r"`(\w+)`", FIELDS)
    await site.ask("a stream with everything", TABLE["stream"])
    async with asyncio.timeout(30):
        while not (found := [each for each in site.lines() if whole(each)]):
            await asyncio.sleep(0.02)

    assert [each for each in names if each not in found[-1]] == []
    for each in site.lines():
        assert [name for name in names[:ALWAYS] if name not in each] == []
