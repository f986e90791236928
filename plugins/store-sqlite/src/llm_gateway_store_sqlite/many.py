"""One statement for many rows, in few steps of SQLite.

sqlite3 binds by name in twice the time that it takes by place, and it lets go of the
interpreter around each step: beside a thread that is busy, a step for each row is a switch of
threads for each row.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
from llm_gateway_api import SQLParams, SQLValue

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

    def statements(self, rows: Sequence[SQLParams]) -> Iterator[tuple[str, list[SQLValue]]]:
        """What to execute, one after another."""
        at = 0
        while at < len(rows):
            many = next(each for each in AT_ONCE if self._fits(each, len(rows) - at))
            part = rows[at : at + many]
            yield self._text(many), [row[name] for row in part for name in self.names]
            at += many

    def _fits(self, many: int, left: int) -> bool:
        if self.row is None:
            return many == 1
        return many == 1 or (many <= left and many * len(self.names) <= MAX_VALUES)

    def _text(self, many: int) -> str:
        if self.row is None or many == 1:
            return self.sql
        return self.sql.replace(self.row, ", ".join([self.row] * many), 1)


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
