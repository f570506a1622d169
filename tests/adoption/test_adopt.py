"""After `adopt` every row is what it was, the history is recorded as adopted, and both systems work."""

from __future__ import annotations

import os
import subprocess
import sys
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from rupaya.adoption.original import ADOPTED
from tests.adoption.original import HASH_2A, PASSWORD, UNTOUCHED, checksums, columns, rows, schema, uid
from tests.conftest import with_server
from tests.faults.migrator import PROJECT, applied, migrate, query

USER, ACCOUNT, CHESS = uid("user", 1), uid("account", 1), uid("category", 1)
# What the original says to its database, with the columns that it names.
ORIGINAL_STATEMENTS = f"""
INSERT INTO users (email, password_hash) VALUES ('new@example.com', '{HASH_2A}') RETURNING *;
INSERT INTO users (email, password_hash, name, phone_number) VALUES ('p@example.com', '{HASH_2A}', 'P', '12345');
INSERT INTO users (email, oauth_provider, oauth_provider_id) VALUES ('New@example.com', 'google', 'g-1');
SELECT * FROM users WHERE email = 'asha@example.com' AND deleted_at IS NULL;
UPDATE users SET last_login_at = now(), login_attempt_count = 0, account_status = 'BLOCKED', updated_at = now()
    WHERE user_id = '{USER}';
INSERT INTO devices (user_id, device_name, device_type, device_fingerprint) VALUES ('{USER}', 'Phone', 'ios', 'f-9');
INSERT INTO accounts (user_id, name, account_type, currency, current_balance, is_default, icon, color)
    VALUES ('{USER}', 'Third', 'wallet', 'INR', 0, true, 'wallet', 'blue') RETURNING *;
UPDATE accounts SET current_balance = current_balance + 10, updated_at = now() WHERE account_id = '{ACCOUNT}';
INSERT INTO categories (user_id, name, category_type) VALUES ('{USER}', 'Tea', 'expense') RETURNING *;
SELECT * FROM categories WHERE (user_id = '{USER}' OR is_system = true) AND is_deleted = false;
INSERT INTO transactions (user_id, account_id, amount, currency, transaction_type, category_id, description, notes,
        location, merchant, tags, transaction_date)
    VALUES ('{USER}', '{ACCOUNT}', 99.5, 'INR', 'expense', '{CHESS}', 'Board', NULL, NULL, 'Shop', '{{}}', '2026-01-02')
    RETURNING *;
INSERT INTO transactions (user_id, account_id, to_account_id, amount, transaction_type, transaction_date)
    VALUES ('{USER}', '{ACCOUNT}', NULL, 5, 'transfer', '2026-01-02');
INSERT INTO transactions (user_id) VALUES ('{USER}');
UPDATE transactions SET is_deleted = true, updated_at = now() WHERE transaction_id = '{uid("fine", 1)}';
SELECT category_id, sum(amount) FROM transactions WHERE user_id = '{USER}' AND is_deleted = false GROUP BY category_id;
INSERT INTO revoked_tokens (token_id, user_id, token_type, expires_at)
    VALUES (gen_random_uuid(), '{USER}', 'session', now() + interval '1 day');
DELETE FROM accounts WHERE account_id = '{uid("account", 3)}';
DELETE FROM users WHERE user_id = '{uid("user", 9)}';
SELECT name FROM knex_migrations ORDER BY id;
UPDATE knex_migrations_lock SET is_locked = 1 WHERE is_locked = 0;
"""
SIGN_IN = f"""
import django
django.setup()
from accounts.backends import BcryptBackend
for password in ({PASSWORD!r}, "wrong"):
    print(BcryptBackend().authenticate(None, username="asha@example.com", password=password) is not None)
"""


