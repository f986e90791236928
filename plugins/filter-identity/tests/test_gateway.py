"""Stored keys at a real gateway: commands, several workers, a database that goes away."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}
CONFIG: dict[str, Any] = {
    "providers": {"sim": {"kind": "simulated", "region": "eu-west"}, "far": {"kind": "simulated"}},
    "routing": {"default_provider": "sim"},
}


@asynccontextmanager
async def gateway(
    folder: Path, config: dict[str, Any] = CONFIG, **env: str
) -> AsyncIterator[Gateway]:
    given = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN, **env}
    async with running_gateway(config, given) as made:
        yield made


async def command(gateway: Gateway, *args: str, code: int = 0) -> Any:
    """What `llm-gateway --json …` prints."""
    whole = [sys.executable, "-m", "llm_gateway", "--json", "-u", gateway.url, "-k", ADMIN, *args]
    done = await asyncio.to_thread(
        subprocess.run, whole, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


async def ask(gateway: Gateway, key: str, **body: Any) -> Reply:
    return await call(f"{gateway.url}/v1/chat/completions", {**BODY, **body}, key=key)


async def admin(gateway: Gateway, method: str, path: str, body: Any = None) -> Reply:
    return await call(f"{gateway.url}/admin/v1/{path}", body, key=ADMIN, method=method)


async def test_a_tenant_and_its_key_from_the_command_line(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        await command(running, "tenants", "create", "acme", "--model", "simulated", "--rpm", "50")
        made = await command(running, "keys", "create", "-t", "acme", "-n", "ci", "--expires", "1h")
        good = await ask(running, made["key"])
        barred = await ask(running, made["key"], model="other")
        models = await call(f"{running.url}/v1/models", key=made["key"])
        no_admin = await call(f"{running.url}/admin/v1/keys", key=made["key"])
        renamed = await command(
            running,
            "tenants",
            "update",
            "acme",
            "--rename",
            "other=simulated",
            "--set",
            "models=null",
        )
        other = await ask(running, made["key"], model="other")
        new = await command(running, "keys", "rotate", made["id"], "--grace", "0s")
        old = await ask(running, made["key"])
        rotated = await ask(running, new["key"])
        await command(running, "keys", "revoke", made["id"])
        gone = await ask(running, new["key"])
        listed = await command(running, "keys", "list", "-t", "acme")
        wrong = await command(running, "tenants", "create", "Not Good", code=1)
        await command(running, "tenants", "delete", "acme", "--force")
        tenants = await command(running, "tenants", "list")

    assert good.status == 200
    assert (barred.status, barred.json["error"]["code"]) == (403, "model_not_allowed")
    assert [each["id"] for each in models.json["data"]] == ["simulated"]
    assert no_admin.status == 403
    assert renamed["renamed"] == {"other": "simulated"} and "models" not in renamed
    assert (other.status, other.headers["x-gateway-model"]) == (200, "simulated")
    assert other.json["model"] == "other"
    assert (old.status, rotated.status, gone.status) == (401, 200, 401)
    assert [(each["id"], each["state"]) for each in listed] == [(made["id"], "revoked")]
    assert "400" in wrong and "id" in wrong
    assert tenants == []


async def test_no_fallback_leaves_a_tenants_regions(tmp_path: Path) -> None:
    """Where the deployment of the region fails, nothing is sent to one elsewhere or nowhere."""
    dead = {"kind": "openai", "api_key": "none", "base_url": "http://127.0.0.1:9/v1"}
    config = {
        "providers": {
            "near": {**dead, "region": "eu-west", "default_model": "simulated"},
            "far": {"kind": "simulated", "region": "us"},
            "nowhere": {"kind": "simulated"},
        },
        "routing": {
            "models": [
                {
                    "name": "m",
                    "deployments": [
                        {"provider": "near", "model": "simulated", "weight": 100},
                        {"provider": "far", "model": "simulated"},
                        {"provider": "nowhere", "model": "simulated"},
                    ],
                }
            ],
            "fallbacks": {"m": ["far/simulated", "nowhere/simulated"]},
        },
    }
    async with gateway(tmp_path, config) as running:
        await admin(running, "POST", "tenants", {"id": "t", "regions": ["eu"]})
        bound = (await admin(running, "POST", "keys", {"tenant": "t"})).json["key"]
        free = (await admin(running, "POST", "keys", {})).json["key"]
        kept = [await ask(running, bound, model=each) for each in ("m", "far/simulated")]
        served = await ask(running, free, model="m")

    assert [each.status for each in kept] == [502, 503]
    assert served.headers["x-gateway-provider"] in ("far", "nowhere")


async def test_a_tenant_stays_in_its_regions(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        await admin(running, "POST", "tenants", {"id": "t", "regions": ["eu"]})
        made = (await admin(running, "POST", "keys", {"tenant": "t"})).json
        within = await ask(running, made["key"], model="sim/simulated")
        beyond = await ask(running, made["key"], model="far/simulated")

    assert (within.status, within.headers["x-gateway-provider"]) == (200, "sim")
    assert beyond.status == 503 and "region" in beyond.json["error"]["message"]


@pytest.mark.parametrize("backend", ["host", "process"])
async def test_a_revoked_key_is_out_everywhere_within_the_bound(
    tmp_path: Path, backend: str
) -> None:
    """Two processes on one database: with news between them, and without, when they have to
    look for themselves."""
    config = {**CONFIG, "state": {"backend": backend}}
    async with gateway(tmp_path, config) as one, gateway(tmp_path, config) as two:
        made = (await admin(one, "POST", "keys", {"name": "x"})).json
        before = [(await ask(each, made["key"])).status for each in (one, two)]
        await admin(one, "POST", f"keys/{made['id']}/revoke", {})
        async with asyncio.timeout(5.0):  # the bound that the documentation states
            after = await asyncio.gather(*(refused(each, made["key"]) for each in (one, two)))

    assert before == [200, 200]
    assert after == [401, 401]


async def refused(gateway: Gateway, key: str) -> int:
    """The status of the first answer that is a refusal."""
    while True:
        answer = await ask(gateway, key)
        if answer.status != 200:
            return answer.status
        await asyncio.sleep(0.05)


async def test_without_its_database_a_gateway_knows_whom_it_knew(tmp_path: Path) -> None:
    with servers.postgres() as server:
        async with gateway(tmp_path, DATABASE_URL=server.url) as running:
            made = (await admin(running, "POST", "keys", {"name": "x"})).json
            unknown = f"gw_{'0' * 16}_{'x' * 43}"
            stranger = await ask(running, unknown)
            known = await ask(running, made["key"])
            server.stop()
            still = await ask(running, made["key"])
            nobody = await ask(running, unknown)
            change = await admin(running, "POST", "keys", {"name": "y"})
            server.start()
            async with asyncio.timeout(30):
                while True:
                    if (await ask(running, unknown)).status == 401:
                        break
                    await asyncio.sleep(0.2)

    assert (stranger.status, known.status, still.status) == (401, 200, 200)
    assert (nobody.status, nobody.json["error"]["code"]) == (503, "store_unavailable")
    assert "retry-after" in nobody.headers
    assert change.status == 503


async def test_strangers_are_limited_before_the_database_is_asked(tmp_path: Path) -> None:
    """Even while it is frozen: once an address has guessed enough it waits for nothing, and its
    good keys go on working."""
    config = {**CONFIG, "security": {"auth": {"failed_logins_per_minute": 1}}}
    with servers.postgres() as server:
        async with gateway(tmp_path, config, DATABASE_URL=server.url) as running:
            made = (await admin(running, "POST", "keys", {"name": "x"})).json
            known = await ask(running, made["key"])
            guesses = [await ask(running, f"gw_{n:016x}_{'x' * 43}") for n in range(3)]
            server.freeze()
            frozen = await ask(running, f"gw_{'1' * 16}_{'x' * 43}")
            still = await ask(running, made["key"])
            server.thaw()

    assert [each.status for each in guesses] == [401, 429, 429]
    assert guesses[-1].json["error"]["code"] == "too_many_failed_logins"
    assert 0 < int(guesses[-1].headers["retry-after"]) <= 60
    assert guesses[0].headers["www-authenticate"] == "Bearer"
    assert frozen.status == 429
    assert (known.status, still.status) == (200, 200)


ROLES = {None: 0, "user": 1, "operator": 2, "admin": 3}


async def test_every_route_demands_the_role_that_it_declares(tmp_path: Path) -> None:
    """Asked of the gateway's own description: each route with no key, and with one of each
    role; one that is not described does not exist."""
    async with gateway(tmp_path) as running:
        keys: dict[str | None, str | None] = {None: None}
        for role in ("user", "operator", "admin"):
            keys[role] = (await admin(running, "POST", "keys", {"role": role})).json["key"]
        document = (await call(f"{running.url}/openapi.json")).json
        judged = 0
        for path, operations in document["paths"].items():
            where = running.url + path.replace("{", "").replace("}", "")
            for method, operation in operations.items():
                needed = operation.get("x-required-role")
                assert needed in ROLES and ("security" in operation) is (needed is None)
                for role, key in keys.items():
                    answer = await call(where, key=key, method=method.upper())
                    status = 401 if role is None else 403
                    refused = ROLES[role] < ROLES[needed]
                    assert (answer.status == status) is refused, (method, path, role, answer.body)
                    judged += 1
        assert judged > 60
        for path in ("/admin", "/admin/v1", "/admin/v1/nothing", "/v1", "//v1/models"):
            assert (await call(running.url + path, key=keys["admin"])).status == 404


@pytest.mark.parametrize("path", ["/admin/v1/keys", "/v1/chat/completions"])
async def test_the_host_header_chooses_nothing(tmp_path: Path, path: str) -> None:
    async with gateway(tmp_path) as running:
        answers = [
            await call(running.url + path, headers={"host": host}, method="GET")
            for host in ("health", "localhost:1", "localhost/health?x=")
        ]

    assert [each.status in (401, 405) for each in answers[:2]] == [True, True]
    assert answers[2].status == 400  # none that HTTP permits


async def test_a_region_without_a_deployment_is_told(tmp_path: Path) -> None:
    """It is taken, since one may be configured later; meanwhile everybody who looks is warned."""
    async with gateway(tmp_path) as running:
        made = (await admin(running, "POST", "tenants", {"id": "far", "regions": ["mars"]})).json
        key = (await admin(running, "POST", "keys", {"tenant": "far", "regions": ["moon"]})).json
        near = (await admin(running, "POST", "tenants", {"id": "near", "regions": ["eu"]})).json
        both = (await admin(running, "PATCH", "tenants/near", {"regions": ["eu", "mars"]})).json
        free = (await admin(running, "PATCH", "tenants/near", {"regions": None})).json
        shown = (await admin(running, "GET", "tenants/far")).json
        told = await told_by(running, "tenants", "update", "far", "--region", "mars")

    (warning,) = made["warnings"]
    assert "mars" in warning and "eu-west" in warning and "every request is refused" in warning
    assert "moon" in key["warnings"][0]
    assert "warnings" not in near and "warnings" not in free and "warnings" not in shown
    assert "mars" in both["warnings"][0] and "every request" not in both["warnings"][0]
    assert "warning: No deployment is in the region mars" in told

    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(CONFIG))
    code, said = validated(config, tmp_path)
    assert code == 0 and "warning: tenant far: No deployment is in the region mars" in said
    assert "near" not in said
    async with gateway(tmp_path) as running:
        assert any("tenant far: No deployment" in line for line in running.log_lines())


async def told_by(gateway: Gateway, *args: str) -> str:
    whole = [sys.executable, "-m", "llm_gateway", "-u", gateway.url, "-k", ADMIN, *args]
    done = await asyncio.to_thread(subprocess.run, whole, capture_output=True, text=True)
    assert done.returncode == 0
    return done.stderr


def validated(config: Path, data: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "validate", str(config)],
        env={"LLM_GATEWAY_DATA_DIR": str(data), "LLM_GATEWAY_ADMIN_KEY": ADMIN},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr
