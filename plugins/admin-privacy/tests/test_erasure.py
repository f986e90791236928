"""Export and erasure on both databases, through real gateways."""

import asyncio
import hashlib
import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_admin_privacy.erasing import By, Erasing
from llm_gateway_admin_privacy.sweeping import FILE, Sweeping
from llm_gateway_migrations.files import collect
from llm_gateway_migrations.plugin import SQL
from llm_gateway_migrations.runner import Runner
from llm_gateway_store_sqlite.store import SqliteStore
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call

ADMIN = "admin-key-0123456789abcdef"
CONFIG: Mapping[str, Any] = {
    "providers": {"sim": {"kind": "simulated"}},
    "routing": {"default_provider": "sim"},
    "cache": {"backend": "memory"},
    "plugins": {"limit_budget": {"unknown_price": "allow"}},
}
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hello"}]}
SECONDS = 20.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


@asynccontextmanager
async def gateway(folder: Path, *args: str, **env: str) -> AsyncIterator[Gateway]:
    given = {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN, **env}
    async with running_gateway(CONFIG, given, args=args) as made:
        yield made


async def command(running: Gateway, *args: str, code: int = 0) -> Any:
    whole = [sys.executable, "-m", "llm_gateway", "--json", "-u", running.url, "-k", ADMIN, *args]
    done = await asyncio.to_thread(
        subprocess.run, whole, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


async def admin(running: Gateway, method: str, path: str, body: Any = None) -> Reply:
    return await call(f"{running.url}/admin/v1/{path}", body, key=ADMIN, method=method)


async def tenant(running: Gateway, name: str) -> str:
    """A tenant with a budget and a key, which is returned."""
    await admin(running, "POST", "tenants", {"id": name, "name": f"{name} Inc."})
    budget = {"level": "tenant", "owner": name, "amount_usd": "5", "period": "day"}
    await admin(running, "PUT", "budgets", budget)
    made = (await admin(running, "POST", "keys", {"tenant": name, "name": f"{name} ci"})).json
    key: str = made["key"]
    return key


async def ask(running: Gateway, key: str, text: str) -> Reply:
    body = {**BODY, "messages": [{"role": "user", "content": text}]}
    return await call(f"{running.url}/v1/chat/completions", body, key=key)


async def recorded(running: Gateway, name: str, requests: int) -> None:
    """Wait until the ledger has shipped `requests` of the tenant."""
    async with asyncio.timeout(SECONDS):
        while True:
            kinds = (await admin(running, "GET", f"tenants/{name}/export")).json["kinds"]
            counts = {each["kind"]: each["records"] for each in kinds}
            if counts["usage"] >= requests:
                return
            await asyncio.sleep(0.1)


async def total(running: Gateway) -> tuple[int, str]:
    rows = (await admin(running, "GET", "cost?group_by=provider")).json["rows"]
    return rows[0]["requests"], rows[0]["cost_usd"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_tenant_is_exported_and_erased(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The neighbour keeps everything; sums stay; no trace of the tenant but its id."""
    env = {}
    if kind == "postgresql":
        env = {"DATABASE_URL": request.getfixturevalue("postgres").url}
    async with gateway(tmp_path / "data", "--workers", "2", **env) as running:
        mine, other = await tenant(running, "acme"), await tenant(running, "zenith")
        for number in range(6):
            assert (await ask(running, mine, f"q{number}")).status == 200
            assert (await ask(running, other, f"q{number}")).status == 200
        await recorded(running, "acme", 6)
        await recorded(running, "zenith", 6)
        before = await total(running)
        target = tmp_path / "acme.zip"
        exported = await command(running, "tenants", "export", "acme", "-o", str(target))
        dry = await command(running, "tenants", "erase", "acme", "--dry-run")
        done = await command(running, "tenants", "erase", "acme", "--force")
        again = await command(running, "tenants", "erase", "acme", "--force")
        refused = await ask(running, mine, "q0")
        neighbour = await ask(running, other, "q0")
        after = await total(running)
        left = (await admin(running, "GET", "tenants/acme/export")).json["kinds"]
        neighbours = (await admin(running, "GET", "tenants/zenith/export")).json["kinds"]
        anew = await admin(running, "POST", "tenants", {"id": "acme"})
        unknown = await command(running, "tenants", "erase", "acne", "--force", code=1)
        told = await audited(running, "tenant.erased")

    with zipfile.ZipFile(target) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        usage = [json.loads(each) for each in archive.read("usage.jsonl").splitlines()]
        identity = archive.read("identity.jsonl")
        for each in manifest["kinds"]:
            assert hashlib.sha256(archive.read(each["file"])).hexdigest() == each["sha256"]
    counts = {each["kind"]: each["records"] for each in left}
    assert exported["kinds"] == manifest["kinds"]
    assert (len(usage), {each["tenant"] for each in usage}) == (6, {"acme"})
    assert b'"acme ci"' in identity
    assert mine.split("_", 2)[2].encode() not in identity  # which may have underscores itself
    assert dry["identity"] == done["erased"]["identity"] == 3
    assert dry["usage"] == done["erased"]["usage"] == 6
    assert dry["usage_hours"] == done["erased"]["usage_hours"] > 0
    assert done["finished_at"] is not None
    assert again["erased"]["usage"] == 6
    assert (refused.status, neighbour.status) == (401, 200)
    assert counts["usage"] == counts["usage_hours"] == counts["identity"] == counts["answers"] == 0
    assert {each["kind"]: each["records"] for each in neighbours}["usage"] >= 6
    assert after[0] >= before[0]
    assert anew.status == 409
    assert "was erased" in anew.json["error"]["message"]
    assert "acne" in unknown
    kinds = [each["kind"] for each in told]
    assert {"tenant.exported", "tenant.erasure_begun", "tenant.erased"} <= set(kinds)
    if kind == "sqlite":
        rows = sqlite3.connect(tmp_path / "data" / "gateway.db").execute(
            "SELECT COUNT(*) FROM usage_records WHERE tenant IS NULL AND key_id IS NULL "
            "AND request_id = '' AND at % 3600000 = 0"
        )
        assert rows.fetchone() == (6,)
        hours = sqlite3.connect(tmp_path / "data" / "gateway.db").execute(
            "SELECT tenant, SUM(requests) > 0 FROM usage_hours GROUP BY tenant ORDER BY tenant"
        )
        assert hours.fetchall() == [("", 1), ("zenith", 1)]


async def test_a_tenants_own_admin_reaches_no_other_tenant(tmp_path: Path) -> None:
    async with gateway(tmp_path) as running:
        await tenant(running, "acme")
        await tenant(running, "zenith")
        made = (await admin(running, "POST", "keys", {"tenant": "acme", "role": "admin"})).json
        replies = [
            await call(
                f"{running.url}/admin/v1/tenants/{name}/{path}", body, key=made["key"], method=how
            )
            for name in ("zenith", "acme")
            for how, path, body in (
                ("GET", "export", None),
                ("GET", "export/usage", None),
                ("GET", "export/identity", None),
                ("POST", "erase", {}),
            )
        ]

    assert [each.status for each in replies] == [403, 403, 403, 403, 200, 200, 200, 200]


class Kept:
    """Meets `TenantData`; the first `failures` erasures raise."""

    def __init__(self, records: int, failures: int = 0) -> None:
        self.records = records
        self.failures = failures

    async def count(self, tenant: str) -> int:
        return self.records

    async def export(self, tenant: str, after: str, limit: int) -> gw.ExportPage:
        return gw.ExportPage([{}] * self.records)

    async def erase(self, tenant: str) -> int:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no")
        found, self.records = self.records, 0
        return found


async def audited(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    """The records about tenants, once one of this kind has been shipped."""
    async with asyncio.timeout(SECONDS):
        while True:
            rows = (await admin(gateway, "GET", "audit?kind=tenant.*")).json["rows"]
            if any(each["kind"] == kind for each in rows):
                return list(rows)
            await asyncio.sleep(0.1)


async def until_told(told: list[gw.AuditEvent]) -> None:
    async with asyncio.timeout(SECONDS):
        while not told:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[gw.Store]:
    made = SqliteStore(tmp_path / "gateway.db", 5)
    async with made.open():
        await Runner(made, collect([gw.MigrationSpec("gateway", SQL)], made.dialect)).run()
        yield made


def erasing(store: gw.Store, told: list[gw.AuditEvent], **kinds: Kept) -> Erasing:
    specs = [(gw.TenantDataSpec(name, "", "", ""), kept) for name, kept in kinds.items()]
    return Erasing(store, None, told.append, specs)


async def test_what_fails_does_not_hold_up_the_rest_and_is_tried_again(
    store: gw.Store, tmp_path: Path
) -> None:
    told: list[gw.AuditEvent] = []
    work = erasing(store, told, bad=Kept(3, failures=1), good=Kept(2))
    first = await work.erase("acme", By("key-1"))
    await Sweeping(work, None, tmp_path).look()
    found = await work.known("acme")

    assert (first["erased"], first["failed"], first["finished_at"]) == (
        {"good": 2},
        {"bad": "RuntimeError"},
        None,
    )
    assert found is not None
    assert json.loads(str(found["done"])) == {"good": 2, "bad": 3}
    assert found["finished_at"] is not None
    assert [(each.kind, each.outcome) for each in told] == [
        ("tenant.erasure_begun", "ok"),
        ("tenant.erased", "failed"),
        ("tenant.erased", "ok"),
    ]


async def test_an_erasure_that_was_cut_off_is_finished_by_the_next_process(
    store: gw.Store, tmp_path: Path
) -> None:
    """The gateway dies after the wish was written down, before the first kind."""
    told: list[gw.AuditEvent] = []
    kept = Kept(4)
    await store.execute("INSERT INTO tenant_erasures VALUES ('acme', 1, NULL, NULL, '{}')")
    async with Sweeping(erasing(store, told, one=kept), None, tmp_path / "host").open():
        await until_told(told)

    assert (kept.records, [each.kind for each in told]) == (0, ["tenant.erased"])


async def test_every_host_looks_for_itself_and_again_for_what_is_late(
    store: gw.Store, tmp_path: Path
) -> None:
    told: list[gw.AuditEvent] = []
    here, there = Kept(1), Kept(5)
    await erasing(store, told, local=here).erase("acme", By())
    other = Sweeping(erasing(store, told, local=there), None, tmp_path)
    await other.look()
    there.records = 7
    await other.look()
    late = there.records
    (tmp_path / FILE).write_text('{"acme": 1.0}')  # seen long ago
    there.records = 9
    await other.look()

    assert (here.records, late, there.records) == (0, 0, 9)


async def test_two_workers_of_a_host_do_not_both_look(store: gw.Store, tmp_path: Path) -> None:
    first, second = Kept(1), Kept(1)
    told: list[gw.AuditEvent] = []
    await store.execute("INSERT INTO tenant_erasures VALUES ('acme', 1, NULL, NULL, '{}')")
    one = Sweeping(erasing(store, told, one=first), None, tmp_path, 0.01)
    two = Sweeping(erasing(store, told, one=second), None, tmp_path, 0.01)
    async with one.open():
        await until_told(told)
        async with two.open():
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert second.records == 1


async def test_what_cannot_be_recorded_is_not_begun(store: gw.Store) -> None:
    def full(event: gw.AuditEvent) -> None:
        raise OSError("the disk is full")

    kept = Kept(3)
    work = Erasing(store, None, full, [(gw.TenantDataSpec("one", "", "", ""), kept)])
    with pytest.raises(OSError, match="full"):
        await work.erase("acme", By())

    assert kept.records == 3
    assert await work.all() == []
