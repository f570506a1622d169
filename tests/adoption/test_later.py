"""Migrations that are newer than the adopted ones run as everywhere, and finishing undoes nothing that they did."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.adoption.original import DECISIONS, uid
from tests.faults.migrator import applied, query
from tests.server.service import copy_release, manage

# What may be done to the original's tables: an index more, one less, a wider column, another default, and rows.
LATER = """
from django.db import migrations, models


def add_group(apps, schema_editor):
    apps.get_model("auth", "Group").objects.get_or_create(name="later")


class Migration(migrations.Migration):
    phase = "expand"
    dependencies = [("{app}", "{leaf}"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [
        migrations.AddIndex("account", models.Index(fields=["created_at"], name="idx_accounts_later")),
        migrations.RemoveIndex("account", "idx_accounts_type"),
        migrations.AlterField("account", "icon", models.CharField(max_length=80, null=True, blank=True)),
        migrations.AlterField(
            "account", "currency", models.CharField(db_default="EUR", default="EUR", max_length=5)
        ),
        migrations.RunPython(add_group, migrations.RunPython.noop),
    ]
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """This release, and a migration more."""
    tree = copy_release(tmp_path / "newer")
    migrations = tree / "transactions" / "migrations"
    leaf = (migrations / "max_migration.txt").read_text().strip()
    (migrations / "9000_later.py").write_text(LATER.format(app="transactions", leaf=leaf))
    (migrations / "max_migration.txt").write_text("9000_later\n")
    return tree


def done(tree: Path, url: str, *arguments: str) -> str:
    run: subprocess.CompletedProcess[str] = manage(tree, *arguments, DATABASE_URL=url)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def assert_as_the_newer_release_has_it(tree: Path, url: str) -> None:
    done(tree, url, "schemadiff")
    assert "Nothing to migrate" in done(tree, url, "migrate")
    assert query(url, "SELECT to_regclass('idx_accounts_later') IS NULL, to_regclass('idx_accounts_type')") == [
        (False, None)
    ]
    assert query(url, "SELECT count(*) FROM auth_group WHERE name = 'later'") == [(1,)]


@pytest.mark.slow
def test_what_ran_between_the_two_steps_is_left_as_it_is(newer: Path, adopted_url: str) -> None:
    assert "transactions.9000_later" not in applied(adopted_url)
    assert "✓ transactions.9000_later" in done(newer, adopted_url, "migrate", "--noinput")
    query(adopted_url, "UPDATE accounts SET icon = repeat('i', 80) WHERE account_id = %s", uid("account", 1))

    plan = manage(newer, "adopt", "--plan", *DECISIONS, DATABASE_URL=adopted_url)
    assert plan.returncode == 0, plan.stdout
    for touched in ("idx_accounts_later", "idx_accounts_type", "column icon", "default of currency"):
        assert touched not in plan.stdout
    done(newer, adopted_url, "adopt", "--finish", *DECISIONS)

    assert_as_the_newer_release_has_it(newer, adopted_url)
    assert query(adopted_url, "SELECT length(icon) FROM accounts WHERE account_id = %s", uid("account", 1)) == [(80,)]


@pytest.mark.slow
def test_what_comes_after_both_steps_runs_as_everywhere(newer: Path, irregular_url: str) -> None:
    done(newer, irregular_url, "adopt")
    assert "transactions.9000_later" not in applied(irregular_url)
    done(newer, irregular_url, "adopt", "--finish", *DECISIONS)
    assert "transactions.9000_later" not in applied(irregular_url)
    assert "✓ transactions.9000_later" in done(newer, irregular_url, "migrate", "--noinput")

    assert_as_the_newer_release_has_it(newer, irregular_url)


@pytest.mark.slow
def test_a_failed_finish_goes_on_beside_what_ran_between(newer: Path, adopted_url: str) -> None:
    database_url = adopted_url
    done(newer, database_url, "migrate", "--noinput")
    query(database_url, "ALTER TABLE users RENAME COLUMN email TO e_mail")
    assert manage(newer, "adopt", "--finish", *DECISIONS, DATABASE_URL=database_url).returncode != 0
    query(database_url, "ALTER TABLE users RENAME COLUMN e_mail TO email")

    done(newer, database_url, "adopt", "--finish", *DECISIONS)

    assert_as_the_newer_release_has_it(newer, database_url)
