"""The commands and routes against a running gateway; one tenant never meets another."""

import asyncio
import json
import sys
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_admin_cache import absence, routes
from llm_gateway_admin_cache.clearing import Clearing
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef0123456789"
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated"}},
    "cache": {"backend": "memory", "max_size_mb": 8},
    "security": {"auth": {"api_keys": [API_KEY], "admin_key": ADMIN}},
}


async def status(gateway: Gateway, *words: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "--json", "--url", gateway.url),
        *("--api-key", ADMIN, "cache-status", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    try:
        return process.returncode or 0, json.loads(out)
    except ValueError:
        return process.returncode or 0, (out + err).decode()


async def test_commands_show_and_clear_what_is_kept() -> None:
    async with running_gateway(CONFIG) as gateway:
        for words in ("one", "two", "two"):
            body = {"model": "simulated", "messages": [{"role": "user", "content": words}]}
            await call(f"{gateway.url}/v1/chat/completions", body, key=API_KEY)
        listed = await status(gateway, "list", "--limit", "1", "--model", "simulated")
        stats = await status(gateway, "stats", "--detailed")
        config = await status(gateway, "config")
        unsure = await status(gateway, "clear")
        young = await status(gateway, "clear", "--older-than", "1h", "--force")
        other = await status(gateway, "clear", "--model", "other", "--force")
        cleared = await status(gateway, "clear", "--force")
        after = await status(gateway, "list")
        wrong = await call(
            f"{gateway.url}/admin/v1/cache/entries?older_than=soon", key=ADMIN, method="DELETE"
        )
        user = await call(f"{gateway.url}/admin/v1/cache/entries", key=API_KEY)

    assert [each["asked"] for each in listed[1]] == ["simulated"]
    assert "one" not in json.dumps(listed[1]).replace("None", "")
    assert (stats[1][0]["entries"], stats[1][0]["limit_bytes"]) == (2, 8 * 1024 * 1024)
    assert config[1]["max_size_mb"] == 8
    assert unsure[0] != 0
    assert [each[1]["removed"] for each in (young, other, cleared)] == [0, 0, 2]
    assert after == (1, [])
    assert (wrong.status, user.status) == (400, 403)


class Notes:
    """A cache that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.cleared = asyncio.Event()

    async def get(self, lookup: gw.Lookup) -> gw.CachedAnswer | None:
        return None

    async def put(self, lookup: gw.Lookup, value: gw.CachedAnswer, ttl_seconds: float) -> None: ...

    async def stats(self, tenant: str | None) -> gw.CacheStats:
        self.asked.append(tenant)
        return gw.CacheStats(0)

    async def entries(self, chosen: gw.CacheSelection, limit: int) -> list[gw.CacheEntry]:
        self.asked.append(chosen.tenant)
        return []

    async def clear(self, chosen: gw.CacheSelection) -> int:
        self.asked.append(chosen.tenant)
        self.cleared.set()
        return 1


@pytest.mark.parametrize("name", sorted(routes.ROUTES))
async def test_a_caller_with_a_tenant_gets_its_own_whatever_it_asks(name: str) -> None:
    notes = Notes()
    for own in ("mine", None):
        principal = gw.Principal("k", own, role="operator")
        arrival = gw.Arrival("r", "GET", "/", "", {}, "", 0.0, principal)
        request = gw.EndpointRequest(arrival, {}, {"tenant": "theirs"}, b"")
        await routes.ROUTES[name](Clearing({"n": notes}, None), request)

    assert notes.asked == ["mine", "theirs"]


class News:
    """Shared state between two workers, as far as news go."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def listen(self, topic: str, told: Any) -> None:
        self.told.append(told)

    def publish(self, topic: str, message: bytes) -> None:
        for each in self.told:
            each(message)


async def test_clearing_reaches_the_other_workers_within_the_tenant() -> None:
    state: Any = News()
    here, there = Notes(), Notes()
    one, two = Clearing({"n": here}, state), Clearing({"n": there}, state)
    async with one.open(), two.open():
        assert await one.clear(gw.CacheSelection("mine")) == {"n": 1}
        async with asyncio.timeout(5):
            await there.cleared.wait()

    assert set(here.asked) == set(there.asked) == {"mine"}


COMMANDS = (("stats",), ("list",), ("clear", "--force"), ("config",))
BACKENDS = ["cache_memory", "cache_redis", "cache_semantic"]


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ({}, "the configuration has no `cache` section; add one"),
        ({"plugins": {"disabled": BACKENDS}}, "pip install llm-gateway-cache-memory"),
    ],
    ids=["no section", "no plugin"],
)
async def test_without_a_cache_each_command_says_how_to_get_one(
    config: dict[str, Any], remedy: str
) -> None:
    own = {name: part for name, part in CONFIG.items() if name != "cache"}
    async with running_gateway({**own, **config}) as gateway:
        said = [await status(gateway, *words) for words in COMMANDS]

    assert [code for code, _ in said] == [1] * len(COMMANDS)
    for _, words in said:
        plain = plainly(words)
        assert "No cache is in service" in plain
        assert remedy in plain


async def test_a_cache_that_is_off_shows_its_settings_and_why_nothing_is_kept() -> None:
    async with running_gateway({**CONFIG, "cache": {"enabled": False}}) as gateway:
        config = await status(gateway, "config")
        code, said = await status(gateway, "stats")

    assert (config[0], config[1]["enabled"]) == (0, False)
    assert code == 1
    assert "`cache.enabled` is false" in plainly(said)


def plainly(said: str) -> str:
    """Without the frame that a terminal shows around an error."""
    return " ".join(said.replace("\u2502", " ").split())


def test_a_cache_that_cannot_be_looked_into_is_named() -> None:
    error = absence.no_cache(gw.CacheSettings(), [], ["shelf"])

    assert (error.status, error.code) == (404, "no_cache")
    assert "(shelf) cannot be looked into" in error.message
