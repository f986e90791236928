"""One statement for many rows, in few steps of SQLite.

sqlite3 binds by name in twice the time that it takes by place, and it lets go of the
interpreter around each step: beside a thread that is busy, a step for each row is a switch of
threads for each row. It takes longer over a null than over a number, so a column that is null in
all rows of a step is so in the statement.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
from llm_gateway_api import SQLRow, SQLValue

AT_ONCE = (100, 10, 1)  # rows of a statement: few lengths, since each is prepared once
MAX_VALUES = 30_000  # of a statement; SQLite takes 32,766
_NAMED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|:([A-Za-z_]\w*)""")
_ROW = re.compile(r"\bVALUES\s*(\((?:\s*\?\s*,?)+\))", re.IGNORECASE)


class Many(msgspec.Struct, frozen=True):
    """A statement with ``?`` for `names`, in this order; `row` is what its rows repeat, None
    where it has to be run for each."""

    sql: str
    names: tuple[str, ...]
    row: str | None

    @classmethod
    def of(cls, sql: str) -> "Many":
        return _many(sql)

    def statements(self, rows: Sequence[SQLRow]) -> Iterator[tuple[str, list[SQLValue]]]:
        """What to execute, one after another."""
        placed = self._values(rows)
        at = 0
        while at < len(rows):
            many = next(each for each in AT_ONCE if self._fits(each, len(rows) - at))
            part = placed[at : at + many]
            at += many
            if self.row is None or many == 1:
                yield self.sql, list(part[0])
                continue
            columns = list(zip(*part, strict=True))
            nulls = tuple([each.count(None) == many for each in columns])
            kept = [each for each, null in zip(columns, nulls, strict=True) if not null]
            yield _repeated(self, many, nulls), list(chain.from_iterable(zip(*kept, strict=True)))

    def _values(self, rows: Sequence[Any]) -> Sequence[tuple[SQLValue, ...]]:
        """Those of each row, in the order of `names`."""
        if rows and isinstance(rows[0], tuple):
            return rows
        if len(self.names) > 1:
            return list(map(itemgetter(*self.names), rows))
        return [tuple([row[name] for name in self.names]) for row in rows]

    def _fits(self, many: int, left: int) -> bool:
        if self.row is None:
            return many == 1
        return many == 1 or (many <= left and many * len(self.names) <= MAX_VALUES)


@lru_cache(maxsize=256)
def _repeated(many: Many, times: int, nulls: tuple[bool, ...]) -> str:
    """The statement for so many rows, in which the columns `nulls` are null."""
    assert many.row is not None
    row = f"({', '.join(['NULL' if each else '?' for each in nulls])})"
    return many.sql.replace(many.row, ", ".join([row] * times), 1)


@lru_cache(maxsize=512)
def _many(sql: str) -> Many:
    names: list[str] = []

    def placed(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        names.append(found[1])
        return "?"

    text = _NAMED.sub(placed, sql)
    row = _ROW.search(text)
    alone = row is not None and row[1].count("?") == len(names)
    return Many(text, tuple(names), row[1] if row is not None and alone else None)
