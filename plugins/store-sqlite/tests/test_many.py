"""Many rows in few statements, and in as many as they need where one cannot have them all."""

from typing import Any

import pytest
from llm_gateway_store_sqlite.many import Many

ROWS = [{"a": n, "b": f"row {n}"} for n in range(123)]


def ran(sql: str, rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(text, len(values)) for text, values in Many.of(sql).statements(rows)]


def test_rows_share_statements_of_few_lengths() -> None:
    sql = "INSERT INTO t (a, b) VALUES (:a, :b) ON CONFLICT (a) DO NOTHING"
    statements = ran(sql, ROWS)

    assert [values for _, values in statements] == [200, 20, 20, 2, 2, 2]
    assert statements[1][0].count("(?, ?)") == 10
    assert statements[-1][0] == "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO NOTHING"


def test_values_stand_in_their_places() -> None:
    many = Many.of("INSERT INTO t (b, a) VALUES (:b, :a)")
    ((_, values), *_) = many.statements(ROWS[:10])

    assert values[:4] == ["row 0", 0, "row 1", 1]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE t SET b = :b WHERE a = :a",
        "INSERT INTO t (a, b) VALUES (:a, upper(:b))",
        "INSERT INTO t (a, b) VALUES (:a, ':b -- (?)') ON CONFLICT (a) DO UPDATE SET b = :b",
    ],
)
def test_what_is_no_plain_row_runs_once_for_each(sql: str) -> None:
    statements = ran(sql, ROWS[:12])

    assert len(statements) == 12
    assert {values for _, values in statements} == {2}


def test_a_statement_has_no_more_values_than_the_database_takes() -> None:
    names = [f"c{n}" for n in range(400)]
    sql = f"INSERT INTO t VALUES ({', '.join(f':{name}' for name in names)})"
    statements = ran(sql, [dict.fromkeys(names, 1)] * 100)

    assert [values for _, values in statements] == [4000] * 10