def sign_in(url: str) -> list[str]:
    """Whether a person of the original's gets in, and with a wrong password."""
    env = os.environ | {"DATABASE_URL": url, "RUPAYA_ENV": "test", "DJANGO_SETTINGS_MODULE": "rupaya.settings"}
    done = subprocess.run(
        [sys.executable, "-c", SIGN_IN], cwd=PROJECT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def schema_of_others(url: str) -> list[str]:
    """All that the catalog says of Knex's tables and the other service's."""
    return [line for line in schema(url) if any(table in line for table in UNTOUCHED)]


def test_every_row_and_every_value_is_what_it_was(irregular_url: str) -> None:
    its_columns = columns(irregular_url)
    before, rows_before = checksums(irregular_url, its_columns), rows(irregular_url)
    others = schema_of_others(irregular_url)

    run = migrate(irregular_url, "adopt")
    assert run.process.returncode == 0, run.output
    assert schema_of_others(irregular_url) == others
    assert {table: columns(irregular_url)[table][: len(names)] for table, names in its_columns.items()} == its_columns

    # The system categories came; before and after are compared without them.
    query(irregular_url, "DELETE FROM categories WHERE is_system AND category_id <> %s", uid("category", 3))
    assert checksums(irregular_url, its_columns) == before
    after = rows(irregular_url)
    for table, its_rows in rows_before.items():
        for row_key, row in its_rows.items():
            assert {name: after[table][row_key][name] for name in row} == row


def test_the_history_is_recorded_as_adopted_and_nothing_is_left_to_migrate(adopted_url: str) -> None:
    runs = query(adopted_url, "SELECT command, outcome, exit_code FROM migrator_runs")
    assert runs == [("adopt", "succeeded", 0)]
    faked = query(adopted_url, "SELECT app, name FROM migrator_attempts WHERE faked AND outcome = 'succeeded'")
    assert sorted(faked) == sorted(ADOPTED)
    assert query(adopted_url, "SELECT count(*) FROM migrator_attempts WHERE app = 'adoption' AND batch <> 0") == [(0,)]
    assert len(applied(adopted_url)) == len(set(applied(adopted_url)))
    for arguments in (("migrate", "--noinput"), ("migrate", "--check")):
        assert migrate(adopted_url, *arguments).process.returncode == 0
    # Without Django being loaded at all: what the adoption left is settled.
    assert "Nothing to migrate: all" in migrate(adopted_url).output
    again = migrate(adopted_url, "adopt")
    assert again.process.returncode == 0
    assert "Nothing to adopt" in again.output


def test_what_the_original_says_works_between_adopting_and_finishing(adopted_url: str) -> None:
    query(adopted_url, "UPDATE users SET phone_number = NULL WHERE phone_number = '12345'")

    connection = psycopg2.connect(adopted_url)
    try:
        for statement in filter(str.strip, ORIGINAL_STATEMENTS.split(";")):
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                assert cursor.rowcount >= 1, statement
    finally:
        connection.close()


def test_people_sign_in_with_the_hashes_that_the_original_wrote_and_can_still_read(adopted_url: str) -> None:
    assert sign_in(adopted_url) == ["True", "False"]
    (hashed,) = query(adopted_url, "SELECT password_hash FROM users WHERE user_id = %s", USER)
    assert hashed[0].startswith(("$2a$", "$2b$"))


def test_the_system_categories_are_there_once_and_an_older_one_keeps_its_key(adopted_url: str) -> None:
    found = query(adopted_url, "SELECT name, count(*) FROM categories WHERE is_system AND user_id IS NULL GROUP BY 1")
    assert len(found) == 12
    assert {count for _name, count in found} == {1}
    assert query(adopted_url, "SELECT category_id::text FROM categories WHERE name = 'Groceries'") == [
        (uid("category", 3),)
    ]


def test_whoever_may_use_the_originals_tables_may_use_the_new_ones(owner_url: str, server_url: str) -> None:
    role = f"serves_{urlsplit(owner_url).username}"
    with_server(server_url, f"CREATE ROLE {role} LOGIN")
    try:
        query(owner_url, f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {role}")
        assert migrate(owner_url, "adopt").process.returncode == 0
        rights = query(
            owner_url,
            "SELECT has_table_privilege(%s, name, 'INSERT') FROM unnest(ARRAY['budgets', 'phone_otps']) name "
            "UNION ALL SELECT has_table_privilege(%s, 'monthly_income_summary', 'SELECT') "
            "UNION ALL SELECT NOT has_table_privilege(%s, 'budgets', 'DELETE') "
            "UNION ALL SELECT NOT has_table_privilege(%s, 'auth_group', 'SELECT')",
            role, role, role, role,
        )  # fmt: skip
        assert rights == [(True,)] * 5
    finally:
        with_server(urlunsplit(urlsplit(server_url)._replace(path=urlsplit(owner_url).path)), f"DROP OWNED BY {role}")
        with_server(server_url, f"DROP ROLE {role}")


def test_adopt_waits_for_nobody_who_migrates_with_knex_but_refuses(irregular_url: str) -> None:
    query(irregular_url, "UPDATE knex_migrations_lock SET is_locked = 1")

    run = migrate(irregular_url, "adopt")

    assert run.process.returncode == 14
    assert "knex migrate:unlock" in run.output
    assert query(irregular_url, "SELECT to_regclass('django_migrations')") == [(None,)]


def test_adopt_refuses_where_the_originals_next_start_would_migrate(irregular_url: str) -> None:
    query(irregular_url, "DELETE FROM knex_migrations WHERE batch > 1")
    query(irregular_url, "DROP TABLE revoked_tokens")
    query(irregular_url, "ALTER TABLE transactions DROP COLUMN amount, DROP COLUMN transaction_type")
    query(irregular_url, "ALTER TABLE categories DROP COLUMN updated_at, DROP COLUMN is_deleted")
    before = schema(irregular_url)

    plan, run = migrate(irregular_url, "adopt", "--plan"), migrate(irregular_url, "adopt")

    assert plan.process.returncode == 1, plan.output
    for said in (
        "20260228_001_create_revoked_tokens.js, 20260301_001_fix_transactions_schema.js, 2026",
        "revoked_tokens: missing; will be created",
        "column amount added: numeric(15,2)",
    ):
        assert said in plan.output
    assert run.process.returncode == 14, run.output
    assert "Start the original's last release once" in run.output
    assert schema(irregular_url) == before


def test_adopt_refuses_a_database_that_is_not_the_originals(database_url: str) -> None:
    run = migrate(database_url, "adopt")

    assert run.process.returncode == 14
    assert "no table knex_migrations" in run.output


def test_adopt_refuses_decisions_which_only_finishing_carries_out(irregular_url: str) -> None:
    run = migrate(irregular_url, "adopt", "--normalise-phones")

    assert run.process.returncode == 1
    assert "belongs to 'adopt --finish'" in run.output


@pytest.mark.parametrize("arguments", [("rollback", "--to", "0"), ("migrate", "accounts", "zero")])
@pytest.mark.parametrize("knex_is_there", [True, False])
def test_nothing_undoes_an_adoption_by_dropping_what_it_did_not_make(
    adopted_url: str, arguments: tuple[str, ...], knex_is_there: bool
) -> None:
    if not knex_is_there:
        query(adopted_url, "DROP TABLE knex_migrations, knex_migrations_lock")

    run = migrate(adopted_url, *arguments)

    assert run.process.returncode == 14, run.output
    assert "would drop them with everybody's rows" in run.output
    assert query(adopted_url, "SELECT count(*) FROM users") == [(9,)]
