"""What this release would do, and what lies in the attic: told before, and changing nothing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from rupaya.migrator.attic.emptying import PURGED_AFTER
from tests.faults.migrator import PROJECT, query
from tests.story.conftest import add_run, somebody
from tests.story.test_pages import text

PAGE = "/admin/schema/release/"
ATTIC = "/admin/schema/attic/"
STRICTER = """
from django.db import migrations
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("transactions", "0006_inspection_indexes")]
    operations = [
        migrations.RunSQL("ALTER TABLE users ADD CONSTRAINT named CHECK (name <> 'nobody')", migrations.RunSQL.noop),
        AddIndexConcurrently("budget", models.Index(fields=["name"], name="budgets_by_name")),
    ]
"""
CHECK = {
    "kind": "check",
    "table": "users",
    "name": "named",
    "columns": ["name"],
    "condition": "name::text <> 'nobody'::text",
}


@pytest.fixture
def pending(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "stricter"
    shutil.copytree(PROJECT / "transactions" / "migrations", folder)
    (folder / "0007_stricter.py").write_text(STRICTER)
    monkeypatch.syspath_prepend(tmp_path)
    settings.MIGRATION_MODULES = {"transactions": "stricter"}
    known = tmp_path / "presumptions.json"
    entry = {"hash": hashlib.sha256(STRICTER.encode()).hexdigest(), "presumptions": [CHECK]}
    known.write_text(json.dumps({"transactions.0007_stricter": entry}))
    settings.MIGRATOR_PRESUMPTIONS = known
    drawn = tmp_path / "schema.sql"
    drawn.write_text((PROJECT / "schema.sql").read_text() + "\nCREATE TABLE soon (\n    id bigint NOT NULL\n);\n")
    settings.SCHEMA_SQL = drawn


def owe(url: str, column: str = "timezone") -> None:
    payment = json.dumps([{"how": "attic", "sql": [f'ALTER TABLE "users" DROP COLUMN "{column}" CASCADE']}])
    query(
        url,
        "INSERT INTO migrator_debts (app, migration, operation, action, kind, table_name, object, payment, breaks, "
        "details, release, run_id) VALUES ('accounts', '0002_add_phone_number_to_users', '0', 'Remove field', "
        "'column', 'users', %s, %s, 'read it', '{}', 'v7', 1)",
        column,
        payment,
    )


def test_nothing_to_do_is_said_with_what_that_means(viewer: Client) -> None:
    page = text(viewer, PAGE)

    assert "Nothing to do Every migration of this release is applied, and nothing is owed." in page
    assert "No migration is pending." in page
    assert "before and after" not in page
    assert "Nothing is owed: this release's migrations are carried out whole." in page
    assert "Empty Nothing lies in the attic." in text(viewer, ATTIC)


@pytest.mark.usefixtures("pending")
def test_a_pending_migration_is_told_with_sql_locks_and_live_rows(client: Client, url: str) -> None:
    query(url, "UPDATE users SET name = 'nobody'")

    page = text(client, PAGE)

    assert "To do 1 pending migration, 0 owed." in page
    assert "transactions.0007_stricter contract not atomic" in page
    assert "budgets: never analysed, 0 bytes Live rows:" in page
    assert "The schema, before and after" in page
    assert page.count("created table soon +3 −0") == 1
    assert "changed table" not in page
    assert "users AccessExclusive reads and writes wait" in page
    assert "budgets ShareUpdateExclusive nobody waits" in page
    assert 'CREATE INDEX CONCURRENTLY "budgets_by_name" ON "budgets" ("name")' in page
    assert re.search(r"no row of users against CHECK named: .* 1 row \([0-9a-f-]{36}\)", page), page
    assert query(url, "SELECT count(*) FROM pg_constraint WHERE conname = 'named'") == [(0,)]
    assert "story" not in connections._connections.__dict__


@pytest.mark.usefixtures("pending")
def test_rows_that_are_as_presumed_are_said_to_have_been_asked(client: Client) -> None:
    assert "1 presumption asked of the live rows" in text(client, PAGE)


@pytest.mark.usefixtures("pending")
def test_rows_are_left_alone_while_a_run_is_under_way(client: Client, url: str) -> None:
    import psycopg2

    holder = psycopg2.connect(url)
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(7), pg_backend_pid()")
            pid = cursor.fetchall()[0][1]
        add_run(url, "started", None, backend_pid=pid)
        owe(url)
        page = text(client, PAGE)
    finally:
        holder.close()

    assert "Live rows were not asked: a run is under way." in page
    assert "asked of the live rows" not in page
    assert "Ask who still uses" not in page


def test_what_is_owed_is_told_and_who_uses_it_when_asked(client: Client, url: str) -> None:
    owe(url)
    query(url, "CREATE VIEW zones AS SELECT timezone FROM users")

    page = text(client, PAGE)
    asked = text(client, f"{PAGE}?use=1")

    assert "To do 0 pending migrations, 1 owed." in page
    assert "column users.timezone due as soon as no older release runs" in page
    assert "users AccessExclusive reads and writes wait" in page
    assert "Older code could not read it any more." in page
    assert "in use" not in page
    assert "in use Remove field" in asked
    assert "view zones" in asked
    assert query(url, "SELECT count(*) FROM information_schema.column_privileges WHERE table_name = 'users' AND "
                      "grantee = 'pg_signal_backend'") == [(0,)]  # fmt: skip


def test_a_history_that_a_run_refuses_is_told_as_it_would_tell_it(client: Client, url: str) -> None:
    query(url, "DELETE FROM django_migrations WHERE app = 'accounts' AND name = '0001_initial'")

    page = text(client, PAGE)

    assert "Refused" in page
    assert "is applied before its dependency" in page


def test_the_attic_says_what_lies_there_since_when_and_until_when(client: Client, url: str) -> None:
    query(
        url,
        "ALTER TABLE users ADD COLUMN migrator_attic_abc text; CREATE SCHEMA IF NOT EXISTS migrator_attic; "
        "CREATE TABLE migrator_attic.migrator_attic_old (id integer)",
    )
    for item, kind, table, name, age in (
        ("abc", "column", "users", "colour", "1 day"),
        ("old", "table", "notes", "notes", "31 days"),
        ("lost", "column", "users", "size", "2 days"),
    ):
        query(
            url,
            "INSERT INTO migrator_attic (item_id, kind, table_name, object, app, migration, reason, fingerprint, "
            "details, release, run_id, put_away_at) VALUES (%s, %s, %s, %s, 'accounts', '0002_x', 'debt', '', '{}', "
            "'v7', 1, now() - %s::interval)",
            item, kind, table, name, age,
        )  # fmt: skip

    page = text(client, ATTIC)

    assert re.search(r"users.colour column \S*users\.migrator_attic_abc 0 bytes .* run 1 of release v7: debt of", page)
    assert re.search(r"notes table migrator_attic\.\S*old .* due", page)
    assert "gone: somebody dropped it by hand" in page
    assert re.search(r"from \d{4}-\d\d-\d\d", page)
    assert f"older than {PURGED_AFTER.days} days" in page


def test_the_daily_task_purges_when_the_page_says_so() -> None:
    assert f"attic purge --older-than {PURGED_AFTER.days}d" in (PROJECT / "infra" / "service.tf").read_text()


@pytest.mark.usefixtures("viewer")
@pytest.mark.parametrize("path", [PAGE, ATTIC])
def test_both_are_in_the_navigation_of_those_who_may_see_them(path: str) -> None:
    assert somebody().get(path).status_code == 403
    page = somebody("view_run").get(path)
    assert f'href="{path}" aria-current="page"' in page.content.decode()
