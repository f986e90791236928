"""What the ledger says was used in a window, and how amounts are written.

The database adds up hours as records come (`usage_hours`), so that a month's sum is one of its
hours, however many its records are. In a zone whose days begin within an hour, the window's
first and last part of an hour are added up from the records.
"""

from decimal import Decimal

from llm_gateway_api import METERS, SQLValue, Store

from llm_gateway_limit_budget.periods import Window

HOUR = 3600
_COLUMNS = {"tenant": "tenant", "key": "key_id"}
_HOURS = {"usd": "cost_nano", "tokens": "tokens", "requests": "requests"}
_RECORDS = {
    "usd": "SUM(cost_nano)",
    "tokens": " + ".join(f"COALESCE(SUM({each}_tokens), 0)" for each in METERS),
    "requests": "SUM(CASE WHEN attempts > 0 THEN 1 ELSE 0 END)",
}


async def spent(store: Store, window: Window) -> int:
    """Of all that began in `window`: nano-dollars, tokens, or requests that a deployment was
    asked to answer. Raises `StoreError`."""
    sql, params = statement(window)
    used = (await store.fetch(sql, params))[0]["used"]
    # A sum that is no 64-bit integer is a floating-point number in SQLite.
    return int(used) if isinstance(used, int | float | Decimal) else 0


def statement(window: Window) -> tuple[str, dict[str, SQLValue]]:
    """The sum as `used`, which may be null."""
    budget, start, end = window.budget, window.start, window.end
    first = -(-start // HOUR) * HOUR
    params: dict[str, SQLValue] = {"owner": window.owner, "first": first * 1000}
    whose = f"{_COLUMNS[budget.level]} = :owner"
    if budget.model is not None:
        whose += " AND model = :model"
        params["model"] = budget.model
    hours = f"{whose} AND hour >= :first"
    edges = []
    if start < first:
        edges.append("at >= :start AND at < :first")
        params["start"] = start * 1000
    if end is not None:
        last = end // HOUR * HOUR
        hours += " AND hour < :last"
        params["last"] = last * 1000
        if last < end:
            edges.append("at >= :last AND at < :end")
            params["end"] = end * 1000
    sums = [f"SELECT SUM({_HOURS[budget.unit]}) AS used FROM usage_hours WHERE {hours}"]
    sums += [
        f"SELECT {_RECORDS[budget.unit]} AS used FROM usage_records WHERE {whose} AND {each}"
        for each in edges
    ]
    return f"SELECT SUM(used) AS used FROM ({' UNION ALL '.join(sums)}) AS parts", params


def usd(nano: int) -> str:
    """Nano-dollars as dollars, exact, without an exponent."""
    return f"{(Decimal(nano) / 1_000_000_000).normalize():f}"


def written(amount: int, unit: str) -> str:
    """``1.5 USD``, ``2000 tokens``"""
    return f"{usd(amount)} USD" if unit == "usd" else f"{amount} {unit}"
