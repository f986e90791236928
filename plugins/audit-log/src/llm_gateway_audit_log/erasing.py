"""What is on record about a tenant: shown, and erased so that the chain still holds.

A host erases in its own files, and the store as a whole. Records of exports and erasures stay.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from time import time

import msgspec
from llm_gateway_api import AuditEvent, ExportPage, SQLValue, Store

from llm_gateway_audit_log import chain, files
from llm_gateway_audit_log.chain import Record
from llm_gateway_audit_log.files import ChainFiles
from llm_gateway_audit_log.shipping import COLUMNS

STAYING = ("tenant.erasure_begun", "tenant.erased", chain.ERASED, chain.RETIRED)
# The call that asked for an erasure stays too.
CALLED, WISH = "admin.called", "/erase"
ROWS = 2000
# Names that one statement looks for.
NAMES = 20
_SHOWN = tuple(each for each in COLUMNS if each not in ("prev", "body", "salt", "hash"))
_KINDS = ", ".join(f"'{each}'" for each in STAYING)


class TenantAudit:
    """Meets `TenantData`."""

    def __init__(self, store: Store, folder: Path, key: bytes) -> None:
        self._store = store
        self._folder = folder
        self._key = key

    async def count(self, tenant: str) -> int:
        names = {tenant, *await self._keys(tenant)}
        sql, given = _matching(sorted(names))
        rows = await self._store.fetch(
            f"SELECT COUNT(*) AS n FROM audit_records WHERE {sql}", given
        )
        return int(str(rows[0]["n"]))

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        sql, given = _matching(sorted({tenant, *await self._keys(tenant)}))
        last, _, seq = after.partition(":")
        rows = await self._store.fetch(
            f"SELECT {', '.join(_SHOWN)} FROM audit_records WHERE {sql} "
            "AND (chain > :chain OR (chain = :chain AND seq > :seq)) "
            "ORDER BY chain, seq LIMIT :limit",
            {**given, "chain": last, "seq": int(seq or 0), "limit": limit},
        )
        found = [{**row, "detail": msgspec.json.decode(str(row["detail"]))} for row in rows]
        following = f"{rows[-1]['chain']!s}:{rows[-1]['seq']!s}" if len(rows) == limit else None
        return ExportPage(found, following)

    async def erase(self, tenant: str) -> int:
        keys = await self._keys(tenant)
        here, names = await asyncio.to_thread(self.erase_files, tenant, keys)
        there = 0
        for at in range(0, len(names), NAMES):
            there += await self._erase_rows(names[at : at + NAMES])
        return max(here, there)

    async def _keys(self, tenant: str) -> set[str]:
        """The ids of keys that acted for the tenant, or were made for it."""
        rows = await self._store.fetch(
            "SELECT DISTINCT actor AS id FROM audit_records WHERE tenant = :tenant "
            "AND actor IS NOT NULL UNION SELECT DISTINCT subject FROM audit_records "
            "WHERE kind = 'key.created' AND detail LIKE :made ESCAPE '!'",
            {"tenant": tenant, "made": f'%"key_tenant":"{_plain(tenant)}"%'},
        )
        return {str(each["id"]) for each in rows if each["id"]}

    async def _erase_rows(self, names: Sequence[str]) -> int:
        sql, given = _matching(names)
        erased, piece = 0, ROWS
        while piece == ROWS:
            piece = await self._store.execute(
                "UPDATE audit_records SET actor = NULL, tenant = NULL, subject = NULL, "
                "request_id = NULL, peer = NULL, detail = '{}', salt = '' "
                "WHERE (chain, seq) IN "
                f"(SELECT chain, seq FROM audit_records WHERE {sql} LIMIT {ROWS})",
                given,
            )
            erased += piece
        return erased

    def erase_files(self, tenant: str, keys: Collection[str]) -> tuple[int, list[str]]:
        """How many records were erased, and the names that lead to the tenant: its own and
        those of its keys. First it is put on record, so that a crash leaves no gap that nothing
        explains."""
        with files.maintenance(self._folder, wait=True):
            names = frozenset({tenant, *keys, *self._found_keys(tenant)})
            files_to_do = [
                (path, [each.seq for each in files.records(path) if about(each, names)])
                for path in files.everything(self._folder)
            ]
            numbers = [seq for _, found in files_to_do for seq in found]
            if numbers:
                paths = self._on_record(numbers, [path for path, found in files_to_do if found])
                for path in paths:
                    files.rewritten(path, _without(path, names))
        return len(numbers), sorted(names)

    def _found_keys(self, tenant: str) -> Iterator[str]:
        for path in files.everything(self._folder):
            for each in files.records(path):
                content = each.content
                if content is None:
                    continue
                if content.tenant == tenant and content.actor:
                    yield content.actor
                if content.detail.get("key_tenant") == tenant and content.subject:
                    yield content.subject

    def _on_record(self, numbers: Sequence[int], paths: Sequence[Path]) -> list[Path]:
        """Tell of the erasure; the files to write anew, none of which is written to."""
        writer = ChainFiles(self._folder, self._key)
        writer.open()
        try:
            writer.turn()
            for text in chain.ranges(numbers):
                detail = {"records": text}
                writer.append(AuditEvent(int(time() * 1000), chain.ERASED, "ok", detail=detail))
            writer.sync()
        finally:
            writer.close()
        kept = [each for each in paths if each.name != files.CURRENT]
        return kept if len(kept) == len(paths) else [*kept, files.full(self._folder)[-1]]


def about(record: Record, names: frozenset[str]) -> bool:
    content = record.content
    if content is None or record.kind in STAYING:
        return False
    if record.kind == CALLED and (content.subject or "").endswith(WISH):
        return False
    return (
        content.tenant in names
        or content.actor in names
        or not names.isdisjoint((content.subject or "").split("/"))
        or not names.isdisjoint(content.detail.values())
    )


def _without(path: Path, names: frozenset[str]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for each in file:
            try:
                record = chain.decode(each)
            except (msgspec.MsgspecError, UnicodeError):
                yield each
                continue
            yield chain.line(chain.erased(record)) if about(record, names) else each


def _matching(names: Sequence[str]) -> tuple[str, Mapping[str, SQLValue]]:
    """A condition for rows with content that lead to any of `names`."""
    given: dict[str, SQLValue] = {}
    parts = []
    for number, name in enumerate(names):
        plain = _plain(name)
        given |= {
            f"n{number}": name,
            f"e{number}": f"%/{plain}",
            f"m{number}": f"%/{plain}/%",
            f"d{number}": f'%:"{plain}"%',
        }
        parts.append(
            f"tenant = :n{number} OR actor = :n{number} OR subject = :n{number} "
            f"OR subject LIKE :e{number} ESCAPE '!' OR subject LIKE :m{number} ESCAPE '!' "
            f"OR detail LIKE :d{number} ESCAPE '!'"
        )
    staying = f"kind IN ({_KINDS}) OR (kind = '{CALLED}' AND COALESCE(subject, '') LIKE '%{WISH}')"
    return f"salt <> '' AND NOT ({staying}) AND ({' OR '.join(parts)})", given


def _plain(name: str) -> str:
    """`name` as a pattern that fits it alone."""
    return name.replace("!", "!!").replace("%", "!%").replace("_", "!_")
