"""A provider that refuses the gateway itself: who answers, who is told, and what ends it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider

ADMIN = "admin-key-0123456789abcdef"
BREAKER = "gateway_circuit_breaker_state"


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    one: ScriptedProvider
    two: ScriptedProvider

    def config(
        self, *, key: str, deployments: tuple[str, ...] = ("one/a", "one/b", "two/m")
    ) -> Any:
        """`one` has two models, which `two` has too; a first deployment is preferred by far."""
        providers = {
            "one": {"kind": "openai", "api_key": key, "base_url": f"{self.one.url}/v1"},
            "two": {"kind": "openai", "api_key": "k-two", "base_url": f"{self.two.url}/v1"},
        }
        rows = [
            dict(zip(("provider", "model"), each.split("/"), strict=True)) for each in deployments
        ]
        models = [
            {"name": name, "deployments": [{**row, "weight": 10.0**-at} for at, row in own]}
            for name, own in (
                ("both", [(0, rows[0]), (9, rows[-1])]),
                ("other", [(0, rows[-2]), (9, rows[-1])]),
            )
        ]
        return {
            "providers": {name: {**own, "max_retries": 0} for name, own in providers.items()},
            "routing": {"models": models, "health_check_interval_seconds": 0},
            "resilience": {"circuit_breaker": {"failure_threshold": 1}},
        }

    async def ask(self, model: str) -> Reply:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        url = f"{self.gateway.url}/v1/chat/completions"
        return await call(url, body, key=self.gateway.api_key)

    async def health(self) -> Any:
        shown = await call(f"{self.gateway.url}/health?detailed=true", key=ADMIN)
        return shown.json["providers"]["one"]

    async def metrics(self) -> str:
        return (await call(f"{self.gateway.metrics_url}/metrics")).body.decode()

    async def reload(self, config: Any = None) -> None:
        """With `config` in the file, if there is one; else as it stands."""
        arguments = Path(f"/proc/{self.gateway.process.pid}/cmdline").read_bytes().split(b"\0")
        if config is not None:
            path = Path(arguments[arguments.index(b"-c") + 1].decode())
            path.with_suffix(".new").write_text(json.dumps(config))
            path.with_suffix(".new").replace(path)
        before = self.lines("reload.done")
        self.gateway.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while self.lines("reload.done") == before:
                await asyncio.sleep(0.02)

    def lines(self, words: str) -> int:
        return sum(words in line for line in self.gateway.log_lines())


@asynccontextmanager
async def started(key: str = "k-old") -> AsyncIterator[Site]:
    """`one` takes the key ``k-new`` alone."""
    async with (
        ScriptedProvider(validator=openai.strict("k-new")) as one,
        ScriptedProvider(validator=openai.strict("k-two")) as two,
    ):
        one.default = two.default = openai.chat_answer()
        unset: Any = None
        config = Site(unset, one, two).config(key=key)
        async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
            yield Site(gateway, one, two)


async def command(gateway: Gateway, *args: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", ADMIN, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_refused_credential_is_left_alone_shown_and_asked_again_after_a_rotation() -> None:
    """One refusal moves the account's traffic; operators see why; a new key is used at once."""
    async with started() as site:
        served = [
            (await site.ask(name)).headers["x-gateway-provider"] for name in ("both", "other")
        ]
        assert (served, len(site.one.received)) == (["two", "two"], 1)
        for _ in range(3):
            answer = await site.ask("both")
            assert answer.headers["x-gateway-attempts"] == "1"
        alone = await site.ask("one/a")
        assert (alone.status, alone.json["error"]["code"]) == (502, "upstream_credentials")

        assert await site.health() == {"state": "suspended", "reason": "credential_refused"}
        code, shown = await command(site.gateway, "backend-health", "--unhealthy-only")
        assert code == 1 and "suspended" in shown and "credential_refused" in shown
        page = await site.metrics()
        assert 'gateway_routing_health_suspended{provider="one"} ' in page
        assert 'gateway_provider_unhealthy{provider="one"} 1' in page
        assert site.lines("health.account_suspended") == 1

        await site.reload(site.config(key="k-new"))
        again = await site.ask("both")

    assert (again.status, again.headers["x-gateway-provider"]) == (200, "one")
    assert "k-old" not in "".join(site.gateway.log_lines())


async def test_reload_of_the_same_file_asks_a_suspended_deployment_again() -> None:
    """The operator mended it at the vendor's, and says so."""
    async with started() as site:
        assert (await site.ask("both")).headers["x-gateway-provider"] == "two"
        site.one.validator = None

        before = await site.ask("both")
        await site.reload()
        after = await site.ask("both")

    served = [each.headers["x-gateway-provider"] for each in (before, after)]
    assert served == ["two", "one"]


async def test_a_model_that_is_gone_is_left_alone_and_its_sibling_is_not() -> None:
    async with started("k-new") as site:
        gone = openai.error_answer(404, "model_not_found")
        site.one.enqueue(gone)

        assert (await site.ask("both")).headers["x-gateway-fallback"] == "model_gone"
        assert (await site.ask("both")).headers["x-gateway-provider"] == "two"
        assert (await site.ask("other")).headers["x-gateway-provider"] == "one"
        assert await site.health() == {"state": "degraded", "reason": "model_gone"}


async def test_a_provider_that_lists_no_model_is_shown_as_a_whole() -> None:
    """As it is where the configuration has a key and nothing else, and clients name the models."""
    async with ScriptedProvider(validator=openai.strict("k-new")) as vendor:
        one = {"kind": "openai", "api_key": "k-old", "base_url": f"{vendor.url}/v1"}
        config = {"providers": {"one": one}, "routing": {"health_check_interval_seconds": 0}}
        async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": ADMIN}) as gateway:
            site = Site(gateway, vendor, vendor)
            code, shown = await command(gateway, "backend-health")
            assert code == 0 and shown.count("unknown") == 1
            await site.ask("one/some-model")

            code, shown = await command(gateway, "--json", "backend-health", "--unhealthy-only")

    (row,) = json.loads(shown)
    assert code == 1
    assert (row["provider"], row["model"], row["state"]) == ("one", "*", "suspended")
    assert (row["share"], row["last_failure"]) == (0.0, "credential_refused")


async def test_breaker_of_a_deployment_that_is_gone_is_shown_no_more() -> None:
    """After a reload without it; the others' states stay."""
    async with started("k-new") as site:
        site.one.enqueue(openai.error_answer(500), openai.error_answer(500))
        for name in ("both", "other"):
            await site.ask(name)
        page = await site.metrics()
        assert f'{BREAKER}{{provider="one",model="a"}} 2' in page
        assert f'{BREAKER}{{provider="one",model="b"}} 2' in page

        await site.reload(site.config(key="k-new", deployments=("one/b", "two/m")))
        page = await site.metrics()

    assert f'{BREAKER}{{provider="one",model="a"}}' not in page
    assert f'{BREAKER}{{provider="one",model="b"}} 2' in page
