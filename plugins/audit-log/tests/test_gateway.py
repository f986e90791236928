"""What happens at a gateway is on record, searched and verified by command."""

import asyncio
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "a private matter"}]}


@pytest.fixture
def postgres() -> Iterator[servers.Server]:
    with servers.postgres() as server:
        yield server


def config(**settings: Any) -> dict[str, Any]:
    return {
        "providers": {"sim": {"kind": "simulated"}},
        "plugins": {"audit_log": {"ship_seconds": 0.05, **settings}},
    }


def env(folder: Path) -> dict[str, str]:
    return {"LLM_GATEWAY_DATA_DIR": str(folder), "LLM_GATEWAY_ADMIN_KEY": ADMIN}


async def command(gateway: Gateway, *arguments: str) -> tuple[int, Any]:
    options = ["--json", "-u", gateway.url, "-k", ADMIN, "audit", *arguments]
    run = [sys.executable, "-m", "llm_gateway", *options]
    done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout or "null")


async def on_record(gateway: Gateway, kind: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while True:
            url = f"{gateway.url}/admin/v1/audit?kind={kind}"
            rows: list[dict[str, Any]] = (await call(url, key=ADMIN)).json["rows"]
            if rows:
                return rows
            await asyncio.sleep(0.02)


async def test_a_refused_caller_is_on_record(tmp_path: Path) -> None:
    async with running_gateway(config(), env(tmp_path)) as gateway:
        refused = await call(f"{gateway.url}/v1/chat/completions", BODY, key="wrong-key-0123456789")
        (row,) = await on_record(gateway, "auth.refused")
        found = await command(gateway, "search", "--kind", "auth.*")
        shown = await command(gateway, "tail")
        whole = await command(gateway, "verify")

    assert row["request_id"] == refused.headers["x-request-id"]
    assert row["peer"] == "127.0.0.1"
    assert "wrong-key" not in json.dumps(row)
    assert found == (0, [row])
    assert shown[1] == [row]
    assert whole == (0, [])


async def test_an_edit_in_the_file_is_found_by_the_command(tmp_path: Path) -> None:
    async with running_gateway(config(), env(tmp_path)) as gateway:
        for _ in range(3):
            await call(f"{gateway.url}/v1/chat/completions", BODY, key="wrong-key-0123456789")
        await on_record(gateway, "auth.refused")
        file = tmp_path / "audit" / "audit.jsonl"
        file.write_bytes(file.read_bytes().replace(b"127.0.0.1", b"127.0.0.2", 1))
        code, broken = await command(gateway, "verify")

    assert code == 1
    assert broken[0]["seq"] == 1


async def test_content_is_recorded_only_when_asked_for(tmp_path: Path) -> None:
    async with running_gateway(config(), env(tmp_path / "a")) as gateway:
        await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
    async with running_gateway(config(content=True), env(tmp_path / "b")) as gateway:
        await call(f"{gateway.url}/v1/chat/completions", {**BODY, "stream": True}, key=API_KEY)
        (asked,) = await on_record(gateway, "content.request")
        (answered,) = await on_record(gateway, "content.answer")

    assert "private" not in (tmp_path / "a" / "audit" / "audit.jsonl").read_text()
    assert "a private matter" in asked["detail"]["content"]
    assert "a private matter" in answered["detail"]["content"]


async def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    """The folder of the record is gone: a refusal becomes a 503, an answer still an answer."""
    async with running_gateway(config(content=True), env(tmp_path)) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        pid = gateway.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = await call(url, BODY, key="wrong-key-0123456789")
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        after = await call(url, BODY, key="wrong-key-0123456789")

    assert (refused.status, refused.json["error"]["code"]) == (503, "audit_unavailable")
    assert after.status == 401


async def test_what_cannot_be_recorded_is_done_and_counted_where_that_is_the_policy(
    tmp_path: Path,
) -> None:
    async with running_gateway(config(fail="open"), env(tmp_path)) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        limit = (0, resource.RLIM_INFINITY)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, limit)
        refused = await call(url, BODY, key="wrong-key-0123456789")
        page = await call(f"{gateway.metrics_url}/metrics")
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, unlimited)

    assert refused.status == 401
    assert b"gateway_audit_log_lost_total 1\n" in page.body


async def test_an_export_has_every_record_of_the_window(tmp_path: Path) -> None:
    """In their order, however many pages that takes."""
    async with running_gateway(config(), env(tmp_path)) as gateway:
        for _ in range(7):
            await call(f"{gateway.url}/v1/chat/completions", BODY, key="wrong-key-0123456789")
        await arrived(gateway, 7)
        url = f"{gateway.url}/admin/v1/audit?limit=3&after="
        pages = [(await call(f"{url}0::0", key=ADMIN)).json]
        while pages[-1]["next"] is not None:
            pages.append((await call(url + pages[-1]["next"], key=ADMIN)).json)
        wrong = await call(f"{url}x", key=ADMIN)
        lines = await exported(gateway, "--window", "1h")
        table = await exported(gateway, "--format", "csv")

    assert [len(each["rows"]) for each in pages] == [3, 3, 1]
    assert [row["seq"] for each in pages for row in each["rows"]] == list(range(1, 8))
    assert wrong.status == 400
    assert [json.loads(each)["seq"] for each in lines] == list(range(1, 8))
    assert len(table) == 8


