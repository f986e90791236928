"""The dashboard and the alerts in a real Prometheus, which scrapes gateways under traffic.

Run with -m slow; Debian's package `prometheus` brings the server and promtool. Two gateways are
scraped: one with two workers that meets all that panels show, and one whose plugins break.
"""

import asyncio
import itertools
import json
import re
import resource
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
import yaml
from llm_gateway_sdk.signing import RequestSigning
from llm_gateway_testkit import anthropic_dialect as claude
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, free_ports, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, Cut, Received, ScriptedProvider, Step, Stream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.asyncio(loop_scope="module"),
]

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts/llm-gateway/files"
RULE_TESTS = Path(__file__).with_name("alerts_test.yaml")
ADMIN = "admin-key-0123456789abcdef"
SECRET = "a-secret-of-the-test-0123456789abcdef"
RATE = "10s"  # what Grafana would put for $__rate_interval, at a scrape a second
SECONDS = 120.0  # for something to show, on a machine that does much else
TEXT = "Low tide is at noon. Bring boots."
AHEAD = 4  # frames up to the first half of it
# Alerts whose situation is made here; `promtool test rules` fires all of them.
PROVOKED = {
    "GatewayDown",
    "GatewayErrors",
    "GatewayProviderFailing",
    "GatewayCircuitOpen",
    "GatewayDeploymentSuspended",
    "GatewayRateLimiting",
    "GatewayBudgetExhausted",
    "GatewayAuditLosing",
    "GatewayPluginSetAside",
}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt-get install prometheus)")
    return found


def promtool(*arguments: str, given: bytes | None = None) -> str:
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def queries() -> dict[str, str]:
    """Each query of the dashboard by its panel's title and its own letter."""
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    return {
        f"{panel['title']}: {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", ())
    }


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


# --- the gateways, and what they are asked --------------------------------------------------

BROKEN = '''
"""A cache that raises, for the test of what panels and alerts say of it."""

import llm_gateway_api as gw


class Broken:
    async def get(self, lookup: gw.Lookup) -> None:
        raise OSError("broken on purpose")

    async def put(self, lookup: gw.Lookup, value: object, ttl_seconds: float) -> None:
        raise OSError("broken on purpose")


@gw.hookimpl
def llm_gateway_cache_backends() -> list[gw.CacheSpec]:
    return [gw.CacheSpec("broken", Broken)]
'''


def broken_plugins(folder: Path) -> Path:
    """A folder with a distribution of two plugins: one whose cache raises, one that is none."""
    about = folder / "broken_things-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-things\nVersion: 1.0\n")
    entries = "cache_broken = broken_cache\nnothing_there = no_such_module_of_anybody\n"
    (about / "entry_points.txt").write_text(f"[llm_gateway.plugins]\n{entries}")
    (folder / "broken_cache.py").write_text(BROKEN)
    return folder


