"""One statement for many rows, in few steps of SQLite.

sqlite3 binds by name in twice the time that it takes by place, and it lets go of the
interpreter around each step: beside a thread that is busy, a step for each row is a switch of
threads for each row. What it binds takes time, too, so a column that has always been null, or
always 0, is so in the statement.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from llm_gateway_api import SQLRow, SQLValue

AT_ONCE = (100, 10, 1)  # rows of a statement: few lengths, since each is prepared once
MAX_VALUES = 30_000  # of a statement; SQLite takes 32,766
_NAMED = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|:([A-Za-z_]\w*)""")
_ROW = re.compile(r"\bVALUES\s*(\((?:\s*\?\s*,?)+\))", re.IGNORECASE)


class Many:
    """A statement with ``?`` for `names`, in this order; `row` is what its rows repeat, None
    where it has to be run for each.

    `_same` are the columns that have had one value until now, null or 0. They only become fewer,
    so there are never many statements to prepare, whatever the rows are.
    """

    def __init__(self, sql: str) -> None:
        names: list[str] = []

        def placed(found: re.Match[str]) -> str:
            if found[1] is None:
                return found[0]
            names.append(found[1])
            return "?"

        self.sql = _NAMED.sub(placed, sql)
        self.names = tuple(names)
        row = _ROW.search(self.sql)
        alone = row is not None and row[1].count("?") == len(names)
        self.row = row[1] if row is not None and alone else None
        self._same: dict[int, SQLValue] | None = None
        self._repeated: dict[int, str] = {}

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
            same = self._same_in(columns)
            kept = [each for place, each in enumerate(columns) if place not in same]
            yield self._of(many, same), list(chain.from_iterable(zip(*kept, strict=True)))

    def _same_in(self, columns: Sequence[Sequence[SQLValue]]) -> dict[int, SQLValue]:
        """The columns that are in these rows too what they have always been."""
        if self._same is None:
            firsts = [each[0] for each in columns]
            self._same = {
                place: each
                for place, each in enumerate(firsts)
                if each is None or (isinstance(each, int) and each == 0)
            }
        others = [
            place
            for place, value in self._same.items()
            if columns[place].count(value) < len(columns[place])
        ]
        for place in others:
            del self._same[place]
            self._repeated.clear()
        return self._same

    def _of(self, many: int, same: dict[int, SQLValue]) -> str:
        """The statement for so many rows."""
        found = self._repeated.get(many)
        if found is None:
            assert self.row is not None
            places = ["?"] * len(self.names)
            for place, value in same.items():
                places[place] = "NULL" if value is None else "0"
            rows = ", ".join([f"({', '.join(places)})"] * many)
            found = self._repeated[many] = self.sql.replace(self.row, rows, 1)
        return found

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
