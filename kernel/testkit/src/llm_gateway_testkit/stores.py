"""What every store must do: `StoreSuite`, to be inherited by a test class.

```python
class TestAcmeStore(StoreSuite):
    @pytest.fixture
    async def store(self):
        store = AcmeStore(...)
        async with store.open():
            yield store
```

The SQL is the subset that features write in; types of columns are the store's own.
"""

import asyncio

import pytest
from llm_gateway_api import (
    ConflictError,
    MissingTableError,
    SQLParams,
    Store,
    StoreError,
    UnstorableError,
)


class StoreSuite:
    """The contract `Store`, rule by rule. `bytes_type` is the column type of bytes."""

    bytes_type = "BLOB"

    @pytest.fixture
    async def table(self, store: Store) -> str:
        await store.execute(
            "CREATE TABLE suite (id BIGINT PRIMARY KEY, word TEXT, "
            f"yes BOOLEAN, raw {self.bytes_type})"
        )
        return "suite"

    async def test_values_come_back_as_they_were(self, store: Store, table: str) -> None:
        given: SQLParams = {
            "id": 2**62,
            "word": "d'Arc :x 100% \N{SNOWMAN}",
            "yes": True,
            "raw": b"\0\xff",
        }
        changed = await store.execute("INSERT INTO suite VALUES (:id, :word, :yes, :raw)", given)
        rows = await store.fetch("SELECT * FROM suite WHERE word = :word", given)

        assert changed == 1
        assert [dict(row) for row in rows] == [given]

    async def test_null_is_null(self, store: Store, table: str) -> None:
        given: SQLParams = {"id": 1, "word": None, "yes": None, "raw": None}
        await store.execute("INSERT INTO suite VALUES (:id, :word, :yes, :raw)", given)

        assert dict((await store.fetch("SELECT * FROM suite"))[0]) == given

    async def test_colons_and_percent_signs_in_literals_are_text(
        self, store: Store, table: str
    ) -> None:
        rows = await store.fetch("SELECT ':id' AS a, '50%' AS b, :id AS c", {"id": "x"})

        assert dict(rows[0]) == {"a": ":id", "b": "50%", "c": "x"}
        assert dict((await store.fetch("SELECT '50%' AS b"))[0]) == {"b": "50%"}

    async def test_a_change_may_return_rows(self, store: Store, table: str) -> None:
        sql = (
            "INSERT INTO suite (id, word) VALUES (:id, :word) "
            "ON CONFLICT (id) DO UPDATE SET word = :word RETURNING id, word"
        )
        await store.fetch(sql, {"id": 1, "word": "a"})
        rows = await store.fetch(sql, {"id": 1, "word": "b"})

        assert [dict(row) for row in rows] == [{"id": 1, "word": "b"}]
        assert len(await store.fetch("SELECT id FROM suite")) == 1

    async def test_many_rows_go_in_whole_or_not_at_all(self, store: Store, table: str) -> None:
        sql = "INSERT INTO suite (id) VALUES (:id)"
        await store.execute_many(sql, [{"id": n} for n in range(100)])
        with pytest.raises(ConflictError):
            await store.execute_many(sql, [{"id": 1000}, {"id": 5}])
        await store.execute_many(sql, [(n,) for n in range(100, 300)])

        counted = await store.fetch("SELECT count(*) AS n, max(id) AS last FROM suite")
        assert (counted[0]["n"], counted[0]["last"]) == (300, 299)

    async def test_a_constraint_is_a_conflict(self, store: Store, table: str) -> None:
        await store.execute("INSERT INTO suite (id) VALUES (1)")

        with pytest.raises(ConflictError):
            await store.execute("INSERT INTO suite (id) VALUES (1)")

    async def test_a_value_that_cannot_be_stored_is_no_outage(
        self, store: Store, table: str
    ) -> None:
        with pytest.raises(UnstorableError):
            await store.execute("INSERT INTO suite (id) VALUES (:id)", {"id": 2**70})

        assert await store.healthy()

    async def test_what_a_migration_brings_is_told_apart(self, store: Store, table: str) -> None:
        for sql in ("SELECT * FROM no_such_table", f"SELECT no_such_column FROM {table}"):
            with pytest.raises(MissingTableError, match="migrate run"):
                await store.fetch(sql)

    async def test_other_mistakes_are_store_errors(self, store: Store) -> None:
        with pytest.raises(StoreError):
            await store.fetch("SELECT * FROM no_such_table")

    async def test_a_transaction_holds_all_or_nothing(self, store: Store, table: str) -> None:
        with pytest.raises(RuntimeError):
            async with store.transaction() as inside:
                await inside.execute("INSERT INTO suite (id) VALUES (1)")
                raise RuntimeError
        async with store.transaction() as inside:
            await inside.execute("INSERT INTO suite (id) VALUES (2)")
            await inside.execute_many("INSERT INTO suite (id) VALUES (:id)", [{"id": 3}])

        rows = await store.fetch("SELECT id FROM suite ORDER BY id")
        assert [row["id"] for row in rows] == [2, 3]

    async def test_concurrent_changes_all_arrive(self, store: Store, table: str) -> None:
        sql = "INSERT INTO suite (id) VALUES (:id)"
        await asyncio.gather(*(store.execute(sql, {"id": n}) for n in range(50)))

        assert (await store.fetch("SELECT count(*) AS n FROM suite"))[0]["n"] == 50

    async def test_a_cancelled_call_leaves_the_store_usable(self, store: Store, table: str) -> None:
        calls = [asyncio.ensure_future(store.fetch("SELECT 1 AS one")) for _ in range(20)]
        await asyncio.sleep(0)
        for each in calls[::2]:
            each.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

        assert await store.healthy()

    async def test_a_lock_is_held_by_one_at_a_time(self, store: Store) -> None:
        inside = 0
        most = 0

        async def hold() -> None:
            nonlocal inside, most
            async with store.lock("suite", 10):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(hold() for _ in range(4)))
        assert most == 1

    async def test_a_lock_that_is_not_free_in_time_is_an_error(self, store: Store) -> None:
        async with store.lock("suite", 1):
            with pytest.raises(StoreError):
                async with store.lock("suite", 0):
                    pass
