"""What is kept and for how long, on both databases: shipping, retention, erasure."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from time import time

import pytest
from llm_gateway_api import AuditEvent, Metrics, SQLValue, Store
from llm_gateway_audit_log import files
from llm_gateway_audit_log.chain import Broken
from llm_gateway_audit_log.erasing import TenantAudit
from llm_gateway_audit_log.log import DAY_MS, AuditLog, folder_in, key_of
from llm_gateway_audit_log.settings import AuditSettings
from llm_gateway_audit_log.shipping import COLUMNS
from llm_gateway_audit_log.verifying import STORE, verified

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


async def stored(store: Store, folder: Path, many: int = 5) -> None:
    """So many records in the files and in the store."""
    log = AuditLog(SETTINGS, store, folder, Metrics())
    async with log.open():
        for number in range(many):
            log.record(
                AuditEvent(
                    int(time() * 1000),
                    "admin.called",
                    "ok",
                    actor=f"key{number}",
                    tenant="acme",
                    subject="/admin/v1/keys",
                    request_id=f"req_{number}",
                    peer="10.0.0.1",
                    detail={"method": "POST", "status": "201"},
                )
            )
        await shipped(store, many)


async def found(store: Store, folder: Path) -> list[Broken]:
    return await verified(key_of(SETTINGS), store, folder_in(folder))


@pytest.mark.parametrize("column", COLUMNS)
async def test_any_character_of_any_column_is_found_and_located(
    store: Store, tmp_path: Path, column: str
) -> None:
    """Exchanged, added (a blank in JSON too), taken away, or null."""
    await stored(store, tmp_path)
    (row,) = await store.fetch("SELECT * FROM audit_records WHERE seq = 3")
    assert await found(store, tmp_path) == []
    for number, value in enumerate(others(row[column])):
        await put(store, column, 3, value)
        broken = await found(store, tmp_path)
        assert broken, (number, value)
        assert {each.where for each in broken} == {STORE}
        assert min(abs(each.seq - 3) for each in broken) <= 1 or column == "seq"
        await put(store, column, int(str(value)) if column == "seq" else 3, row[column])
    assert await found(store, tmp_path) == []


def others(value: SQLValue) -> Iterator[SQLValue]:
    if isinstance(value, int):
        yield from (value + 1000, value + 7)
        return
    text = str(value)
    for at in range(len(text)):
        yield text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
    yield from (text + " ", text[:-1], text.upper() if text.upper() != text else text + "x")


async def put(store: Store, column: str, seq: int, value: SQLValue) -> None:
    sql = f"UPDATE audit_records SET {column} = :value WHERE seq = :at"
    assert await store.execute(sql, {"value": value, "at": seq}) == 1


async def test_what_sqlite_takes_for_a_number_is_told_and_stops_nobody(
    store: Store, tmp_path: Path
) -> None:
    await stored(store, tmp_path)
    if store.dialect != "sqlite":
        return
    for column in ("at", "seq"):
        (row,) = await store.fetch("SELECT at, seq FROM audit_records WHERE request_id = 'req_2'")
        for value in ("x", "12 ", b"12", ""):
            sql = f"UPDATE audit_records SET {column} = :value WHERE request_id = 'req_2'"
            await store.execute(sql, {"value": value})
            async with asyncio.timeout(SECONDS):
                assert await found(store, tmp_path), (column, value)
        await store.execute(sql, {"value": row[column]})
    assert await found(store, tmp_path) == []


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ("seq = 3", "records 3 to 3 are missing"),
        ("seq > 3", "records 4 to 5 are missing"),
        ("seq > 0", "records 1 to 5 are missing"),
    ],
)
async def test_rows_that_are_gone_are_named_at_the_end_too(
    store: Store, tmp_path: Path, gone: str, reason: str
) -> None:
    """What was shipped is known beside the files; a restart brings it back out of them."""
    await stored(store, tmp_path)
    await store.execute(f"DELETE FROM audit_records WHERE {gone}")
    broken = await found(store, tmp_path)
    later = int(time() * 1000) + DAY_MS
    too_old = await verified(key_of(SETTINGS), store, folder_in(tmp_path), later)

    assert [each.reason for each in broken] == [reason]
    assert broken[0].where == STORE
    if "seq = 3" not in gone:
        assert too_old == []
        async with AuditLog(SETTINGS, store, tmp_path, Metrics()).open():
            await shipped(store, 5)
        assert await found(store, tmp_path) == []
