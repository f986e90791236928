"""An answer that ends before its end is paid for as far as it came: log line, metrics, ledger
and budgets say the same of a client that left and of a vendor that broke off."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import vendors
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call, exchange
from llm_gateway_testkit.scripted import Cut, Hang, ScriptedProvider, Stream
from llm_gateway_testkit.vendors import Vendor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADMIN = "admin-key-0123456789abcdef"
KINDS = ("openai", "anthropic", "azure_openai", "gemini", "bedrock", "cohere", "mistral")
ROWS = [each for each in vendors.vendors() if each.kind in KINDS]
MARK = b"dries"
TEXTS = ["The harbour ", "dries ", "at noon, ", "so mind ", "the tide."]
ASKS = [{"role": "user", "content": "When is low tide, and where may a boat of two metres lie?"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASKS},
    "/v1/messages": {"messages": ASKS, "max_tokens": 99},
    "/v1/responses": {"input": ASKS[0]["content"], "store": False},
}
CHAT, MESSAGES, RESPONSES = BODIES
PRICES = {"input": 100, "cache_read": 10, "cache_write": 125, "output": 1000}


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    servers: dict[str, ScriptedProvider]

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self.gateway.url}/admin/v1/{path}"
        answer = await call(url, body, key=ADMIN, method=method)
        assert answer.status < 300, answer.body
        return answer.json

    async def line(self, request_id: str) -> dict[str, Any]:
        """The log line of a request, once it is written."""
        async with asyncio.timeout(20):
            while True:
                for each in self.gateway.log_lines():
                    if request_id in each and '"Request ' in each:
                        return dict(json.loads(each))
                await asyncio.sleep(0.02)

    async def metric(self, name: str, vendor: Vendor, **labels: str) -> float:
        page = (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()
        marks = [f'{key}="{value}"' for key, value in labels.items()]
        marks.append(f'provider="{vendor.kind}"')
        return sum(
            float(each.rpartition(" ")[2])
            for each in page.splitlines()
            if each.startswith(name + "{") and all(mark in each for mark in marks)
        )

    async def counted(self, vendor: Vendor) -> list[float]:
        tokens = "gateway_request_tokens_total"
        return [
            await self.metric(tokens, vendor, direction="input"),
            await self.metric(tokens, vendor, direction="output"),
            await self.metric("gateway_cost_usd_total", vendor),
            await self.metric("gateway_usage_estimated_total", vendor),
        ]

    async def row(self, tenant: str) -> dict[str, Any]:
        """What the ledger has of the only request of `tenant`."""
        async with asyncio.timeout(20):
            while True:
                asks = f"tenant={tenant}&window=1h"
                cost = (await self.admin("GET", f"cost?{asks}"))["rows"]
                tokens = (await self.admin("GET", f"token-usage?{asks}&detailed=true"))["rows"]
                if cost and tokens:
                    return {**tokens[0], **cost[0]}
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with vendors.scripted(ROWS) as servers:
        entries = {
            each.kind: {**each.configured(servers[each.kind].url), "chunk_gap_seconds": 2}
            for each in ROWS
        }
        models = [{"kind": each.kind, "id": each.model, "prices": PRICES} for each in ROWS]
        config = {
            "providers": entries,
            "resilience": {"circuit_breaker": {"enabled": False}},
            "plugins": {
                "catalog_models": {"models": models},
                "ledger_store": {"ship_seconds": 0.1},
                "disabled": ["guard_provider_limits", "routing_health"],
            },
        }
        async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
            yield Site(gateway, servers)


@dataclass(frozen=True, slots=True)
class Asker:
    """A tenant of its own, so that what is reported of it is one request."""

    site: Site
    tenant: str
    key: str

    @classmethod
    async def new(cls, site: Site, amount: str | None = None) -> "Asker":
        tenant = f"t-{uuid4().hex[:12]}"
        await site.admin("POST", "tenants", {"id": tenant})
        if amount is not None:
            budget = {"level": "tenant", "owner": tenant, "amount_usd": amount, "period": "day"}
            await site.admin("PUT", "budgets", budget)
        return cls(site, tenant, (await site.admin("POST", "keys", {"tenant": tenant}))["key"])

    def asking(self, vendor: Vendor, path: str, request_id: str = "", **more: Any) -> Any:
        body = {"model": vendor.name, **BODIES[path], **more}
        headers = {"anthropic-version": "2023-06-01"} if path == MESSAGES else {}
        if request_id:
            headers["x-request-id"] = request_id
        return exchange(f"{self.site.gateway.url}{path}", body, key=self.key, headers=headers)

    async def ask(self, vendor: Vendor, path: str, **more: Any) -> Reply:
        async with self.asking(vendor, path, **more) as answer:
            return Reply(answer.status, answer.headers, await answer.body())


def begun(stream: Stream) -> int:
    """How many frames of `stream` bring the first of its text."""
    return next(at for at, each in enumerate(stream.frames, 1) if MARK in each)


def streamed(vendor: Vendor, texts: Sequence[str] = TEXTS) -> Stream:
    stream = vendor.streams(texts)
    assert isinstance(stream, Stream)
    return stream


async def agreed(site: Site, asker: Asker, vendor: Vendor, before: list[float], rid: str) -> Any:
    """Everything that tells of the request tells the same; returns its line and its row."""
    line, row = await site.line(rid), await site.row(asker.tenant)
    tokens, cost = line["tokens"], float(line["cost_usd"])
    metered = [b - a for a, b in zip(before, await site.counted(vendor), strict=True)]
    assert [row["requests"], row["input"], row["output"]] == [1, tokens["input"], tokens["output"]]
    assert metered[:2] == [tokens["input"], tokens["output"]]
    assert cost == pytest.approx(metered[2]) == pytest.approx(float(row["cost_usd"]))
    assert cost > 0
    assert metered[3] == row["estimated"]
    assert row["unpriced"] == 0
    return line, row


DIALECTS = [
    *((each, CHAT) for each in ROWS),
    *((each, MESSAGES) for each in ROWS if each.kind == "anthropic"),
    *((each.on_responses, RESPONSES) for each in ROWS if each.on_responses is not None),
]


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "broken"])
@pytest.mark.parametrize(
    ("vendor", "path"), DIALECTS, ids=[f"{each.kind} {path[4:]}" for each, path in DIALECTS]
)
async def test_what_came_of_a_stream_counts(
    site: Site, vendor: Vendor, path: str, leaves: bool
) -> None:
    """Tokens of what was asked and of what came, marked as estimated where the
    vendor had not counted them."""
    server, stream = site.servers[vendor.kind], streamed(vendor)
    server.reset()
    asker, before = await Asker.new(site), await site.counted(vendor)
    came = begun(stream)
    server.enqueue(Hang("between", came, stream) if leaves else Cut("between", came, stream))
    rid = uuid4().hex

    async with asker.asking(vendor, path, rid, stream=True) as answer:
        seen = await answer.until(MARK)
        if not leaves:
            seen += await answer.body()
            assert b"error" in seen
    line, row = await agreed(site, asker, vendor, before, rid)

    told = vendor.kind == "gemini"  # the only one that counts along
    assert (line["status"], row["estimated"]) == (499 if leaves else 502, 0 if told else 1)
    assert 5 <= line["tokens"]["input"] <= 60
    assert 1 <= line["tokens"]["output"] <= 12


async def test_the_vendors_own_figures_are_taken_as_far_as_they_go(site: Site) -> None:
    """What Claude read is told with its first event, and what it wrote with the end alone."""
    vendor = next(each for each in ROWS if each.kind == "anthropic")
    server, stream = site.servers["anthropic"], streamed(vendor)
    server.reset()
    whole = claude.usage()
    lines = {}
    for frames in (begun(stream), len(stream.frames) - 1):
        asker, before = await Asker.new(site), await site.counted(vendor)
        server.enqueue(Hang("between", frames, stream))
        rid = uuid4().hex
        async with asker.asking(vendor, MESSAGES, rid, stream=True) as answer:
            await answer.until(MARK if frames == begun(stream) else b"message_delta")
        lines[frames] = await agreed(site, asker, vendor, before, rid)

    (first, first_row), (last, last_row) = lines.values()
    assert first["tokens"]["input"] == last["tokens"]["input"] == whole["input_tokens"]
    assert last["tokens"]["output"] == whole["output_tokens"]
    assert (first_row["estimated"], last_row["estimated"]) == (1, 0)


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "broken"])
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_long_stream_that_passed_unread_is_estimated_well(
    site: Site, kind: str, leaves: bool
) -> None:
    """By the share of its bytes that is text, whatever its frames are like."""
    vendor = next(each for each in ROWS if each.kind == kind)
    text, many = "The tide runs north for five hours. ", 400
    if kind == "openai":
        role, content, *_ = openai.chat_stream(["Low"])
        frames = [role, *[content.replace(b"Low", text.encode())] * many]
    else:
        delta = claude.block_delta(0, "text_delta", text=text)
        frames = [claude.message_start(), claude.block_start(0, type="text", text="")]
        frames += [delta] * many
    frames[-1] = frames[-1].replace(b"north", MARK)
    server = site.servers[kind]
    server.reset()
    stream = Stream(frames)
    fault = Hang if leaves else Cut
    server.enqueue(fault("between", len(frames), stream))
    asker, before = await Asker.new(site), await site.counted(vendor)
    rid = uuid4().hex
    async with asker.asking(
        vendor, CHAT if kind == "openai" else MESSAGES, rid, stream=True
    ) as got:
        await got.until(MARK)
        if not leaves:
            await got.body()
    line, _ = await agreed(site, asker, vendor, before, rid)

    written = many * len(text) / 3.5
    assert 0.9 * written <= line["tokens"]["output"] <= 1.1 * written


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_client_that_leaves_before_any_content_pays_for_what_it_asked(
    site: Site, stream: bool
) -> None:
    """The vendor has read it, and nobody can know whether it wrote anything."""
    vendor = ROWS[0]
    server = site.servers[vendor.kind]
    server.reset()
    server.enqueue(Hang())
    asker, before = await Asker.new(site), await site.counted(vendor)
    rid = uuid4().hex
    asking = asyncio.create_task(asker.asking(vendor, CHAT, rid, stream=stream).__aenter__())
    await server.wait_received(1, 20)
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    line, row = await agreed(site, asker, vendor, before, rid)

    assert (line["status"], row["estimated"]) == (499, 1)
    assert line["tokens"]["input"] >= math.ceil(len(ASKS[0]["content"]) / 3.5)
    assert line["tokens"]["output"] == 0


async def test_a_vendor_that_fails_before_any_content_is_not_paid(site: Site) -> None:
    vendor = ROWS[0]
    server, stream = site.servers[vendor.kind], streamed(vendor)
    server.reset()
    asker, before = await Asker.new(site), await site.counted(vendor)
    server.enqueue(Cut("between", 1, stream))  # behind the role

    reply = await asker.ask(vendor, CHAT, stream=True)

    row = await site.row(asker.tenant)
    assert reply.status == 502
    assert (row["requests"], row["total"], row["cost_usd"]) == (1, 0, "0")
    assert await site.counted(vendor) == before


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "broken"])
async def test_a_budget_gives_back_what_was_not_used(site: Site, leaves: bool) -> None:
    """It has room for the hold of one answer: while one is under way, no other; afterwards one."""
    vendor = ROWS[0]
    server, stream = site.servers[vendor.kind], streamed(vendor)
    server.reset()
    asker, rid = await Asker.new(site, "1.5"), uuid4().hex
    server.enqueue(Hang("between", begun(stream), stream))
    server.default = vendor.says("At noon")

    async with asker.asking(vendor, CHAT, rid, stream=True) as answer:
        await answer.until(MARK)
        meanwhile = await asker.ask(vendor, CHAT)
        if not leaves:
            await answer.body()  # the vendor is silent for too long
    line = await site.line(rid)
    afterwards = await asker.ask(vendor, CHAT, max_tokens=1000)
    (shown,) = (await site.admin("GET", f"budgets?level=tenant&owner={asker.tenant}"))["budgets"]

    assert (meanwhile.status, meanwhile.json["error"]["code"]) == (402, "insufficient_quota")
    assert line["status"] == (499 if leaves else 502)
    assert afterwards.status == 200
    costs = float(line["cost_usd"]) + float(afterwards.headers["x-gateway-cost"])
    async with asyncio.timeout(20):
        while float(shown["spent_usd"]) != pytest.approx(costs) or shown["held_usd"] != "0":
            asks = f"budgets?level=tenant&owner={asker.tenant}"
            (shown,) = (await site.admin("GET", asks))["budgets"]
            await asyncio.sleep(0.05)
