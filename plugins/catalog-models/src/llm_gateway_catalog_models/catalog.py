"""Looks models up by kind and name; all of it in memory, made from rows."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import llm_gateway_api as gw

from llm_gateway_catalog_models.row import Row

# The date of a snapshot, as vendors append it to a model's name.
_DATE = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)(?:-v\d+(?::\d+)?)?$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row with its prices, the latest first: (Unix time from which it holds, price)."""

    row: Row
    prices: tuple[tuple[float, gw.Price], ...]


class Catalog:
    """Meets `ModelCatalog`. A later row of the same name goes over an earlier one."""

    def __init__(self, rows: Mapping[str, Iterable[Row]]) -> None:
        self._entries: dict[str, dict[str, Entry]] = {}
        for kind, each in rows.items():
            names = self._entries.setdefault(kind, {})
            for row in each:
                entry = Entry(row, tuple(_prices(kind, row)))
                names.update(dict.fromkeys((row.id, *row.aliases), entry))

    def models(self, kind: str) -> Sequence[gw.ModelInfo]:
        """One for each row, by the vendor's own name."""
        rows = {id(each): each.row for each in self._entries.get(kind, {}).values()}
        return [row.info(row.id) for row in rows.values()]

    def info(self, kind: str, model: str) -> gw.ModelInfo | None:
        entry = self._entry(kind, model)
        return entry.row.info(model) if entry is not None else None

    def price(self, kind: str, model: str, at: float) -> gw.Price | None:
        entry = self._entry(kind, model)
        if entry is None:
            return None
        return next((price for since, price in entry.prices if since <= at), None)

    def _entry(self, kind: str, model: str) -> Entry | None:
        """By the name as it is, then without the folder and the date that vendors add."""
        names = self._entries.get(kind, {})
        bare = model.removeprefix("models/")
        return names.get(bare) or names.get(_DATE.sub("", bare))


def _prices(kind: str, row: Row) -> Iterable[tuple[float, gw.Price]]:
    for tariff in sorted(row.prices, key=lambda each: each.starts(), reverse=True):
        yield tariff.starts(), tariff.price(f"{kind}/{row.id}@{tariff.since or row.read}")
