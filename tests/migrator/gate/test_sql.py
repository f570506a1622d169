"""Statements of one's own: a list of what is safe, whatever they are wrapped in."""

from __future__ import annotations

import pytest

from rupaya.migrator.analysis.gate.sql import changes_data, unlisted

SAFE = [
    "ALTER TABLE t ADD COLUMN a int, ALTER COLUMN b SET DEFAULT 'x, DROP COLUMN c'",
    'ALTER TABLE IF EXISTS ONLY "my schema"."t" VALIDATE CONSTRAINT c',
    "CREATE INDEX CONCURRENTLY i ON t (a)",
    "/* why */ COMMENT ON TABLE t IS 'DROP TABLE t'; -- DROP TABLE t",
    "DO $$ DECLARE n int; BEGIN n := 1; IF n > 0 THEN EXECUTE 'CREATE TYPE s AS ENUM (''a'')'; END IF; END $$",
    "DO $$ BEGIN CREATE TYPE s AS ENUM ('a'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "WITH few AS (SELECT 1) INSERT INTO t SELECT * FROM few",
    "VACUUM (ANALYZE) t",
    "ALTER TABLE t REPLICA IDENTITY FULL, ALTER CONSTRAINT c DEFERRABLE",
    "ALTER FUNCTION f(numeric(9, 2), text) COST 500 ROWS 0.5",
    'ALTER ROUTINE "my schema".f COST 1',
    "ALTER STATISTICS s SET STATISTICS 500",
    "ALTER TABLE t CLUSTER ON i, ALTER COLUMN a SET STATISTICS 500",
    "ALTER TABLE t SET WITHOUT CLUSTER",
    "CREATE PUBLICATION p",
    "CREATE PUBLICATION p FOR TABLE t, ONLY u WITH (publish = 'insert')",
    "ALTER PUBLICATION p ADD TABLE t",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader",
]
LATE = [
    "DROP TABLE t",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t ADD COLUMN a int, DROP COLUMN b",
    "REVOKE ALL ON t FROM PUBLIC",
    "DO $$ BEGIN IF true THEN ALTER TABLE t DROP COLUMN a; END IF; END $$",
    "DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$",
    "SELECT 1; DROP VIEW v",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
]
NEVER = [
    "UPDATE pg_attribute SET attnotnull = true WHERE attname = 'a'",
    'WITH gone AS (DELETE FROM ONLY pg_catalog."pg_enum" RETURNING oid) SELECT * FROM gone',
    "DO $$ BEGIN INSERT INTO pg_catalog.pg_enum VALUES (1); END $$",
    "LOCK TABLE t",
    "ALTER TABLE t REPLICA IDENTITY NOTHING",
    "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM reader",
    "SELECT a FROM t FOR NO KEY UPDATE",
    "ALTER FUNCTION f(int) COST 500 IMMUTABLE",
    "ALTER FUNCTION f(int) SET search_path = elsewhere",
    "ALTER FUNCTION f(int) RENAME TO g",
    "ALTER FUNCTION f(int) OWNER TO somebody",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
    "CREATE PUBLICATION p FOR TABLE t, TABLES IN SCHEMA public",
    "ALTER PUBLICATION p DROP TABLE t",
    "CLUSTER t USING i",
    "TRUNCATE t",
    "BEGIN",
    "COMMIT",
    "VACUUM FULL t",
    "VACUUM (FULL, ANALYZE) t",
    "CALL clean()",
    "SET session_replication_role = replica",
    "ALTER SYSTEM SET fsync = off",
    "DO $$ BEGIN EXECUTE format('DROP TABLE %I', 't'); END $$",
    "DO $$ BEGIN PERFORM 1; LOCK TABLE t; END $$",
    "ALTER TABLE t SET TABLESPACE s",
    "WHATEVER IS NEW IN VERSION 20",
]


@pytest.mark.parametrize("script", SAFE)
def test_what_is_listed_is_let_through(script: str) -> None:
    assert unlisted(script, no_old_code=False) == []


@pytest.mark.parametrize("script", LATE)
def test_what_removes_is_for_when_no_old_code_is_left(script: str) -> None:
    assert unlisted(script, no_old_code=False)
    assert unlisted(script, no_old_code=True) == []


@pytest.mark.parametrize("script", NEVER)
def test_what_is_not_listed_is_never_taken_for_safe(script: str) -> None:
    assert unlisted(script, no_old_code=False)
    assert unlisted(script, no_old_code=True)


def test_what_writes_rows_is_known() -> None:
    assert changes_data("SELECT 1; DELETE FROM t")
    assert changes_data("WITH few AS (SELECT 1) INSERT INTO t SELECT * FROM few")
    assert not changes_data("CREATE TABLE t (deleted bool); ALTER TABLE t ADD COLUMN updated int")


def test_what_old_code_does_not_know_may_be_done_to_at_once() -> None:
    script = 'ALTER TABLE ONLY public."t" ADD CHECK (a > 0); CREATE UNIQUE INDEX ON T (a); ALTER TABLE t DROP COLUMN b'
    assert unlisted(script, no_old_code=False, fresh=["t"]) == []
    assert len(unlisted(script, no_old_code=False, fresh=["other.t", '"T"'])) == 3
