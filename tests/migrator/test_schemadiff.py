"""`schemadiff` finds what somebody changed by hand, says exactly that, and tells it by its exit status."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from rupaya.migrator.schema.diff import differences
from tests.conftest import new_database
from tests.faults.migrator import catalog_of, migrate, query
from tests.server.service import PROJECT, manage

# One change of each kind, each on another object, and the line about it: the code's side, the database's.
BY_HAND = {
    "DROP TABLE phone_otps": "table phone_otps: in {side}, not in the database",
    "ALTER TABLE devices ADD os varchar(9)": "column devices.os: in the database, not in {side}",
    "ALTER TABLE transactions ALTER location TYPE text": (
        "column transactions.location: varchar(255) in {side}, text in the database"
    ),
    "ALTER TABLE users ALTER name SET NOT NULL": "column users.name: nullable in {side}, not null in the database",
    "ALTER TABLE users ALTER country_code SET DEFAULT 'US'": (
        "column users.country_code: default 'IN'::varchar in {side}, default 'US'::varchar in the database"
    ),
    "ALTER TABLE budgets DROP CONSTRAINT budgets_alert_threshold_check,"
    " ADD CONSTRAINT budgets_alert_threshold_check CHECK (alert_threshold >= 0)": (
        "constraint budgets_alert_threshold_check on budgets: "
        "CHECK (alert_threshold >= 0::numeric AND alert_threshold <= 100::numeric) in {side}, "
        "CHECK (alert_threshold >= 0::numeric) in the database"
    ),
    "ALTER TABLE devices DROP CONSTRAINT devices_user_id_foreign,"
    " ADD CONSTRAINT devices_user_id_foreign FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL": (
        "constraint devices_user_id_foreign on devices: "
        "FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE in {side}, "
        "FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE SET NULL in the database"
    ),
    "ALTER TABLE users DROP CONSTRAINT users_phone_number_unique": (
        "constraint users_phone_number_unique on users: in {side}, not in the database"
    ),
    "DROP INDEX idx_transactions_date;"
    " CREATE INDEX idx_transactions_date ON transactions (user_id, transaction_date)": (
        "index idx_transactions_date on transactions: btree (user_id, transaction_date DESC) in {side}, "
        "btree (user_id, transaction_date) in the database"
    ),
    "CREATE INDEX idx_accounts_type_ccnew ON accounts (account_type);"
    " UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_accounts_type_ccnew'::regclass": (
        "index idx_accounts_type_ccnew on accounts: in the database, not in {side}"
    ),
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_users_status'::regclass": (
        "index idx_users_status on users: valid in {side}, INVALID in the database"
    ),
    "DROP TRIGGER users_set_updated_at ON users": (
        "trigger users_set_updated_at on users: in {side}, not in the database"
    ),
    "ALTER TABLE accounts DISABLE TRIGGER accounts_set_updated_at": (
        "trigger accounts_set_updated_at on accounts: enabled in {side}, disabled in the database"
    ),
    "DROP VIEW budget_progress": "view budget_progress: in {side}, not in the database",
    "CREATE SEQUENCE users_old_id_seq": "sequence users_old_id_seq: in the database, not in {side}",
    "ALTER SEQUENCE auth_group_id_seq INCREMENT 5": (
        "sequence auth_group_id_seq: increment 1 in {side}, increment 5 in the database"
    ),
    "CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'": (
        "function set_updated_at(): BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END in {side}, "
        "BEGIN RETURN NEW; END in the database"
    ),
    "CREATE TABLE alien (id serial PRIMARY KEY); CREATE VIEW alien_view AS SELECT * FROM users": "",
}


def test_everything_that_was_changed_by_hand_is_told_and_nothing_else(migrated_url: str) -> None:
    for sql in BY_HAND:
        query(migrated_url, sql)

    ran = manage(PROJECT, "schemadiff", DATABASE_URL=migrated_url)

    expected = [
        line.format(side=side) for side in ("the last snapshot", "the code") for line in BY_HAND.values() if line
    ]
    assert sorted(ran.stdout.splitlines()) == sorted(expected)
    assert ran.returncode == 1


def test_the_same_is_said_and_is_status_0(migrated_url: str) -> None:
    query(migrated_url, "CREATE TABLE alien (id serial PRIMARY KEY)")

    ran = manage(PROJECT, "schemadiff", DATABASE_URL=migrated_url)

    assert ran.stdout.splitlines() == [
        "The database is the same as the last snapshot.",
        "The database is the same as the code.",
    ]
    assert ran.returncode == 0


def test_machines_get_json(migrated_url: str) -> None:
    query(migrated_url, "ALTER TABLE users ALTER name SET NOT NULL")

    ran = manage(PROJECT, "schemadiff", "--against", "snapshot", "--format", "json", DATABASE_URL=migrated_url)

    (comparison,) = json.loads(ran.stdout)
    assert comparison["against"] == "last snapshot"
    (difference,) = comparison["differences"]
    assert len(difference.pop("old_hash")) == len(difference.pop("new_hash")) == 64
    assert comparison["differences"] == [
        {
            "fact": "nullable",
            "role": "",
            "message": "column users.name: nullable in the last snapshot, not null in the database",
            "kind": "column",
            "name": "name",
            "on": "users",
            "old": "nullable",
            "new": "not null",
        }
    ]
    assert ran.returncode == 1


def test_what_was_only_recorded_is_found(migrated_url: str) -> None:
    """A migration that was faked: the history has it, the database has not."""
    assert migrate(migrated_url, "migrate", "transactions", "0004").process.returncode == 0
    assert migrate(migrated_url, "migrate", "--fake", "transactions", "0005").process.returncode == 0

    ran = manage(PROJECT, "schemadiff", "--against", "code", DATABASE_URL=migrated_url)

    assert ran.stdout.splitlines() == [
        f"view {name}: in the code, not in the database"
        for name in ("budget_progress", "monthly_expense_summary", "monthly_income_summary")
    ]


def test_what_an_earlier_migration_made_and_the_code_does_not_is_left_over(migrated_url: str) -> None:
    assert migrate(migrated_url, "migrate", "--fake", "transactions", "0004").process.returncode == 0

    ran = manage(PROJECT, "schemadiff", "--against", "code", DATABASE_URL=migrated_url)

    told = ran.stdout.splitlines()
    views = ("budget_progress", "monthly_expense_summary", "monthly_income_summary")
    assert [line for line in told if line.startswith("view")] == [
        f"view {view}: in the database, not in the code" for view in views
    ]
    # And the indexes that the migration after the views makes.
    indexes = [line for line in told if not line.startswith("view")]
    assert len(indexes) == 12
    assert all(line.startswith("index idx_") and line.endswith("in the database, not in the code") for line in indexes)
    with_pending = manage(PROJECT, "schemadiff", "--against", "code", "--pending", DATABASE_URL=migrated_url)
    assert with_pending.stdout.splitlines() == ["The database is the same as the code."]


def test_before_the_first_snapshot_there_is_none_to_compare_with(database_url: str) -> None:
    ran = manage(PROJECT, "schemadiff", "--against", "snapshot", DATABASE_URL=database_url)

    assert ran.returncode == 16
    assert "There is no snapshot of this database's schema" in ran.stderr


def test_without_the_right_to_create_databases_the_snapshot_still_tells(migrated_url: str) -> None:
    query(migrated_url, "DROP INDEX idx_users_status")
    role = f"poor_{urlsplit(migrated_url).path.strip('/')}"
    query(migrated_url, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    try:
        joint = "&" if "?" in migrated_url else "?"
        ran = manage(PROJECT, "schemadiff", DATABASE_URL=f"{migrated_url}{joint}user={role}")
    finally:
        query(migrated_url, f"DROP OWNED BY {role}; DROP ROLE {role}")

    told = [line for line in ran.stdout.splitlines() if "granted" not in line]
    assert told == ["index idx_users_status on users: in the last snapshot, not in the database"]
    assert ran.returncode == 16
    assert f"ALTER ROLE {role} CREATEDB" in ran.stderr


def test_a_role_that_may_create_schemas_needs_no_database_and_leaves_nothing(migrated_url: str) -> None:
    query(migrated_url, "DROP INDEX idx_users_status")
    name = urlsplit(migrated_url).path.strip("/")
    role = f"modest_{name}"
    query(migrated_url, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    query(migrated_url, f'GRANT CREATE ON DATABASE "{name}" TO {role}')
    try:
        joint = "&" if "?" in migrated_url else "?"
        ran = manage(PROJECT, "schemadiff", "--against=code", DATABASE_URL=f"{migrated_url}{joint}user={role}")
    finally:
        query(migrated_url, f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert ran.stdout.splitlines() == ["index idx_users_status on users: in the code, not in the database"], ran.stderr
    assert ran.returncode == 1
    assert query(migrated_url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'trial%%'") == []


def test_a_server_that_is_not_there_has_its_own_status() -> None:
    ran = manage(
        PROJECT, "schemadiff", DATABASE_URL="postgresql://nobody@/none?host=/nonexistent", MIGRATE_DB_WAIT_S="0"
    )

    assert ran.returncode == 10


def test_schema_sql_is_what_the_migrations_build(migrated_url: str, server_url: str) -> None:
    ran = manage(PROJECT, "schemasql", DATABASE_URL=migrated_url)
    assert ran.returncode == 0, ran.stderr
    committed = (PROJECT / "schema.sql").read_text()
    assert ran.stdout == committed, "run 'make schema' and commit schema.sql"

    with new_database(server_url) as built:
        query(built, committed)
        assert differences(catalog_of(migrated_url), catalog_of(built), portable=True) == []


@pytest.mark.parametrize("length", [10, 63])
def test_a_scratch_databases_name_fits_and_tells_whose_it_is(length: int) -> None:
    from rupaya.migrator.analysis.scratch import name_prefix

    live = "x" * length
    assert len(name_prefix(live)) + 8 <= 63
    assert name_prefix(live) != name_prefix(live[:-1] + "y")
    assert name_prefix("₹" * 21).encode().decode() == name_prefix("₹" * 21)
