"""`lintmigrations`: what is unsafe is refused by the name of its rule, and what was not looked at is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from rupaya.environment import BASE_DIR
from tests.patience import HANGING_S

FIXTURES = Path(__file__).parent / "fixtures"

BAD = {
    "0002_adds_not_null_column_without_default": {"NOT_NULL", "adding-required-field"},
    "0002_adds_not_null_column_whose_default_django_drops": {"NOT_NULL"},
    "0002_creates_index_without_concurrently": {"CREATE_INDEX", "require-concurrent-index-creation"},
    "0002_creates_index_concurrently_in_a_transaction": {"ban-concurrent-index-creation-in-transaction"},
    "0002_drops_index_without_concurrently": {"DROP_INDEX", "require-concurrent-index-deletion"},
    "0002_drops_column": {"DROP_COLUMN", "ban-drop-column"},
    "0002_drops_a_required_column": {"unready-removal"},
    "0002_sql_without_a_phase": {"undeclared-phase"},
    "0002_drops_table": {"DROP_TABLE", "ban-drop-table"},
    "0002_renames_column": {"RENAME_COLUMN", "renaming-column"},
    "0002_renames_table": {"RENAME_TABLE", "renaming-table"},
    "0002_changes_type": {"ALTER_COLUMN", "changing-column-type"},
    "0002_adds_fk_with_validation": {"adding-foreign-key-constraint"},
    "0002_adds_check_with_validation": {"constraint-missing-not-valid"},
    "0002_sets_not_null_directly": {"NOT_NULL", "adding-not-nullable-field"},
    "0002_adds_unique_without_concurrently": {"ADD_UNIQUE", "disallowed-unique-constraint"},
    "0002_adds_generated_column": {"adding-field-with-default"},
    "0002_cannot_be_run_again": {"not-repeatable"},
    "0002_backfills_in_one_transaction": {"no-sql"},
    "0002_imports_the_model": {"RUNPYTHON_MODEL_IMPORT"},
    "0002_auto_20261122_1507": {"automatic-name"},
    "0002_payment_note_and_more": {"automatic-name"},
}


@dataclass
class Repository:
    """A git repository with one fixture app, whose first migration alone is committed."""

    path: Path
    app: str
    database_url: str

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=self.path, check=True, capture_output=True)

    def lint(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "DJANGO_SETTINGS_MODULE": "tests.migrator.fixtures.settings",
            "RUPAYA_FIXTURE_APPS": self.app,
            "PYTHONPATH": str(self.path),
        }
        return subprocess.run(
            [sys.executable, f"{BASE_DIR}/manage.py", "lintmigrations", *arguments],
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=HANGING_S,
            check=False,
        )


def make_repository(path: Path, app: str, database_url: str) -> Repository:
    repository = Repository(path, app, database_url)
    shutil.copytree(FIXTURES / app, path / app, ignore=shutil.ignore_patterns("__pycache__"))
    repository.git("init", "--quiet")
    first = [f"{app}/__init__.py", f"{app}/migrations/__init__.py", f"{app}/migrations/0001_initial.py"]
    repository.git("add", *first)
    repository.git("commit", "--quiet", "-m", "Release 1")
    return repository


def findings(completed: subprocess.CompletedProcess[str]) -> dict[str, set[str]]:
    """The rules that were broken, by migration."""
    found: dict[str, set[str]] = {}
    for name, rule in re.findall(r"^\w+\.(\w+): ([\w.-]+): ", completed.stderr, re.MULTILINE):
        found.setdefault(name, set()).add(rule)
    return found


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory, server_url: str) -> subprocess.CompletedProcess[str]:
    repository = make_repository(tmp_path_factory.mktemp("bad"), "bad_migrations", server_url)
    repository.git("tag", "deployed")
    return repository.lint()


@pytest.fixture
def small(tmp_path: Path, server_url: str) -> Repository:
    """A repository of one migration, with its max_migration.txt, and nothing new."""
    repository = make_repository(tmp_path, "bad_migrations", server_url)
    for path in (tmp_path / "bad_migrations" / "migrations").glob("0002_*"):
        path.unlink()
    (tmp_path / "bad_migrations" / "migrations" / "max_migration.txt").write_text("0001_initial\n")
    return repository


def test_every_bad_migration_has_an_expectation() -> None:
    assert {path.stem for path in (FIXTURES / "bad_migrations" / "migrations").glob("0002_*.py")} == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_migration_is_refused_by_rule(linted: subprocess.CompletedProcess[str], name: str) -> None:
    assert linted.returncode == 1
    assert findings(linted).get(name, set()) >= BAD[name]


def test_conflicting_migrations_are_refused(linted: subprocess.CompletedProcess[str]) -> None:
    assert "dlm.E005: Conflicting migrations detected" in linted.stderr


def test_what_is_deployed_is_not_linted_again(linted: subprocess.CompletedProcess[str]) -> None:
    assert "0001_initial:" not in linted.stderr


def test_the_recipes_pass_but_for_being_all_in_one_release(tmp_path: Path, server_url: str) -> None:
    """What docs/writing-migrations.md shows is what the gate lets through, a step a release."""
    repository = make_repository(tmp_path, "recipes", server_url)
    repository.git("tag", "deployed")
    completed = repository.lint()
    assert set().union(*findings(completed).values()) == {"depends-on-held"}
    assert "18 migrations since deployed" in completed.stderr


def test_tables_that_are_created_in_the_same_release_are_nobodys_yet(small: Repository) -> None:
    small.git("tag", "deployed")
    migrations = small.path / "bad_migrations" / "migrations"
    (migrations / "0002_create_orders.py").write_text(
        "from django.db import migrations, models\n"
        "class Migration(migrations.Migration):\n"
        "    dependencies = [('bad_migrations', '0001_initial')]\n"
        "    operations = [migrations.CreateModel('Order', [('id', models.BigAutoField(primary_key=True)),"
        " ('note', models.TextField())], options={'db_table': 'orders'})]\n"
    )
    (migrations / "0003_index_orders.py").write_text(
        "from django.db import migrations, models\n"
        "class Migration(migrations.Migration):\n"
        "    dependencies = [('bad_migrations', '0002_create_orders')]\n"
        "    operations = [migrations.AddIndex('Order', models.Index('note', name='orders_note_idx')),"
        " migrations.AddField('Order', 'payment', models.ForeignKey('Payment', models.PROTECT)),"
        " migrations.AddIndex('Payment', models.Index('note', name='payments_note_idx'))]\n"
    )
    (migrations / "max_migration.txt").write_text("0003_index_orders\n")
    completed = small.lint()
    # The index on the old table is refused; the one on the new table, and its foreign key, are not.
    assert findings(completed) == {"0003_index_orders": {"CREATE_INDEX", "require-concurrent-index-creation"}}


def test_an_outdated_max_migration_is_refused(small: Repository) -> None:
    small.git("tag", "deployed")
    (small.path / "bad_migrations" / "migrations" / "max_migration.txt").write_text("0001_first\n")
    assert "max_migration.txt: dlm.E003: " in small.lint().stderr


def test_an_empty_comparison_is_said(small: Repository) -> None:
    small.git("tag", "deployed")
    completed = small.lint()
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith("Migrations are fine: no migrations since deployed (")


def test_a_missing_base_is_an_error_that_says_how_to_set_it(small: Repository) -> None:
    completed = small.lint()
    assert completed.returncode == 1
    assert "There is no git ref 'deployed' here" in completed.stderr
    assert "git tag --force deployed COMMIT" in completed.stderr


def test_another_base_can_be_named(small: Repository) -> None:
    assert "no migrations since HEAD (" in small.lint("--base", "HEAD").stdout


def test_before_the_first_deployment_only_names_and_order_are_checked_and_that_is_said(small: Repository) -> None:
    completed = small.lint("--base", "none")
    assert completed.returncode == 0
    assert "none of them deployed yet" in completed.stdout
    assert "not their SQL" in completed.stdout


def test_nothing_deployed_is_not_believed_once_the_tag_exists(small: Repository) -> None:
    small.git("tag", "deployed")
    completed = small.lint("--base", "none")
    assert completed.returncode == 1
    assert "there is a tag 'deployed'" in completed.stderr
