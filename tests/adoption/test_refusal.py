"""`migrate` meets the original's database, and neither touches it nor leaves anybody puzzled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.adoption.original import TABLES, UNTOUCHED, build, schema
from tests.faults.migrator import PROJECT, migrate, query

ARGUMENTS = (
    ("migrate", "--noinput"),
    ("migrate", "--noinput", "--fake-initial"),
)
# A migrator that has read its plan when another one starts, and goes on once that one is through.
SECOND = """
import subprocess, sys
import django
django.setup()
from django.core.management.color import no_style
from rupaya.migrator.output import Output
from rupaya.migrator.run import order
from rupaya.migrator.run.procedure import Procedure, Request, plain_migrate
from rupaya.migrator.session.session import Session

class Second(Procedure):
    is_first = True

    def refuse_before_the_lock(self, session, plan):
        if self.is_first:
            assert plan.steps
            subprocess.run([sys.executable, "manage.py", *sys.argv[1:]], check=True)
        self.is_first = False
        super().refuse_before_the_lock(session, plan)

order.run(Second(Request(), plain_migrate(1, using="default")), Session(Output(sys.stdout, no_style())))
"""


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_migrate_stops_with_14_names_what_it_found_and_changes_nothing(
    irregular_url: str, arguments: tuple[str, ...]
) -> None:
    query(irregular_url, "UPDATE knex_migrations_lock SET is_locked = 1")
    before = schema(irregular_url)

    migrator = migrate(irregular_url, *arguments)

    assert migrator.process.returncode == 14, migrator.output
    for told in (
        "users (9 rows)",
        "transactions (8 rows)",
        "Knex's last batch is 4 (20260304_001_fix_categories_schema.js)",
        "its lock is SET",
        "manage.py adopt --plan",
        "nothing was changed",
    ):
        assert told in migrator.output
    assert "Traceback" not in migrator.output
    assert schema(irregular_url) == before


def test_migrate_stops_where_knex_was_and_no_row_and_no_table_is(database_url: str) -> None:
    query(database_url, "CREATE TABLE knex_migrations (id serial, name text, batch integer)")

    migrator = migrate(database_url)

    assert migrator.process.returncode == 14, migrator.output
    assert "none of its tables" in migrator.output
    assert query(database_url, "SELECT to_regclass('django_migrations')") == [(None,)]


def test_the_builder_makes_every_table_that_the_original_leaves(empty_url: str) -> None:
    found = query(empty_url, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")

    assert {name for (name,) in found} == {*TABLES, *UNTOUCHED}


@pytest.mark.parametrize(("first", "is_originals"), [("migrate", False), ("adopt", True)])
def test_tables_that_another_migrator_has_just_made_or_adopted_are_nobody_elses(
    database_url: str, first: str, is_originals: bool
) -> None:
    if is_originals:
        build(database_url)

    second = subprocess.run(
        [sys.executable, "-c", SECOND, first],
        cwd=PROJECT,
        env=os.environ
        | {"DATABASE_URL": database_url, "RUPAYA_ENV": "test", "DJANGO_SETTINGS_MODULE": "rupaya.settings"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 0, second.stdout + second.stderr
    runs = query(database_url, "SELECT command, outcome FROM migrator_runs ORDER BY run_id")
    assert runs[0] == (first, "succeeded")
    assert "Nothing to migrate" in migrate(database_url).output
