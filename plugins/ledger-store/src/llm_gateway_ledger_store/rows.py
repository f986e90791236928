"""Ledger records as rows of ``usage_records``: a tuple of values, as it stands in the spool.

PostgreSQL gets a batch as one JSON text and takes it apart itself. SQLite would do that in this
very process, at twice the cost of rows made here.
"""

from collections.abc import Sequence
from typing import TypeAlias

from llm_gateway_api import METERS, LedgerRecord, Store
from msgspec import json
from msgspec.structs import astuple

Value: TypeAlias = str | int | bool | None
Row: TypeAlias = tuple[Value, ...]

# The columns that are members of the record itself, and their types in PostgreSQL. Files of an
# earlier release have their values in this order: what is new comes last of all columns.
_RECORD = {
    "id": "text",
    "request_id": "text",
    "at": "bigint",
    "tenant": "text",
    "key_id": "text",
    "model": "text",
    "operation": "text",
    "provider": "text",
    "upstream_model": "text",
    "region": "text",
    "status": "integer",
    "error": "text",
    "stream": "boolean",
    "cache": "text",
    "attempts": "integer",
    "duration_ms": "bigint",
    "first_content_ms": "bigint",
    "cost_nano": "bigint",
    "saved_nano": "bigint",
    "price_version": "text",
    "hedges": "integer",
    "hedge_cost_nano": "bigint",
}
# Those of its usage; null where usage is not known.
_USAGE = {f"{meter}_tokens": "bigint" for meter in METERS}
_USAGE |= {
    "estimated": "boolean",
    "billed_input_tokens": "bigint",
    "billed_output_tokens": "bigint",
    "search_units": "bigint",
}
METER_COLUMNS = tuple(f"{meter}_tokens" for meter in METERS)

COLUMNS = (*_RECORD, *_USAGE)
MODEL = COLUMNS.index("model")
# The same record twice is one row: what is shipped again after a crash changes nothing. But a
# request that began in one file of a dead worker and ended in another is taken for abandoned
# by whoever finds the first: its end, whenever that comes, is the truth.
_INSERT = f"INSERT INTO usage_records ({', '.join(COLUMNS)})"
_ONCE = (
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in COLUMNS)} "
    "WHERE usage_records.status = 0 AND excluded.status <> 0"
)
_ROW = f"{_INSERT} VALUES ({', '.join(f':{each}' for each in COLUMNS)}) {_ONCE}"
_TYPES = {**_RECORD, **_USAGE}
_VALUES = ", ".join(f"(r ->> {at})::{_TYPES[name]}" for at, name in enumerate(COLUMNS))
_BATCH = f"{_INSERT} SELECT {_VALUES} FROM jsonb_array_elements(CAST(:batch AS jsonb)) AS r {_ONCE}"
# A record has its usage between the members that are columns of their own.
_USED = LedgerRecord.__struct_fields__.index("usage")
_UNKNOWN = (None,) * len(_USAGE)
_encode = json.Encoder().encode


def row_of(record: LedgerRecord) -> Row:
    """The values of `COLUMNS`."""
    own, usage = astuple(record), record.usage
    return own[:_USED] + own[_USED + 1 :] + (_UNKNOWN if usage is None else astuple(usage))


async def insert(store: Store, rows: Sequence[Row]) -> None:
    """Insert `rows`, all or none."""
    if store.dialect == "postgresql":
        await store.execute(_BATCH, {"batch": _encode(rows).decode()})
    else:
        await store.execute_many(_ROW, rows)
