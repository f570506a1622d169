"""Shapes that the original's files or other systems leave are refused before the first change, with the way out."""

from __future__ import annotations

import pytest

from tests.adoption.original import build, schema
from tests.faults.migrator import migrate, query

OTP = """
CREATE TABLE phone_otps (
    otp_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), phone_number varchar(20) NOT NULL,
    code_hash varchar(255) NOT NULL, purpose varchar(20) NOT NULL DEFAULT 'signup', expires_at timestamptz NOT NULL,
    attempt_count integer DEFAULT 0, created_at timestamptz DEFAULT now());
CREATE INDEX idx_phone_otps_phone ON phone_otps (phone_number);
"""
TRIGGER = """
CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END $$;
CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
"""
INTEGER_KEYS = """
ALTER TABLE transactions DROP CONSTRAINT transactions_category_id_foreign;
ALTER TABLE categories DROP COLUMN category_id, ADD COLUMN category_id serial PRIMARY KEY;
"""
SHAPES = {
    "phone_otps by hand": (OTP, "phone_otps is there in another shape", "DROP TABLE phone_otps"),
    "an older budgets": (
        "CREATE TABLE budgets (budget_id uuid PRIMARY KEY, user_id uuid, amount numeric)",
        "budgets is there in another shape",
        "CREATE SCHEMA kept; ALTER TABLE budgets SET SCHEMA kept",
    ),
    "a name that is taken": (
        "CREATE TABLE old (id uuid CONSTRAINT budgets_pkey PRIMARY KEY)",
        "the name budgets_pkey",
        "ALTER TABLE old RENAME CONSTRAINT budgets_pkey TO old_pkey",
    ),
    "somebody's auth_group": (
        "CREATE TABLE auth_group (gid text)",
        "auth_group, which Django's migrations make",
        "CREATE SCHEMA kept; ALTER TABLE auth_group SET SCHEMA kept",
    ),
    "triggers that are left over": (
        TRIGGER,
        "would overwrite updated_at",
        "DROP TRIGGER update_users_updated_at ON users",
    ),
    "integer keys": (INTEGER_KEYS, "categories.category_id is integer and must be uuid", ""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_cannot_be_adopted_is_refused_before_the_first_change_and_the_way_out_works(
    database_url: str, shape: str
) -> None:
    sql, told, way_out = SHAPES[shape]
    build(database_url, sql)
    before = schema(database_url)

    planned, run = migrate(database_url, "adopt", "--plan"), migrate(database_url, "adopt")

    assert (planned.process.returncode, run.process.returncode) == (1, 14), planned.output + run.output
    assert told in planned.output
    assert told in run.output
    assert "Nothing needs a decision" not in planned.output
    assert schema(database_url) == before
    if way_out:
        query(database_url, way_out)
        assert migrate(database_url, "adopt", "--plan").process.returncode == 0
        done = migrate(database_url, "adopt")
        assert done.process.returncode == 0, done.output


def test_tables_of_another_role_are_refused_before_the_first_change(owner_url: str, irregular_url: str) -> None:
    query(irregular_url, "ALTER TABLE users OWNER TO postgres")
    query(irregular_url, "GRANT SELECT ON users TO PUBLIC")
    before = schema(irregular_url)

    for arguments, status in ((("adopt", "--plan"), 1), (("adopt",), 14)):
        run = migrate(owner_url, *arguments)
        assert run.process.returncode == status, run.output
        assert "users belongs to postgres" in run.output
    assert schema(irregular_url) == before


STRANGERS = {
    "another history": (
        "CREATE TABLE users (id serial PRIMARY KEY, name text);"
        "CREATE TABLE knex_migrations (id serial, name varchar, batch integer, migration_time timestamptz);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('20200101_init.js', 1)"
    ),
    "other users": (
        "CREATE TABLE users (id serial PRIMARY KEY, email text, name text);"
        "CREATE TABLE knex_migrations (id serial, name varchar, batch integer);"
        "INSERT INTO knex_migrations (name, batch) VALUES ('001_init.js', 1)"
    ),
    "no history": "CREATE TABLE knex_migrations (id serial, name varchar, batch integer)",
    "another table": "CREATE TABLE knex_migrations (step text); INSERT INTO knex_migrations VALUES ('one')",
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_knex_migrates_for_somebody_else_is_left_untouched(database_url: str, stranger: str) -> None:
    query(database_url, STRANGERS[stranger])
    before = schema(database_url)

    for arguments in (("migrate",), ("adopt", "--plan"), ("adopt",)):
        run = migrate(database_url, *arguments)
        assert run.process.returncode == 14, run.output
        assert "not known as the original system's" in run.output
        assert "Traceback" not in run.output
    assert schema(database_url) == before
