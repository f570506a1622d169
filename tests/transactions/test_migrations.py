"""The migration history, forward and back, in a database of its own."""

from __future__ import annotations

import itertools
import json
from contextlib import closing

import psycopg2
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from tests.accounts.catalog import dump
from tests.processes import python
from tests.transactions.rows import GROCERIES, SHOPPING

HISTORY = [
    ("accounts", "0001_initial"),
    ("accounts", "0002_add_phone_number_to_users"),
    ("accounts", "0003_complete_api_schema"),
    ("accounts", "0004_auth_token_revocation"),
    ("accounts", "0005_inspection_indexes"),
    ("transactions", "0001_initial"),
    ("transactions", "0002_complete_api_schema"),
    ("transactions", "0003_system_categories"),
    ("transactions", "0004_complete_transactions_table"),
    ("transactions", "0005_summary_views"),
    ("transactions", "0006_inspection_indexes"),
]
LAST = "transactions 0006_inspection_indexes"

# One process for many steps: it reads targets from its command line, migrates to each, and prints a dump after each.
STEPS = """
import json, sys
import django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from tests.accounts.catalog import dump
dumps = []
for step in sys.argv[1:]:
    executor = MigrationExecutor(connection)
    app, name = step.split()
    executor.migrate([(app, None if name == "zero" else name)])
    with connection.cursor() as cursor:
        dumps.append(dump(cursor))
print(json.dumps(dumps))
"""


def run(database_url: str, *command: str) -> str:
    variables = {"RUPAYA_ENV": "test", "DATABASE_URL": database_url, "DJANGO_SETTINGS_MODULE": "rupaya.settings"}
    completed = python(*command, **variables)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def step_by_step(database_url: str, *steps: str) -> list[list[str]]:
    """Migrate to each step in turn, such as ``"accounts zero"``; return a dump of the catalog after each."""
    dumps: list[list[str]] = json.loads(run(database_url, "-c", STEPS, *steps))
    return dumps


def run_sql(database_url: str, sql: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.slow
def test_there_and_back_and_there_again_gives_the_same_schema(database_url: str) -> None:
    dumps = []
    for target in ([], ["transactions", "zero"], ["accounts", "zero"], []):
        run(database_url, "manage.py", "migrate", *target)
        with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
            dumps.append(dump(cursor))
    first, without_money, without_people, again = dumps
    assert again == first
    tables = {line.split()[0] for line in first}
    assert tables >= {"users", "revoked_tokens", "transactions", "budgets", "budget_progress"}
    assert not {line.split()[0] for line in without_money} & {"transactions", "budgets", "budget_progress", "accounts"}
    assert not [line for line in without_people if line.startswith("users") or "set_updated_at" in line]


def test_each_migration_takes_back_exactly_what_it_did(database_url: str) -> None:
    steps = ["auth 0012_alter_user_first_name_max_length"]
    for (app_before, before), (app, name) in itertools.pairwise([("", "zero"), *HISTORY]):
        back = f"{app} {before if app == app_before else 'zero'}"
        steps += [f"{app} {name}", back, f"{app} {name}"]
    dumps = step_by_step(database_url, *steps)
    before = dumps[0]
    for index, (_, name) in enumerate(HISTORY):
        after, back, again = dumps[1 + index * 3 : 4 + index * 3]
        assert back == before, name
        assert again == after, name
        assert (after == before) == (name == "0003_system_categories"), name
        before = after


def test_a_system_category_that_somebody_uses_outlives_its_migration(database_url: str) -> None:
    step_by_step(database_url, LAST)
    run_sql(
        database_url,
        f"""
        INSERT INTO users (email) VALUES ('asha@example.com');
        INSERT INTO budgets (user_id, category_id, amount, period, start_date)
            SELECT user_id, '{GROCERIES}', 1, 'monthly', '2026-03-01' FROM users;
        INSERT INTO accounts (user_id, name, account_type) SELECT user_id, 'Wallet', 'cash' FROM users;
        INSERT INTO recurring_transactions
            (user_id, account_id, category_id, amount, transaction_type, frequency, start_date)
            SELECT user_id, account_id, '{SHOPPING}', 1, 'expense', 'daily', '2026-03-01' FROM accounts;
        """,
    )
    step_by_step(database_url, "transactions 0002_complete_api_schema")
    assert run_sql(database_url, "SELECT name FROM categories ORDER BY name") == [("Groceries",), ("Shopping",)]
    run_sql(database_url, f"UPDATE categories SET icon = 'basket' WHERE category_id = '{GROCERIES}'")
    step_by_step(database_url, LAST)
    assert run_sql(database_url, "SELECT count(*), count(icon) FROM categories") == [(12, 1)]


def test_the_models_say_what_the_migrations_make(database_url: str) -> None:
    assert run(database_url, "manage.py", "makemigrations", "--check", "--dry-run").strip() == "No changes detected"


@pytest.mark.django_db
def test_the_history_has_the_names_that_people_know() -> None:
    loader = MigrationLoader(connection)
    ours = [key for key in loader.disk_migrations if key[0] in {"accounts", "transactions"}]
    assert sorted(ours) == HISTORY
    in_parts = sorted(key for key in ours if not loader.disk_migrations[key].atomic)
    assert in_parts == [("accounts", "0005_inspection_indexes"), ("transactions", "0006_inspection_indexes")]
