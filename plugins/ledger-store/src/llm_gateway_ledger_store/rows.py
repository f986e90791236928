"""Ledger records as rows of ``usage_records``, each batch in the way its database is quickest.

PostgreSQL gets a batch as one JSON text, as it stands in the spool, and takes it apart itself.
SQLite would do that in this very process, at twice the cost of rows made here.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from llm_gateway_api import METERS, Store
from msgspec.structs import astuple

# The columns that are members of the record itself, and their types in PostgreSQL.
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
# Those of its usage, and the member that each comes from; null where usage is not known.
_USAGE = {f"{meter}_tokens": (meter, "bigint") for meter in METERS}
_USAGE |= {
    "billed_input_tokens": ("billed_input", "bigint"),
    "billed_output_tokens": ("billed_output", "bigint"),
    "search_units": ("search_units", "bigint"),
    "estimated": ("estimated", "boolean"),
}
METER_COLUMNS = tuple(f"{meter}_tokens" for meter in METERS)

_NAMES = (*_RECORD, *_USAGE)
# The same record twice is one row: what is shipped again after a crash changes nothing. But a
# request that began in one file of a dead worker and ended in another is taken for abandoned
# by whoever finds the first: its end, whenever that comes, is the truth.
_INSERT = f"INSERT INTO usage_records ({', '.join(_NAMES)})"
_ONCE = (
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in _NAMES)} "
    "WHERE usage_records.status = 0 AND excluded.status <> 0"
)
_ROW = f"{_INSERT} VALUES ({', '.join(f':{each}' for each in _NAMES)}) {_ONCE}"
_VALUES = ", ".join(
    [f"(r ->> '{name}')::{kind}" for name, kind in _RECORD.items()]
    + [f"(r -> 'usage' ->> '{member}')::{kind}" for member, kind in _USAGE.values()]
)
_BATCH = f"{_INSERT} SELECT {_VALUES} FROM jsonb_array_elements(CAST(:batch AS jsonb)) AS r {_ONCE}"
# A record as it is read again, its members named as the columns are.
_Usage = msgspec.defstruct(
    "_Usage",
    [(name, Any, msgspec.field(name=member, default=None)) for name, (member, _) in _USAGE.items()],
)
_Record = msgspec.defstruct(
    "_Record", [*((name, Any, None) for name in _RECORD), ("usage", _Usage | None, None)]
)
_decode = msgspec.json.Decoder(_Record).decode
_UNKNOWN = (None,) * len(_USAGE)


async def insert(store: Store, records: Sequence[bytes]) -> None:
    """Insert `records`, which are JSON, all or none."""
    if store.dialect == "postgresql":
        await store.execute(_BATCH, {"batch": f"[{b','.join(records).decode()}]"})
    else:
        await store.execute_many(_ROW, [_row(each) for each in records])


def _row(record: bytes) -> tuple[Any, ...]:
    """The values of `_NAMES`."""
    *own, usage = astuple(_decode(record))
    return (*own, *(_UNKNOWN if usage is None else astuple(usage)))
