"""A vendor's usage file, CSV or JSON, as sums by day and model; and how the ledger differs.

Vendors name their columns differently, so each sum has a table of names; several columns of
one file that stand for the same sum are added (input that was cached, and that was not).
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

SUMS = ("requests", "input", "output", "cost_usd")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "day": ("day", "date", "usage_date_utc", "start_time", "timestamp", "created_at"),
    "model": ("model", "model_version", "model_id", "snapshot_id"),
    "requests": ("requests", "num_model_requests", "n_requests"),
    "input": (
        "input",
        "input_tokens",
        "prompt_tokens",
        "n_context_tokens_total",
        "usage_input_tokens_no_cache",
        "usage_input_tokens_cache_read",
        "usage_input_tokens_cache_write_5m",
        "usage_input_tokens_cache_write_1h",
    ),
    "output": (
        "output",
        "output_tokens",
        "completion_tokens",
        "n_generated_tokens_total",
        "usage_output_tokens",
    ),
    "cost_usd": ("cost_usd", "cost", "amount", "amount_value"),
}
# The date of a snapshot at the end of a model's name.
_SNAPSHOT = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8})$")
Key = tuple[str, str]
Sums = dict[str, Decimal]


class UsageFileError(ValueError):
    """The file cannot be compared; the text says why."""


@dataclass(slots=True)
class Usage:
    """Sums by (day, model); `measured` are those that the file has."""

    sums: dict[Key, Sums] = field(default_factory=dict)
    measured: tuple[str, ...] = ()

    def add(self, key: Key, amounts: Mapping[str, Decimal]) -> None:
        into = self.sums.setdefault(key, dict.fromkeys(SUMS, Decimal(0)))
        for name, amount in amounts.items():
            into[name] += amount


def read(text: str, columns: Mapping[str, str]) -> Usage:
    """`columns` names columns that the table does not know, by sum. Raises `UsageFileError`."""
    rows = list(_rows(text))
    if not rows:
        raise UsageFileError("the file has no rows")
    present = {name for row in rows for name in row}
    found = {
        each: ((columns[each],) if each in columns else names) for each, names in COLUMNS.items()
    }
    usable = {each: [n for n in names if n in present] for each, names in found.items()}
    measured = tuple(each for each in SUMS if usable[each])
    if not usable["day"] or not measured:
        missing = "day" if not usable["day"] else "requests, tokens or cost"
        raise UsageFileError(
            f"no column of {missing} is known among {', '.join(sorted(present))};"
            " name it with --column, for example --column day=WHEN"
        )
    usage = Usage(measured=measured)
    for number, row in enumerate(rows, 1):
        day = _day(_first(row, usable["day"]), number)
        model = model_of(str(_first(row, usable["model"]) or "-"))
        amounts = {each: _total(row, usable[each], number) for each in measured}
        usage.add((day, model), amounts)
    return usage


def model_of(name: str) -> str:
    """Without the date of its snapshot: what was asked for and what answered are one model."""
    return _SNAPSHOT.sub("", name)


def differences(
    vendor: Usage, ledger: Usage, tolerance: Decimal
) -> tuple[list[dict[str, object]], bool]:
    """A row for each day and model of either, and whether all agree within `tolerance`, a share
    of the vendor's sum."""
    days = [day for day, _ in vendor.sums]
    nothing = dict.fromkeys(SUMS, Decimal(0))
    rows: list[dict[str, object]] = []
    good = True
    for key in sorted({*vendor.sums, *ledger.sums}):
        if not min(days) <= key[0] <= max(days):
            continue
        theirs, ours = vendor.sums.get(key, nothing), ledger.sums.get(key, nothing)
        row: dict[str, object] = {"day": key[0], "model": key[1]}
        off = []
        for name in vendor.measured:
            row[name], row[f"vendor_{name}"] = f"{ours[name]:f}", f"{theirs[name]:f}"
            if abs(ours[name] - theirs[name]) > tolerance * theirs[name]:
                off.append(name)
        good = good and not off
        rows.append({**row, "differs": ",".join(off) or "-"})
    return rows, good


def _rows(text: str) -> Iterator[dict[str, Any]]:
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "["):
        try:
            yield from _objects(json.loads(text, parse_float=Decimal), {})
        except ValueError as error:
            raise UsageFileError(f"the file is no JSON: {error}") from error
    else:
        yield from csv.DictReader(io.StringIO(text))


def _objects(found: Any, outer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The innermost objects, each with what stands around it (a bucket's time)."""
    if isinstance(found, list):
        for each in found:
            yield from _objects(each, outer)
        return
    if not isinstance(found, dict):
        raise UsageFileError("the JSON is no list of objects")
    flat = {**outer, **{name: _plain(each) for name, each in found.items() if _plain(each) != []}}
    lists = [each for name, each in found.items() if name in ("data", "results", "rows")]
    if not lists:
        yield flat
    for each in lists:
        yield from _objects(each, flat)


def _plain(value: Any) -> Any:
    """``{"value": 1.5, "currency": "usd"}`` is 1.5; a list is no value."""
    if isinstance(value, dict):
        return value.get("value")
    return [] if isinstance(value, list) else value


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[each] for each in names if row.get(each) not in (None, "")), None)


def _total(row: Mapping[str, Any], names: Iterable[str], number: int) -> Decimal:
    total = Decimal(0)
    for name in names:
        value = row.get(name)
        if value in (None, ""):
            continue
        try:
            total += Decimal(str(value).replace(",", "").removeprefix("$"))
        except InvalidOperation:
            raise UsageFileError(f"row {number}: {name} is no number: {value!r}") from None
    return total


def _day(value: Any, number: int) -> str:
    """The UTC day of a date, a time in ISO 8601, or Unix seconds."""
    text = str(value)
    try:
        if text.isdigit() and len(text) > 8:
            return datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%d")
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        raise UsageFileError(f"row {number}: {text!r} is no date") from None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%d")
