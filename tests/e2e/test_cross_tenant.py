"""Two tenants side by side on one gateway with every cache and filter that keeps something: what
one of them asks, hits, lists, clears, exports or erases never shows the other's, not by the
answer, not by a header, and not by how long it takes."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, Hang, ScriptedProvider
from llm_gateway_testkit.steps import Received

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "admin-key-0123456789abcdef"
UPSTREAM_KEY = "sk-test-upstream"
SECONDS = 20.0
TENANTS = ("acme", "zenith")
# Of each reply alone: the id, and the date of a vendor's answer.
OWN = {"x-request-id", "date", "content-length"}


@dataclass(frozen=True, slots=True)
class Site:
    gateway: Gateway
    provider: ScriptedProvider
    users: Mapping[str, tuple[str, str]]
    operators: Mapping[str, str]

    async def ask(self, tenant: str, text: str, user: int = 0, **headers: str) -> Reply:
        messages = [{"role": "user", "content": text}]
        body = {"model": "up/gpt-6-sol", "messages": messages}
        url = f"{self.gateway.url}/v1/chat/completions"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await call(url, body, key=self.users[tenant][user], headers=named)

    async def admin(self, method: str, path: str, body: Any = None, key: str = ADMIN) -> Reply:
        return await call(f"{self.gateway.url}/admin/v1/{path}", body, key=key, method=method)

    async def command(self, tenant: str, *words: str) -> tuple[int, Any]:
        """`cache-status` with the key of the tenant's operator."""
        key = self.operators[tenant]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm_gateway", "--json", "-u", self.gateway.url),
            *("-k", key, "cache-status", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        assert out, err
        return process.returncode or 0, json.loads(out)

    async def entries(self, tenant: str) -> list[dict[str, Any]]:
        reply = await self.admin("GET", "cache/entries?limit=1000", key=self.operators[tenant])
        found: list[dict[str, Any]] = reply.json["entries"]
        return found


def echo(received: Received) -> Answer:
    """Says what it was asked, and the number of the request."""
    said = received.json["messages"][-1]["content"]
    return openai.chat_answer(f"{said} ({received.headers['authorization'][-8:]})")


def config(provider: ScriptedProvider, cache: Mapping[str, Any]) -> dict[str, Any]:
    up = {"kind": "openai", "api_key": UPSTREAM_KEY, "base_url": f"{provider.url}/v1"}
    semantic = {"similarity_threshold": 0.6, "model": "sim/simulated-embedding"}
    return {
        "providers": {"up": up, "sim": {"kind": "simulated"}},
        "cache": {**cache, "coalesce": True, "semantic_cache": semantic},
        "security": {
            "ip_filter": {"enabled": True, "blacklist": ["192.0.2.66"]},
            "headers": {"allowed_hosts": ["127.0.0.1"]},
            "validation": {"max_messages": 100, "invisible_characters": "clean"},
        },
        "plugins": {
            "audit_log": {"content": True, "ship_seconds": 0.05},
            "filter_pii": {"kinds": {"email": "reversible"}},
            "filter_guardrail": {
                "rules": [{"name": "acme-only", "deny": ["forbidden"], "tenants": ["acme"]}]
            },
            "limit_budget": {"unknown_price": "allow"},
        },
    }


@pytest.fixture(scope="module", params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        if request.param == "memory":
            yield {"backend": "memory", "max_size_mb": 8}
        else:
            server = stack.enter_context(servers.redis())
            redis = {"url": server.url, "timeout_seconds": 5}
            yield {"backend": "redis", "redis": redis}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    cache: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder: Path = tmp_path_factory.mktemp("data")
    env = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}
    async with (
        ScriptedProvider(validator=openai.strict(UPSTREAM_KEY)) as provider,
        running_gateway(config(provider, cache), env) as gateway,
    ):
        site = Site(gateway, provider, {}, {})
        users: dict[str, tuple[str, str]] = {}
        operators: dict[str, str] = {}
        for tenant in TENANTS:
            await site.admin("POST", "tenants", {"id": tenant})
            made = [
                (await site.admin("POST", "keys", {"tenant": tenant, "role": role})).json["key"]
                for role in ("user", "user", "operator")
            ]
            users[tenant], operators[tenant] = (made[0], made[1]), made[2]
        yield Site(gateway, provider, users, operators)


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> Site:
    """With empty caches."""
    running.provider.reset()
    await running.admin("DELETE", "cache/entries")
    running.provider.default = echo
    return running


async def kept(site: Site, tenant: str, many: int) -> None:
    """Wait until the answers of `tenant` are in every cache: no request waits for that."""
    async with asyncio.timeout(SECONDS):
        while len(await site.entries(tenant)) < many:
            await asyncio.sleep(0.02)


def told(reply: Reply) -> tuple[int, dict[str, str]]:
    """What a reply says beside its content."""
    return reply.status, {name: v for name, v in reply.headers.items() if name not in OWN}


# --- hits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["how do I reset my password", "how do I  reset my  password"])
async def test_a_kept_answer_is_nothing_to_another_tenant(site: Site, question: str) -> None:
    """Word for word or alike: its own people hit it; the other tenant's question goes to the
    provider as one that nobody ever asked, and its reply has the same head."""
    await site.ask("acme", "how do I reset my password")
    await kept(site, "acme", 2)
    colleague = await site.ask("acme", question, user=1)
    before = len(site.provider.received)
    theirs = await site.ask("zenith", question)
    unheard = await site.ask("zenith", "which boats are in the harbour")
    asked = len(site.provider.received) - before

    assert colleague.headers["x-gateway-cache"] == "hit"
    assert theirs.headers["x-gateway-cache"] == "miss"
    assert told(theirs) == told(unheard)
    assert asked == 2


async def test_nobody_learns_by_asking_for_kept_answers_only(site: Site) -> None:
    await site.ask("acme", "what is our new product called")
    await kept(site, "acme", 2)
    mine = await site.ask("acme", "what is our new product called", cache_control="only-if-cached")
    theirs, unheard = [
        await site.ask("zenith", text, cache_control="only-if-cached")
        for text in ("what is our new product called", "which boats are in the harbour")
    ]

    assert mine.status == 200
    assert told(theirs) == told(unheard)
    assert (theirs.status, theirs.body) == (504, unheard.body)


async def test_a_request_under_way_is_waited_for_within_its_tenant(site: Site) -> None:
    """While one tenant's answer is held back at the provider, the other's is asked for and
    given; a colleague waits for the first."""
    site.provider.enqueue(Hang(of=openai.chat_answer("first")))
    first = asyncio.create_task(site.ask("acme", "how long does it take"))
    await site.provider.wait_received(1, SECONDS)
    colleague = asyncio.create_task(site.ask("acme", "how long does it take", user=1))
    theirs = await asyncio.wait_for(site.ask("zenith", "how long does it take"), SECONDS)
    held = first.done(), colleague.done(), len(site.provider.received)
    site.provider.release()
    mine, same = await asyncio.gather(first, colleague)

    assert theirs.headers["x-gateway-cache"] == "miss"
    assert held == (False, False, 2)
    assert (mine.headers["x-gateway-cache"], same.headers["x-gateway-cache"]) == ("miss", "hit")
    assert len(site.provider.received) == 2


# --- looking in and clearing ---------------------------------------------------------------


async def test_an_operator_of_a_tenant_lists_and_clears_its_own(site: Site) -> None:
    """With the commands; what else is named in the request makes no difference."""
    for tenant in TENANTS:
        await site.ask(tenant, f"the question of {tenant} is this")
        await kept(site, tenant, 2)
    listed = await site.command("zenith", "list")
    asked_for = await site.command("zenith", "list", "--tenant", "acme")
    stats = await site.command("zenith", "stats", "--detailed")
    cleared = await site.command("zenith", "clear", "--tenant", "acme", "--force")
    after = await site.command("zenith", "list")
    again = await site.ask("acme", "the question of acme is this")
    gone = await site.ask("zenith", "the question of zenith is this")

    assert {each["tenant"] for each in listed[1]} == {"zenith"}
    assert [{**each, "expires": 0} for each in asked_for[1]] == [
        {**each, "expires": 0} for each in listed[1]
    ]
    assert sum(each["entries"] for each in stats[1]) == cleared[1]["removed"] == 2
    assert all(each["limit_bytes"] is None and each["evictions"] is None for each in stats[1])
    assert after == (1, [])
    assert again.headers["x-gateway-cache"] == "hit"
    assert gone.headers["x-gateway-cache"] == "miss"


async def test_an_erased_tenant_leaves_no_answer_and_its_neighbour_keeps_all(site: Site) -> None:
    """A third tenant, so that the two stay."""
    await site.admin("POST", "tenants", {"id": "leaving"})
    made = await site.admin("POST", "keys", {"tenant": "leaving"})
    for key in (made.json["key"], site.users["acme"][0]):
        body = {
            "model": "up/gpt-6-sol",
            "messages": [{"role": "user", "content": "is this kept or not"}],
        }
        await call(f"{site.gateway.url}/v1/chat/completions", body, key=key)
    await kept(site, "acme", 2)
    async with asyncio.timeout(SECONDS):
        while len((await site.admin("GET", "cache/entries?tenant=leaving")).json["entries"]) < 2:
            await asyncio.sleep(0.02)
    exported = (await site.admin("GET", "tenants/acme/export/answers")).body
    erased = await site.admin("POST", "tenants/leaving/erase", {})
    left = (await site.admin("GET", "cache/entries?limit=1000")).json["entries"]
    neighbour = await site.ask("acme", "is this kept or not")

    assert b"leaving" not in exported
    assert erased.json["erased"]["answers"] == 2
    assert {each["tenant"] for each in left} == {"acme"}
    assert neighbour.headers["x-gateway-cache"] == "hit"


# --- filters -------------------------------------------------------------------------------


async def test_masked_values_are_put_back_for_whoever_asked(site: Site) -> None:
    """Two colleagues' questions are one once their addresses are masked: the kept answer says
    each one's own. The other tenant's is neither's."""
    mine = await site.ask("acme", "write to ada@example.org today please")
    await kept(site, "acme", 2)
    same = await site.ask("acme", "write to bob@example.org today please", user=1)
    theirs = await site.ask("zenith", "write to eve@example.org today please")

    replies = {"ada": mine, "bob": same, "eve": theirs}
    for name, reply in replies.items():
        said = reply.json["choices"][0]["message"]["content"]
        assert f"{name}@example.org" in said
        assert not [other for other in replies if other != name and other in said]
    assert same.headers["x-gateway-cache"] == "hit"
    assert theirs.headers["x-gateway-cache"] == "miss"
    assert all(b"example.org" not in each.body for each in site.provider.received)


async def test_a_rule_for_one_tenant_is_none_for_another(site: Site) -> None:
    """What the one is refused, the other is given and may have kept."""
    site.provider.default = openai.chat_answer("that is forbidden")
    replies = {}
    for tenant in (*TENANTS, *reversed(TENANTS)):
        replies[tenant, len(replies)] = await site.ask(tenant, "may I see the answer to this")

    found = {(tenant, reply.status) for (tenant, _), reply in replies.items()}
    assert found == {("acme", 403), ("zenith", 200)}
    assert all(
        (b"that is forbidden" in reply.body) == (tenant == "zenith")
        for (tenant, _), reply in replies.items()
    )


# --- the admin surface ---------------------------------------------------------------------

# Of the gateway as a whole: no tenant's key may ask for it.
WHOLE = {"/admin/v1/secrets", "/admin/v1/audit/verify"}


@pytest.mark.parametrize("role", ["operator", "admin"])
async def test_no_route_tells_a_tenant_of_another(site: Site, role: str) -> None:
    """Every route of the admin surface that reads, with a query that names the other tenant and
    without one: neither its name, nor its keys' ids, nor what it asked."""
    for tenant in TENANTS:
        await site.ask(tenant, f"a private matter of {tenant} here")
        budget = {"level": "tenant", "owner": tenant, "amount_usd": 7, "period": "day"}
        await site.admin("PUT", "budgets", budget)
        await kept(site, tenant, 2)
    await recorded(site)
    key = (await site.admin("POST", "keys", {"tenant": "zenith", "role": role})).json["key"]
    secret = site.users["acme"][0].split("_")[1]
    replies = {}
    for path in await admin_paths(site):
        for query in ("", "?tenant=acme", "?level=tenant&owner=acme", "?after=0::0"):
            whole = f"{site.gateway.url}{path.replace('{id}', 'acme')}{query}"
            replies[path, query] = await call(whole, key=key)

    assert len(replies) > 60
    assert all(reply.status < 500 for reply in replies.values())
    for (path, query), reply in replies.items():
        assert reply.status == 403 or path not in WHOLE, path
        for word in ("private matter of acme", secret):
            assert word.encode() not in reply.body, (path, query)
        named = reply.body.replace(b"'acme'", b"")  # "there is no tenant 'acme'"
        named = re.sub(rb'"/admin/v1/[^"]*"', b"", named)  # what it asked for, on its record
        assert b"acme" not in named, (path, query, reply.body[:300])


async def test_no_route_lets_a_tenant_change_another(site: Site) -> None:
    """Nor what belongs to all. The neighbour is what it was."""
    key = (await site.admin("POST", "keys", {"tenant": "zenith", "role": "admin"})).json["key"]
    other = site.users["acme"][0].split("_")[1]
    body = {"model": "up/gpt-6-sol", "messages": [{"role": "user", "content": "hi"}]}
    budget = {"level": "tenant", "owner": "acme", "amount_usd": 0, "period": "day"}
    changes = [
        ("POST", "tenants", {"id": "third"}),
        ("PATCH", "tenants/acme", {"disabled": True}),
        ("DELETE", "tenants/acme", None),
        ("POST", "tenants/acme/erase", {}),
        ("POST", "keys", {"tenant": "acme"}),
        ("PATCH", f"keys/{other}", {"role": "admin"}),
        ("POST", f"keys/{other}/rotate", {}),
        ("POST", f"keys/{other}/revoke", {}),
        ("PUT", "budgets", budget),
        ("PUT", "secrets/a", {"value": "x"}),
        ("POST", "secrets/rotate", {}),
        ("DELETE", "secrets/a", None),
        ("POST", "explain", {"body": body, "tenant": "acme"}),
    ]
    replies = [await site.admin(method, path, body, key) for method, path, body in changes]
    own = await site.admin("POST", "explain", {"body": body}, key)
    neighbour = await site.ask("acme", "is everything as it was")

    assert [each.status for each in replies] == [403] * len(changes)
    assert own.json["caller"]["tenant"] == "zenith"
    assert neighbour.status == 200


async def admin_paths(site: Site) -> list[str]:
    page = (await call(f"{site.gateway.url}/openapi.json")).json["paths"]
    return [path for path in page if path.startswith("/admin/v1/") and "get" in page[path]]


async def recorded(site: Site) -> None:
    """Wait until what both tenants asked is in the store's record and in its ledger."""
    async with asyncio.timeout(SECONDS):
        while True:
            audit = (await site.admin("GET", "audit?limit=1000&kind=content.request")).body
            usage = (await site.admin("GET", "cost?group_by=tenant")).body
            if all(f"matter of {each}".encode() in audit for each in TENANTS) and all(
                each.encode() in usage for each in TENANTS
            ):
                return
            await asyncio.sleep(0.05)


async def test_an_audit_is_read_by_its_own_tenant(site: Site) -> None:
    for tenant in TENANTS:
        await site.ask(tenant, f"a private matter of {tenant} here")
    await recorded(site)
    key = (await site.admin("POST", "keys", {"tenant": "zenith", "role": "admin"})).json["key"]
    rows = (await site.admin("GET", "audit?limit=1000&tenant=acme", key=key)).json["rows"]

    assert {each["tenant"] for each in rows} == {"zenith"}
    assert "a private matter of zenith here" in json.dumps(rows)
