"""What the ledger says: cost, tokens, latency, over a window of time, grouped.

One statement each, in the SQL that both databases share; sums are of integers, so exact.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from time import time

from llm_gateway_api import METERS, MalformedBodyError, Row, SQLParams, SQLValue, Store

from llm_gateway_ledger_store.rows import METER_COLUMNS

HOUR_MS = 3_600_000
_UNITS = {"s": 1_000, "m": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS, "w": 7 * 24 * HOUR_MS}
_WINDOW = re.compile(r"(\d{1,6})([smhdw])")
_NANO = Decimal(1_000_000_000)
# The name of a grouping and the expression it groups by.
GROUPS = {
    "provider": "COALESCE(provider, '-')",
    "model": "COALESCE(upstream_model, model)",
    "tenant": "COALESCE(tenant, '-')",
    "key": "COALESCE(key_id, '-')",
    "hour": f"at / {HOUR_MS} * {HOUR_MS}",
    "day": f"at / {24 * HOUR_MS} * {24 * HOUR_MS}",
}
_TIMES = ("hour", "day")
_TOTALS = {
    "input": "input_tokens + cache_read_tokens + cache_write_tokens + cache_write_1h_tokens "
    "+ audio_input_tokens",
    "output": "output_tokens + reasoning_tokens + audio_output_tokens",
}
_USED = "(status = 200 OR input_tokens IS NOT NULL)"  # whatever became of the request
PERCENTILES = (50, 75, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which records a report is of."""

    since: int
    provider: str | None
    model: str | None
    tenant: str | None

    @classmethod
    def of(cls, query: Mapping[str, str], window: str) -> "Asked":
        """Raises `MalformedBodyError` for a window that is none."""
        length = milliseconds(query.get("window", window))
        now = int(time() * 1000)
        return cls(now - length, query.get("provider"), query.get("model"), query.get("tenant"))

    def where(self) -> tuple[str, dict[str, SQLValue]]:
        params: dict[str, SQLValue] = {"since": self.since}
        parts = ["at >= :since"]
        for name in ("provider", "model", "tenant"):
            if (value := getattr(self, name)) is not None:
                same = f"{GROUPS[name]} = :{name}"
                # A model is found by the name that was asked for as well.
                parts.append(f"({same} OR model = :model)" if name == "model" else same)
                params[name] = value
        return " AND ".join(parts), params


def milliseconds(window: str) -> int:
    """``90s``, ``15m``, ``1h``, ``7d``, ``2w`` in milliseconds."""
    match = _WINDOW.fullmatch(window)
    if match is None:
        raise MalformedBodyError(
            f"{window!r} is no length of time; write 90s, 15m, 1h, 7d or 2w.", param="window"
        )
    return int(match[1]) * _UNITS[match[2]]


def groups_of(text: str, default: Sequence[str]) -> tuple[str, ...]:
    """The groupings of a comma-separated list."""
    names = tuple(filter(None, (each.strip() for each in text.split(",")))) or tuple(default)
    for each in names:
        if each not in GROUPS:
            raise MalformedBodyError(
                f"There is no grouping {each!r}; take of {', '.join(GROUPS)}.", param="group_by"
            )
    return names


async def cost(
    store: Store, asked: Asked, groups: Sequence[str], breakdown: bool
) -> list[dict[str, object]]:
    """USD by group, dearest first; `unpriced` counts answers whose cost is not known. What is
    known of the cost of hedges is part of a breakdown, and of no sum."""
    meters = [(each, f"SUM({each})") for each in (*METER_COLUMNS, "hedges")] if breakdown else []
    hedged = [("hedge_cost", "SUM(hedge_cost_nano)")] if breakdown else []
    rows = await _grouped(
        store,
        asked,
        groups,
        [
            ("requests", "COUNT(*)"),
            ("cost", "COALESCE(SUM(cost_nano), 0)"),
            ("saved", "COALESCE(SUM(saved_nano), 0)"),
            ("unpriced", f"SUM(CASE WHEN cost_nano IS NULL AND {_USED} THEN 1 ELSE 0 END)"),
            *meters,
            *hedged,
        ],
        "cost DESC",
    )
    return [
        {
            **_labels(each, groups),
            "requests": _int(each["requests"]),
            "cost_usd": usd(_int(each["cost"])),
            "saved_usd": usd(_int(each["saved"])),
            "unpriced": _int(each["unpriced"]),
            **{name: _int(each[name]) for name, _ in meters},
            **{f"{name}_usd": usd(_int(each[name])) for name, _ in hedged},
        }
        for each in rows
    ]


