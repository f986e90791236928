"""What happens at a gateway is on record, searched and verified by command."""

import asyncio
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "a private matter"}]}


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