async def exported(gateway: Gateway, *arguments: str) -> list[str]:
    options = ["-u", gateway.url, "-k", ADMIN, "audit", "export", *arguments]
    run = [sys.executable, "-m", "llm_gateway", *options]
    done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True)
    return done.stdout.splitlines()


async def test_a_stopped_store_loses_nothing(tmp_path: Path, postgres: servers.Server) -> None:
    """What happens meanwhile waits in the files, even over a restart, and arrives once."""
    given = {**env(tmp_path), "DATABASE_URL": postgres.url}
    async with running_gateway(config(), given, args=("--workers", "2")) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        await call(url, BODY, key="wrong-key-0123456789")
        await on_record(gateway, "auth.refused")
        postgres.stop()
        for _ in range(5):
            assert (await call(url, BODY, key="wrong-key-0123456789")).status in (401, 503)
        written = (tmp_path / "audit" / "audit.jsonl").read_bytes().count(b"\n")
    postgres.start()
    async with running_gateway(config(), given, args=("--workers", "2")) as gateway:
        await arrived(gateway, written)
        code, broken = await command(gateway, "verify")

    assert written >= 6
    assert (code, broken) == (0, [])


async def arrived(gateway: Gateway, many: int) -> None:
    """Wait until the store has `many` records."""
    async with asyncio.timeout(20):
        while await records(gateway) < many:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.05)


async def records(gateway: Gateway) -> int:
    return len((await call(f"{gateway.url}/admin/v1/audit?limit=1000", key=ADMIN)).json["rows"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE audit_records SET peer = '10.0.0.1' WHERE seq = 2", "was changed"),
        ("UPDATE audit_records SET at = at + 1 WHERE seq = 2", "was changed"),
        ("UPDATE audit_records SET detail = '{}' WHERE seq = 2", "was changed"),
        ("DELETE FROM audit_records WHERE seq = 2", "2 to 2 are missing"),
        (
            "UPDATE audit_records SET actor = NULL, tenant = NULL, subject = NULL, peer = NULL, "
            "request_id = NULL, detail = '{}', salt = '' WHERE seq = 2",
            "content is gone here",
        ),
    ],
)
async def test_an_edit_in_the_store_is_found_and_located(
    tmp_path: Path, change: str, reason: str
) -> None:
    async with running_gateway(config(), env(tmp_path)) as gateway:
        for _ in range(4):
            await call(f"{gateway.url}/v1/chat/completions", BODY, key="wrong-key-0123456789")
        await arrived(gateway, 4)
        with sqlite3.connect(tmp_path / "gateway.db") as database:
            database.execute(change)
        code, broken = await command(gateway, "verify")

    assert code == 1
    assert broken[0]["where"] == "store"
    assert reason in broken[0]["reason"]
    assert broken[0]["seq"] == (3 if "missing" in reason else 2)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_an_erased_tenant_is_gone_from_the_record_and_the_chain_holds(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Content, addresses and names of keys are gone from the files and the store; the neighbour
    and the erasure itself stay on record."""
    given = env(tmp_path / "data")
    if kind == "postgresql":
        given["DATABASE_URL"] = request.getfixturevalue("postgres").url

    async with running_gateway(config(content=True, key="seal"), given) as gateway:

        async def admin(method: str, path: str, body: Any = None) -> Any:
            url = f"{gateway.url}/admin/v1/{path}"
            return (await call(url, body, key=ADMIN, method=method)).json

        keys = {}
        for tenant in ("acme_1", "acme_2"):
            await admin("POST", "tenants", {"id": tenant})
            keys[tenant] = (await admin("POST", "keys", {"tenant": tenant}))["key"]
            body = {**BODY, "messages": [{"role": "user", "content": f"secret of {tenant}"}]}
            url = f"{gateway.url}/v1/chat/completions"
            assert (await call(url, body, key=keys[tenant])).status == 200
        total = (tmp_path / "data" / "audit" / "audit.jsonl").read_bytes().count(b"\n")
        await arrived(gateway, total)
        done = await admin("POST", "tenants/acme_1/erase", {})
        again = await admin("POST", "tenants/acme_1/erase", {})
        await arrived(gateway, total + 6)
        found = await command(gateway, "verify")
        rows = (await admin("GET", "audit?limit=1000"))["rows"]
        offline = tmp_path / "copy"
        shutil.copytree(tmp_path / "data" / "audit", offline)
        (tmp_path / "key").write_text("seal\n")
        own = await command(
            gateway, "verify", "--folder", str(offline), "--key-file", str(tmp_path / "key")
        )
        unsealed = await command(gateway, "verify", "--folder", str(offline))

    assert done["failed"] == {}
    assert done["erased"]["audit"] == again["erased"]["audit"] >= 4
    files = b"".join(each.read_bytes() for each in offline.iterdir())
    told = json.dumps([each for each in rows if not each["kind"].startswith("tenant.eras")])
    key_id = keys["acme_1"].split("_")[1]
    for text in ("secret of acme_1", key_id):
        assert text.encode() not in files
        assert text not in told
    assert '"acme_1"' not in told.replace("/erase", "")
    assert b"secret of acme_2" in files
    assert {"tenant.erasure_begun", "tenant.erased", "audit.erased"} <= {r["kind"] for r in rows}
    assert found == own == (0, [])
    assert unsealed[0] == 1
