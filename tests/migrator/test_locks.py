"""The locks that a text tells are at least those that the server takes for it."""

from __future__ import annotations

import psycopg2
import pytest

from rupaya.migrator.analysis.locks import strongest_locks
from rupaya.migrator.analysis.stage import MODES
from tests.faults.migrator import query

TABLES = """
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE "Odd ""name" (id integer);
CREATE TABLE child (id integer PRIMARY KEY, parent_id integer, name text);
ALTER TABLE child ADD CONSTRAINT named CHECK (name <> '') NOT VALID;
CREATE INDEX there ON child (name);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER gone BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION nothing();
"""
SHARE = "ShareUpdateExclusive"
STATEMENTS = {
    "CREATE INDEX made ON child (name)": {"child": "Share"},
    "CREATE UNIQUE INDEX ON public.child USING btree (name)": {"child": "Share"},
    'ALTER TABLE "child" ADD COLUMN "more" text NULL': {"child": "AccessExclusive"},
    'ALTER TABLE "child" ALTER COLUMN "name" SET NOT NULL': {"child": "AccessExclusive"},
    'ALTER TABLE "child" ALTER COLUMN "name" SET STATISTICS 500': {"child": SHARE},
    "ALTER TABLE child VALIDATE CONSTRAINT named": {"child": SHARE},
    "ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (parent_id) REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED": {
        "child": "ShareRowExclusive",
        "parent": "ShareRowExclusive",
    },
    "ALTER TABLE child ADD CONSTRAINT f FOREIGN KEY (parent_id) REFERENCES parent (id), ADD COLUMN n integer": {
        "child": "AccessExclusive",
        "parent": "ShareRowExclusive",
    },
    "ALTER TABLE child ADD COLUMN p integer CONSTRAINT f REFERENCES parent (id)": {
        "child": "AccessExclusive",
        "parent": "ShareRowExclusive",
    },
    "CREATE TABLE new (id integer REFERENCES parent); CREATE INDEX ON new (id)": {"parent": "ShareRowExclusive"},
    "DROP INDEX there": {"child": "AccessExclusive"},
    "DROP TABLE child": {"child": "AccessExclusive"},
    "TRUNCATE child": {"child": "AccessExclusive"},
    "UPDATE child SET name = 'x' WHERE name IS NULL": {"child": "RowExclusive"},
    "INSERT INTO child (id) VALUES (1)": {"child": "RowExclusive"},
    "CREATE TRIGGER t BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION nothing()": {"child": "ShareRowExclusive"},
    "DROP TRIGGER gone ON child": {"child": "AccessExclusive"},
    "ALTER TABLE child DISABLE TRIGGER gone": {"child": "ShareRowExclusive"},
    "COMMENT ON COLUMN child.name IS 'a name'": {"child": SHARE},
    "COMMENT ON TABLE \"child\" IS 'children'": {"child": SHARE},
    'ALTER TABLE "Odd ""name" ADD COLUMN a integer': {'Odd "name': "AccessExclusive"},
    "CREATE POLICY p ON child USING (true)": {"child": "AccessExclusive"},
    "CREATE STATISTICS s (dependencies) ON name, parent_id FROM child": {"child": SHARE},
    "ALTER TABLE child RENAME TO children": {"child": "AccessExclusive"},
    "CREATE VIEW v AS SELECT id FROM child": {},
    "SELECT count(*) FROM child": {},
}
HELD = """
    SELECT c.relname, replace(l.mode, 'Lock', '') FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
      AND l.mode <> 'AccessShareLock'
"""


@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_statements_text_tells_the_servers_lock(sql: str) -> None:
    assert strongest_locks([sql], {"there": "child"}) == STATEMENTS[sql]


def test_the_server_takes_no_stronger_lock_than_the_text_tells(database_url: str) -> None:
    query(database_url, TABLES)
    connection = psycopg2.connect(database_url)
    try:
        for sql in STATEMENTS:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
                )
                before = {name for (name,) in cursor.fetchall()}
                cursor.execute(sql)
                cursor.execute(HELD)
                held: dict[str, str] = {}
                for name, mode in cursor.fetchall():
                    table = "child" if name == "children" else name
                    if table in before and MODES.index(mode) >= MODES.index(held.get(table, MODES[0])):
                        held[table] = mode
            connection.rollback()
            told = strongest_locks([sql], {"there": "child"})
            # A dropped table's locks are not listed by name any more.
            assert all(MODES.index(mode) <= MODES.index(told.get(table, MODES[0])) for table, mode in held.items()), (
                sql,
                held,
            )
    finally:
        connection.close()


def test_concurrent_forms_keep_nobody_waiting() -> None:
    assert strongest_locks(["CREATE INDEX CONCURRENTLY i ON child (name)"]) == {"child": SHARE}
    assert strongest_locks(["DROP INDEX CONCURRENTLY IF EXISTS there"], {"there": "child"}) == {"child": SHARE}
