"""Many rows in few statements, and in as many as they need where one cannot have them all."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_api import SQLValue
from llm_gateway_store_sqlite.many import Many

ROWS = [{"a": n, "b": f"row {n}"} for n in range(123)]


def ran(sql: str, rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(text, len(values)) for text, values in Many(sql).statements(rows)]


def test_rows_share_statements_of_few_lengths() -> None:
    sql = "INSERT INTO t (a, b) VALUES (:a, :b) ON CONFLICT (a) DO NOTHING"
    statements = ran(sql, ROWS)

    assert [values for _, values in statements] == [200, 20, 20, 2, 2, 2]
    assert statements[1][0].count("(?, ?)") == 10
    assert statements[-1][0] == "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO NOTHING"


def test_values_stand_in_their_places() -> None:
    many = Many("INSERT INTO t (b, a) VALUES (:b, :a)")
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


def test_what_has_always_been_null_or_zero_is_so_in_the_statement() -> None:
    many = Many("INSERT INTO t (a, b, c, d) VALUES (:a, :b, :c, :d)")
    rows = [(each, None, 0, False) for each in range(1, 11)]
    ((first, values),) = many.statements(rows)
    ((second, others),) = many.statements([*rows[:9], (0, "", 7, False)])
    ((third, _),) = many.statements(rows)

    assert first.count("(?, NULL, 0, 0)") == 10
    assert values == [*range(1, 11)]
    assert second.count("(?, ?, ?, 0)") == 10
    assert others == [part for each in range(1, 10) for part in (each, None, 0)] + [0, "", 7]
    assert third == second


def test_rows_of_nothing_but_nulls_have_no_values() -> None:
    ((text, values),) = Many("INSERT INTO t (a) VALUES (:a)").statements([(None,)] * 10)

    assert (text.count("(NULL)"), values) == (10, [])


ROW = st.tuples(
    st.integers(0, 10**6),
    st.none() | st.integers(-1, 1) | st.text(max_size=2),
    st.sampled_from([None, 0, False, True, b"", b"0", ""]),
)


@given(st.lists(st.lists(ROW, max_size=25), max_size=6))
def test_what_is_kept_is_what_was_given(batches: list[list[tuple[SQLValue, ...]]]) -> None:
    """As one statement for each row would keep it, whatever came before."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE one (a, b, c)")
        database.execute("CREATE TABLE other (a, b, c)")
        many = Many("INSERT INTO one (a, b, c) VALUES (:a, :b, :c)")
        for rows in batches:
            for sql, values in many.statements(rows):
                database.execute(sql, values)
            database.executemany("INSERT INTO other VALUES (?, ?, ?)", rows)

        typed = "SELECT a, b, typeof(b), c, typeof(c) FROM {} ORDER BY rowid"
        kept = database.execute(typed.format("one")).fetchall()
        assert kept == database.execute(typed.format("other")).fetchall()