def scripted(request: Received) -> Step:
    """What the last text asks for."""
    if request.path.endswith("/messages"):
        first, rest = TEXT[: len(TEXT) // 2], TEXT[len(TEXT) // 2 :]
        if first in request.body.decode():
            return Stream(claude.message_stream(claude.text(rest)))
        return Cut("between", AHEAD, Stream(claude.message_stream(claude.text(TEXT))))
    body = request.json
    said = body["messages"][-1]["content"]
    if "fail" in said:
        return openai.error_answer(500)
    if "forbid" in said:
        return openai.error_answer(401, "invalid_api_key")
    if body.get("stream"):
        return Stream(openai.chat_stream(include_usage=True), delay_s=0.05)
    answer = openai.chat_answer()
    if "uncounted" in said:
        bare = {**json.loads(answer.body), "usage": None}
        answer = Answer(body=json.dumps(bare).encode())
    return Answer(body=answer.body, delay_s=0.4 if "slow" in said else 0.0)


def configuration(provider: ScriptedProvider) -> dict[str, Any]:
    common = {"api_key": "sk-test", "max_retries": 0}
    own = {**common, "kind": "openai", "base_url": f"{provider.url}/v1", "models": ["gpt-6-sol"]}
    anthropic = {**common, "kind": "anthropic", "base_url": provider.url}
    refused = {**own, "base_url": f"{provider.refused_url()}/v1"}

    def both(name: str, first: str, second: str, model: str = "gpt-6-sol") -> dict[str, Any]:
        return {
            "name": name,
            "deployments": [
                {"provider": first, "model": model, "weight": 1_000_000},
                {"provider": second, "model": model, "weight": 1e-6},
            ],
        }

    return {
        "providers": {
            "good": own,
            "spare": own,
            "narrow": own,
            "again": {**own, "max_retries": 2},
            "few": {**own, "rate_limit": {"requests_per_minute": 1}},
            "failing": own,
            "forbidding": own,
            "refused": refused,
            "claude": anthropic,
            "haiku": anthropic,
            "sim": {"kind": "simulated"},
        },
        "routing": {
            "models": [
                both("hedged", "good", "spare"),
                both("fallen", "refused", "spare"),
                both("continued", "claude", "haiku", "claude-haiku-4-5"),
            ]
        },
        "resilience": {
            "retry": {"initial_delay_ms": 1},
            "bulkhead": {"max_concurrent": 6, "max_queue": 2},
            "circuit_breaker": {"failure_threshold": 3, "timeout_seconds": 600},
            "hedging": {"delay_ms": 50, "models": ["hedged"], "budget_percent": 100},
            "continuation": {"models": ["continued"]},
            "load_shedding": {"max_lag_ms": 60_000},
        },
        "cache": {
            "backend": "memory",
            "coalesce": True,
            "semantic_cache": {"enabled": True, "model": "sim/simulated-embedding"},
        },
        "security": {
            "rate_limit": {"requests_per_minute": 1_000_000, "burst_size": 1_000_000},
            "ip_filter": {"enabled": True, "blacklist": ["192.0.2.7"]},
            "client_address": {"trusted_proxies": ["127.0.0.1"]},
        },
        "plugins": {
            "filter_pii": {"kinds": {"email": "mask"}},
            "filter_guardrail": {"rules": [{"name": "weapons", "deny": ["pipe bomb"]}]},
            "audit_log": {"fail": "open"},
            "catalog_models": {
                "models": [
                    {"kind": "openai", "id": "gpt-6-sol", "prices": {"input": 2.5, "output": 10}}
                ]
            },
        },
    }


@dataclass(slots=True)
class Traffic:
    """Asks the first gateway for all that panels show, round after round."""

    gateway: Gateway
    keys: Mapping[str, str]
    numbers: Callable[[], int] = field(default=itertools.count().__next__)

    async def chat(
        self,
        model: str,
        text: str,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        url = f"{self.gateway.url}/v1/chat/completions"
        return await call(url, body, key=self.keys.get(key, self.gateway.api_key), headers=headers)

    async def round(self) -> None:
        number = self.numbers()
        texts = {
            name: f"{name} question number {number} of the tide"
            for name in ("plain", "slow", "fail", "forbid", "uncounted")
        }
        plain, stranger = texts["plain"], {"x-forwarded-for": "192.0.2.7"}
        await self.chat("good/gpt-6-sol", plain)
        await asyncio.gather(
            self.chat("good/gpt-6-sol", plain),
            self.chat("good/gpt-6-sol", plain, stream=True),
            self.chat("good/gpt-6-sol", f"another stream {number}", stream=True),
            self.chat("good/gpt-6-sol", texts["uncounted"]),
            self.chat("good/gpt-6-sol", f"write to ann@example.org, {number}"),
            self.chat("good/gpt-6-sol", "how is a pipe bomb made"),
            self.chat("hedged", texts["slow"]),
            self.chat("fallen", plain),
            self.chat("continued", plain, stream=True),
            self.chat("again/gpt-6-sol", texts["fail"]),
            self.chat("failing/gpt-6-sol", texts["fail"]),
            self.chat("forbidding/gpt-6-sol", texts["forbid"]),
            self.chat("few/gpt-6-sol", plain),
            self.chat("good/gpt-6-sol", plain, "poor"),
            self.chat("good/gpt-6-sol", plain, "revoked"),
            self.chat("good/gpt-6-sol", plain, headers=stranger),
            *(self.chat("narrow/gpt-6-sol", f"slow {number} {each}") for each in range(20)),
            *(self.chat("good/gpt-6-sol", plain, "limited") for _ in range(40)),
        )

    async def forever(self) -> None:
        while True:
            await self.round()
            await asyncio.sleep(0.05)


async def furnished(gateway: Gateway) -> dict[str, str]:
    """Keys by name: one over its limit, one over its budget, one that was revoked."""

    async def admin(method: str, path: str, body: Any) -> Any:
        reply = await call(f"{gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)
        assert reply.status < 300, reply.body
        return reply.json

    limited = await admin("POST", "keys", {"limits": {"requests_per_minute": 0}})
    poor, revoked = await admin("POST", "keys", {}), await admin("POST", "keys", {})
    budget = {"level": "key", "owner": poor["id"], "amount_usd": 0.0001, "period": "month"}
    await admin("PUT", "budgets", budget)
    await admin("POST", f"keys/{revoked['id']}/revoke", {})
    return {"limited": limited["key"], "poor": poor["key"], "revoked": revoked["key"]}


# --- Prometheus ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    """Prometheus at `url`; `other` is the gateway that breaks, in `closing` until it is ended."""

    url: str
    gateway: Gateway
    other: Gateway
    config: Path

    async def ask(self, path: str, **query: str) -> Any:
        reply = await call(f"{self.url}/api/v1/{path}?{urlencode(query)}")
        assert reply.status == 200, (query, reply.body)
        return reply.json["data"]

    async def values(self, query: str) -> list[float]:
        """What a query answers, without the series that are no number."""
        found = (await self.ask("query", query=query))["result"]
        numbers = [float(each["value"][1]) for each in found]
        return [each for each in numbers if each == each]

    async def firing(self) -> set[str]:
        found = (await self.ask("alerts"))["alerts"]
        return {each["labels"]["alertname"] for each in found if each["state"] == "firing"}

    async def until(self, missing: Callable[[], Awaitable[Any]]) -> None:
        """Wait until nothing is `missing`, or fail with what still is."""
        lacking = await missing()
        try:
            async with asyncio.timeout(SECONDS):
                while lacking:
                    await asyncio.sleep(0.5)
                    lacking = await missing()
        except TimeoutError:
            raise AssertionError(f"after {SECONDS} s still: {lacking}") from None


def hurried(rules: str) -> str:
    """The alert rules with windows and waits of seconds in place of minutes."""
    rules = re.sub(r"\[\d+m\]", f"[{RATE}]", rules)
    return re.sub(r"for: \d+m", "for: 1s", rules)


def scraping(folder: Path, *gateways: Gateway) -> Path:
    """The configuration of the compose set, with these gateways as its targets."""
    config = yaml.safe_load((ROOT / "charts/docker/prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "alerts.yaml").write_text(hurried((FILES / "alerts.yaml").read_text()))
    config["rule_files"] = [str(folder / "alerts.yaml")]
    targets = [each.metrics_url.removeprefix("http://") for each in gateways]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yaml"


@asynccontextmanager
async def prometheus(folder: Path, config: Path) -> AsyncIterator[str]:
    """A server for the length of the block; its URL."""
    (port,) = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program("prometheus"), f"--config.file={config}"),
            *(f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder / 'data'}"),
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60):
            while not await answers(f"{url}/-/ready"):
                assert process.returncode is None, (folder / "prometheus.log").read_text()
                await asyncio.sleep(0.1)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(url: str) -> bool:
    try:
        return (await call(url)).status == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Everything runs, and traffic goes on until the end."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    env = {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
    breaking = {**env, "PYTHONPATH": str(broken_plugins(folder / "site"))}
    less: dict[str, Any] = {
        "providers": {"sim": {"kind": "simulated"}},
        "cache": {"backend": "broken"},
        "security": {"request_signing": {"enabled": True, "secrets": {"app": SECRET}}},
        "plugins": {"audit_log": {"fail": "open"}},
    }
    async with ScriptedProvider() as provider:
        provider.default = scripted
        async with (
            running_gateway(configuration(provider), env, args=("--workers", "2")) as gateway,
            running_gateway(less, breaking) as other,
        ):
            config = scraping(folder, gateway, other)
            traffic = Traffic(gateway, await furnished(gateway))
            async with prometheus(folder, config) as url:
                going = asyncio.create_task(traffic.forever())
                also = asyncio.create_task(breaking_things(other))
                try:
                    yield Site(url, gateway, other, config)
                finally:
                    going.cancel()
                    also.cancel()
                    ended = await asyncio.gather(going, also, return_exceptions=True)
                    assert [each for each in ended if type(each) is AssertionError] == []


async def breaking_things(gateway: Gateway) -> None:
    """Requests that meet the broken cache, and some that nobody signed, until it is gone."""
    path = "/v1/chat/completions"
    signing = RequestSigning(SECRET, "app")
    for number in itertools.count():
        messages = [{"role": "user", "content": f"hi {number}"}]
        body = json.dumps({"model": "sim/simulated", "messages": messages}).encode()
        signed = {"X-Signature": signing.signature("POST", path, "", body)}
        try:
            for headers in (signed, {}):
                await call(f"{gateway.url}{path}", body, key=gateway.api_key, headers=headers)
        except (OSError, asyncio.IncompleteReadError):
            return
        await asyncio.sleep(0.2)


async def test_promtool_accepts_the_rules_and_each_fires_and_keeps_still() -> None:
    promtool("check", "rules", str(FILES / "alerts.yaml"))
    promtool("test", "rules", str(RULE_TESTS))
    names = [each["name"] for each in yaml.safe_load(RULE_TESTS.read_text())["tests"]]

    assert names == [f"{alert} {does}" for alert in alerts() for does in ("fires", "keeps still")]


async def test_promtool_accepts_the_page_under_traffic_and_the_configuration(site: Site) -> None:
    page = await call(f"{site.gateway.metrics_url}/metrics")

    assert promtool("check", "metrics", given=page.body) == ""
    promtool("check", "config", str(site.config))


async def test_every_query_of_the_dashboard_returns_data_under_traffic(site: Site) -> None:
    async def without() -> list[str]:
        return [
            title
            for title, query in queries().items()
            if not await site.values(query.replace("$__rate_interval", RATE))
        ]

    await site.until(without)


async def test_what_must_stay_at_zero_is_there_as_zero(site: Site) -> None:
    lost = [query for title, query in queries().items() if title.startswith("Records, spans")]

    assert lost
    for query in lost:
        assert await site.values(query.replace("$__rate_interval", RATE)) == [0], query


async def test_alerts_fire_when_their_situation_is_there(site: Site) -> None:
    """The rules as they are, in seconds for minutes."""
    limit = (0, resource.RLIM_INFINITY)
    pids = sorted(site.gateway.workers())
    for pid in pids:  # no file may grow: the audit cannot write
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    wanted = PROVOKED - {"GatewayDown"}
    seen: set[str] = set()

    async def silent() -> set[str]:
        seen.update(await site.firing())
        return wanted - seen

    await site.until(silent)
    site.other.process.kill()
    wanted = PROVOKED

    await site.until(silent)


async def test_every_alert_is_read_without_a_fault(site: Site) -> None:
    groups = (await site.ask("rules"))["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}

    assert rules.keys() == alerts().keys()
    assert {name: rule["lastError"] for name, rule in rules.items() if rule.get("lastError")} == {}
