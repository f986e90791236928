"""Files become statements, whatever a semicolon hides in."""

import pytest
from llm_gateway_api import ConfigurationError, MigrationSpec
from llm_gateway_migrations.files import collect, parse, statements
from llm_gateway_migrations.plugin import SQL

GOOD = "-- migrate:up\nCREATE TABLE a (b TEXT);\n-- migrate:down\nDROP TABLE a;\n"


def test_semicolons_in_quotes_and_comments_end_nothing() -> None:
    text = """
    INSERT INTO a VALUES ('x;y''z;'); -- one; two
    /* three; */ UPDATE "a;b" SET c = 1;
    CREATE FUNCTION f() AS $body$ BEGIN; END; $body$ LANGUAGE plpgsql;
    -- nothing; here
    """

    assert [each.split()[0] for each in statements(text)] == ["INSERT", "--", "CREATE"]


def test_a_trigger_ends_behind_its_end() -> None:
    """In the way of SQLite, whose triggers have statements inside; PostgreSQL's name a function."""
    text = """
    -- It begins; here.
    CREATE TRIGGER a AFTER INSERT ON b WHEN new.c > 0 BEGIN
        INSERT INTO d VALUES (CASE WHEN new.c > 1 THEN 'x; END' ELSE 'y' END);
        UPDATE d SET e = 1; -- BEGIN; END;
    END;
    create temp trigger f AFTER DELETE ON b BEGIN DELETE FROM d; END;
    CREATE TRIGGER g AFTER INSERT ON b FOR EACH STATEMENT EXECUTE FUNCTION h();
    DROP TRIGGER a;
    """

    words = [" ".join(each.split()[-2:]) for each in statements(text)]
    assert words == ["END; END", "d; END", "FUNCTION h()", "TRIGGER a"]


def test_both_directions_are_read() -> None:
    found = parse("acme", "20260101000000_first.sql", GOOD)

    assert (found.version, found.name, found.series) == ("20260101000000", "first", "acme")
    assert found.up.statements == ("CREATE TABLE a (b TEXT)",)
    assert found.down.statements == ("DROP TABLE a",)
    assert found.up.whole


def test_a_part_may_stand_outside_of_a_transaction() -> None:
    text = GOOD.replace("migrate:up", "migrate:up transaction:false")

    assert not parse("acme", "20260101000000_first.sql", text).up.whole


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("first.sql", GOOD, "YYYYMMDDHHMMSS"),
        ("20260101000000_first.sql", "CREATE TABLE a (b TEXT);", "migrate:up"),
    ],
)
def test_what_is_no_migration_is_named(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        parse("acme", name, text)


def test_both_databases_have_the_same_migrations() -> None:
    """One history: what exists for one database exists for the other, under the same name."""
    spec = MigrationSpec("gateway", SQL)
    names = [
        [(each.version, each.name) for each in collect([spec], dialect)]
        for dialect in ("postgresql", "sqlite")
    ]

    assert names[0] == names[1]
    assert names[0]
