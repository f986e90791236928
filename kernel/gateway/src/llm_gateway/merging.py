"""The metrics of several workers as those of one: each family merged by its own rule."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from llm_gateway_api import Family, Histogram, Metrics, Value

Rule = Literal["sum", "max", "last"]
Kind = Literal["counter", "gauge", "histogram"]


class Taken(msgspec.Struct, array_like=True):
    """A family at one moment. A row is its label values and numbers: the value, or the counts
    of a histogram's buckets and its sum."""

    name: str
    help: str
    kind: Kind
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    merge: Rule
    rows: dict[str, list[float]]  # by the label values as JSON, which JSON takes for a key


async def taken(metrics: Metrics) -> list[Taken]:
    """All families of this process; requests have their turn in between."""
    found = []
    for family in metrics.families():
        rows = {_key(labels): _numbers(child) for labels, child in tuple(family.children.items())}
        found.append(_taken(family, rows))
        await asyncio.sleep(0)
    return found


def merged(parts: Iterable[Sequence[Taken]]) -> list[Taken]:
    """One snapshot of several; of two that disagree on a family's shape, the later wins."""
    found: dict[str, Taken] = {}
    for part in parts:
        for each in part:
            known = found.get(each.name)
            if known is None or _shape(known) != _shape(each):
                found[each.name] = msgspec.structs.replace(each, rows=dict(each.rows))
            else:
                _add(known, each)
    return list(found.values())


def lasting(snapshot: Iterable[Taken]) -> list[Taken]:
    """What outlives its worker: counters must not fall when one ends, gauges vanish with it."""
    return [each for each in snapshot if each.kind != "gauge"]


def families(snapshot: Iterable[Taken]) -> list[Family]:
    """As a process has them."""
    found = []
    for each in snapshot:
        family = Family(each.name, each.help, each.kind, each.labels, each.bounds, each.merge)
        for key, numbers in each.rows.items():
            labels = msgspec.json.decode(key, type=tuple[str, ...])
            if each.kind == "histogram":
                child = family.histogram(*labels)
                child.counts, child.sum = [int(n) for n in numbers[:-1]], numbers[-1]
            else:
                family.value(*labels).value = numbers[0]
        found.append(family)
    return found


def decoded(value: Any) -> list[Taken]:
    return msgspec.convert(value, list[Taken])


def _add(into: Taken, other: Taken) -> None:
    rule: Rule = other.merge if other.kind == "gauge" else "sum"
    for key, numbers in other.rows.items():
        mine = into.rows.get(key)
        if mine is None or rule == "last":
            into.rows[key] = numbers
        elif rule == "max":
            into.rows[key] = [max(pair) for pair in zip(mine, numbers, strict=True)]
        else:
            into.rows[key] = [a + b for a, b in zip(mine, numbers, strict=True)]


def _taken(family: Family, rows: dict[str, list[float]]) -> Taken:
    return Taken(
        family.name, family.help, family.kind, family.labels, family.bounds, family.merge, rows
    )


def _shape(each: Taken) -> tuple[object, ...]:
    return each.kind, each.labels, each.bounds


def _key(labels: tuple[str, ...]) -> str:
    return msgspec.json.encode(labels).decode()


def _numbers(child: Value | Histogram) -> list[float]:
    if isinstance(child, Histogram):
        return [*child.counts, child.sum]
    return [child.value]
