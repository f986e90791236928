"""The records of a tenant's requests: shown, and made anonymous so that the sums stay.

What is left of a record says what was asked of which model, in which hour, and what it cost;
whose it was, no more.
"""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from llm_gateway_api import ExportPage, SQLParams, SQLValue, Store

from llm_gateway_ledger_store.rows import COLUMNS, Row

ROWS = 5000
HOUR_MS = 3_600_000
REJECTED = "rejected.jsonl"
_ANONYMOUS: Mapping[str, SQLValue] = {"tenant": None, "key_id": None, "request_id": ""}


class TenantUsage:
    """Meets `TenantData`. `folder` is the spool's: what the store refused lies there."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._rejected = folder / REJECTED

    async def count(self, tenant: str) -> int:
        sql = "SELECT COUNT(*) AS n FROM usage_records WHERE tenant = :tenant"
        return int(str((await self._store.fetch(sql, {"tenant": tenant}))[0]["n"]))

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        at, _, last = after.partition(":")
        given: SQLParams = {
            "tenant": tenant,
            "at": int(at) if at.isdecimal() else -1,
            "last": last,
            "limit": limit,
        }
        rows = await self._store.fetch(
            "SELECT * FROM usage_records WHERE tenant = :tenant "
            "AND (at > :at OR (at = :at AND id > :last)) ORDER BY at, id LIMIT :limit",
            given,
        )
        following = None
        if len(rows) == limit:
            following = f"{rows[-1]['at']!s}:{rows[-1]['id']!s}"
        return ExportPage([dict(each) for each in rows], following)

    async def erase(self, tenant: str) -> int:
        """In pieces, so that no lock on the table is held for long."""
        given: SQLParams = {"tenant": tenant, "rows": ROWS}
        erased, piece = 0, ROWS
        while piece == ROWS:
            piece = await self._store.execute(
                "UPDATE usage_records SET tenant = NULL, key_id = NULL, request_id = '', "
                f"at = at / {HOUR_MS} * {HOUR_MS} WHERE id IN "
                "(SELECT id FROM usage_records WHERE tenant = :tenant LIMIT :rows)",
                given,
            )
            erased += piece
        return erased + await asyncio.to_thread(anonymous, self._rejected, tenant)


def reject(path: Path, row: Row) -> None:
    """Keep a row that the store refuses, for a person to see: as an object of its columns."""
    line = msgspec.json.encode(dict(zip(COLUMNS, row, strict=True)))
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(line + b"\n")


def anonymous(path: Path, tenant: str) -> int:
    """Take whose they were out of the refused records of `tenant`; how many there were."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return 0
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lines = file.read().splitlines()
        records = [_decoded(each) for each in lines]
        found = [number for number, each in enumerate(records) if each.get("tenant") == tenant]
        if not found:
            return 0
        for number in found:
            lines[number] = msgspec.json.encode({**records[number], **_ANONYMOUS})
        file.seek(0)
        file.write(b"".join(each + b"\n" for each in lines))
        file.truncate()
    return len(found)


def _decoded(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
