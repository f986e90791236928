"""A ledger record as a row of ``usage_records``."""

from llm_gateway_api import METERS, LedgerRecord, SQLParams, SQLValue

PLAIN = (
    "id",
    "request_id",
    "at",
    "tenant",
    "key_id",
    "model",
    "operation",
    "provider",
    "upstream_model",
    "region",
    "status",
    "error",
    "stream",
    "cache",
    "attempts",
    "duration_ms",
    "first_content_ms",
    "cost_nano",
    "saved_nano",
    "price_version",
)
METER_COLUMNS = tuple(f"{meter}_tokens" for meter in METERS)
COLUMNS = (*PLAIN, *METER_COLUMNS, "estimated")
# The same record twice is one row: what is shipped again after a crash changes nothing.
INSERT = (
    f"INSERT INTO usage_records ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(':' + each for each in COLUMNS)}) ON CONFLICT (id) DO NOTHING"
)


def row(record: LedgerRecord) -> SQLParams:
    """Meters of unknown usage are null, not zero."""
    usage = record.usage
    found: dict[str, SQLValue] = {name: getattr(record, name) for name in PLAIN}
    for meter, column in zip(METERS, METER_COLUMNS, strict=True):
        found[column] = getattr(usage, meter) if usage is not None else None
    found["estimated"] = usage.estimated if usage is not None else None
    return found
