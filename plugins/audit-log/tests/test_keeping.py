"""What is kept and for how long, on both databases: shipping, retention, erasure."""

import asyncio
from pathlib import Path
from time import time

from llm_gateway_api import AuditEvent, Metrics, Store
from llm_gateway_audit_log import files
from llm_gateway_audit_log.erasing import TenantAudit
from llm_gateway_audit_log.log import DAY_MS, AuditLog, folder_in, key_of
from llm_gateway_audit_log.settings import AuditSettings
from llm_gateway_audit_log.verifying import verified

SETTINGS = AuditSettings(ship_seconds=0.01, retention_days=30, max_file_days=0.5)
SECONDS = 20.0


def event(days: float, tenant: str | None = None, actor: str | None = None) -> AuditEvent:
    at = int(time() * 1000 - days * DAY_MS)
    return AuditEvent(at, "auth.refused", "refused", actor, tenant, detail={"days": str(days)})


async def rows(store: Store) -> int:
    return int(str((await store.fetch("SELECT COUNT(*) AS n FROM audit_records"))[0]["n"]))


async def shipped(store: Store, many: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await rows(store) < many:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_what_is_too_old_leaves_files_and_store_and_the_chain_holds(
    store: Store, tmp_path: Path
) -> None:
    folder = folder_in(tmp_path)
    log = AuditLog(SETTINGS, store, tmp_path, Metrics())
    async with log.open():
        for days in (40, 39, 38, 29, 2, 0):
            log.record(event(days))
        await shipped(store, 6)
        before = len(files.everything(folder))
        await log._retire()
        await shipped(store, 4)
    again = AuditLog(SETTINGS, store, tmp_path, Metrics())
    async with again.open():
        again.record(event(0))
        await shipped(store, 5)
    left = [record.at for path in files.everything(folder) for record in files.records(path)]

    assert before == 6
    assert len(left) == await rows(store) == 5
    assert min(left) > (time() - 30 * 86400) * 1000
    assert await verified(key_of(SETTINGS), store, folder) == []


async def test_what_waits_for_the_store_does_not_retire(store: Store, tmp_path: Path) -> None:
    log = AuditLog(SETTINGS, store, tmp_path, Metrics())
    log._files.open()
    for days in (40, 39, 0):
        log.record(event(days))
    await log._retire()
    log._files.close()

    assert len(files.everything(folder_in(tmp_path))) == 3


async def test_records_are_shipped_once_by_one_of_the_workers(store: Store, tmp_path: Path) -> None:
    """And by the next one, where that one ends; over files that erasure writes anew."""
    one = AuditLog(SETTINGS, store, tmp_path, Metrics())
    two = AuditLog(SETTINGS, store, tmp_path, Metrics())
    data = TenantAudit(store, folder_in(tmp_path), b"")
    async with two.open():
        async with one.open():
            for number in range(50):
                tenant = "b" if number % 3 == 0 else "a"
                (one, two)[number % 2].record(event(0, tenant, f"key-{tenant}"))
            await shipped(store, 50)
        erased = await data.erase("a")
        for _ in range(10):
            two.record(event(0, "b"))
        await shipped(store, 61)
    found = await data.count("a"), await data.count("b")

    assert erased == 33
    assert found == (0, 27)
    assert await verified(b"", store, folder_in(tmp_path)) == []
