"""What the ledger says was spent in a window."""

from decimal import Decimal

from llm_gateway_api import SQLValue, Store

from llm_gateway_limit_budget.periods import Window

_COLUMNS = {"tenant": "tenant", "key": "key_id"}


async def spent(store: Store, window: Window) -> int:
    """Nano-dollars of all that began in `window`. Raises `StoreError`."""
    budget = window.budget
    where = f"{_COLUMNS[budget.level]} = :owner AND at >= :start"
    params: dict[str, SQLValue] = {"owner": window.owner, "start": window.start * 1000}
    if window.end is not None:
        where += " AND at < :end"
        params["end"] = window.end * 1000
    if budget.model is not None:
        where += " AND model = :model"
        params["model"] = budget.model
    sql = f"SELECT COALESCE(SUM(cost_nano), 0) AS nano FROM usage_records WHERE {where}"
    nano = (await store.fetch(sql, params))[0]["nano"]
    return int(nano) if isinstance(nano, int | Decimal) else 0


def usd(nano: int) -> str:
    """Nano-dollars as dollars, exact, without an exponent."""
    return f"{(Decimal(nano) / 1_000_000_000).normalize():f}"
