"""What the ledger says was used in a window, and how amounts are written."""

from decimal import Decimal

from llm_gateway_api import METERS, SQLValue, Store

from llm_gateway_limit_budget.periods import Window

_COLUMNS = {"tenant": "tenant", "key": "key_id"}
_SUMS = {
    "usd": "SUM(cost_nano)",
    "tokens": f"SUM({' + '.join(f'COALESCE({each}_tokens, 0)' for each in METERS)})",
    "requests": "SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END)",
}


async def spent(store: Store, window: Window) -> int:
    """Of all that began in `window`: nano-dollars, tokens, or requests that a deployment was
    asked to answer. Raises `StoreError`."""
    budget = window.budget
    where = f"{_COLUMNS[budget.level]} = :owner AND at >= :start"
    params: dict[str, SQLValue] = {"owner": window.owner, "start": window.start * 1000}
    if window.end is not None:
        where += " AND at < :end"
        params["end"] = window.end * 1000
    if budget.model is not None:
        where += " AND model = :model"
        params["model"] = budget.model
    sql = f"SELECT COALESCE({_SUMS[budget.unit]}, 0) AS used FROM usage_records WHERE {where}"
    used = (await store.fetch(sql, params))[0]["used"]
    return int(used) if isinstance(used, int | Decimal) else 0


def usd(nano: int) -> str:
    """Nano-dollars as dollars, exact, without an exponent."""
    return f"{(Decimal(nano) / 1_000_000_000).normalize():f}"


def written(amount: int, unit: str) -> str:
    """``1.5 USD``, ``2000 tokens``"""
    return f"{usd(amount)} USD" if unit == "usd" else f"{amount} {unit}"