async def tokens(
    store: Store, asked: Asked, groups: Sequence[str], detailed: bool
) -> list[dict[str, object]]:
    """Tokens by group, most first; requests without known usage count as 0 here."""
    wanted = [("requests", "COUNT(*)")]
    wanted += [(name, f"COALESCE(SUM({sql}), 0)") for name, sql in _TOTALS.items()]
    if detailed:
        wanted += [(each, f"COALESCE(SUM({each}), 0)") for each in METER_COLUMNS]
        wanted.append(("estimated", "SUM(CASE WHEN estimated THEN 1 ELSE 0 END)"))
    rows = await _grouped(store, asked, groups, wanted, "input DESC")
    names = [name for name, _ in wanted]
    return [
        {
            **_labels(each, groups),
            **{name: _int(each[name]) for name in names},
            "total": _int(each["input"]) + _int(each["output"]),
        }
        for each in rows
    ]


async def latency(store: Store, asked: Asked) -> list[dict[str, object]]:
    """Milliseconds of answered requests by provider and model: mean, percentiles (nearest rank),
    and the same of the first content."""
    groups = ("provider", "model")
    whole = await _ranked(store, asked, groups, "duration_ms")
    first = await _ranked(store, asked, groups, "first_content_ms")
    report: list[dict[str, object]] = []
    for key, found in sorted(whole.items()):
        labels: dict[str, object] = dict(zip(groups, key, strict=True))
        ttft = {
            f"ttft_{name}_ms": ms for name, ms in first.get(key, {}).items() if name != "requests"
        }
        timed = {f"{name}_ms": ms for name, ms in found.items() if name != "requests"}
        report.append({**labels, "requests": found["requests"], **timed, **ttft})
    return report


async def _ranked(
    store: Store, asked: Asked, groups: Sequence[str], column: str
) -> dict[tuple[str, ...], dict[str, int]]:
    """For each group the number of values, their mean, and the values at the percentiles."""
    where, params = asked.where()
    by = ", ".join(GROUPS[each] for each in groups)
    named = ", ".join(f"{GROUPS[each]} AS g_{each}" for each in groups)
    ranks = ", ".join(
        f"MAX(CASE WHEN place = (many * {p} + 99) / 100 THEN value END) AS p{p}"
        for p in PERCENTILES
    )
    keys = ", ".join(f"g_{each}" for each in groups)
    rows = await store.fetch(
        f"SELECT {keys}, MAX(many) AS requests, SUM(value) AS total, {ranks} FROM ("
        f"SELECT {named}, {column} AS value, COUNT(*) OVER (PARTITION BY {by}) AS many, "
        f"ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY {column}) AS place "
        f"FROM usage_records WHERE {where} AND status = 200 AND {column} IS NOT NULL"
        f") AS ranked GROUP BY {keys}",
        params,
    )
    found = {}
    for each in rows:
        many = _int(each["requests"])
        values = {f"p{p}": _int(each[f"p{p}"]) for p in PERCENTILES}
        key = tuple(str(each[f"g_{group}"]) for group in groups)
        found[key] = {"requests": many, "mean": _int(each["total"]) // many, **values}
    return found


async def _grouped(
    store: Store,
    asked: Asked,
    groups: Sequence[str],
    columns: Iterable[tuple[str, str]],
    order: str,
) -> list[Row]:
    where, params = asked.where()
    keys = [f"{GROUPS[each]} AS g_{each}" for each in groups]
    wanted = ", ".join([*keys, *(f"{sql} AS {name}" for name, sql in columns)])
    by = ", ".join(f"g_{each}" for each in groups)
    times = [f"g_{each}" for each in groups if each in _TIMES]
    sql = f"SELECT {wanted} FROM usage_records WHERE {where}"
    if groups:
        sql += f" GROUP BY {by} ORDER BY {', '.join([*times, order])}"
    return await store.fetch(sql, _params(params))


def _params(params: Mapping[str, SQLValue]) -> SQLParams:
    return params


def _labels(row: Row, groups: Sequence[str]) -> dict[str, object]:
    return {
        each: iso(_int(row[f"g_{each}"])) if each in _TIMES else row[f"g_{each}"] for each in groups
    }


def _int(value: object) -> int:
    """Sums come as integers, as decimals, or as null where there was nothing to add."""
    return int(value) if isinstance(value, int | Decimal) else 0


def usd(nano: int) -> str:
    """Nano-dollars as a decimal number of dollars, exact, without an exponent."""
    return f"{(Decimal(nano) / _NANO).normalize():f}"


def iso(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


assert len(METERS) == len(METER_COLUMNS)
